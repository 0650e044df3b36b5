"""The contract suite for a real project, run against the embedded cloud: what it finds, what it leaves behind, what it writes."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from kit.inprocess import ENDPOINT, START, WsgiAdapter
from real_cloud import __main__ as command
from real_cloud import running
from real_cloud.asking import PREFIX, Cloud, Place, Run
from real_cloud.cleaning import clean_up
from real_cloud.ledger import ASKED, Ledger, Resource
from real_cloud.questions import QUESTIONS, Question
from real_cloud.reference import recorded, unlike
from real_cloud.report import Answer, Verdict
from real_cloud.running import ask_all, occupants, plan_text
from real_cloud.scrub import NUMBER, PROJECT, Scrubber

from emulator.app import EmbeddedCloud
from emulator.clock import VirtualClock
from emulator.faults import Fault
from shared.cloud.http.clients import Clients, CloudConfig
from shared.cloud.http.transport import Answer as HttpAnswer

ROOT = Path(__file__).resolve().parents[2]
PROJECT_ID, ZONE, IDENT = "quiet-otter-4711", "europe-west1-b", "5eed0001"
CALLER, VIEWER, READER = (
    "ana.silva@corp.example.org",
    "ben.smith@corp.example.org",
    "looks@quiet-otter-4711.iam.gserviceaccount.com",
)
Change = Callable[[str, dict[str, Any]], dict[str, Any]]


class PlantedError(Exception):
    """A defect of the suite itself, planted."""


@dataclass
class World:
    """An embedded cloud behind the product's door, with what it does not model: the guest, the proxy, the audit log, quotas.

    `changes` alter an answer by the ending of its path; `statuses` refuse a path. `on_wait` is called before each wait.
    """

    folder: Path
    cloud: EmbeddedCloud = field(
        default_factory=lambda: EmbeddedCloud.build(clock=VirtualClock(start=START, speed=0), project=PROJECT_ID)
    )
    changes: list[tuple[str, Change]] = field(default_factory=list)
    statuses: dict[str, int] = field(default_factory=dict)
    on_wait: Callable[[int], None] = lambda _: None
    cpu: float = 0.01
    timer_principal: str = ""
    more_permissions: tuple[str, ...] = ()
    said: list[str] = field(default_factory=list)
    waits: int = 0
    page: int = 200  # how Google's front answers a visit with a token
    raw: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._adapter = WsgiAdapter(self.cloud)
        self._watched: set[str] = set()
        self.instance_policy: dict[str, Any] = {"etag": "BwY="}
        condition = {"title": "until", "expression": "request.time < timestamp('2027-01-01T00:00:00Z')"}
        bound = {"role": "roles/iam.serviceAccountUser", "members": [f"user:{CALLER}"], "condition": condition}
        self.agent_policy: dict[str, Any] = {"etag": "BwY=", "version": 3, "bindings": [bound]}

    # --- the clock of the run

    def now(self) -> datetime:
        return self.cloud.world.clock.now()

    def wait(self, seconds: float) -> None:
        self.waits += 1
        assert self.waits < 5_000, "the run waits for ever"
        self.on_wait(self.waits)
        self._guest()
        self.cloud.world.clock.advance(timedelta(seconds=seconds))

    def _guest(self) -> None:
        """A guest without a kernel, as Workbench's own timer sees it; only such a guest is stopped by it."""
        for instance in self._listed("notebooks"):
            if instance["name"] not in self._watched and instance["state"] == "ACTIVE":
                self._watched.add(instance["name"])
                self.own("/_emulator/activity", {"instance": instance["name"], "kernels": "none", "cpu": self.cpu})

    # --- the door

    def own(self, path: str, body: Any = None) -> Any:
        sent = None if body is None else json.dumps(body).encode()
        answer = self._adapter.answer(
            "POST" if body is not None else "GET", ENDPOINT + path, {"content-type": "application/json"}, sent
        )
        assert answer.ok, answer.content
        return json.loads(answer.content)

    def door(self, method: str, url: str, headers: dict[str, str], body: bytes | None) -> HttpAnswer:
        host, _, path = url.partition("://")[2].partition("/")
        path = "/" + path.partition("?")[0]
        for ending, status in self.statuses.items():
            if path.endswith(ending.partition(" ")[2]) and method == ending.partition(" ")[0]:
                return _json(
                    status,
                    {
                        "error": {
                            "code": status,
                            "message": f"Permission denied on {ending}",
                            "status": "PERMISSION_DENIED",
                        }
                    },
                )
        if host.endswith(".notebooks.googleusercontent.com"):
            return self._visit(host)
        outside = self._outside(path, json.loads(body or b"{}") if method == "POST" else {})
        if outside is not None:
            return self._changed(path, _json(200, outside))
        token = headers.get("authorization", f"Bearer {CALLER}")
        url = url.replace("/projects/-/", f"/projects/{PROJECT_ID}/")
        return self._changed(path, self._adapter.answer(method, url, {**headers, "authorization": token}, body))

    def _changed(self, path: str, answer: HttpAnswer) -> HttpAnswer:
        for ending, change in self.changes:
            if answer.ok and path.endswith(ending):
                answer = _json(200, change(path, json.loads(answer.content)))
        self.raw.append(answer.content.decode())
        return answer

    def _visit(self, host: str) -> HttpAnswer:
        if self.page != 200:
            return _json(self.page, {})
        name = next(each["name"] for each in self._listed("notebooks") if each.get("proxyUri") == host)
        until = (self.now() + timedelta(seconds=60)).isoformat()
        self.own("/_emulator/activity", {"instance": name, "requests_per_minute": {"200": 1}, "until": until})
        return _json(200, {})

    def _outside(self, path: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """What no model of the embedded cloud answers."""
        if path == f"/compute/v1/projects/{PROJECT_ID}":
            return {"quotas": [{"metric": "SNAPSHOTS", "limit": 5000.0, "usage": 3.0}]}
        if path.endswith("entries:list"):
            return {"entries": self._entries(body["filter"])}
        if "/instances/" in path and path.endswith(":getIamPolicy"):
            return self.instance_policy
        if "/instances/" in path and path.endswith(":setIamPolicy"):
            self.instance_policy = body["policy"]
            return body["policy"]
        if "@gcp-sa-notebooks-vm" in path:
            self.agent_policy = body.get("policy", self.agent_policy)
            return self.agent_policy
        return None

    def _entries(self, filter_: str) -> list[dict[str, Any]]:
        method = (re.findall(r'methodName:"(\w+)"', filter_) or [""])[0]
        begin, end = (
            re.findall(r'timestamp>="([^"]+)"', filter_)[0],
            (re.findall(r'timestamp<="([^"]+)"', filter_) or ["9"])[0],
        )
        rows = [
            row
            for row in self.cloud.world.journal.listing(mutating_only=True)
            if row["method"] == method and row["status"] == 200
        ]
        acts = [(row["time"], row["principal"], row["permission"].split(",")) for row in rows]
        if self.timer_principal and method == "StopInstance":
            acts.append((begin, self.timer_principal, []))
        return [
            {"protoPayload": {
                "authenticationInfo": {"principalEmail": principal},
                "authorizationInfo": [{"permission": each} for each in [*permissions, *self.more_permissions]],
            }}
            for time, principal, permissions in acts
            if begin[:19] <= time[:19] <= end
        ]  # fmt: skip

    # --- what there is

    def _listed(self, service: str) -> list[dict[str, Any]]:
        region = ZONE.rpartition("-")[0]
        path, items = {
            "notebooks": (f"/v2/projects/{PROJECT_ID}/locations/-/instances", "instances"),
            "disks": (f"/compute/v1/projects/{PROJECT_ID}/zones/{ZONE}/disks", "items"),
            "snapshots": (f"/compute/v1/projects/{PROJECT_ID}/global/snapshots", "items"),
            "sessions": (f"/v1/projects/{PROJECT_ID}/locations/{region}/sessions", "sessions"),
        }[service]
        found = json.loads(self._adapter.answer("GET", ENDPOINT + path, {}, None).content)
        return list(found.get(items, []))

    def things(self) -> dict[str, Any]:
        """Everything that costs money, and all policies and buckets."""
        kept = self.cloud.world.save()["models"]
        settings = {name: kept[name] for name in kept if name not in {"notebooks", "compute", "dataproc", "monitoring"}}
        return {
            each: sorted(x["name"] for x in self._listed(each))
            for each in ("notebooks", "disks", "snapshots", "sessions")
        } | settings

    # --- the run

    def clients(self, account: str = "") -> Clients:
        def door(method: str, url: str, headers: dict[str, str], body: bytes | None) -> HttpAnswer:
            whose = {"authorization": f"Bearer as:{account}"} if account else {}
            return self.door(method, url, {**headers, **whose}, body)

        return Clients(CloudConfig(project=PROJECT_ID, bucket="", api_endpoint=ENDPOINT, patience_s=0), door=door)

    @property
    def place(self) -> Place:
        return Place(PROJECT_ID, self.cloud.world.project_number, ZONE, CALLER)

    def run(self, ident: str = IDENT, *, person: Callable[[str], str] | None = None, **more: Any) -> Run:
        folder = self.folder / ident
        scrub = Scrubber(project=PROJECT_ID, number=self.place.number, run=ident, addresses=[CALLER, VIEWER])
        ledger = Ledger.begin(folder, ident=ident, project=PROJECT_ID, zone=ZONE)
        return Run(
            ident,
            self.place,
            Cloud(self.clients, self),
            self,
            folder,
            ledger,
            scrub,
            self.said.append,
            ask_person=person,
            **more,
        )

    def fault(self, **fault: Any) -> None:
        self.cloud.world.faults.add(Fault.parse(fault))


def _json(status: int, body: Any) -> HttpAnswer:
    return HttpAnswer(status=status, headers={"content-type": "application/json"}, content=json.dumps(body).encode())


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    body = {"gceSetup": {"machineType": "e2-standard-4"}}
    made.own(f"/v2/projects/{PROJECT_ID}/locations/{ZONE}/instances?instanceId=somebody-elses", body)
    made.cloud.world.clock.advance(timedelta(minutes=10))
    return made


def somebody(text: str) -> str:
    """A person who sees what is assumed."""
    return next(says for part, says in (("df ", " 110G"), ("at once", "e"), ("console", "n")) if part in text)


def verdicts(answers: list[tuple[Any, Answer]]) -> dict[str, Verdict]:
    return {asked.name: answer.verdict for asked, answer in answers}


@pytest.mark.slow
def test_everything_is_asked_and_holds_and_nothing_is_left(world: World):
    before, policy = world.things(), world.agent_policy
    run = world.run(person=somebody, viewer=VIEWER)
    answers = ask_all(run)
    assert world.agent_policy == policy
    assert {name: v for name, v in verdicts(answers).items() if v is not Verdict.HELD} == {}, [a for _, a in answers]
    assert len(answers) == len(QUESTIONS)
    assert world.things() == before
    assert run.ledger.left() == []
    assert world.said[-1] == "Everything that the run made is removed."
    text = (run.folder / "report.md").read_text(encoding="utf-8")
    for question in QUESTIONS:
        assert f"## {question.asked.name}\n\n{question.asked.asks}" in text
        assert f"{question.asked.parts['Assumes']} **held**" in text
    assert "NUMBER" not in text
    # what the golden tests read
    folder = run.folder / "recorded"
    assert {file.stem for file in folder.iterdir()} == {
        "create-body", "create-operation", "get-instance", "list-instances", "snapshot", "session", "session-body",
    }  # fmt: skip
    assert unlike(folder) == {
        name: [] for name in ("create-operation", "get-instance", "list-instances", "snapshot", "session")
    }


@pytest.mark.slow
def test_without_a_person_their_questions_are_not_asked(world: World):
    found = verdicts(ask_all(world.run()))
    assert {name for name, verdict in found.items() if verdict is Verdict.NOT_ASKED} == {
        question.asked.name for question in QUESTIONS if question.needs_person
    }
    assert set(found.values()) == {Verdict.HELD, Verdict.NOT_ASKED}


@pytest.mark.slow
def test_nothing_personal_is_written(world: World):
    world.changes.append(("/instances/" + PREFIX + IDENT, _with_personal_parts))
    run = world.run(person=somebody, viewer=VIEWER, readers=(READER,))
    ask_all(run)
    written = {
        file.name: file.read_text(encoding="utf-8")
        for file in [run.folder / "report.md", *(run.folder / "recorded").iterdir()]
    }
    secrets = {
        PROJECT_ID,
        world.place.number,
        IDENT,
        CALLER,
        VIEWER,
        READER,
        "ana.silva",
        "ben.smith",
        "corp.example.org",
    }
    for answer in world.raw:
        _collect(json.loads(answer), secrets)
    assert {"34.79.12.200", "2600:1901:0:abcd::1", "carla@corp.example.org", "AAAAC3NzaC1lZDI1NTE5AAAAIBz"} <= secrets
    left = [
        (name, secret)
        for (name, text), secret in itertools.product(written.items(), secrets)
        if secret.casefold() in text.casefold()
    ]
    assert left == []
    assert "█" not in written["report.md"]  # replaced, not only blacked out
    assert PROJECT in written["get-instance.json"]
    assert NUMBER in written["get-instance.json"]


def _with_personal_parts(_path: str, answer: dict[str, Any]) -> dict[str, Any]:
    more = {
        "ssh-keys": "carla:ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBz carla@corp.example.org",
        "addresses": "34.79.12.200, 2600:1901:0:abcd::1 and carla@corp.example.org",
    }
    if "gceSetup" in answer:
        answer["gceSetup"]["metadata"].update(more)
    return answer


def _collect(answer: Any, into: set[str]) -> None:
    """Add the values of the fields that are personal by their name: an oracle that knows nothing of the patterns."""
    if isinstance(answer, list):
        for each in answer:
            _collect(each, into)
    elif isinstance(answer, dict):
        for key, value in answer.items():
            if key in {
                "id",
                "instanceId",
                "proxyUri",
                "creator",
                "email",
                "externalIp",
                "principalEmail",
                "uuid",
                "proxy-user-mail",
                "proxy-backend-id",
            }:
                into.add(str(value).partition("-dot-")[0])
            if key == "ssh-keys":
                into.add(str(value).split()[1])
            if key == "addresses":
                into |= set(str(value).replace(",", "").replace(" and", "").split())
            _collect(value, into)


# --- planted differences


def put(**fields: Any) -> Change:
    return lambda _path, answer: {**answer, **fields}


def late_address(world: World) -> Change:
    def hide(_path: str, answer: dict[str, Any]) -> dict[str, Any]:
        is_early = world.now() < START + timedelta(minutes=10 + 4 + 17)
        return {key: value for key, value in answer.items() if not (key == "proxyUri" and is_early)}

    return hide


def counter(mode: str) -> Callable[[World], object]:
    return lambda world: world.own("/_emulator/monitoring", {"counter": mode})


def refuse(call: str, message: str, **more: Any) -> Callable[[World], object]:
    return lambda world: world.fault(call=call, error={"code": "FAILED_PRECONDITION", "message": message}, **more)


INSTANCE = f"/instances/{PREFIX}{IDENT}"
PLANTED: dict[str, tuple[str, Callable[[World], object]]] = {
    "the counter is invisible": ("counter_visible", counter("invisible")),
    "the counter writes zeros": ("quiet_minute", counter("zeros")),
    "one account sees nothing of the counter": (
        "counter_visible",
        lambda world: setattr(world, "clients", _blind_readers(world)),
    ),
    "a disk grows in a stop only": ("resize_while_active", refuse("notebooks.ResizeDisk", "Instance must be stopped.", times=0)),
    "a resize fails as an operation": (
        "resize_while_active",
        lambda world: world.fault(call="notebooks.ResizeDisk", operation_error={"code": "FAILED_PRECONDITION", "message": "No."}),
    ),
    "a resize is taken and does nothing": (
        "resize_while_active",
        lambda world: world.changes.append((INSTANCE, _with_small_disk)),
    ),
    "another field in an instance": ("shapes", lambda world: world.changes.append((INSTANCE, put(billingTier="x")))),
    "a field less in an instance": (
        "shapes",
        lambda world: world.changes.append((INSTANCE, lambda _, a: {k: v for k, v in a.items() if k != "healthInfo"})),
    ),
    "another format of a time": ("shapes", lambda world: world.changes.append((INSTANCE, put(createTime="2026-11-29T10:00:00Z")))),
    "another field in a session": (
        "later_shapes",
        lambda world: world.changes.append((f"/sessions/{PREFIX}{IDENT}", put(sessionTier="x"))),
    ),
    "another field in a snapshot": (
        "later_shapes",
        lambda world: world.changes.append((f"/snapshots/{PREFIX}{IDENT}", put(satisfiesPzx=False))),
    ),
    "an unused instance is busy": ("idle_baseline", lambda world: setattr(world, "cpu", 0.4)),
    "no timer above a day": (
        "idle_timeout_above_a_day",
        lambda world: world.fault(call="notebooks.UpdateInstance", error={"code": "INVALID_ARGUMENT", "message": "At most 86400."}),
    ),
    "a timer's stop names a person": ("timer_stop_principal", lambda world: setattr(world, "timer_principal", CALLER)),
    "no restore while it runs": ("restore_needs", lambda world: setattr(world.cloud.notebooks, "restore_from", frozenset({"STOPPED"}))),
    "a restore needs one more permission": (
        "restore_needs",
        lambda world: setattr(world, "more_permissions", ("compute.snapshots.useReadOnly",)),
    ),
    "the creator of a session is an account": (
        "session_creator",
        lambda world: world.changes.append((f"/sessions/{PREFIX}{IDENT}", put(creator=READER))),
    ),
    "few snapshots": (
        "snapshot_quota",
        lambda world: world.changes.append((f"/projects/{PROJECT_ID}", put(quotas=[{"metric": "SNAPSHOTS", "limit": 100.0, "usage": 0.0}]))),
    ),
    "no policy on the agent": (
        "agent_policy",
        lambda world: world.statuses.update({"POST @gcp-sa-notebooks-vm.iam.gserviceaccount.com:setIamPolicy": 403}),
    ),
    "an address that comes late": (
        "between_active_and_proxy_uri",
        lambda world: world.changes.append((INSTANCE, late_address(world))),
    ),
}  # fmt: skip


def _with_small_disk(_path: str, answer: dict[str, Any]) -> dict[str, Any]:
    for disk in answer.get("gceSetup", {}).get("dataDisks", []):
        disk["diskSizeGb"] = "100"
    return answer


def _blind_readers(world: World) -> Callable[[str], Clients]:
    plain = world.clients

    def clients(account: str = "") -> Clients:
        def blind(method: str, url: str, headers: dict[str, str], body: bytes | None) -> HttpAnswer:
            return _json(200, {"timeSeries": []})

        return (
            Clients(CloudConfig(project=PROJECT_ID, bucket="", api_endpoint=ENDPOINT), door=blind)
            if account
            else plain(account)
        )

    return clients


@pytest.mark.slow
@pytest.mark.parametrize("what", PLANTED)
def test_a_planted_difference_is_found_by_its_question(world: World, what: str):
    name, plant = PLANTED[what]
    plant(world)
    run = world.run(readers=(READER,) if "account sees" in what else ())
    before = world.things()
    answers = ask_all(run)
    assert verdicts(answers)[name] is Verdict.DIFFERS, [answer for asked, answer in answers if asked.name == name]
    assert f"| {name} | differs |" in (run.folder / "report.md").read_text(encoding="utf-8")
    assert world.cloud.world.faults.unfired() == []
    assert world.things() == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "part", "says"),
    [
        ("file_system_after_resize", "df ", "100G"),
        ("page_before_proxy_uri", "at once", "l"),
        ("console_with_one_instance", "console", "y"),
    ],
)
def test_what_a_person_sees_that_is_not_assumed_is_found(world: World, name: str, part: str, says: str):
    answers = ask_all(world.run(person=lambda text: says if part in text else somebody(text), viewer=VIEWER))
    assert [n for n, verdict in verdicts(answers).items() if verdict is not Verdict.HELD] == [name]


