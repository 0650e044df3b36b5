"""A world as an earlier version left it: its own objects and instances, written by its own code.

tests/data/written-by-4a20f96.json.gz is what the embedded cloud of that commit (2026-11-28, before the guard, the policy in force and the
waves) saved after a month with thirteen people in different states; tests/data/config-4a20f96 is what it was configured with.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google_crc32c

from kit.inprocess import ENDPOINT, ROOT, Bench, make_bench
from shared.domain.record import codec
from shared.domain.template.wanted import wanted_templates
from shared.domain.things.identity import UserEmail, instance_id_for, parse_email, user_key_for
from shared.settings import load_settings

DATA = ROOT / "tests" / "data"
SETTLED = ("ready.one@example.com", "idle.ina@example.com")  # one at work, one whose notebook was stopped


TIMERS = {
    "10800": "54000",
    "21600": "64800",
}  # Workbench's own idle timer, as the earlier version set it and as it is set now


def predecessor(folder: Path, *, copies: int = 0, timers_set: bool = False) -> Bench:
    """The world, with today's product in it; `copies` more people like the settled ones. `folder` gets the configuration.

    `timers_set`: after the one patch by which every instance gets today's time of Workbench's own timer.
    """
    config = Path(shutil.copytree(ROOT / "config", folder / "config"))
    shutil.rmtree(config / "templates")
    shutil.copytree(DATA / "config-4a20f96", config, dirs_exist_ok=True)
    profiles = config / "profiles.yaml"
    profiles.write_text(profiles.read_text().replace(", cpu_busy_at: 0.1", ""))  # as the fault of the new version says
    settings = load_settings(env="local", config_dir=config, environ={"BENCHKEEPER_API_ENDPOINT": ENDPOINT})
    bench = make_bench(settings=settings)
    text = gzip.decompress((DATA / "written-by-4a20f96.json.gz").read_bytes()).decode()
    for earlier, now in TIMERS.items() if timers_set else ():
        text = re.sub(rf'("idle-timeout-seconds": ?)"{earlier}"', rf'\g<1>"{now}"', text)
    world = json.loads(text)
    if copies:
        _multiply(world, bench, copies)
    bench.cloud.world.load(world)
    path, name = f"/storage/v1/b?project={settings.project}", settings.audit_bucket
    bench.control(
        "POST", path, {"name": name}
    )  # a deployment makes the buckets that an earlier version had not, before the functions
    bench.cloud.world.journal.clear()
    return bench


def _multiply(world: dict[str, Any], bench: Bench, copies: int) -> None:
    storage, fleet = world["models"]["storage"], world["models"]["notebooks"]
    objects = storage["buckets"][0]["objects"]
    moulds = {old: _Mould(old, objects, fleet) for old in map(parse_email, SETTLED)}
    for number in range(copies):
        mould = moulds[parse_email(SETTLED[number % len(SETTLED)])]
        new = parse_email(f"copy.{number:05}@example.com")
        objects += mould.objects(new, bench, storage["last_generation"])
        storage["last_generation"] += len(mould.rows)
        fleet["serial"] += 1
        fleet["instances"].append(mould.copied(mould.instance, new) | {"serial": fleet["serial"]})
        fleet["machines"].append(mould.copied(mould.machine, new))


class _Mould:
    """A settled person, for copies: the same rows with other names."""

    def __init__(self, email: UserEmail, objects: list[dict[str, Any]], fleet: dict[str, Any]) -> None:
        self.email, self.key, self.instance_id = email, str(user_key_for(email)), str(instance_id_for(email))
        self.rows = [row for row in objects if self.key in row["name"]]
        assert {row["name"].split("/")[0] for row in self.rows} == {"records", "templates"}, "no hint: nothing is due"
        (self.instance,) = [row for row in fleet["instances"] if row["name"].endswith(f"/{self.instance_id}")]
        vm = str(self.instance["body"]["gceSetup"]["instanceId"])
        (self.machine,) = [row for row in fleet["machines"] if row["gce_id"] == vm]
        self._vm = vm

    def copied(self, row: dict[str, Any], new: UserEmail) -> dict[str, Any]:
        made: dict[str, Any] = json.loads(self._renamed(json.dumps(row), new))
        return made

    def _renamed(self, text: str, new: UserEmail) -> str:
        vm = str(int.from_bytes(hashlib.sha256(new.encode()).digest()[:7], "big"))  # the cloud's number of the machine
        for old, name in (
            (self.instance_id, str(instance_id_for(new))), (self.key, str(user_key_for(new))), (self.email, new),
            (self.key.rpartition("-")[2], str(user_key_for(new)).rpartition("-")[2]), (self._vm, vm),
        ):  # fmt: skip
            text = text.replace(old, name)
        return text

    def objects(self, new: UserEmail, bench: Bench, generation: int) -> Iterator[dict[str, Any]]:
        digests: dict[str, str] = {}
        for row in sorted(
            self.rows, key=lambda row: str(row["name"])
        ):  # the record comes first, it says what the templates are
            generation += 1
            content = self._renamed(base64.b64decode(row["content"]).decode(), new).encode()
            if row["name"].startswith("records/"):
                wanted = wanted_templates(codec.from_json(json.loads(content)), bench.deps.policy)
                digests = {
                    f"templates/{user_key_for(new)}/{name}.yaml": digest for name, digest in (wanted or {}).items()
                }
            md5 = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
            made = self.copied({name: value for name, value in row.items() if name != "content"}, new)
            if made["name"] in digests:
                made["fields"]["metadata"] |= {"benchkeeper-digest": digests[made["name"]], "benchkeeper-md5": md5}
            yield made | {
                "generation": generation,
                "content": base64.b64encode(content).decode(),
                "crc32c": base64.b64encode(google_crc32c.value(content).to_bytes(4, "big")).decode(),
                "md5": md5,
            }
