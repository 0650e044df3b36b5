"""Everything that the functions ever do: Kofi's and Ben's whole lives, the scheduled sweeps, the page, dead letters, the bill.

Three worlds: where the profiles give each person a service account, where none does, and where the bill is read, too.
"""

from __future__ import annotations

import base64
import copy
import dataclasses
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient
from kit.bills import PROJECT as BILLED_PROJECT
from kit.bills import VIEW, BigQuery, Bill, serving
from kit.hub import ADMINS, LETTER, MIA, SAMPLES, SHOWN, Browser, form_of, hub_settings, path_of
from kit.inprocess import ROOT, START, KitClock, WsgiAdapter
from kit.mail import MESSAGES, mail_host
from kit.policies import in_force
from kit.spark import SMALL
from msgspec.structs import replace
from werkzeug.test import TestResponse

from emulator.app import EmbeddedCloud
from emulator.clock import VirtualClock
from functions import hub as hub_function
from portal.app import ROUTES
from portal.manage.acts import Act
from portal.roles import NEEDED
from portal.routes import JSON, Route
from shared import wiring
from shared.cloud.costs import BigQueryCosts
from shared.cloud.http.clients import Clients, CloudConfig
from shared.domain.fleet.roster import RosterKind
from shared.domain.intent.batches import to_json
from shared.domain.intent.decision import About
from shared.domain.people.events import Joined, Left, LifecycleEvent, Moved
from shared.domain.people.sources import HR, OPERATOR
from shared.domain.record.copies import copies_of
from shared.domain.record.parts import MailState, Stage
from shared.domain.template.sessions import offers
from shared.domain.things.catalog import ClusterIdentity, Disruption, Identity, SparkSettings
from shared.domain.things.errors import Reason
from shared.domain.things.identity import parse_email, user_key_for
from shared.domain.things.notebook import LABEL_MANAGED_BY, LABEL_PROFILE, LABEL_USER, MANAGED_BY
from shared.domain.things.snapshots import Restored
from shared.domain.things.times import rfc3339
from shared.engine.news.intake import accept
from shared.engine.news.requests import drop_cluster, want_cluster
from shared.engine.ports.inbox import DeadLetter, LetterRow
from shared.engine.sweeps.session_templates import sync_sessions
from shared.messages.notification import notification
from shared.messages.parse import wake_message
from shared.settings import Settings
from shared.telemetry import SilentLog
from tests.functions.conftest import HUB, TARGETS, envelope
from tests.functions.watched import BEN, KOFI, Person, Watched

EVENTS = ROOT / "tests" / "events"
DANA = parse_email("dana.cruz@example.com")
OTTO = parse_email("otto.admin@example.com")  # another administrator
READERS = "data-readers@example.com"
PERSONAL, PLAIN, BILLED = "with personal accounts", "without personal accounts", "with a billing export"
MAILED = "with messages to users"
_OF_FILES = {"home.restore", "home.restore_undo"}
_ACTS = {"manage.confirm", "manage.perform"}  # of the manager's page; each act is a page of its own


def drive_lifecycle(world: Watched) -> None:
    """Kofi's life by messages, completion entries and the page's wake-ups alone, before somebody's eyes; at the end poison."""

    def tell(kind: type[LifecycleEvent], *, profile: str = "", attributes: Any = None, **_more: Any) -> None:
        name = {Joined: "joiner", Moved: "mover", Left: "leaver"}[kind]
        said = {**(attributes or {}), **({"profile": profile} if profile else {})}
        world.post("lifecycle", world.news(name, **said))

    def wake() -> None:
        kinds = (world.completion(), json.loads(wake_message(user_key_for(KOFI))))
        world.post("lifecycle", kinds[world.count % 2])

    lose_answer(world)
    Person(world, KOFI, tell, wake, look=lambda: look(world)).live(at_work=lambda: drive_page(world))
    world.post("lifecycle", {"schema": "workbench.lifecycle/v9"})
    relay(world)
    with reading_rosters(world, "lifecycle"):
        world.post(
            "lifecycle",
            json.loads((EVENTS / "cloudidentity-nested-group.json").read_bytes()),
            topic=world.settings.topic_directory,
        )
    leave_without_record(world)