@pytest.mark.slow
@pytest.mark.parametrize(("has_person", "verdict"), [(False, Verdict.UNKNOWN), (True, Verdict.HELD)])
def test_a_front_that_takes_no_token_leaves_the_counter_to_a_person(world: World, has_person: bool, verdict: Verdict):
    world.page = 302

    def opens(text: str) -> str:
        if "press Enter" not in text:
            return somebody(text)
        until = (world.now() + timedelta(seconds=90)).isoformat()
        world.own("/_emulator/activity", {"instance": f"{PREFIX}{IDENT}", "requests_per_minute": 5, "until": until})
        return ""

    answers = ask_all(world.run(person=opens if has_person else None))
    assert verdicts(answers)["counter_visible"] is verdict
    assert verdicts(answers)["quiet_minute"] is verdict  # what was never seen is not quiet


# --- whatever happens


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["before", "after"])
@pytest.mark.parametrize(
    "call",
    [
        "notebooks.CreateInstance", "notebooks.GetInstance", "notebooks.ResizeDisk", "notebooks.StopInstance",
        "notebooks.RestoreInstance", "compute.disks.createSnapshot", "dataproc.CreateSession", "monitoring.ListTimeSeries",
        "notebooks.DeleteInstance", "compute.snapshots.delete", "dataproc.DeleteSession",
    ],
)  # fmt: skip
def test_a_call_that_fails_leaves_nothing_behind(world: World, call: str, phase: str):
    before = world.things()
    world.fault(call=call, phase=phase, times=1, error={"code": "UNAVAILABLE", "message": "Try again."})
    run = world.run()
    answers = ask_all(run)
    assert world.cloud.world.faults.unfired() == []
    assert world.things() == before
    assert run.ledger.left() == []
    is_tried_again = "elete" in call or call in {"notebooks.GetInstance", "monitoring.ListTimeSeries"}
    assert (Verdict.UNKNOWN in verdicts(answers).values()) != is_tried_again
    assert (run.folder / "report.md").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["the operation fails", "it never gets an address"])
