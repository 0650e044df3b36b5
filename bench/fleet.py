"""A drift and an idle sweep over 10,000 and 100,000 running instances: the memory and CPU time of the sweeping process.

The embedded cloud runs in a process of its own. It is filled with copies of one user whose data the product itself
made. Each sweep, and each baseline, is a fresh process: its peak memory (RSS) and its CPU time are measured, without
imports. The baseline `bare` reads and parses the pages of a drift sweep with the product's own transport, and discards
them. The baseline `typed` also makes an object of each row, template and instance: no sweep in Python can cost less.

`fleet.py [--quick] [PEOPLE...]`; by default 10,000 and 100,000 people.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from benching import ROOT, header, judge, say  # puts the tree on sys.path
from kit.inprocess import Bench, make_bench
from msgspec import structs
from people import settled

from emulator.model.notebooks_activity import Machine, Script
from emulator.model.storage_records import Bucket, StoredObject
from emulator.model.storage_rules import crc32c_of, md5_of
from shared.domain.template.wanted import wanted_templates
from shared.domain.things.identity import instance_id_for, parse_email, user_key_for

UP = timedelta(hours=5)  # longer than the window of the shipped profile: every series is whole
LIMIT_MB = {10_000: 120, 100_000: 256}


def filled(count: int, *, due_in: timedelta | None = None) -> Bench:
    """Return a world of `count` users, copies of one user with a running notebook and templates, five hours later.

    Names, digests and rows are those that the product would make. With `due_in`, every user is due for a pass that long
    after the first user settled; the clock is past that time if `due_in` is below five hours.
    """
    bench = make_bench()
    record = settled(bench)
    if due_in is not None:
        stored = bench.deps.records.load(record.user_key)
        assert stored is not None
        bench.deps.records.save(record.with_status(next_attempt_at=bench.now + due_in), expected=stored)
    models: dict[str, Any] = bench.cloud.world.models
    bucket: Bucket = models["storage"].buckets.get(bench.settings.bucket)
    own = (f"records/{record.user_key}.", f"templates/{record.user_key}/", "due/")
    names = [n for n in bucket.live if n.startswith(own)]
    fleet = models["notebooks"].fleet
    [instance], [machine] = fleet.instances.values(), fleet.machines.values()
    machine.scripts.append(
        Script(since=bench.now, until=None, cpu=0.6)
    )  # everybody works: judging is measured, not stopping
    body, vm = json.dumps(instance.body), str(instance.body["gceSetup"]["instanceId"])
    for number in range(1, count):
        email = parse_email(f"person.{number}@example.com")
        key, instance_id = user_key_for(email), instance_id_for(email)

        def like(text: str, new: tuple[str, str, str] = (instance_id, key, email)) -> str:
            """Return the text with the first user's instance id, key and address replaced by those in `new`."""
            for was, now in zip(
                (str(record.status.notebook.instance_id), record.user_key, record.email), new, strict=True
            ):
                text = text.replace(was, now)
            return text

        digests = wanted_templates(
            structs.replace(record.with_status(instance_id=instance_id), user_key=key, email=email),
            bench.deps.policy,
        )
        for name in names:
            bucket.live[like(name)] = _copied(bucket.live[name], like, digests or {})
        gce_id = str(int(vm) - number)
        made = json.loads(like(body).replace(vm, gce_id))
        name = like(instance.name)
        fleet.instances[name] = replace(
            instance, name=name, serial=instance.serial + number, body=made, owner=like(instance.owner)
        )
        fleet.machines[gce_id] = Machine(
            gce_id=gce_id, name=like(machine.name), spans=list(machine.spans), scripts=list(machine.scripts)
        )
    bucket._names = sorted(bucket.live)  # noqa: SLF001 - kept one by one, it is quadratic
    fleet.serial = instance.serial + count
    bench.advance(hours=UP.total_seconds() / 3600)
    bench.cloud.world.journal.clear()
    return bench


def _copied(model: StoredObject, like: Callable[[str], str], digests: dict[str, str]) -> StoredObject:
    fields = json.loads(like(json.dumps(model.fields)))
    content = model.content
    if model.name.startswith(
        "templates/"
    ):  # rendering a hundred thousand takes an hour; what a listing shows is what counts
        fields["metadata"]["benchkeeper-digest"] = digests[Path(model.name).stem]
    else:
        content = like(content.decode()).encode()
    return replace(
        model, name=like(model.name), fields=fields, content=content, md5=md5_of(content), crc32c=crc32c_of(content)
    )


def measured(kind: str, bench: Bench) -> dict[str, Any]:
    """Run one sweep or baseline in a separate process; print its figures, and return them."""
    ran = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "one_sweep.py"), kind, bench.cloud.url, bench.now.isoformat()],
        cwd=ROOT, env=dict(os.environ), check=True, stdout=subprocess.PIPE,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    say(
        f"  {kind:5} {found['mb']:7.0f} MB ({found['empty_mb']:.0f} before), {found['cpu_s']:6.2f} s CPU, {found['s']:6.1f} s in all"
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--quick", action="store_true", help="measure 1,000 people, for a quick check; do not quote the figures"
    )
    parser.add_argument("--kinds", default="bare,typed,drift,idle", help="the kinds to measure, separated by commas")
    parser.add_argument("people", nargs="*", type=int)
    asked = parser.parse_args()
    for count in asked.people or ([1_000] if asked.quick else [10_000, 100_000]):
        header(f"Sweeps over {count:,} running instances")
        bench = filled(count)
        found = {}
        with bench.cloud:
            for kind in asked.kinds.split(","):
                found[kind] = measured(kind, bench)
        for kind in {"drift", "idle"} & found.keys():
            facts = found[kind]["facts"]
            assert (facts["looked_at"], facts["left_over"], facts["failed"]) == (count, 0, {}), facts
            if count in LIMIT_MB:
                judge(f"memory, {kind}", found[kind]["mb"], LIMIT_MB[count], unit=" MB")
            judge(f"time, {kind}", found[kind]["s"], 540, unit=" s")
        if {"bare", "drift"} <= found.keys():
            judge("RATIO CPU of drift / bare listing", found["drift"]["cpu_s"] / found["bare"]["cpu_s"], 1.3)
        if {"bare", "typed"} <= found.keys():
            say(
                f"floor objects / bare listing: {found['typed']['cpu_s'] / found['bare']['cpu_s']:.2f}x (nothing judged; no bound)"
            )


if __name__ == "__main__":
    main()