@contextmanager
def reading_rosters(world: Watched, target: str) -> Iterator[None]:
    """Let the function read the members of the groups, and HR's file."""
    settings = replace(world.settings, roster_groups=True, roster_employees=True)
    deps = replace(world.deps, roster_sources=wiring.wire(settings, log=SilentLog()).roster_sources)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(wiring._CACHED, target, (settings, deps))
        yield


def compare_rosters(world: Watched) -> None:
    """A roster sweep with a file of HR that lists Ben."""
    world.cloud.storage.insert(world.settings.inbox_bucket, "rosters/hr.csv", f"user\n{BEN}\n#rows,1\n".encode())
    with reading_rosters(world, "tick"):
        world.post("tick", {"sweep": "roster"})
    report = world.deps.rosters.report(RosterKind.EMPLOYEES)
    assert report is not None
    assert (report.people, report.refusal) == (1, "")


def lose_answer(world: Watched) -> None:
    """The next audit entry is written, and nobody hears of it: the pass that tries again finds it there, and reads it."""
    lost = {"phase": "after", "error": {"code": "UNAVAILABLE"}}
    world.fault(call="storage.objects.insert", resource=f"{world.settings.audit_bucket}*", **lost)


def relay(world: Watched) -> None:
    """Batches about two people on the topics that may bring them, and a log entry that still comes on the old topic."""
    batch = [{**world.news("mover"), "user": user} for user in ("a@example.com", "b@example.com")]
    for source in (HR, OPERATOR):
        world.post("lifecycle", batch, topic=world.settings.sources[source].topic)
    entry = {"protoPayload": {"serviceName": "admin.googleapis.com"}}
    world.post("lifecycle", entry, topic=world.settings.topic_lifecycle)


def leave_without_record(world: Watched) -> None:
    """Somebody leaves whose record a newer program wrote."""
    content = json.dumps({"version": 99}).encode()
    world.cloud.storage.insert(world.settings.bucket, f"records/{user_key_for(DANA)}.json", content)
    world.post("lifecycle", {**world.news("leaver"), "user": DANA}, status=500)


def drive_tick(world: Watched) -> None:
    """Ben's life by the clock alone; while he works the idle and the drift sweep; at the end a tick of no known kind."""

    def tell(kind: type[LifecycleEvent], **more: Any) -> None:
        world.fold(kind, **more)
        world.advance(minutes=2)
        world.post("tick", {"sweep": "due"})

    def sweeps() -> None:
        world.post("tick", {"sweep": "idle"})
        wait_for_spark(world)
        old_letter(world)
        drift(world)
        compare_rosters(world)
        lose_wake_ups(world)

    lose_answer(world)
    Person(world, BEN, tell, lambda: world.post("tick", {"sweep": "due"})).live(at_work=sweeps)
    world.advance(days=1)
    world.post("tick", {"sweep": "drift"})  # which writes the manifest of the day before
    world.post("tick", {"sweep": "all"})


def wait_for_spark(world: Watched) -> None:
    """Ben has a cluster, and nothing happens on his notebook for so long that he is warned: the idle sweep asks for jobs elsewhere."""
    key = user_key_for(BEN)
    look = {"instance": world.record(BEN).status.notebook.instance_id, "requests_per_minute": 4}
    until = rfc3339(world.cloud.world.clock.now() + timedelta(minutes=5))
    requests.post(f"{world.cloud.url}/_emulator/activity", json={**look, "until": until}, timeout=10).raise_for_status()
    assert want_cluster(key, SMALL, world.deps, by="a test") is not None
    world.advance(minutes=1)
    world.post("tick", {"sweep": "due"})
    world.advance(hours=3)
    world.post("tick", {"sweep": "idle"})
    assert world.record(BEN).status.notebook.idle_warned_at is not None
    drop_cluster(key, SMALL, world.deps, by="a test")
    for _ in range(4):
        world.post("tick", {"sweep": "due"})
        world.advance(minutes=1)
    assert world.clusters_of(BEN) == []