def test_a_notebook_that_does_not_come_is_waited_for_once(world: World, how: str):
    before = world.things()
    if how == "the operation fails":
        world.fault(
            call="notebooks.CreateInstance",
            operation_error={"code": "RESOURCE_EXHAUSTED", "message": "ZONE_RESOURCE_POOL_EXHAUSTED"},
        )
    else:
        world.changes.append((INSTANCE, lambda _, answer: {k: v for k, v in answer.items() if k != "proxyUri"}))
    begun = world.now()
    found = verdicts(ask_all(world.run()))
    assert {found[name] for name in ("counter_visible", "idle_baseline", "resize_while_active")} == {Verdict.UNKNOWN}
    assert found["snapshot_quota"] is found["session_creator"] is Verdict.HELD
    assert world.now() - begun < timedelta(minutes=45)
    assert world.things() == before


@pytest.mark.slow
@pytest.mark.parametrize("error", [KeyboardInterrupt, PlantedError])
@pytest.mark.parametrize("at", [1, 20, 60, 70, 90, 110])
def test_an_end_in_the_middle_leaves_nothing_behind(world: World, at: int, error: type[BaseException]):
    before = world.things()

    def end(waits: int) -> None:
        if waits == at:
            raise error

    world.on_wait = end
    run = world.run()
    with pytest.raises(error):
        ask_all(run)
    assert world.waits > at  # for what is deleted
    assert world.things() == before
    assert (run.folder / "report.md").is_file()


