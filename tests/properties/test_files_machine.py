"""The world's state machine with people who take files of an earlier day back, and undo that, in the middle of everything else."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule, run_state_machine_as_test
from kit.histories import ARE_THE_SAME, RUNS
from kit.life import SNAPSHOT_RETENTION
from kit.machine import CrashError, WorldMachine
from kit.spark_machine import USERS
from msgspec import Struct

from shared.domain.intent.restoring import undoable
from shared.domain.intent.wish import Asked, WishKind
from shared.domain.notebook import rollback
from shared.domain.record.copies import copies_of
from shared.domain.record.record import Power, UserRecord
from shared.domain.snapshot import copies as keeping
from shared.domain.things.catalog import SnapshotSettings
from shared.domain.things.errors import BenchkeeperError
from shared.domain.things.identity import parse_email, user_key_for
from shared.domain.things.notebook import NotebookState
from shared.engine.news.requests import ask_power, ask_restore

_WEEK = timedelta(days=7)


class Pair(Struct):
    """What a restore replaces and what it brings, as bytes. Both must be somewhere until the restore ended, and for a week more."""

    snapshot: str
    replaced: bytes
    brought: bytes


class FilesMachine(WorldMachine):
    """The world's machine, with copies and restores."""

    profiles: ClassVar = {
        name: {**fields, "snapshots": SnapshotSettings(keep=7)} for name, fields in WorldMachine.profiles.items()
    }

    def __init__(self) -> None:
        super().__init__()
        self.pairs: dict[str, Pair] = {}

    @rule(user=st.sampled_from(USERS), works=st.booleans())
    def a_day(self, user: str, works: bool) -> None:
        """A day on which somebody may come and work; sweeps take copies of what ran, and stop it when nobody works."""
        if works:
            with contextlib.suppress(BenchkeeperError):
                ask_power(user_key_for(parse_email(user)), Power.RUNNING, self.bench.deps, by=user)
        self.calm()
        self.bench.advance(days=1)
        self.tick("due")
        self.tick("idle")
        self.calm()
        if works:
            self.works(user)

    @precondition(lambda self: self.ledger.newest)
    @rule(user=st.sampled_from(USERS), pick=st.integers(0, 3), undo=st.booleans(), die_at=st.integers(-1, 40))
    def takes_files_back(self, user: str, pick: int, undo: bool, die_at: int) -> None:
        """Somebody asks for files of an earlier day, or for the undo; perhaps the process dies while it begins."""
        user = str(parse_email(user))
        record = self.record(user)
        if record is None or user not in self.ledger.newest or not copies_of(record.status):
            return
        found, last = copies_of(record.status), undoable(record, self.bench.now)
        name = last.before if undo and last is not None else found[pick % len(found)].name
        kind = WishKind.UNDO_RESTORE if undo and last is not None else WishKind.RESTORE
        content = self.content_of(name)
        with contextlib.suppress(BenchkeeperError):
            accepted = ask_restore(record.user_key, Asked(kind=kind, snapshot=name), self.bench.deps, by=user)
            if accepted is not None and accepted.changed and content is not None:
                self.pairs[user] = Pair(name, self.ledger.newest[user], content)
        if die_at >= 0:
            self._at(die_at, self._die)
        try:
            for _ in range(6):
                self.bench.advance(minutes=1)
                with contextlib.suppress(CrashError):
                    self.tick("due")
        finally:
            self.bench.adapter.around = lambda: None

    def record(self, user: str) -> UserRecord | None:
        with self._undisturbed(), contextlib.suppress(BenchkeeperError):
            stored = self.bench.deps.records.load(user_key_for(parse_email(user)))
            return stored.record if stored is not None else None
        return None

    def content_of(self, name: str) -> bytes | None:
        found = self.bench.cloud.compute.disks.snapshots
        return next((s.content for path, s in found.items() if path.endswith(f"/{name}")), None)

    @invariant()
    def data_is_kept(self) -> None:
        """Neither state of a restore is lost before it can be undone no more; nor what somebody wrote last, unless they replaced it."""
        self._note_unwanted()
        everywhere = self.ledger.everywhere()
        for user, pair in list(self.pairs.items()):
            record = self.record(user)
            since = self.unwanted_since.get(user)
            is_late = since is not None and self.bench.now - since >= SNAPSHOT_RETENTION - timedelta(days=1)
            if record is None or user not in self.ledger.newest or is_late:
                del self.pairs[user]
                continue
            wish, last = record.spec.restore, record.status.data.restored
            is_asked = wish is not None and wish.snapshot == pair.snapshot and (last is None or last.wish != wish)
            is_fresh = last is not None and last.wish.snapshot == pair.snapshot and last.is_done
            if is_fresh and self.bench.now - last.ended_at >= _WEEK - timedelta(hours=1):
                if self.ledger.newest[user] == pair.replaced:
                    self.ledger.newest[user] = pair.brought
                del self.pairs[user]
                continue
            assert pair.replaced in everywhere, f"what a restore of {user} replaced is gone"
            if is_asked or is_fresh or record.status.data.rollback is not None:
                assert pair.brought in everywhere, f"what a restore of {user} brought is gone"
            else:
                del self.pairs[user]  # it came to nothing
        super().data_is_kept()

    def world_matches(self) -> None:
        """Whoever took files back finds those, and may still undo it."""
        for user, pair in self.pairs.items():
            record = self.record(user)
            last = record.status.data.restored if record is not None else None
            is_back = last is not None and last.is_done and last.wish.snapshot == pair.snapshot
            if is_back and self.ledger.newest.get(user) == pair.replaced:
                self.ledger.newest[user] = pair.brought
        super().world_matches()


