"""Least privilege, derived: every function's whole repertoire over the embedded cloud, against what config/deploy/roles.yaml grants.

Twice: where the profiles give each person a service account (`when: personal_accounts`), and where none does.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from string import Template
from typing import Any

import pytest
import requests
import yaml
from flask.testing import FlaskClient
from kit.inprocess import ROOT, START
from kit.life import settings_with
from kit.oracle import instances

from emulator.app import EmbeddedCloud
from emulator.clock import VirtualClock
from shared import wiring
from shared.domain.catalog import Disruption, Identity
from shared.domain.events import Joined, Left, LifecycleEvent, Moved
from shared.domain.identity import UserEmail, parse_email, user_key_for
from shared.domain.notebook import LABEL_USER
from shared.domain.record import UserRecord
from shared.engine.intake import accept
from shared.engine.ports import Deps
from shared.settings import Settings
from shared.telemetry import SilentLog
from tests.functions.conftest import TARGETS, TYPE, envelope

# What predefined roles hold, by their pages under cloud.google.com/iam/docs/roles-permissions.
PREDEFINED = {"roles/pubsub.publisher": {"pubsub.topics.publish"}}
ACCOUNTS = {"lifecycle": "lifecycle", "tick": "tick", "dead_letter": "dead-letter"}
KOFI, BEN = parse_email("kofi.mensah@example.org"), parse_email("ben@example.com")
READERS = "data-readers@example.com"
NAMES = {
    "project": "benchkeeper-local",
    "region": "europe-west1",
    "bucket": "benchkeeper-local",
    "topic_lifecycle": "workbench-lifecycle",
    "topic_tick": "workbench-tick",
    "topic_dead_letter": "workbench-dead-letter",
}
PERSONAL, PLAIN = "with personal accounts", "without personal accounts"
HOLDS: dict[str, set[str]] = {PERSONAL: {"personal_accounts"}, PLAIN: set()}

# (permission, on what) -> the calls that need it
Needs = dict[tuple[str, str], set[str]]
# with personal accounts or without -> function -> what it needs
Derived = dict[str, dict[str, Needs]]


def roles_file() -> dict[str, Any]:
    text = (ROOT / "config" / "deploy" / "roles.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(Template(text).substitute(NAMES))


def grants_to(raw: dict[str, Any], account: str, setting: str) -> list[dict[str, str]]:
    """The grants that are made to an account in this setting."""
    return [
        grant
        for grant in raw["grants"]
        if grant["to"] == f"account/{account}" and {grant.get("when")} - {None} <= HOLDS[setting]
    ]


def granted(raw: dict[str, Any], account: str, setting: str) -> set[tuple[str, str]]:
    """(permission, on what) of everything that the account is given."""
    found = set()
    for grant in grants_to(raw, account, setting):
        kind, _, name = grant["role"].partition("/")
        held = raw["roles"][name]["permissions"] if kind == "custom" else PREDEFINED[grant["role"]]
        found |= {(permission, grant["on"]) for permission in held}
    return found


def differences(raw: dict[str, Any], derived: Derived) -> list[str]:
    """What is granted and not needed, or needed and not granted, with the calls; empty when it is exact."""
    faults = []
    for setting, (target, account) in ((s, pair) for s in HOLDS for pair in ACCOUNTS.items()):
        have, needed = granted(raw, account, setting), derived[setting][target]
        faults += [
            f"{account} {setting}: {permission} on {where} is granted and no call needs it"
            for permission, where in sorted(have - set(needed))
        ]
        faults += [
            f"{account} {setting}: {permission} on {where} is missing for {', '.join(sorted(needed[permission, where]))}"
            for permission, where in sorted(set(needed) - have)
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
    of_groups: dict[str, set[str]] = field(default_factory=lambda: {target: set() for target in TARGETS})
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
            if row["service"] == "cloudidentity":  # who manages the group may; no role of IAM gives that
                self.of_groups[target].add(row["method"])
                continue
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
        instance_id = self.record(KOFI).status.instance_id
        raw["protoPayload"]["resourceName"] = f"projects/p/locations/z/instances/{instance_id}"
        return raw

    def fold(self, kind: type[LifecycleEvent], **more: Any) -> None:
        """News about Ben is durable, and its process died at that moment: the tick takes over."""
        self.count += 1
        now = self.cloud.world.clock.now()
        accept(kind(event_id=f"e{self.count}", user=BEN, occurred_at=now, effective_at=now, **more), self.deps)

    def record(self, user: UserEmail) -> UserRecord:
        stored = self.deps.records.load(user_key_for(user))
        assert stored is not None
        return stored.record

    def lose_operation(self, user: UserEmail) -> None:
        """As a crash between "cloud said yes" and the save leaves it."""
        stored = self.deps.records.load(user_key_for(user))
        assert stored is not None
        assert stored.record.status.operation is not None
        self.deps.records.save(stored.record.with_status(operation=None), expected=stored)

    def make_cluster(self, user: UserEmail) -> None:
        """The person starts a Spark cluster at this moment: it cannot be deleted before it runs."""
        body = {
            "projectId": self.settings.project,
            "clusterName": f"spark-{self.count}",
            "labels": {LABEL_USER: user_key_for(user)},
        }
        path = f"/v1/projects/{self.settings.project}/regions/{self.settings.region}/clusters"
        requests.post(f"{self.cloud.url}{path}", json=body, timeout=10).raise_for_status()

    def left_over(self, user: UserEmail) -> list[str]:
        """What there is of the person besides the record and the manifests."""
        key = user_key_for(user)
        world = self.cloud
        world.compute.disks.sweep(world.world.clock.now())
        named = [i.short for i in instances(world).values() if i.body["labels"].get(LABEL_USER) == key]
        named += [
            path for path, snapshot in world.compute.disks.snapshots.items() if snapshot.labels[LABEL_USER] == key
        ]
        account = self.record(user).status.account_id
        if account is not None:
            address = f"{account}@{self.settings.project}.iam.gserviceaccount.com"
            path = f"/v1/projects/{self.settings.project}/serviceAccounts/{address}"
            named += [account] if requests.get(f"{world.url}{path}", timeout=10).ok else []
        return named


@dataclass
class Person:
    """Somebody whose whole life one function carries: `tell` brings news, `wake` has the function look again."""

    world: Watched
    user: UserEmail
    tell: Callable[..., None]
    wake: Callable[[], None]

    def minutes(self, count: int) -> None:
        for _ in range(count):
            self.world.advance(minutes=1)
            self.wake()

    def live(self, *, at_work: Callable[[], None]) -> None:
        """Joins, is changed, leaves, returns to the same disk, is replaced, returns to the saved files, leaves for good."""
        self.tell(Joined)
        while self.world.record(self.user).status.operation is None:  # the account comes first
            self.minutes(1)
        self.world.lose_operation(self.user)
        self.minutes(8)
        self.tell(Moved, attributes={"cost_center": "c"})
        self.minutes(4)
        at_work()
        self.tell(Left)
        self.world.make_cluster(self.user)
        self.minutes(9)
        self.tell(Joined)
        self.minutes(10)
        self.tell(Moved, profile="engineer", profile_said=True)
        self.minutes(40)
        assert self.world.record(self.user).status.naming == 2
        self.tell(Left)
        self.minutes(9)
        self.world.advance(days=31)
        self.minutes(4)
        self.tell(Joined)
        self.minutes(20)
        assert self.world.record(self.user).status.saved_in == ""
        self.tell(Left)
        self.minutes(9)
        self.world.advance(days=31)
        self.minutes(4)
        self.world.advance(days=60)
        self.minutes(8)
        assert self.world.left_over(self.user) == []


def drive_lifecycle(world: Watched) -> None:
    """Kofi's life by messages and completion entries alone; at the end poison."""

    def tell(kind: type[LifecycleEvent], *, profile: str = "", attributes: Any = None, **_more: Any) -> None:
        name = {Joined: "joiner", Moved: "mover", Left: "leaver"}[kind]
        said = {**(attributes or {}), **({"profile": profile} if profile else {})}
        world.post("lifecycle", world.news(name, **said))

    kofi = Person(world, KOFI, tell, lambda: world.post("lifecycle", world.completion()))
    kofi.live(at_work=lambda: None)
    world.post("lifecycle", {"schema": "workbench.lifecycle/v9"})


