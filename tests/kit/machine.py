"""The state machine: people, messages, ticks, crashes, neighbours, faults, outside hands and time, in any order.

After quiet and enough ticks the world is as an oracle says that never asks the planner. Crashes come between any two calls;
a neighbour works to its end between any two calls of somebody else; every message may come twice, late or out of order.
"""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, time, timedelta
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from emulator.faults import Faults
from kit import audit
from kit.beginnings import begun
from kit.hostile_machine import HostileRules
from kit.inprocess import Bench, OneAfterAnother, impatient, make_bench
from kit.ledger import Ledger
from kit.life import RETENTION, SNAPSHOT_RETENTION, settings_with
from kit.minutes import minute
from kit.oracle import TEMPLATES, Sent, instances, is_paused, template_names, wanted_profile
from kit.reading import news_of, read
from kit.spark_machine import SPARK_PROFILES, USERS, SparkRules, parse_email
from shared.domain.record.record import Presence
from shared.domain.things.catalog import Disruption, Identity
from shared.domain.things.errors import BenchkeeperError
from shared.domain.things.identity import account_email, account_id_for, instance_id_for, user_key_for
from shared.engine.news.deliver import deliver, deliver_all
from shared.engine.reconcile.changing import is_decided, want_hold
from shared.engine.reconcile.reconciler import preview, reconcile
from shared.engine.sweeps.manifests import keep_manifests
from shared.engine.sweeps.sweeping import Summary
from shared.engine.sweeps.sweeps import sweep

# No copies of files are taken here: tests/properties/test_files_machine.py adds them, and people who restore one.
# Whoever becomes an engineer gets another identity and a larger disk at once; an analyst is not disturbed at work.
PROFILES = {
    "analyst": {"disruption": Disruption.WHEN_IDLE, "snapshots": None, **SPARK_PROFILES["analyst"]},
    "engineer": {
        "snapshots": None,
        "disruption": Disruption.NOW,
        "identity": Identity.PERSONAL_SERVICE_ACCOUNT,
        **SPARK_PROFILES["engineer"],
    },
}
RUNNING_OR_SOON = frozenset({"INITIALIZING", "STARTING", "PROVISIONING", "ACTIVE"})
GROUPS = ("data-analysts@example.com", "data-engineers@example.com", "everybody@example.com")
FAULTS: tuple[dict[str, Any], ...] = (
    {"call": "notebooks.CreateInstance", "error": {"code": "UNAVAILABLE"}},
    {"call": "notebooks.CreateInstance", "phase": "after", "error": {"code": "UNAVAILABLE"}},
    {"call": "notebooks.CreateInstance", "error": {"code": "RESOURCE_EXHAUSTED", "message": "slow down"}},
    {
        "call": "notebooks.CreateInstance",
        "operation_error": {"code": "UNAVAILABLE", "message": "ZONE_RESOURCE_POOL_EXHAUSTED in zone"},
    },
    {
        "call": "notebooks.CreateInstance",
        "operation_error": {"code": "RESOURCE_EXHAUSTED", "message": "Quota 'CPUS' exceeded.  Limit: 8"},
    },
    {"call": "notebooks.CreateInstance", "operation_error": {"code": "INVALID_ARGUMENT", "message": "no such image"}},
    {"call": "notebooks.UpdateInstance", "error": {"code": "INVALID_ARGUMENT", "message": "no such machine"}},
    {"call": "notebooks.CreateInstance", "operation_error": {"code": "ABORTED", "message": "tenant project"}},
    {"call": "notebooks.StopInstance", "error": {"code": "UNAVAILABLE"}},
    {"call": "notebooks.StopInstance", "phase": "after", "error": {"code": "UNAVAILABLE"}},
    {"call": "notebooks.StartInstance", "operation_error": {"code": "UNAVAILABLE", "message": "STOCKOUT"}},
    {"call": "notebooks.DeleteInstance", "phase": "after", "error": {"code": "INTERNAL"}},
    {"call": "notebooks.GetInstance", "error": {"code": "PERMISSION_DENIED"}, "times": 2},
    {"call": "notebooks.GetInstance", "error": {"code": "PERMISSION_DENIED"}, "times": 1},
    {"call": "notebooks.GetInstance", "error": {"code": "UNAVAILABLE"}, "times": 3},
    {"call": "notebooks.GetOperation", "error": {"code": "UNAVAILABLE"}},
    {"call": "notebooks.ListInstances", "unreachable": True, "resource": "*europe-west1-b*"},
    {"call": "notebooks.RestoreInstance", "error": {"code": "UNAVAILABLE"}},
    {"call": "notebooks.RestoreInstance", "phase": "after", "error": {"code": "UNAVAILABLE"}},
    {"call": "notebooks.RestoreInstance", "operation_error": {"code": "INTERNAL", "message": "try again"}},
    {"call": "compute.disks.createSnapshot", "error": {"code": "UNAVAILABLE"}},
    {"call": "compute.disks.createSnapshot", "phase": "after", "error": {"code": "UNAVAILABLE"}},
    {"call": "compute.disks.createSnapshot", "operation_error": {"code": "RESOURCE_EXHAUSTED", "message": "Quota"}},
    {"call": "compute.snapshots.get", "error": {"code": "PERMISSION_DENIED"}, "times": 2},
    {"call": "compute.snapshots.delete", "phase": "after", "error": {"code": "UNAVAILABLE"}},
    {"call": "iam.serviceAccounts.create", "phase": "after", "error": {"code": "UNAVAILABLE"}},
    {"call": "iam.serviceAccounts.setIamPolicy", "error": {"code": "ABORTED"}},
    {"call": "iam.serviceAccounts.disable", "error": {"code": "UNAVAILABLE"}},
    {"call": "iam.serviceAccounts.get", "error": {"code": "PERMISSION_DENIED"}, "times": 2},
    {"call": "dataproc.ListClusters", "error": {"code": "UNAVAILABLE"}},
    {"call": "storage.objects.insert", "error": {"code": "PERMISSION_DENIED"}},
    {"call": "storage.objects.insert", "phase": "after", "error": {"code": "UNAVAILABLE"}},
    {"call": "storage.objects.get", "error": {"code": "PERMISSION_DENIED"}},
    {"call": "storage.objects.list", "error": {"code": "PERMISSION_DENIED"}},
    {"call": "storage.objects.delete", "error": {"code": "UNAVAILABLE"}, "phase": "after"},
)