def lose_wake_ups(world: Watched) -> None:
    """Clicks of Ben and of an administrator about whom nobody was woken: the tick takes them up."""
    ben, mia = world.browser(BEN), world.browser(MIA)
    hold = f"/manage/people/{user_key_for(BEN)}/acts/{Act.HOLD}"
    ben.post("/notebook/keep-on", until="1h")
    ben.post("/notebook/restart")
    mia.post(hold, reason="case 4711")
    world.advance(seconds=1)
    world.post("tick", {"sweep": "due"})
    for admin in (mia, world.browser(OTTO)):
        admin.get("/manage")
        admin.post(hold.replace(Act.HOLD, Act.RELEASE))
    world.post("tick", {"sweep": "due"})
    assert world.record(BEN).spec.keep_on_until is not None
    assert world.record(BEN).hold is None
    assert world.waiting(BEN) == 0
    for _ in range(4):  # until it is restarted
        world.advance(minutes=1)
        world.post("tick", {"sweep": "due"})


def old_letter(world: Watched) -> None:
    """A letter that was used long ago: the next drift sweep removes it."""
    sent = world.cloud.world.clock.now() - timedelta(days=400)
    row = LetterRow(letter_id="old", sent_at=sent, reason=Reason.INVALID_MESSAGE.value, detail="old")
    letter = DeadLetter(row=row, source="", received_at=sent, body=b"{}", size=2, attributes={})
    world.deps.dead_letters.store(letter)
    (kept,) = [each for each in world.deps.dead_letters.rows() if each.letter_id == "old"]
    world.deps.dead_letters.mark_replayed(kept, sent, "used")


def drift(world: Watched) -> None:
    """A drift sweep after a deployment that changed the session templates; another one is at it at the same moment."""
    catalog = world.settings.catalog
    profiles = {
        "analyst": replace(catalog.profiles["analyst"], labels={"team": "before"}),
        "engineer": replace(catalog.profiles["engineer"], session_templates=()),
        "intern": replace(catalog.profiles["analyst"], name="intern"),
    }
    before = replace(world.settings, catalog=replace(catalog, profiles=profiles))
    sync_sessions(in_force(wiring.wire(before, log=SilentLog())))
    assert sorted(world.sessions().values()) == ["analyst", "intern"]
    world.fault(call="dataproc.CreateSessionTemplate", phase="after", error={"code": "ALREADY_EXISTS"})
    world.post("tick", {"sweep": "drift"})
    assert world.sessions() == {offer.session_id: offer.profile for offer in offers(catalog)}


def drive_costs(world: Watched) -> None:
    """A drift sweep that also reads the bill, which the embedded cloud does not have: each query is noted by hand."""
    key, needed = user_key_for(BEN), world.needed["tick"]
    labels = {LABEL_MANAGED_BY: MANAGED_BY, LABEL_USER: key, LABEL_PROFILE: "analyst"}
    service = BigQuery([Bill(cost=12.5, labels=labels, month=f"{world.cloud.world.clock.now():%Y%m}")], waits=1)
    with serving(service) as address, pytest.MonkeyPatch.context() as patch:
        clients = Clients(CloudConfig(project=BILLED_PROJECT, bucket="b", api_endpoint=address))
        costs = BigQueryCosts(clients, project=BILLED_PROJECT, view=VIEW, currency="EUR", log=SilentLog())
        patch.setitem(wiring._CACHED, "tick", (world.settings, replace(world.deps, costs=costs)))
        world.post("tick", {"sweep": "drift"})
        clients.close()
    notes = world.deps.fleet.notes()
    assert notes is not None
    assert notes.costs == {key: 12.5}
    for asked in service.asked:
        assert f"FROM `{VIEW}`" in asked["query"]
        needed.setdefault(("bigquery.jobs.create", "project"), set()).add("bigquery.jobs.query")
        needed.setdefault(("bigquery.tables.getData", "cost-dataset"), set()).add("bigquery.jobs.query")
    # Whoever started a query may follow it: https://cloud.google.com/bigquery/docs/jobs-overview, Required permissions.
    assert service.looks == 1