def drive_tick(world: Watched) -> None:
    """Ben's life by the clock alone; while he works the idle and the drift sweep; at the end a tick of no known kind."""

    def tell(kind: type[LifecycleEvent], **more: Any) -> None:
        world.fold(kind, **more)
        world.advance(minutes=2)
        world.post("tick", {"sweep": "due"})

    def sweeps() -> None:
        world.post("tick", {"sweep": "idle"})
        world.post("tick", {"sweep": "drift"})

    Person(world, BEN, tell, lambda: world.post("tick", {"sweep": "due"})).live(at_work=sweeps)
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


def settings_of(setting: str) -> Settings:
    """Profiles that may be stopped for a change at once, with accounts of the people's own or without."""
    fields: dict[str, Any] = {"disruption": Disruption.NOW}
    if setting == PERSONAL:
        fields |= {"identity": Identity.PERSONAL_SERVICE_ACCOUNT, "data_group": READERS}
    return settings_with({"analyst": fields, "engineer": fields})


def prepare(cloud: EmbeddedCloud, settings: Settings) -> None:
    """What a deployment makes, and the group that an administrator makes."""
    cloud.storage.buckets.create({"name": settings.bucket}, project=settings.project)
    for topic in (settings.topic_lifecycle, settings.topic_tick, settings.topic_dead_letter):
        address = f"{cloud.url}/v1/projects/{settings.project}/topics/{topic}"
        requests.put(address, json={}, timeout=10).raise_for_status()
    group = {
        "parent": "customers/C046psxkn",
        "groupKey": {"id": READERS},
        "labels": {"cloudidentity.googleapis.com/groups.discussion_forum": ""},
    }
    requests.post(f"{cloud.url}/v1/groups", json=group, timeout=10).raise_for_status()


