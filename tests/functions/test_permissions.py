"""Least privilege, derived: every function's whole repertoire over the embedded cloud, against what config/deploy/roles.yaml grants."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from string import Template
from typing import Any

import pytest
import requests
import yaml
from flask.testing import FlaskClient
from kit.inprocess import ROOT, START, local_settings

from emulator.app import EmbeddedCloud
from emulator.clock import VirtualClock
from shared import wiring
from shared.domain.events import Joined, Left, LifecycleEvent, Moved
from shared.domain.identity import parse_email, user_key_for
from shared.engine.intake import accept
from shared.engine.ports import Deps
from shared.settings import Settings
from shared.telemetry import SilentLog
from tests.functions.conftest import TARGETS, TYPE, envelope

# What predefined roles hold, by their pages under cloud.google.com/iam/docs/roles-permissions.
PREDEFINED = {"roles/pubsub.publisher": {"pubsub.topics.publish"}}
ACCOUNTS = {"lifecycle": "lifecycle", "tick": "tick", "dead_letter": "dead-letter"}
KOFI, BEN = parse_email("kofi.mensah@example.org"), parse_email("ben@example.com")
NAMES = {
    "project": "benchkeeper-local",
    "region": "europe-west1",
    "bucket": "benchkeeper-local",
    "topic_lifecycle": "workbench-lifecycle",
    "topic_tick": "workbench-tick",
    "topic_dead_letter": "workbench-dead-letter",
}

# (permission, on what) -> the calls that need it
Needs = dict[tuple[str, str], set[str]]


def roles_file() -> dict[str, Any]:
    text = (ROOT / "config" / "deploy" / "roles.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(Template(text).substitute(NAMES))


def granted(raw: dict[str, Any], account: str) -> set[tuple[str, str]]:
    """(permission, on what) of everything that the account is given."""
    found = set()
    for grant in raw["grants"]:
        if grant["to"] == f"account/{account}":
            kind, _, name = grant["role"].partition("/")
            held = raw["roles"][name]["permissions"] if kind == "custom" else PREDEFINED[grant["role"]]
            found |= {(permission, grant["on"]) for permission in held}
    return found


def differences(raw: dict[str, Any], needed: dict[str, Needs]) -> list[str]:
    """What is granted and not needed, or needed and not granted, with the calls; empty when it is exact."""
    faults = []
    for target, account in ACCOUNTS.items():
        have = granted(raw, account)
        faults += [
            f"{account}: {permission} on {where} is granted and no call needs it"
            for permission, where in sorted(have - set(needed[target]))
        ]
        faults += [
            f"{account}: {permission} on {where} is missing for {', '.join(sorted(needed[target][permission, where]))}"
            for permission, where in sorted(set(needed[target]) - have)
        ]
    return faults


@dataclass
class Watched:
    """The functions over an embedded cloud on a port, with what each of them called."""

    cloud: EmbeddedCloud
    settings: Settings
    deps: Deps
    apps: dict[str, FlaskClient]
    needed: dict[str, Needs] = field(default_factory=lambda: {target: {} for target in TARGETS})
    count: int = 0

    def post(self, target: str, body: Any, *, raw: Any = None, **more: Any) -> None:
        self.count += 1
        journal = self.cloud.world.journal
        journal.clear()
        sent = raw if raw is not None else envelope(body, message_id=f"m{self.count}", **more)
        headers = {
            "ce-id": f"m{self.count}",
            "ce-source": "//pubsub.googleapis.com/projects/p/topics/t",
            "ce-specversion": "1.0",
            "ce-type": TYPE,
            "content-type": "application/json",
        }
        answer = self.apps[target].post("/", headers=headers, data=json.dumps(sent).encode())
        assert answer.status_code == 200
        for row in journal.listing(mutating_only=False):
            assert row["permission"], row
            for permission in row["permission"].split(","):
                place = (permission, self.where(row))
                self.needed[target].setdefault(place, set()).add(f"{row['service']}.{row['method']}")

    def where(self, row: dict[str, Any]) -> str:
        match row["service"]:
            case "storage":
                assert row["resource"].partition("/")[0] == self.settings.bucket
                return "bucket"
            case "pubsub":
                return f"topic/{row['resource'].rpartition('/')[2]}"
            case _:
                return "project"

    def advance(self, **by: float) -> None:
        self.cloud.world.clock.advance(timedelta(**by))

    def news(self, kind: str, **attributes: Any) -> dict[str, Any]:
        return {
            "schema": "workbench.lifecycle/v1",
            "event_id": f"e{self.count}",
            "type": kind,
            "user": KOFI,
            "occurred_at": self.cloud.world.clock.now().isoformat(),
            "attributes": attributes,
        }

    def completion(self) -> dict[str, Any]:
        """The audit log's entry at the end of an operation on Kofi's instance: it only wakes."""
        raw = json.loads((ROOT / "tests" / "events" / "notebooks-create-last.json").read_text(encoding="utf-8"))
        record = self.record(KOFI)
        raw["protoPayload"]["resourceName"] = f"projects/p/locations/z/instances/{record.status.instance_id}"
        return raw

    def fold(self, kind: type[LifecycleEvent], **more: Any) -> None:
        """News about Ben is durable, and its process died at that moment: the tick takes over."""
        self.count += 1
        now = self.cloud.world.clock.now()
        accept(kind(event_id=f"e{self.count}", user=BEN, occurred_at=now, effective_at=now, **more), self.deps)
        self.advance(minutes=2)

    def record(self, user: Any) -> Any:
        return self.deps.records.load(user_key_for(user)).record

    def lose_operation(self, user: Any) -> None:
        """As a crash between "cloud said yes" and the save leaves it."""
        stored = self.deps.records.load(user_key_for(user))
        assert stored.record.status.operation is not None
        self.deps.records.save(stored.record.with_status(operation=None), expected=stored)


def drive_lifecycle(world: Watched) -> None:
    """Joins, changes while it is made, a lost operation, a change of labels, leaves, returns, leaves for good; poison."""
    world.post("lifecycle", world.news("joiner"))
    world.post("lifecycle", world.news("mover", cost_center="a"))
    world.lose_operation(KOFI)
    world.post("lifecycle", world.news("mover", cost_center="b"))
    world.advance(minutes=6)
    world.post("lifecycle", world.completion())
    world.advance(minutes=2)
    world.post("lifecycle", world.news("mover", cost_center="c"))
    world.advance(minutes=3)
    world.post("lifecycle", world.news("leaver"))
    world.advance(minutes=3)
    world.post("lifecycle", world.news("joiner"))
    world.advance(minutes=5)
    world.post("lifecycle", world.news("leaver"))
    world.advance(minutes=3)
    world.post("lifecycle", world.completion())
    world.advance(days=31)
    world.post("lifecycle", world.completion())
    world.advance(minutes=5)
    world.post("lifecycle", world.completion())
    world.post("lifecycle", {"schema": "workbench.lifecycle/v9"})


def drive_tick(world: Watched) -> None:
    """The same for Ben, by the clock; beside it the idle and the drift sweep, and a tick of no known kind."""
    world.fold(Joined)
    world.post("tick", {"sweep": "due"})
    world.advance(minutes=2)
    world.post("tick", {"sweep": "due"})
    world.lose_operation(BEN)
    world.advance(minutes=1)
    world.post("tick", {"sweep": "due"})
    world.advance(minutes=6)
    world.post("tick", {"sweep": "due"})
    world.fold(Moved, attributes={"cost_center": "c"})
    world.post("tick", {"sweep": "due"})
    world.advance(minutes=10)
    world.post("tick", {"sweep": "due"})
    world.post("tick", {"sweep": "idle"})
    world.post("tick", {"sweep": "drift"})
    world.fold(Left)
    world.post("tick", {"sweep": "due"})
    world.advance(minutes=3)
    world.fold(Joined)
    world.post("tick", {"sweep": "due"})
    world.advance(minutes=5)
    world.post("tick", {"sweep": "due"})
    world.fold(Left)
    world.post("tick", {"sweep": "due"})
    world.advance(minutes=3)
    world.post("tick", {"sweep": "due"})
    world.advance(days=31)
    world.post("tick", {"sweep": "due"})
    world.advance(minutes=5)
    world.post("tick", {"sweep": "drift"})
    world.post("tick", {"sweep": "all"})


def drive_dead_letter(world: Watched) -> None:
    """About nobody; about somebody with a record, twice; forwarded by Pub/Sub; a delivery that is no message."""
    reason = {"reason": "UnknownProfile", "detail": "There is no profile 'x'.", "source-message-id": "9"}
    about = {"schema": "workbench.lifecycle/v1", "event_id": "x", "type": "mover", "user": KOFI}
    world.post("dead_letter", b"joiner kofi", attributes={"reason": "InvalidMessage"})
    same = envelope({**about, "attributes": {"profile": "x"}}, attributes=reason, message_id="77")
    world.post("dead_letter", None, raw=same)
    world.post("dead_letter", None, raw=same)
    forwarded = {"CloudPubSubDeadLetterSourceSubscription": "eventarc-lifecycle"}
    world.post("dead_letter", {**about, "attributes": {}}, attributes=forwarded)
    world.post("dead_letter", None, raw={"subscription": "s"})


@pytest.fixture(scope="module")
def needed(clients) -> Iterator[dict[str, Needs]]:
    cloud = EmbeddedCloud.build(clock=VirtualClock(start=START, speed=0))
    with cloud, pytest.MonkeyPatch.context() as patch:
        settings = replace(local_settings(), api_endpoint=cloud.url)
        cloud.storage.buckets.create({"name": settings.bucket}, project=settings.project)
        for topic in (settings.topic_lifecycle, settings.topic_tick, settings.topic_dead_letter):
            address = f"{cloud.url}/v1/projects/{settings.project}/topics/{topic}"
            requests.put(address, json={}, timeout=10).raise_for_status()
        deps = wiring.wire(settings, log=SilentLog())
        for target in TARGETS:
            patch.setitem(wiring._CACHED, target, (settings, deps))
        world = Watched(cloud, settings, deps, clients)
        drive_lifecycle(world)
        drive_tick(world)
        drive_dead_letter(world)
        yield world.needed


def test_each_function_may_do_exactly_what_its_calls_need(needed):
    assert differences(roles_file(), needed) == []


def test_the_repertoire_reaches_every_call_of_the_notebooks_that_the_product_has(needed):
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "shared" / "cloud").glob("*.py"))
    verbs = set(re.findall(r"\.(\w+)_instance\(\s*request=", source))
    assert verbs == {"start", "stop", "delete", "update"}
    for target in ("lifecycle", "tick"):
        calls = {call for found in needed[target].values() for call in found}
        assert {f"notebooks.{verb.title()}Instance" for verb in verbs} <= calls
        assert {"notebooks.CreateInstance", "notebooks.GetInstance", "notebooks.GetOperation"} <= calls


def permissions_of_roles() -> list[tuple[str, str]]:
    raw = roles_file()
    return [(name, permission) for name, role in raw["roles"].items() for permission in role["permissions"]]


@pytest.mark.parametrize(("role", "permission"), permissions_of_roles())
def test_a_permission_that_is_taken_away_is_missed_by_name(needed, role, permission):
    raw = copy.deepcopy(roles_file())
    raw["roles"][role]["permissions"].remove(permission)
    accounts = [grant["to"].partition("/")[2] for grant in raw["grants"] if grant["role"] == f"custom/{role}"]
    new = set(differences(raw, needed)) - set(differences(roles_file(), needed))
    assert len(new) == len(accounts) > 0
    assert all(f"{permission} on " in fault and " is missing for " in fault for fault in new)


@pytest.mark.parametrize("permission", ["storage.objects.update", "compute.instances.get", "notebooks.instances.reset"])
@pytest.mark.parametrize("role", sorted(roles_file()["roles"]))
def test_a_permission_too_many_is_found_by_name(needed, role, permission):
    raw = copy.deepcopy(roles_file())
    raw["roles"][role]["permissions"].append(permission)
    assert any(f"{permission} on " in fault and "no call needs it" in fault for fault in differences(raw, needed))


def test_a_grant_on_more_than_is_used_is_found(needed):
    raw = copy.deepcopy(roles_file())
    wide = next(grant for grant in raw["grants"] if grant["on"] == "bucket")
    wide["on"] = "project"
    faults = differences(raw, needed)
    assert any("storage.objects.create on project is granted and no call needs it" in fault for fault in faults)
    assert any("storage.objects.create on bucket is missing for storage.objects.insert" in fault for fault in faults)


def test_a_grant_that_is_left_out_is_missed(needed):
    raw = roles_file()
    for index, grant in enumerate(raw["grants"]):
        if grant["to"].partition("/")[2] in ACCOUNTS.values():
            less = {**raw, "grants": [g for i, g in enumerate(raw["grants"]) if i != index]}
            assert any("is missing for" in fault for fault in differences(less, needed)), grant


def test_the_file_is_whole_and_has_nothing_that_is_not_used():
    raw = roles_file()
    assert set(raw) == {"roles", "grants"}
    for name, role in raw["roles"].items():
        assert re.fullmatch(r"[A-Za-z0-9_.]{3,64}", name)
        assert set(role) == {"title", "description", "permissions"}
        assert len(role["title"]) <= 100
        assert len(role["description"]) <= 256  # IAM's limit
        assert role["permissions"] == sorted(set(role["permissions"]))
        assert all(re.fullmatch(r"[a-z]+\.[A-Za-z]+\.[A-Za-z]+", permission) for permission in role["permissions"])
    used = {grant["role"] for grant in raw["grants"] if grant["role"].startswith("custom/")}
    assert used == {f"custom/{name}" for name in raw["roles"]}
    assert all(set(grant) == {"to", "role", "on"} for grant in raw["grants"])
    assert len({tuple(sorted(grant.items())) for grant in raw["grants"]}) == len(raw["grants"])