def drive_page(world: Watched) -> None:
    """Kofi works with his page, then an administrator with all of the manager's, every act included."""
    for kind in ("idle", "drift"):
        world.post("tick", {"sweep": kind})
    world.deps.decisions.put_list(to_json(SHOWN))
    world.deps.dead_letters.store(
        DeadLetter(row=LETTER, source="s", received_at=START, body=b"{}", size=2, attributes={})
    )
    kofi, mia = world.browser(KOFI), world.browser(MIA)
    for route in ROUTES:
        if route.access not in NEEDED and route.name not in _OF_FILES:
            visit(world, kofi, route)
    for path in ("/manage/audit.csv", f"/manage/people/{user_key_for(KOFI)}/story.json?since=2026-01-01"):
        answer = world.watched(HUB, lambda path=path: mia.get(path))
        assert answer.status_code == 200, said_of(answer)
    started = world.watched(HUB, lambda: kofi.post(f"/spark/{SMALL}/start"))
    assert started.headers["Location"] == "/?said=spark-start#spark"
    world.take_up(KOFI)
    for route in ROUTES:
        if route.access in NEEDED and route.name not in _ACTS:
            visit(world, mia, route)
    for act in (
        *(each for each in Act if each not in {Act.RESTART, Act.RESTORE, Act.UNDO_RESTORE, Act.BLOCK, Act.LIFT}),
        Act.START,
        Act.BLOCK,
        Act.LIFT,
    ):  # he stopped it last; it runs at the end
        do(world, mia, act)
        if act is Act.RELEASE:
            agree(world)
    for restarts in (True, False):  # until what was begun is done
        for _ in range(8):
            world.advance(minutes=1)
            world.take_up(KOFI)
        if restarts:
            do(world, mia, Act.RESTART)
    take_files_back(world, kofi, mia)


def take_files_back(world: Watched, kofi: Browser, mia: Browser) -> None:
    """Kofi takes an earlier state of his files and undoes it; an administrator does both for him."""

    def restored() -> Restored:
        for _ in range(12):
            world.advance(minutes=1)
            world.post("tick", {"sweep": "due"})
        last = world.record(KOFI).status.data.restored
        assert last is not None
        assert last.is_done
        return last

    world.post("tick", {"sweep": "idle"})
    for _ in range(2):
        world.advance(minutes=6)
        world.post("tick", {"sweep": "due"})
    first = copies_of(world.record(KOFI).status)[-1].name
    answer = world.watched(HUB, lambda: kofi.post("/notebook/restore", copy=first))
    assert answer.headers["Location"] == "/?said=restore#notebook"
    world.take_up(KOFI)
    before = restored().before
    answer = world.watched(HUB, lambda: kofi.post("/notebook/restore/undo", copy=before))
    assert answer.headers["Location"] == "/?said=undo#notebook"
    world.take_up(KOFI)
    restored()
    do(world, mia, Act.RESTORE, copy=first)
    before = restored().before
    do(world, mia, Act.UNDO_RESTORE, copy=before)
    restored()


def do(world: Watched, browser: Browser, act: Act, *, copy: str = "") -> None:
    """Look at an act for Kofi some seconds after the last one, and do it."""
    world.advance(seconds=5)
    path = f"/manage/people/{user_key_for(KOFI)}/acts/{act}"
    named = {"template": SMALL} if act is Act.DELETE_CLUSTER else {}
    named |= {"copy": copy} if copy else {}
    query = f"?{'&'.join(f'{key}={value}' for key, value in named.items())}" if named else ""
    shown = world.watched(HUB, lambda: browser.get(path + query))
    assert shown.status_code == 200, said_of(shown)
    done = world.watched(HUB, lambda: browser.post(path, reason="case 4711", **named))
    said = "release-asked" if act is Act.RELEASE else act
    assert done.headers.get("Location", "").endswith(f"?said={said}"), said_of(done)
    world.take_up(KOFI)


def agree(world: Watched) -> None:
    """Another administrator looks at what waits, and approves the release of Kofi's hold."""
    otto = world.browser(OTTO)
    changes = world.watched(HUB, lambda: otto.get("/api/changes")).json["changes"]
    (found,) = (change for change in changes if change["about"] == About.RELEASE.value)
    done = world.watched(HUB, lambda: otto.post(f"/manage/changes/{found['digest']}/approve"))
    assert done.headers["Location"].endswith("?said=approved")
    world.post("tick", {"sweep": "due"})
    assert world.record(KOFI).hold is None