@pytest.mark.slow
def test_what_an_interrupted_clean_up_leaves_is_removed_later(world: World):
    before = world.things()

    def interrupt(waits: int) -> None:
        if waits >= 70:
            raise KeyboardInterrupt

    world.on_wait = interrupt
    run = world.run()
    with pytest.raises(KeyboardInterrupt):
        ask_all(run)
    assert world.things() != before
    assert (
        f"!   gcloud workbench instances delete {PREFIX}{IDENT} --location={ZONE} --project={PROJECT_ID}" in world.said
    )
    world.on_wait = lambda _: None
    # another process, which knows the ledger alone
    assert clean_up(Ledger(run.folder), Cloud(world.clients, world), world, world.said.append) == []
    assert world.things() == before


@pytest.mark.slow
def test_a_refused_deletion_is_said_with_its_command(world: World):
    refused = f"DELETE /instances/{PREFIX}{IDENT}"
    world.statuses[refused] = 403
    run = world.run()
    ask_all(run)
    command = f"gcloud workbench instances delete {PREFIX}{IDENT} --location={ZONE} --project={PROJECT_ID}"
    assert f"!   {command}" in world.said
    assert [resource.by_hand for resource in run.ledger.left()] == [command]
    assert "**Not removed:**" in (run.folder / "report.md").read_text(encoding="utf-8")
    del world.statuses[refused]
    assert clean_up(Ledger(run.folder), Cloud(world.clients, world), world, world.said.append) == []
    assert run.ledger.left() == []