@pytest.fixture(scope="module")
def worlds(clients) -> Iterator[dict[str, Watched]]:
    made: dict[str, Watched] = {}
    for setting in HOLDS:
        cloud = EmbeddedCloud.build(clock=VirtualClock(start=START, speed=0))
        with cloud, pytest.MonkeyPatch.context() as patch:
            settings = replace(settings_of(setting), api_endpoint=cloud.url)
            prepare(cloud, settings)
            deps = wiring.wire(settings, log=SilentLog())
            for target in TARGETS:
                patch.setitem(wiring._CACHED, target, (settings, deps))
            world = made[setting] = Watched(cloud, settings, deps, clients)
            drive_lifecycle(world)
            drive_tick(world)
            drive_dead_letter(world)
    return made


@pytest.fixture(scope="module")
def derived(worlds) -> Derived:
    return {setting: world.needed for setting, world in worlds.items()}


def test_each_function_may_do_exactly_what_its_calls_need(derived):
    assert differences(roles_file(), derived) == []


BY_CLIENT = {"start", "stop", "delete"}
BY_REST = {"CreateInstance", "GetInstance", "GetOperation", "ListOperations", "RestoreInstance", "UpdateInstance"}


@pytest.mark.parametrize("setting", HOLDS)
def test_the_repertoire_reaches_every_call_of_the_notebooks_that_the_product_has(derived, setting):
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "shared" / "cloud").glob("*.py"))
    assert set(re.findall(r"\.(\w+)_instance\(\s*request=", source)) == BY_CLIENT  # ADR 5
    expected = {f"notebooks.{verb.title()}Instance" for verb in BY_CLIENT} | {f"notebooks.{call}" for call in BY_REST}
    for target, more in (("lifecycle", set()), ("tick", {"notebooks.ListInstances"})):
        calls = {call for found in derived[setting][target].values() for call in found}
        assert {call for call in calls if call.startswith("notebooks.")} == expected | more


def test_groups_are_touched_only_for_people_with_an_account(worlds):
    for target in ("lifecycle", "tick"):
        assert {"memberships.create", "memberships.delete"} <= worlds[PERSONAL].of_groups[target]
        assert worlds[PLAIN].of_groups[target] == set()
    assert worlds[PERSONAL].of_groups["dead_letter"] == set()


def permissions_of_roles() -> list[tuple[str, str]]:
    raw = roles_file()
    return [(name, permission) for name, role in raw["roles"].items() for permission in role["permissions"]]


@pytest.mark.parametrize(("role", "permission"), permissions_of_roles())
def test_a_permission_that_is_taken_away_is_missed_by_name(derived, role, permission):
    raw = copy.deepcopy(roles_file())
    raw["roles"][role]["permissions"].remove(permission)
    held = [
        (account, setting)
        for account in ACCOUNTS.values()
        for setting in HOLDS
        for grant in grants_to(raw, account, setting)
        if grant["role"] == f"custom/{role}"
    ]
    new = set(differences(raw, derived)) - set(differences(roles_file(), derived))
    assert len(new) == len(held) > 0
    assert all(f"{permission} on " in fault and " is missing for " in fault for fault in new)


@pytest.mark.parametrize("permission", ["storage.objects.update", "compute.instances.get", "notebooks.instances.reset"])
@pytest.mark.parametrize("role", sorted(roles_file()["roles"]))
def test_a_permission_too_many_is_found_by_name(derived, role, permission):
    raw = copy.deepcopy(roles_file())
    raw["roles"][role]["permissions"].append(permission)
    assert any(f"{permission} on " in fault and "no call needs it" in fault for fault in differences(raw, derived))


def test_a_grant_on_more_than_is_used_is_found(derived):
    raw = copy.deepcopy(roles_file())
    wide = next(grant for grant in raw["grants"] if grant["on"] == "bucket")
    wide["on"] = "project"
    faults = differences(raw, derived)
    assert any("storage.objects.create on project is granted and no call needs it" in fault for fault in faults)
    assert any("storage.objects.create on bucket is missing for storage.objects.insert" in fault for fault in faults)


def test_a_grant_that_is_left_out_is_missed(derived):
    raw = roles_file()
    for index, grant in enumerate(raw["grants"]):
        if grant["to"].partition("/")[2] in ACCOUNTS.values():
            less = {**raw, "grants": [g for i, g in enumerate(raw["grants"]) if i != index]}
            assert any("is missing for" in fault for fault in differences(less, derived)), grant


def test_a_grant_without_its_condition_is_found(derived):
    raw = copy.deepcopy(roles_file())
    for grant in raw["grants"]:
        grant.pop("when", None)
    faults = differences(raw, derived)
    assert faults
    assert all(PLAIN in fault and fault.endswith("is granted and no call needs it") for fault in faults)


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
    assert all(set(grant) - {"when"} == {"to", "role", "on"} for grant in raw["grants"])
    assert {grant["when"] for grant in raw["grants"] if "when" in grant} == set().union(*HOLDS.values())
    assert len({tuple(sorted(grant.items())) for grant in raw["grants"]}) == len(raw["grants"])