def visit(world: Watched, browser: Browser, route: Route) -> None:
    """Ask for a route as its link or form would."""
    path = path_of(route).replace(SAMPLES["user_key"], user_key_for(KOFI))
    if route.takes == JSON:
        until = (
            world.cloud.world.clock.now() + timedelta(days=1)
        ).isoformat()  # what an announcement needs; the others take no notice
        body = {"people": [user_key_for(KOFI)], "user_key": user_key_for(KOFI), "until": until}
        answer = world.watched(HUB, lambda: browser.send(path, body=body))
    elif route.name == "manage.perform_announce":
        shown = browser.get(path).get_data(as_text=True)
        listed = re.search(r'name="list" value="([0-9a-f]+)"', shown)
        last = re.search(r'name="until" type="date" .*max="([0-9-]+)"', shown)
        assert listed is not None
        assert last is not None
        answer = world.watched(HUB, lambda: browser.post(path, list=listed[1], until=last[1]))
    elif route.method == "POST":
        answer = world.watched(HUB, lambda: browser.post(path, **form_of(route)))
    else:
        answer = world.watched(HUB, lambda: browser.get(path))
    assert answer.status_code in {status for status in route.answers if status < 400}, (
        f"{route.name}: {said_of(answer)}"
    )
    world.take_up(KOFI)


def look(world: Watched) -> None:
    """An administrator looks at Kofi at this moment, and at what a pass would do."""
    path = f"/manage/people/{user_key_for(KOFI)}"
    answer = world.watched(HUB, lambda: world.browser(MIA).get(path))
    assert answer.status_code == 200, said_of(answer)


def said_of(answer: TestResponse) -> str:
    """What an answer said that should have been another: pytest explains no assertion of this module."""
    return f"{answer.status}, Retry-After {answer.headers.get('Retry-After')}: {answer.get_data(as_text=True)[:4000]}"


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
    # One that can be used by now, and one that still cannot: the sweep replays the first and notes when it tries the other again.
    world.post("dead_letter", {**about, "user": DANA, "type": "leaver"}, attributes=forwarded)
    world.post("tick", {"sweep": "idle"})
    world.post("dead_letter", None, raw={"subscription": "s"})


def drive_notify(world: Watched) -> None:
    """Mia's notebook is ready, and she is told by mail; the same message again; a message that is none."""
    name = "smtp"
    secrets = f"{world.cloud.url}/v1/projects/{world.settings.project}/secrets"
    requests.post(f"{secrets}?secretId={name}", json={"replication": {"automatic": {}}}, timeout=10).raise_for_status()
    payload = {"payload": {"data": base64.b64encode(b"a password").decode()}}
    requests.post(f"{secrets}/{name}:addVersion", json=payload, timeout=10).raise_for_status()
    with mail_host() as host, pytest.MonkeyPatch.context() as patch:
        chosen = replace(MESSAGES, user="robot", secret=name, port=host.port)
        settings = replace(world.settings, messages=chosen)
        deps = replace(wiring.wire(settings, log=SilentLog()), clock=world.deps.clock)
        for target in TARGETS:
            patch.setitem(wiring._CACHED, target, (settings, deps))
        now = world.cloud.world.clock.now()
        accept(Joined(event_id="mia", user=MIA, occurred_at=now, effective_at=now), deps)
        for _ in range(6):
            world.advance(minutes=1)
            world.post("tick", {"sweep": "due"})
        world.advance(minutes=2)
        world.post("lifecycle", json.loads(wake_message(user_key_for(MIA))))  # nobody claimed it: it is published again
        due = [mail for mail in world.record(MIA).status.mail.mails if mail.stage is Stage.READY]
        assert [mail.state for mail in due] == [MailState.DUE]
        event = json.loads(notification(world.record(MIA), due[0], project=settings.project))
        for _ in range(2):
            world.post("notify", event)
        assert len(host.accepted) == 1
        world.post("notify", {"type": "something else"})


