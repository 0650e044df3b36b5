"""Any order of writes, snapshots, restores and deletions, waited for or not: bytes are where they belong and nowhere else.

The oracle below knows only what the documentation promises and the two judgements of the model (a snapshot fails with its disk; a restore
fails with its snapshot); it has no notion of operations or agendas.
"""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.emulator.data_kit import ID, PROJECT, SNAPSHOTS, ZONE, DataCloud

READY_S, GONE_S, DELETED_S, RESTORED_S, ACTIVE_S = 60, 10, 60, 90, 240
PEOPLE = st.sampled_from(["ann", "ben"])
NAMES = st.sampled_from(["s1", "s2", "s3"])
FOREVER = float("inf")


@dataclass
class Frozen:
    """A snapshot: which disk it reads (`ident`, `life`), and until when it may still fail."""

    content: bytes
    ident: str
    life: int
    ends: float
    failed: bool = False
    gone: float = FOREVER


@dataclass
class Held:
    """An instance's data disk: `life` numbers the disks; `busy` is what runs on the instance and when that ends."""

    content: bytes
    life: int
    busy: str = ""
    until: float = FOREVER
    source: str = ""


class Data(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.cloud = DataCloud.build()
        self.now = 0.0
        self.lives = 0
        self.writes = 0
        self.held: dict[str, Held] = {}
        self.frozen: dict[str, Frozen] = {}

    # --- the oracle's clock

    def pass_time(self, seconds: float) -> None:
        self.cloud.wait(seconds)
        end = self.now + seconds
        while True:
            due = sorted((held.until, ident) for ident, held in self.held.items() if held.until <= end)
            if not due:
                break
            at, ident = due[0]
            self._finish(ident, at)
        self.now = end
        for name in [name for name, each in self.frozen.items() if each.gone <= end]:
            del self.frozen[name]

    def _finish(self, ident: str, at: float) -> None:
        held = self.held[ident]
        if held.busy == "delete":
            self._disk_ends(ident, held.life, at)
            del self.held[ident]
            return
        source = self.frozen.get(held.source)
        held.busy, held.until = "", FOREVER
        if source is not None and source.gone > at:
            self._disk_ends(ident, held.life, at)
            self.lives += 1
            held.content, held.life = source.content, self.lives

    def _disk_ends(self, ident: str, life: int, at: float) -> None:
        for each in self.frozen.values():
            if (each.ident, each.life) == (ident, life) and each.ends > at:
                each.ends, each.failed = at, True

    def is_ready(self, name: str) -> bool:
        each = self.frozen.get(name)
        return each is not None and each.ends <= self.now and not each.failed and each.gone == FOREVER

    # --- what people and Benchkeeper do

    @rule(ident=PEOPLE)
    def create(self, ident: str) -> None:
        where = f"/v2/{PROJECT}/locations/{ZONE}/instances"
        if ident in self.held:
            self.cloud.call("POST", where, {}, instanceId=ident, expect=409)
            return
        self.cloud.call("POST", where, {}, instanceId=ident)
        self.pass_time(ACTIVE_S)
        self.lives += 1
        self.held[ident] = Held(b"", self.lives)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), size=st.integers(0, 300))
    def write(self, data: st.DataObject, size: int) -> None:
        ident = data.draw(st.sampled_from(sorted(self.held)))
        self.writes += 1
        content = f"{ident} {self.writes} ".encode() + bytes(n % 256 for n in range(size))
        self.cloud.write(ident, content)
        self.held[ident].content = content

    @precondition(lambda self: self.held)
    @rule(data=st.data(), name=NAMES)
    def snapshot(self, data: st.DataObject, name: str) -> None:
        self._snapshot(data.draw(st.sampled_from(sorted(self.held))), name)

    def _snapshot(self, ident: str, name: str) -> None:
        body = {"name": name, "sourceDisk": f"zones/{ZONE}/disks/{ident}-data-workspace"}
        self.cloud.call("POST", SNAPSHOTS, body, expect=409 if name in self.frozen else 200)
        if name not in self.frozen:
            held = self.held[ident]
            self.frozen[name] = Frozen(held.content, ident, held.life, self.now + READY_S)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), name=NAMES)
    def restore(self, data: st.DataObject, name: str) -> None:
        self._restore(data.draw(st.sampled_from(sorted(self.held))), name)

    def _restore(self, ident: str, name: str) -> None:
        held = self.held[ident]
        body = {"snapshot": {"projectId": ID, "snapshotId": name}}
        status = 200 if self.is_ready(name) else 400 if name in self.frozen else 404
        self.cloud.call("POST", f"{path(ident)}:restore", body, expect=409 if held.busy else status)
        if not held.busy and status == 200:
            held.busy, held.until, held.source = "restore", self.now + RESTORED_S, name

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        ident = data.draw(st.sampled_from(sorted(self.held)))
        held = self.held[ident]
        self.cloud.call("DELETE", path(ident), expect=409 if held.busy else 200)
        if not held.busy:
            held.busy, held.until = "delete", self.now + DELETED_S

    @precondition(lambda self: self.frozen)
    @rule(data=st.data())
    def delete_snapshot(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.frozen)))
        each = self.frozen[name]
        done = each.ends <= self.now and each.gone == FOREVER
        self.cloud.call("DELETE", f"{SNAPSHOTS}/{name}", expect=200 if done else 400)
        if done:
            each.gone = self.now + GONE_S

    @precondition(lambda self: self.held)
    @rule(data=st.data(), name=NAMES)
    def keep(self, data: st.DataObject, name: str) -> None:
        self.write(data=data, size=20)
        self.snapshot(data=data, name=name)
        self.pass_time(READY_S)

    @precondition(lambda self: any(self.is_ready(name) for name in self.frozen))
    @rule(data=st.data(), between=st.sampled_from([0, 29, 30, 31, 80]))
    def restore_while_the_disk_is_being_frozen(self, data: st.DataObject, between: int) -> None:
        """What chance alone would seldom bring together: `between` decides which of the two ends first."""
        source = data.draw(st.sampled_from(sorted(name for name in self.frozen if self.is_ready(name))))
        self.create(ident="ann")
        self._restore("ann", source)
        self.pass_time(between)
        if "ann" in self.held:
            self._snapshot("ann", "meanwhile")
        self.pass_time(RESTORED_S)

    @rule(seconds=st.sampled_from([1, 5, 10, 30, 60, 90, 300]))
    def wait(self, seconds: int) -> None:
        self.pass_time(seconds)

    @rule()
    def start_anew_from_what_was_saved(self) -> None:
        saved = self.cloud.call("GET", "/_emulator/world")
        self.cloud = DataCloud.build()
        self.cloud.call("PUT", "/_emulator/world", saved)

    # --- what always holds

    @invariant()
    def every_disk_holds_its_own_persons_last_bytes(self) -> None:
        for ident in ("ann", "ben"):
            answer = self.cloud.http.get(f"/_emulator/disks/{ZONE}/{ident}-data-workspace")
            if ident in self.held:
                assert (answer.status_code, answer.data) == (200, self.held[ident].content)
            else:
                assert answer.status_code == 404

    @invariant()
    def every_snapshot_holds_what_it_froze_whatever_became_of_the_disk(self) -> None:
        listed = {each["name"]: each["status"] for each in self.cloud.call("GET", SNAPSHOTS).get("items", [])}
        assert set(listed) == set(self.frozen)
        for name, each in self.frozen.items():
            assert self.cloud.http.get(f"/_emulator/snapshots/{name}").data == each.content
            if each.gone < FOREVER:
                assert listed[name] == "DELETING"
            elif each.ends > self.now:
                assert listed[name] in ("CREATING", "UPLOADING")
            else:
                assert listed[name] == ("FAILED" if each.failed else "READY")


def path(ident: str) -> str:
    return f"/v2/{PROJECT}/locations/{ZONE}/instances/{ident}"


TestData = Data.TestCase
TestData.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