def _settings(examples: int, **more: object) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=14,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
        print_blob=True,
        phases=[Phase.explicit, Phase.generate],
        **more,
    )


@pytest.mark.timeout(900)
@pytest.mark.parametrize("shard", range(2))
def test_files_are_where_they_should_be_whatever_comes_in_between(shard):
    machine = type(f"Shard{shard}", (FilesMachine,), {})
    if ARE_THE_SAME:
        machine = seed(20261129 + shard)(machine)
    run_state_machine_as_test(machine, settings=_settings(max(RUNS // 10, 1)))


# --- planted faults


def _restore_without_saving(monkeypatch):
    proper = rollback._save

    def save(record, rollback_, notebook, scene):
        if notebook.state is NotebookState.ACTIVE:
            return proper(record, rollback_, notebook, scene)  # it is stopped first
        return record.with_status(rollback=rollback.replace(rollback_, before=rollback_.wish.snapshot)), None

    monkeypatch.setattr(rollback, "_save", save)


def _keep_nothing_for_the_undo(monkeypatch):
    monkeypatch.setattr(keeping, "UNDO_FOR", timedelta(hours=12))
    monkeypatch.setattr(keeping, "_protected", lambda record, now: keeping._named(record))  # noqa: ARG005 - the signature of the original


def _a_week_with_a_restore() -> None:
    """Three days of work, the files of the first come back, and days of work after that."""
    machine, user = FilesMachine(), USERS[0]
    machine.begin(settled=2)
    for _ in range(3):
        machine.a_day(user=user, works=True)
    machine.takes_files_back(user=user, pick=0, undo=False, die_at=-1)
    for _ in range(6):
        machine.calm()
        machine.data_is_kept()
        machine.a_day(user=user, works=True)
        machine.data_is_kept()
    assert machine.pairs, "nothing was taken back"
    machine.teardown()


@pytest.mark.parametrize("plant", [_restore_without_saving, _keep_nothing_for_the_undo])
def test_a_planted_fault_is_caught(plant, monkeypatch):
    plant(monkeypatch)
    with pytest.raises(AssertionError, match="what a restore of"):
        _a_week_with_a_restore()


def test_without_the_fault_the_same_week_is_allowed():
    _a_week_with_a_restore()