def settings_of(setting: str) -> Settings:
    """Profiles that may be stopped for a change at once. With accounts of the people's own, analysts' clusters run as these too."""
    fields: dict[str, Any] = {"disruption": Disruption.NOW}
    spark = SparkSettings(max_clusters=1)
    own = replace(spark, identity=ClusterIdentity.PERSONAL_SERVICE_ACCOUNT)
    if setting == PERSONAL:
        reporter = "gs://acme-notebook-scripts/reporter.py"
        fields |= {"identity": Identity.PERSONAL_SERVICE_ACCOUNT, "data_group": READERS, "reporter": reporter}
    analyst = {**fields, "spark": own if setting == PERSONAL else spark}
    return hub_settings({"analyst": analyst, "engineer": {**fields, "spark": spark}})


def prepare(cloud: EmbeddedCloud, settings: Settings) -> None:
    """What a deployment makes, and the groups that an administrator makes; Mia is an administrator."""
    for bucket in settings.all_buckets:
        cloud.storage.buckets.create({"name": bucket}, project=settings.project)
    for topic in (
        *(source.topic for source in settings.sources.values()),
        settings.topic_tick,
        settings.topic_dead_letter,
        settings.topic_notifications,
    ):
        address = f"{cloud.url}/v1/projects/{settings.project}/topics/{topic}"
        requests.put(address, json={}, timeout=10).raise_for_status()
    for address in (READERS, ADMINS):
        group = {
            "parent": "customers/C046psxkn",
            "groupKey": {"id": address},
            "labels": {"cloudidentity.googleapis.com/groups.discussion_forum": ""},
        }
        requests.post(f"{cloud.url}/v1/groups", json=group, timeout=10).raise_for_status()


class MovedClock(KitClock):
    """Real seconds pass, and those by which the cloud's clock is moved: the page counts an administrator's requests a minute."""

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.now().timestamp()


@contextmanager
def watched(setting: str, clients: dict[str, FlaskClient]) -> Iterator[Watched]:
    """A new world with nobody in it."""
    cloud = EmbeddedCloud.build(clock=VirtualClock(start=START, speed=0))
    with cloud, pytest.MonkeyPatch.context() as patch:
        moved = datetime(2100, 1, 1, tzinfo=UTC)  # the first week after an upgrade
        settings = replace(settings_of(setting), api_endpoint=cloud.url, move_logs_until=moved)
        prepare(cloud, settings)
        config = CloudConfig(project=settings.project, bucket=settings.bucket, api_endpoint=cloud.url)
        adapter = WsgiAdapter(cloud)
        inside = Clients(config, mount=adapter, door=adapter.answer)
        deps = replace(wiring.wire(settings, log=SilentLog(), clients=inside), clock=MovedClock(cloud))
        for admin in (MIA, OTTO):
            deps.groups.join(ADMINS, admin)
        for target in (*TARGETS, HUB):
            patch.setitem(wiring._CACHED, target, (settings, deps))
        patch.setattr(hub_function, "_APPS", [])
        # Who signed in is asked of the cloud without a socket, too: an answer that came after ten seconds would be a page with 503.
        patch.setattr(hub_function, "make_clients", lambda _settings: inside)
        yield Watched(cloud, settings, deps, clients)
        assert cloud.world.faults.unfired() == []


def all_worlds(clients: dict[str, FlaskClient]) -> dict[str, Watched]:
    """Every setting's world after everything was done in it. Reading the bill comes on top of what is done without one."""
    made: dict[str, Watched] = {}
    for setting in (PERSONAL, PLAIN):
        with watched(setting, clients) as world:
            drive_lifecycle(world)
            drive_tick(world)
            drive_dead_letter(world)
            made[setting] = world
            if setting == PLAIN:
                needed = {
                    target: {place: set(calls) for place, calls in n.items()} for target, n in world.needed.items()
                }
                made[BILLED] = dataclasses.replace(world, needed=needed)
                drive_costs(made[BILLED])
                made[MAILED] = dataclasses.replace(world, needed=copy.deepcopy(made[PLAIN].needed))
                drive_notify(made[MAILED])
    return made