class CrashError(BaseException):
    """The process died here."""


class WorldMachine(HostileRules, SparkRules, RuleBasedStateMachine):
    """See the module."""

    bench: Bench
    profiles: ClassVar[dict[str, dict[str, Any]]] = PROFILES
    crash_error = CrashError
    users: tuple[str, ...] = USERS
    at_rest: Summary | None = None  # of the sweep after which nothing moved any more, at the same moment

    def __init__(self) -> None:
        super().__init__()
        self._patience = impatient()
        self._patience.__enter__()
        self.bench = make_bench(settings=settings_with(self.profiles))
        self.bench.deps = replace(self.bench.deps, workers=OneAfterAnother())
        self.ledger = Ledger(self.bench)
        self.sent: list[Sent] = []
        self.pending: list[Sent] = []  # not acked yet: Pub/Sub would bring them again
        self.rested: set[str] = set()  # stopped from outside: may rest
        self.two_by_others: set[str] = set()  # somebody else started what was replaced
        self.unwanted_since: dict[str, datetime] = {}  # from when on the product may know it
        self.noticed: dict[str, datetime] = {}  # from when on the product must know it
        self.on_hold: set[str] = set()
        self.serial = 0
        self.known_as: dict[
            str, list[str]
        ] = {}  # user -> the addresses that the product was told of, the first included

    def teardown(self) -> None:
        try:
            self.quiesce()
            self.world_matches()
            users = {s.user for s in self.sent}
            self.facts_are_allowed()
            self.spark_matches({user: wanted_profile(self.sent, user, self.bench.now) for user in sorted(users)})
            self.audit_is_whole()
        finally:
            self._patience.__exit__(None, None, None)

    # --- news

    @rule(
        user=st.sampled_from(USERS),
        kind=st.sampled_from(["joiner", "joiner", "mover", "leaver"]),
        groups=st.none() | st.lists(st.sampled_from(GROUPS), unique=True, max_size=2),
        profile=st.sampled_from(["absent", "absent", "analyst", "engineer", None]),
        said_ago=st.sampled_from([0, 0, 0, 60, 3600, 90_000]),
        holds_in=st.sampled_from([0, 0, 0, 0, 1800, 86_400 * 3]),
    )
    def news(
        self, user: str, kind: str, groups: list[str] | None, profile: str | None, said_ago: int, holds_in: int
    ) -> None:
        """A new message is sent and delivered; stale and future-dated ones among them."""
        attributes: dict[str, Any] = {}
        if groups is not None and kind != "leaver":
            attributes["groups"] = groups
        if profile != "absent" and kind != "leaver" and not (kind == "joiner" and profile is None):
            attributes["profile"] = profile
        self.serial += 1
        occurred = self.bench.now - timedelta(seconds=said_ago)
        if (
            occurred.astimezone(UTC).time() == time()
        ):  # a day, no moment: of a leaver the product takes the publish time
            occurred -= timedelta(seconds=1)
        message = Sent(
            event_id=f"e{self.serial:04}",
            kind=kind,
            user=str(parse_email(user)),
            occurred=occurred,
            effective=occurred + timedelta(seconds=holds_in),
            attributes=attributes,
            published=self.bench.now,
        )
        self.sent.append(message)
        self.pending.append(message)
        self._deliver(message)

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def again(self, data: st.DataObject) -> None:
        """Any old message comes once more."""
        self._deliver(data.draw(st.sampled_from(self.sent)))

    def _deliver(self, sent: Sent) -> bool:
        """As the function does: True when it would ack."""
        log = self.body_of_log(sent)
        if log is not None:
            try:
                deliver_all(read(log, published=sent.published).news, self.bench.deps)
            except (BenchkeeperError, CrashError):
                return False
            with contextlib.suppress(ValueError):
                self.pending.remove(sent)
            return True
        known = self.known_as.get(sent.user, [sent.user])
        body: dict[str, Any] = {
            "schema": "workbench.lifecycle/v1",
            "event_id": sent.event_id,
            "type": sent.kind,
            "user": known[len(self.pending) % len(known)],  # any of them means the same person
            "occurred_at": sent.occurred.isoformat(),
        }
        if sent.kind == "renamed":
            body |= sent.attributes
        else:
            body |= {"attributes": sent.attributes}
            if sent.explicit:
                body["effective_time"] = sent.effective.isoformat()
        # A changed address is the directory's or an operator's word; that of HR alone waits (tests/engine/test_rename.py).
        source = "operator" if sent.kind == "renamed" else "hr"
        try:
            for news in news_of(json.dumps(body).encode(), source=source, published=sent.published):
                deliver(news, self.bench.deps)
        except (BenchkeeperError, CrashError):
            return False
        with contextlib.suppress(ValueError):
            self.pending.remove(sent)
        if sent.kind == "renamed" and sent.attributes["new_user"] not in known:
            self.known_as[sent.user] = [*known, sent.attributes["new_user"]]
        return True

    @rule(user=st.sampled_from(USERS), number=st.integers(1, 3), said_ago=st.sampled_from([0, 0, 3600]))
    def renamed(self, user: str, number: int, said_ago: int) -> None:
        """The person's address changes, perhaps back; perhaps the news is old."""
        user = str(parse_email(user))
        new = user if number == 3 else f"new{number}.{user}"
        old = [each for each in self.known_as.get(user, [user]) if each != new]
        if not old:
            return
        self.serial += 1
        occurred = self.bench.now - timedelta(seconds=said_ago) + timedelta(microseconds=self.serial)
        message = Sent(
            event_id=f"e{self.serial:04}",
            kind="renamed",
            user=user,
            occurred=occurred,
            effective=occurred,
            attributes={"user": old[-1], "new_user": new},
            published=self.bench.now,
        )
        self.sent.append(message)
        self.pending.append(message)
        self._deliver(message)

    def address(self, user: str) -> str:
        """The address that was announced last."""
        said = [s for s in self.sent if s.kind == "renamed" and s.user == user]
        return str(max(said, key=lambda s: s.occurred).attributes["new_user"]) if said else user

    # --- ticks and time

    @rule(kind=st.sampled_from(["due", "due", "due", "drift", "idle"]))
    def tick(self, kind: str) -> None:
        """The scheduler fires."""
        with contextlib.suppress(BenchkeeperError, CrashError):
            summary = sweep(kind, self.bench.deps)
            if kind == "idle":  # nobody works here, so whoever ran for hours may have been stopped
                keys = {key for key, _ in summary.decisions}
                self.rested |= {s.user for s in self.sent if user_key_for(parse_email(s.user)) in keys}

    @rule(by=st.sampled_from([10, 60, 60, 180, 600, 3600, 86_400, 86_400 * 16, 86_400 * 95]))
    def time_passes(self, by: int) -> None:
        """Nothing happens for a while, and the clock goes on."""
        self.bench.advance(seconds=by)

    @rule()
    def calm(self) -> None:
        """A few minutes as they mostly are: what was begun comes to its end, and whoever can works."""
        self._note_unwanted()
        for _ in range(6):
            self.bench.advance(minutes=1)
            self.tick("due")
        for user in USERS:
            self.works(user)

    @precondition(lambda self: self.sent)
    @rule(user=st.sampled_from(USERS))
    def works(self, user: str) -> None:
        """Somebody writes a file, if they can."""
        with self._undisturbed():
            self.ledger.write(str(parse_email(user)))

    @precondition(lambda self: self.sent)
    @rule(user=st.sampled_from(USERS))
    def as_planned(self, user: str) -> None:
        """With Google at its best, a pass does what the plan said; and then nobody who left has access."""
        self.bench.cloud.world.faults.clear()
        key = user_key_for(parse_email(user))
        planned = preview(key, self.bench.deps)
        result = reconcile(key, self.bench.deps)
        if planned is None or result is None:
            assert planned is result
            return
        assert [a.describe() for a in planned.plan.actions] == [a.describe() for a in result.plan.actions]
        assert planned.plan.because == result.plan.because
        if result.record.spec.presence is Presence.ABSENT:
            self.access_is_cut(str(parse_email(user)))

    def access_is_cut(self, user: str) -> None:
        """The account is of no use, and nothing runs that could be stopped."""
        account = self.account(user)
        assert account is None or (account["disabled"] and not account["bindings"]), f"{user} left: {account}"
        states = {i.state for i in self.of(user)}
        assert "ACTIVE" not in states, f"{user} left and has {states}"
        self.spark_is_cut(user)

    def of(self, user: str) -> list[Any]:
        """The person's instances, whatever they are called."""
        first = instance_id_for(parse_email(user))
        return [i for i in instances(self.bench.cloud).values() if i.short == first or i.short.startswith(f"{first}-")]

    def account(self, user: str) -> dict[str, Any] | None:
        """The person's service account as it is in the cloud."""
        project = self.bench.settings.project
        email = account_email(account_id_for(user_key_for(parse_email(user))), project)
        json = self.bench.clients.json("iam")
        with self._undisturbed():
            raw = json.call_or_none("GET", f"/v1/projects/{project}/serviceAccounts/{email}")
            if raw is None:
                return None
            policy = json.call("POST", f"/v1/projects/{project}/serviceAccounts/{email}:getIamPolicy", body={})
        return {"disabled": raw.get("disabled", False), "bindings": policy.get("bindings", [])}

    @contextlib.contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """The test's own looks are neither hit by faults nor counted by crashes."""
        faults, around = self.bench.cloud.world.faults, self.bench.adapter.around
        self.bench.cloud.world.faults = Faults()
        self.bench.adapter.around = lambda: None
        try:
            with self.bench.other_hands():
                yield
        finally:
            self.bench.cloud.world.faults, self.bench.adapter.around = faults, around

    @precondition(lambda self: self.ledger.newest)
    @rule(times=st.integers(1, 3), kind=st.sampled_from(["PERMISSION_DENIED", "UNAVAILABLE"]))
    def blind(self, times: int, kind: str) -> None:
        """Instances cannot be read just when somebody looks."""
        for user in USERS:
            self.bench.fault(call="notebooks.GetInstance", error={"code": kind}, times=times)
            with contextlib.suppress(BenchkeeperError):
                reconcile(user_key_for(parse_email(user)), self.bench.deps)

    @precondition(lambda self: self.ledger.newest)
    @rule(user=st.sampled_from(USERS), days=st.sampled_from([29, 31, 61, 91]))
    def gone_for_long(self, user: str, days: int) -> None:
        """Somebody leaves, and a month or three pass as they mostly do."""
        self.news(user=user, kind="leaver", groups=None, profile="absent", said_ago=0, holds_in=0)
        self.data_is_kept()  # notes since when
        self.calm()
        for _ in range(0, days, 30):
            self.bench.advance(days=min(days, 30))
            self.calm()

    @precondition(lambda self: self.ledger.newest)
    @rule(user=st.sampled_from(USERS), days=st.sampled_from([1, 31, 61]))
    def held_while_gone(self, user: str, days: int) -> None:
        """Somebody left, for some time nothing is left of them but a snapshot, and then a hold outlasts every retention."""
        self.gone_for_long(user=user, days=days)
        self.hold(user=user, reason="case 1", after=0)
        for _ in range(4):
            self.bench.advance(days=30)
            self.calm()

    # --- trouble

    @rule(after=st.integers(0, 22), action=st.sampled_from(["news", "due", "drift"]), data=st.data())
    def crash(self, after: int, action: str, data: st.DataObject) -> None:
        """The process dies between two calls."""
        self._at(after, self._die)
        try:
            if action == "news" and self.sent:
                self._deliver(data.draw(st.sampled_from(self.sent)))
            else:
                self.tick("drift" if action == "drift" else "due")
        finally:
            self.bench.adapter.around = lambda: None

    @precondition(lambda self: self.sent)
    @rule(after=st.integers(0, 18), data=st.data(), minutes=st.sampled_from([0, 0, 1, 6]))
    def neighbour(self, after: int, data: st.DataObject, minutes: int) -> None:
        """While one delivery or tick is between two calls, another works to its end, and time may pass."""
        first = data.draw(st.sampled_from([*self.sent, None]))
        second = data.draw(st.sampled_from([*self.sent, None]))

        def other() -> None:
            self.bench.advance(minutes=minutes)
            if second is None:
                self.tick("due")
            else:
                self._deliver(second)

        self._at(after, other)
        try:
            if first is None:
                self.tick("due")
            else:
                self._deliver(first)
        finally:
            self.bench.adapter.around = lambda: None

    def _at(self, calls: int, what: Callable[[], None]) -> None:
        left = [calls]

        def around() -> None:
            left[0] -= 1
            if left[0] == -1:
                what()

        self.bench.adapter.around = around

    @staticmethod
    def _die() -> None:
        raise CrashError

    @rule(fault=st.sampled_from(FAULTS))
    def fault(self, fault: dict[str, Any]) -> None:
        """Google has a bad moment."""
        self.bench.fault(**fault)

    @rule(user=st.sampled_from(USERS), what=st.sampled_from(["enable", "share", "snapshot"]))
    def outside_of_notebooks(self, user: str, what: str) -> None:
        """Somebody else's hands on an account or a snapshot."""
        user = str(parse_email(user))
        project = self.bench.settings.project
        path = f"/v1/projects/{project}/serviceAccounts/{account_email(account_id_for(user_key_for(parse_email(user))), project)}"
        with self._undisturbed(), contextlib.suppress(BenchkeeperError):
            if what == "enable":
                self.bench.clients.json("iam").call("POST", f"{path}:enable", body={})
            elif what == "share":
                binding = {"role": "roles/iam.serviceAccountTokenCreator", "members": ["user:else@example.com"]}
                body = {"policy": {"bindings": [binding]}}
                self.bench.clients.json("iam").call("POST", f"{path}:setIamPolicy", body=body)
            else:
                stored = self.bench.stored(user_key_for(parse_email(user)))
                for name in [s.name for s in stored.record.status.data.snapshots] if stored is not None else []:
                    self.bench.clients.json("compute").call(
                        "DELETE", f"/compute/v1/projects/{project}/global/snapshots/{name}"
                    )
                    self.ledger.forget(user)

    @rule(user=st.sampled_from(USERS), what=st.sampled_from(["stop", "start", "delete", "label", "machine"]))
    def outside(self, user: str, what: str) -> None:
        """Somebody else's hands on an instance."""
        user = str(parse_email(user))
        for instance in self.of(user):
            with contextlib.suppress(Exception):
                if what == "stop" and instance.state == "ACTIVE":
                    self.rested.add(user)
                    self.bench.cloud.notebooks.stop_outside(instance.name)
                elif what == "start" and instance.state == "STOPPED":
                    self.two_by_others.add(user)
                    self.bench.cloud.notebooks.start(instance.name)
                elif what == "machine" and instance.state == "STOPPED":
                    change = {"gceSetup": {"machineType": "n1-standard-1"}}
                    self.bench.cloud.notebooks.patch(instance.name, change, mask="gce_setup.machine_type")
                elif what == "label" and instance.state in {"ACTIVE", "STOPPED"}:
                    self.bench.cloud.notebooks.patch(
                        instance.name, {"labels": {"cost-center": "", "benchkeeper-profile": "wrong"}}, mask="labels"
                    )
                elif what == "delete":
                    self.ledger.forget(user)
                    self.bench.cloud.notebooks.delete_outside(instance.name)

    @rule(user=st.sampled_from(USERS), reason=st.sampled_from(["case 1", "case 2"]), after=st.integers(0, 8))
    def hold(self, user: str, reason: str, after: int) -> None:
        """Somebody puts a person's data on hold, perhaps while a tick is between two calls."""
        email = parse_email(user)

        def put() -> None:
            with contextlib.suppress(BenchkeeperError, CrashError):
                stored = want_hold(user_key_for(email), reason, self.bench.deps)
                if stored is not None:
                    self.on_hold.add(str(email))
                    if not is_decided(stored.record):
                        self.ledger.hold(str(email))

        self._at(after, put)
        try:
            self.tick("due")
        finally:
            self.bench.adapter.around = lambda: None
        put()

    @rule(user=st.sampled_from(USERS))
    def release(self, user: str) -> None:
        """The hold ends."""
        self.on_hold.discard(str(parse_email(user)))
        self.ledger.held.pop(str(parse_email(user)), None)
        with contextlib.suppress(BenchkeeperError, CrashError):
            want_hold(user_key_for(parse_email(user)), None, self.bench.deps)

    # --- what always holds

    @initialize(settled=st.sampled_from([0, 2, 3]))
    def begin(self, settled: int) -> None:
        """Nothing is known yet, or some people have worked here for a while."""
        if not settled:
            return
        (sent, pending, unwanted, noticed, newest, written) = begun(
            self.bench, (type(self), settled), lambda: self._settle(settled)
        )
        self.sent, self.pending, self.serial = list(sent), list(pending), len(sent)
        self.unwanted_since, self.noticed = dict(unwanted), dict(noticed)
        self.ledger.newest, self.ledger.serial = dict(newest), written

    def _settle(self, settled: int) -> tuple[Any, ...]:
        """These people join and work. Return what the machine knows of it, as copies."""
        for number, user in enumerate(USERS[:settled]):
            group = [GROUPS[number % 2]]
            self.news(user=user, kind="joiner", groups=group, profile="absent", said_ago=0, holds_in=0)
        self.calm()
        ledger = self.ledger
        known = (self.sent, self.pending, self.unwanted_since, self.noticed, ledger.newest)
        return (*(copy.copy(each) for each in known), ledger.serial)

    @invariant()
    def data_is_kept(self) -> None:
        """What somebody wrote is gone only by outside hands, or after the snapshot's retention of somebody not entitled."""
        self._note_unwanted()
        now = self.bench.now
        for user in self.ledger.missing_held():
            raise AssertionError(f"the data of {user} is gone although it is on hold")
        for user in self.ledger.missing():
            since = self.unwanted_since.get(user)
            late = since is not None and now - since >= SNAPSHOT_RETENTION - timedelta(days=1)
            assert late, f"the data of {user} is gone too early"
            self.ledger.forget(user)

    def _note_unwanted(self) -> None:
        """Note since when somebody has been entitled to nothing, as seen from here: before any pass can see it later.

        A message that is not acked may have been folded, or may be folded only when it comes again.
        """
        now = self.bench.now
        for user in {s.user for s in self.sent}:
            is_told = all(p.user != user for p in self.pending)
            if is_paused(self.sent, user, now):
                self.unwanted_since[user] = self.noticed[user] = now  # the retention begins when the pause ends
            elif wanted_profile(self.sent, user, now) is None:
                self.unwanted_since.setdefault(user, now)
                if is_told:
                    self.noticed.setdefault(user, now)
            elif is_told:
                self.unwanted_since.pop(user, None)
                self.noticed.pop(user, None)

    @invariant()
    def never_two(self) -> None:
        """Nobody has two that run, but by other hands; a replacement has another name than what it replaces."""
        everything = instances(self.bench.cloud).values()
        short = [i.short for i in everything]
        assert len(short) == len(set(short)), f"one name twice: {sorted(short)}"
        for user in self.users:
            running = [i.short for i in self.of(user) if i.state in RUNNING_OR_SOON]
            assert len(running) <= 1 or str(parse_email(user)) in self.two_by_others, f"two run: {running}"

    # --- quiet

    def quiesce(self) -> None:
        """No more trouble; the messages that are not acked come again; the clocks tick."""
        self.bench.cloud.world.faults.clear()
        self.bench.adapter.around = lambda: None
        for user in USERS:  # of a hold whose answer was lost nobody knows: it is released
            if str(parse_email(user)) not in self.on_hold:
                want_hold(user_key_for(parse_email(user)), None, self.bench.deps)
        for _ in range(5):
            for message in list(self.pending):
                self._deliver(message)
        assert not self.pending, "a message is not taken although nothing is wrong"
        self._mend_two()
        for round_number in range(12):
            self.bench.advance(seconds=self.longest_wait().total_seconds())
            for _ in range(16):
                minute(self.bench)
                self.data_is_kept()
                self.never_two()
            self.bench.advance(minutes=35)
            summary = sweep("drift", self.bench.deps)
            if round_number and not summary.decisions and not self._busy():
                self.at_rest = summary
                return
        raise AssertionError(f"no rest is reached: {summary.decisions} {self._busy()}")

    def _mend_two(self) -> None:
        """Whom other hands gave a second one: it takes a few minutes to stop it. All others have one at most meanwhile.

        Everybody is looked at twice, whatever is due: an account that other hands shared is seen by a pass alone.
        """
        everybody = {str(parse_email(user)) for user in USERS}
        for looked in (everybody, *[self.two_by_others] * 6, everybody):
            self.bench.advance(minutes=1)
            for user in sorted(looked):
                reconcile(user_key_for(parse_email(user)), self.bench.deps)
        self.two_by_others.clear()

    def audit_is_whole(self) -> None:
        """Every change has one entry and every entry its change; chains and manifests verify."""
        kept = None
        while kept != (
            found := list(audit.objects(self.bench, "manifests/"))
        ):  # a sweep catches up with a year of days
            kept = found
            keep_manifests(self.bench.deps)
        found = audit.faults(self.bench)
        assert not found, "\n".join(found)

    def longest_wait(self) -> timedelta:
        """Return how long it takes until what was refused as wrong, or in unknown words, is tried again; zero for less than an hour."""
        found = [self.bench.stored(user_key_for(parse_email(user))) for user in self.users]
        moments = [each.record.status.notebook.not_before for each in found if each is not None]
        waits = [moment - self.bench.now for moment in moments if moment is not None]
        return max((wait for wait in waits if wait > timedelta(hours=1)), default=timedelta(0))

    def _busy(self) -> list[str]:
        """Whose next wake-up is near: work is still under way."""
        near = self.bench.now + timedelta(hours=2)
        return [
            str(row.user_key)
            for row in self.bench.deps.records.rows()
            if row.busy or (row.next_attempt_at is not None and row.next_attempt_at < near)
        ]

    def noticed_since(self, user: str) -> datetime:
        """Return since when the product has known that somebody is entitled to nothing: it counts the retention from there."""
        return self.noticed.get(user, self.bench.now)

    def without_kept(self, user: str, mine: list[Any]) -> list[Any]:
        """Without the former instance that a hold keeps, or that may hold what somebody else wrote on it."""
        stored = self.bench.stored(user_key_for(parse_email(user)))
        former = stored.record.status.notebook.former if stored is not None else None
        if former is None or not (user in self.on_hold or former.touched):
            return mine
        assert [i.state for i in mine if i.short == former.instance_id] in (["STOPPED"], [])
        return [i for i in mine if i.short != former.instance_id]

    def world_matches(self) -> None:
        """The oracle's word on everybody, and nothing else in the world."""
        cloud, now = self.bench.cloud, self.bench.now
        everything = instances(cloud)
        expected_names = set()
        for user in sorted({s.user for s in self.sent}):
            email = parse_email(user)
            key = user_key_for(email)
            profile = wanted_profile(self.sent, user, now)
            mine = self.of(user)
            names = template_names(cloud, self.bench.settings.bucket, key)
            if profile is None:
                assert not names, f"{user} left and still has templates {names}"
                assert all(i.state == "STOPPED" for i in mine), f"{user} is not entitled: {[i.state for i in mine]}"
                since = self.noticed_since(user)
                paused = is_paused(self.sent, user, now)
                mine = self.without_kept(user, mine)  # what somebody else wrote on is kept for as long as a snapshot
                assert not mine or user in self.on_hold or paused or now - since < RETENTION + timedelta(days=1), (
                    f"{user}'s instance outlives its retention"
                )
                self.access_is_cut(user)
            else:
                mine = self.without_kept(user, mine)
                assert len(mine) == 1, f"{user} should have one instance and has {len(mine)}"
                fine = {"ACTIVE", "STOPPED"} if user in self.rested else {"ACTIVE"}
                assert mine[0].state in fine, f"{user}'s instance is {mine[0].state}"
                assert names == TEMPLATES[profile], f"{user} ({profile}) has templates {names}"
                address = self.address(user)
                record = self.bench.stored(user_key_for(parse_email(address)))
                assert record is not None
                if profile == "engineer" and not record.record.status.notebook.refused:
                    assert mine[0].owner == address, f"{user} is {address} now"
                else:  # not disturbed at work for it, or Google refused for good to make another: an administrator must look
                    assert mine[0].owner in {user, *self.known_as.get(user, [])}
                assert (record.record.user_key, record.record.email) == (key, address)
                labels = mine[0].body["labels"]
                assert labels["benchkeeper-profile"] == profile
                assert labels["benchkeeper-user"] == key
                if user in self.ledger.newest:
                    assert self.ledger.on_disk(mine[0]) == self.ledger.newest[user], f"{user} does not find the files"
                if profile == "engineer":
                    account = self.account(user)
                    binding = {"role": "roles/iam.serviceAccountUser", "members": [f"user:{address}"]}
                    assert account == {"disabled": False, "bindings": [binding]}, f"{user}: {account}"
                found = preview(key, self.bench.deps)
                assert found is not None
                assert not found.plan.actions, f"no fixed point: {found.plan.actions}"
            expected_names |= {i.name for i in self.of(user)}
        assert set(everything) == expected_names, "something else is in the world"
        summary = self.at_rest or sweep("drift", self.bench.deps)
        assert not summary.strays, f"nobody owns {summary.strays}"