@pytest.mark.slow
def test_what_is_beside_the_ledger_is_found_by_its_prefix(world: World):
    before = world.things()
    run = world.run()
    parent = f"projects/{PROJECT_ID}/locations/{ZONE}/instances"
    world.own(f"/v2/{parent}?instanceId={PREFIX}{IDENT}-other", {})
    world.cloud.world.clock.advance(timedelta(minutes=1))
    clean_up(run.ledger, run.cloud, world, world.said.append)
    assert f"! Found beside the ledger: {parent}/{PREFIX}{IDENT}-other" in world.said
    assert world.things() == before


# --- before the run


def test_a_project_in_use_is_named(world: World):
    assert occupants(world.place, Cloud(world.clients, world)) == ["the Workbench instance somebody-elses"]
    bucket = f"{PROJECT_ID}-records"
    world.own(f"/storage/v1/b?project={PROJECT_ID}", {"name": bucket})
    world.own(f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name=records/ana.json", {})
    world.fault(call="notebooks.ListInstances", resource=f"projects/{PROJECT_ID}/locations/{ZONE}", unreachable=True)
    assert occupants(world.place, Cloud(world.clients, world)) == [
        f"the zone {ZONE}, which does not answer",
        f"Benchkeeper's records in the bucket {bucket}",
    ]
    world.fault(call="storage.buckets.list", error={"code": "PERMISSION_DENIED", "message": "No."})
    assert "something that could not be checked" in occupants(world.place, Cloud(world.clients, world))[-1]


def test_an_empty_project_is_taken(tmp_path: Path):
    world = World(tmp_path)
    assert occupants(world.place, Cloud(world.clients, world)) == []


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.asked.name)
def test_a_question_says_what_rests_on_it_and_how_long_it_takes(question: Question):
    asked = question.asked
    assert set(asked.parts) == {"Rests on it", "Costs", "Waits", "Assumes"}
    assert asked.asks.partition("?")[1] == "?"
    assert question.minutes >= 0
    paths = re.findall(r"(?:shared|docs|cli|emulator|config|portal)/[\w/.-]*\w", asked.parts["Rests on it"])
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_question_stands_among_what_was_not_found():
    section = (ROOT / "docs" / "platform-facts.md").read_text(encoding="utf-8").partition("## 13. Not found")[2]
    assert [question.asked.name for question in QUESTIONS if f"`{question.asked.name}`" not in section] == []


def test_the_estimate_fits_a_terminal():
    text = plan_text(QUESTIONS)
    assert max(map(len, text.split("\n"))) <= 80
    minutes = int(re.findall(r"about (\d+) minutes", text)[0])
    assert minutes == running._AROUND_MINUTES + sum(question.minutes for question in QUESTIONS)
    assert 45 <= minutes <= 100
    parts = [float(found) for found in re.findall(r"\$ *([\d.]+)$", text, re.MULTILINE)]
    assert sum(parts[:-1]) == pytest.approx(parts[-1], abs=0.03)
    assert parts[-1] < 5


def test_a_token_is_renewed_before_it_expires(world: World):
    connected: list[str] = []

    def connect(account: str) -> Clients:
        connected.append(account)
        return world.clients(account)

    cloud = Cloud(connect, world)
    for minutes in (0, 29, 2, 1):  # a token of gcloud lives for an hour
        world.cloud.world.clock.advance(timedelta(minutes=minutes))
        cloud.clients()
    assert connected == ["", ""]


def test_a_line_that_a_crash_cut_short_is_no_entry(tmp_path: Path):
    ledger = Ledger.begin(tmp_path / "run", ident="x", project="p", zone="z")
    first = Resource("session", "projects/p/locations/r/sessions/a")
    ledger.note(first, ASKED)
    with (tmp_path / "run" / "ledger.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"kind": "snap')
    assert Ledger(tmp_path / "run").left() == [first]


@pytest.mark.parametrize(
    ("text", "put"),
    [
        ("projects/quiet-otter-4711/x", "projects/project-0000/x"),
        ("quiet-otter-4711-records", "project-0000-records"),
        ("Zoe.Q+x@else.example.net", "person-1@example.com"),
        ("service-123456789012@gcp-sa-notebooks-vm.iam.gserviceaccount.com", "service-000000000000@gcp-sa-notebooks-vm.iam.gserviceaccount.com"),
        ("123456789012-compute@developer.gserviceaccount.com", "000000000000-compute@developer.gserviceaccount.com"),
        ("robot@else.iam.gserviceaccount.com", "account-1@project-0000.iam.gserviceaccount.com"),
        ("10.132.0.7 and 10.132.0.8, 10.132.0.7", "192.0.2.1 and 192.0.2.2, 192.0.2.1"),
        ("fd20:ab::7", "2001:db8::1"),
        ("2026-11-29T10:00:00.123456789Z 20260809-2130-rc0 5.15.0", "2026-11-29T10:00:00.123456789Z 20260809-2130-rc0 5.15.0"),
        ("f81d4fae-7dec-11d0-a765-00a0c91e6bf6", "00000000-0000-0000-0000-000000000001"),
        ("instanceId 7890123456789012345", "instanceId 1000000000000000001"),
        ("4d1f0a2b3c4d5e6f-dot-europe-west1.notebooks", "0000000000000001-dot-europe-west1.notebooks"),
        ("ya29.a0AfH6SMB-x_y", "token-1"),
        ("ana_silva_corp_example_org:x", "person_example_com:x"),
        ("/home/ana.silva in corp.example.org", "/home/person in example.com"),
    ],
)  # fmt: skip
def test_a_personal_part_has_a_placeholder_of_its_shape(text: str, put: str):
    scrub = Scrubber(
        project=PROJECT_ID, number="123456789012", run="5eed0001", addresses=["ana.silva@corp.example.org"]
    )
    assert scrub.text(text) == put
    assert scrub.text(put) == put
    assert scrub.leaks(put) == []
    assert (scrub.leaks(text) == []) == (text == put)


def test_a_name_that_is_a_part_of_other_words_leaves_them():
    scrub = Scrubber(project=PROJECT_ID, number="", run="5eed0001", addresses=["data@corp.example.org"])
    assert scrub.text('{"dataDisks": [], "user": "data"}') == '{"dataDisks": [], "user": "person"}'


def test_an_answer_with_a_personal_part_left_is_not_written(world: World, monkeypatch: pytest.MonkeyPatch):
    run = world.run()
    monkeypatch.setattr(run.scrub, "text", lambda text: text)
    with pytest.raises(ValueError, match="still holds"):
        run.record("get-instance", {"creator": CALLER})
    assert recorded(run.folder / "recorded", "get-instance") is None


# --- the command


@pytest.fixture
def at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """The command over an empty embedded cloud, with an answer of gcloud's."""
    world = World(tmp_path)
    said = {"config": CALLER, "projects": world.place.number, "auth": "token"}
    monkeypatch.setattr(command, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(command, "RealClock", lambda: world)
    monkeypatch.setattr(command, "_clients", lambda _project, account: world.clients(account))
    monkeypatch.setattr(command, "_gcloud", lambda *words: said[words[0]])
    monkeypatch.setattr(command.signal, "signal", lambda *_: None)
    return world


@pytest.mark.slow
def test_the_command_asks_a_project_and_says_where_the_report_is(at_hand: World, capsys: pytest.CaptureFixture[str]):
    assert command.main(["--project", PROJECT_ID, "--yes"]) == 0
    said = capsys.readouterr().out
    (folder,) = (at_hand.folder / "runs").iterdir()
    assert f"--clean-up {folder.name}" in said
    assert f"Report: {folder}/report.md" in said
    assert "13 held" in (folder / "report.md").read_text(encoding="utf-8")
    assert at_hand._listed("notebooks") == []
    # again: there is nothing left to do
    assert command.main(["--clean-up", folder.name]) == 0
    assert "Everything that the run made is removed." in capsys.readouterr().out


@pytest.mark.slow
def test_the_commands_status_says_what_came_of_it(at_hand: World, capsys: pytest.CaptureFixture[str]):
    at_hand.own("/_emulator/monitoring", {"counter": "zeros"})
    assert command.main(["--project", PROJECT_ID, "--yes"]) == 1
    at_hand.own("/_emulator/monitoring", {"counter": "sparse"})

    def end(waits: int) -> None:
        if waits == at_hand.waits:
            at_hand.on_wait = lambda _: None
            raise KeyboardInterrupt

    at_hand.on_wait = end
    assert command.main(["--project", PROJECT_ID, "--yes"]) == 130
    assert at_hand._listed("notebooks") == []
    at_hand.fault(call="notebooks.DeleteInstance", times=0, error={"code": "PERMISSION_DENIED", "message": "No."})
    assert command.main(["--project", PROJECT_ID, "--yes"]) == 2
    said = capsys.readouterr().out
    left = re.findall(r"--clean-up (\w+)", said)[-1]
    assert command.main(["--clean-up", left]) == 2
    at_hand.cloud.world.faults.clear()
    assert command.main(["--clean-up", left]) == 0
    assert at_hand._listed("notebooks") == []


def test_a_project_in_use_is_refused_unless_told(at_hand: World, capsys: pytest.CaptureFixture[str]):
    at_hand.own(f"/v2/projects/{PROJECT_ID}/locations/{ZONE}/instances?instanceId=somebody-elses", {})
    at_hand.cloud.world.clock.advance(timedelta(minutes=10))
    assert command.main(["--project", PROJECT_ID, "--yes"]) == 3
    assert "the Workbench instance somebody-elses" in capsys.readouterr().out
    assert not (at_hand.folder / "runs").exists()


@pytest.mark.parametrize(("typed", "is_begun"), [(PROJECT_ID, True), ("yes", False), ("", False)])
def test_the_projects_name_is_typed_before_money_is_spent(
    at_hand: World, monkeypatch: pytest.MonkeyPatch, typed: str, is_begun: bool
):
    monkeypatch.setattr(command.sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: typed)
    monkeypatch.setattr(command, "_run", lambda *_: 77)
    assert command.main(["--project", PROJECT_ID]) == (77 if is_begun else 3)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "name an empty test project with --project P"),
        (["--project", "p", "--viewer", "a@b.c"], "--viewer needs --with-person"),
        (["--project", "p", "--subnet", "s"], "--network and --subnet go together"),
        (["--project", "p", "--frobnicate"], "unrecognized arguments: --frobnicate"),
    ],
)
def test_what_is_typed_wrongly_is_said(words: list[str], says: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        command.main(words)
    assert ended.value.code == 2
    assert says in capsys.readouterr().err


def test_an_unknown_run_is_named_with_the_known_ones(at_hand: World, capsys: pytest.CaptureFixture[str]):
    Ledger.begin(at_hand.folder / "runs" / "abcd0001", ident="abcd0001", project=PROJECT_ID, zone=ZONE)
    assert command.main(["--clean-up", "abcd0002"]) == 3
    assert "(known: abcd0001)" in capsys.readouterr().out


def test_without_gcloud_it_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit, match="gcloud is not on the PATH"):
        command.main(["--project", "p"])


def test_the_list_of_questions_fits_a_terminal(capsys: pytest.CaptureFixture[str]):
    assert command.main(["--list"]) == 0
    said = capsys.readouterr().out
    assert max(map(len, said.split("\n"))) <= 80
    assert all(question.asked.name in said for question in QUESTIONS)
