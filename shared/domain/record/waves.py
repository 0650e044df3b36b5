"""A change of machines or images goes through the fleet in waves, so that a bad one meets few people. Pure.

A `Rollout` is part of the policy in force. Whoever's turn has not come keeps a notebook that is right by an earlier policy; whatever
else is out of line is mended as always. The drift sweep counts (`count`), judges (`judge`) and opens the next wave (`shared.engine.decisions.waves`).

Who is in which wave follows from a hash of the person's key, so that the object stays small and nobody is always the first.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from shared.domain.things.identity import UserKey

# From so many notebooks on that are stopped for it, a change goes in waves: one person, then these parts of all.
FROM = 6
SHARES = (0.05, 0.25, 1.0)
PATIENCE = timedelta(minutes=60)  # from the begin of a person's change to a notebook that is ready and verified
_MOST_FAILED = 0.02
_STILL = 0.1  # of those who have begun so many may be under way when the next wave opens
# Shapes that are kept: the oldest ones and the newest. Whoever is right by none of them would be changed at once.
_MOST_EARLIER = 100


class RolloutState(StrEnum):
    """Where a rollout stands."""

    OPEN = "Open"
    HALTED = "Halted"  # too many failed: nobody begins until an administrator decides
    DONE = "Done"


class Turn(Struct, frozen=True, kw_only=True):
    """When a person's change began in a rollout, and when it was seen to have worked; None: not yet.

    `refused`: the cloud refused it for good, and the person has what there was. `sold_out`: Google has no machine, or no quota, for
    it; that says nothing about the change.
    """

    rollout: str
    began_at: datetime
    ended_at: datetime | None = None
    refused: bool = False
    sold_out: bool = False


class Counts(Struct, frozen=True, kw_only=True):
    """People whose turn has come, by where they stand. `waits`: not begun, because somebody works there; `sold_out`: no machine."""

    verified: int = 0
    under_way: int = 0
    failed: int = 0
    waits: int = 0
    sold_out: int = 0

    @property
    def begun(self) -> int:
        """Return how many have begun and were not stopped by a lack of machines."""
        return self.verified + self.under_way + self.failed

    @property
    def people(self) -> int:
        """Return how many need the change and may have it."""
        return self.begun + self.waits + self.sold_out


class Rollout(Struct, frozen=True, kw_only=True):
    """A change that goes in waves.

    `sizes` are the people up to each wave, the last one is all; `bounds` the ranks up to which the others reach. `first` is the one
    of the first wave. `before` is the content of the policy that was in force, to go back to; `earlier` are the shapes
    (`policy_codec.shape_of`), oldest first, by which a notebook may still be right. `excused_at`: whoever began
    before that does not count as failed any more, for an administrator said to go on.
    """

    rollout_id: str
    before: Mapping[str, Any]
    earlier: tuple[Mapping[str, Any], ...]
    sizes: tuple[int, ...]
    bounds: tuple[int, ...]
    first: UserKey
    began_at: datetime
    opened_at: datetime
    wave: int = 0
    state: RolloutState = RolloutState.OPEN
    counts: Counts = Counts()
    excused_at: datetime | None = None

    @property
    def is_last(self) -> bool:
        """Return True if everybody's turn has come."""
        return self.wave >= len(self.bounds)

    @property
    def decided_by(self) -> str:
        """Return what a decision about a halted rollout names: this rollout, in this wave, since it last went on."""
        said = f"{self.rollout_id}|{self.wave}|{self.opened_at.isoformat()}|{self.excused_at}"
        return hashlib.sha256(said.encode()).hexdigest()[:32]

    def reaches(self, user_key: UserKey) -> bool:
        """Return True if the person's wave was opened."""
        if self.is_last or user_key == self.first:
            return True
        return self.wave > 0 and rank(self.rollout_id, user_key) <= self.bounds[self.wave]

    def excuses(self, turn: Turn) -> bool:
        """Return True if the person began before an administrator said to go on: what failed then is tried again."""
        return turn.rollout == self.rollout_id and self.excused_at is not None and turn.began_at < self.excused_at

    def admits(self, user_key: UserKey, turn: Turn | None) -> bool:
        """Return True if the person's change may begin, or go on."""
        match self.state:
            case RolloutState.DONE:
                return True
            case RolloutState.HALTED:
                return turn is not None and turn.rollout == self.rollout_id
            case RolloutState.OPEN:
                return self.reaches(user_key)


def rank(rollout_id: str, user_key: UserKey) -> int:
    """Return the person's place in the order of a rollout: 48 bits of a hash."""
    return int(hashlib.sha256(f"{rollout_id}|{user_key}".encode()).hexdigest()[:12], 16)


def sizes_for(people: int) -> tuple[int, ...]:
    """Return how many people each wave of a change for so many brings it up to."""
    return tuple(sorted({1, *(math.ceil(share * people) for share in SHARES)}))


def begin(
    rollout_id: str,
    people: Iterable[UserKey],
    *,
    rather: frozenset[UserKey],
    before: Mapping[str, Any],
    earlier: tuple[Mapping[str, Any], ...],
    now: datetime,
) -> Rollout:
    """Return a rollout for these people (at least one), its first wave open. The first of `rather` goes first, if there is one."""
    ordered = sorted(set(people), key=lambda key: (rank(rollout_id, key), key))
    sizes = sizes_for(len(ordered))
    bounds = tuple(rank(rollout_id, ordered[size - 1]) for size in sizes[:-1])
    return Rollout(
        rollout_id=rollout_id,
        before=before,
        earlier=earlier
        if len(earlier) <= _MOST_EARLIER
        else earlier[: _MOST_EARLIER // 2] + earlier[-_MOST_EARLIER // 2 :],
        sizes=sizes,
        bounds=bounds,
        first=next((key for key in ordered if key in rather), ordered[0]),
        began_at=now,
        opened_at=now,
    )


class Standing(StrEnum):
    """Where one person stands in a rollout."""

    VERIFIED = "Verified"
    UNDER_WAY = "UnderWay"
    FAILED = "Failed"
    WAITS = "Waits"
    SOLD_OUT = "SoldOut"


class Sight(Struct, frozen=True, kw_only=True):
    """What a listing shows of somebody's notebook; `in_line` and `works` are None where that cannot be told.

    `in_line`: it is as the policy in force wants it, in all that takes a stop. `works`: it runs and is healthy, or rests as it should,
    and nothing of a replacement is left.
    """

    in_line: bool | None
    works: bool | None


def standing_of(rollout: Rollout, turn: Turn | None, sight: Sight, now: datetime) -> Standing | None:
    """Return where somebody stands whose turn has come; None for whoever needs nothing."""
    begun = turn if turn is not None and turn.rollout == rollout.rollout_id else None
    if begun is None:
        return Standing.WAITS if sight.in_line is False else None
    is_excused = rollout.excuses(begun)
    if begun.refused:
        return Standing.WAITS if is_excused else Standing.FAILED
    if begun.ended_at is not None or (sight.in_line and sight.works):
        return Standing.VERIFIED
    if sight.in_line is None and sight.works is None:
        return Standing.UNDER_WAY  # not readable now is not failed
    if begun.sold_out:
        return Standing.SOLD_OUT
    if now - begun.began_at < PATIENCE:
        return Standing.UNDER_WAY
    return Standing.WAITS if is_excused else Standing.FAILED


def counts_of(standings: Iterable[Standing]) -> Counts:
    """Count them."""
    found = list(standings)
    return Counts(
        verified=found.count(Standing.VERIFIED),
        under_way=found.count(Standing.UNDER_WAY),
        failed=found.count(Standing.FAILED),
        waits=found.count(Standing.WAITS),
        sold_out=found.count(Standing.SOLD_OUT),
    )


def judge(rollout: Rollout, counts: Counts, now: datetime) -> Rollout:
    """Return the rollout after the gate: halted, in its next wave, done, or as it was with the new counts.

    It halts when more than 2 % of those who began are not ready in time; in the first wave, when one is not. It goes on when at least
    half of those whose turn has come are done and few are under way; so somebody who works for days holds up nobody.
    """
    rollout = replace(rollout, counts=counts)
    if rollout.state is not RolloutState.OPEN:
        return rollout
    most = 0 if rollout.wave == 0 else int(counts.begun * _MOST_FAILED)
    if counts.failed > most:
        return replace(rollout, state=RolloutState.HALTED)
    if counts.people and (2 * counts.verified < counts.people or counts.under_way > counts.begun * _STILL):
        return rollout
    if not rollout.is_last:
        return replace(rollout, wave=rollout.wave + 1, opened_at=now)
    if counts.verified < counts.people:
        return rollout
    return replace(rollout, state=RolloutState.DONE, before={}, earlier=())


def to_json(rollout: Rollout) -> dict[str, Any]:
    """Return the JSON-able form."""
    counts = rollout.counts
    return {
        "id": rollout.rollout_id,
        "before": rollout.before,
        "earlier": list(rollout.earlier),
        "sizes": list(rollout.sizes),
        "bounds": list(rollout.bounds),
        "first": rollout.first,
        "began_at": rollout.began_at.isoformat(),
        "opened_at": rollout.opened_at.isoformat(),
        "wave": rollout.wave,
        "state": rollout.state.value,
        "counts": [counts.verified, counts.under_way, counts.failed, counts.waits, counts.sold_out],
        "excused_at": None if rollout.excused_at is None else rollout.excused_at.isoformat(),
    }


def from_json(raw: Mapping[str, Any]) -> Rollout:
    """Return what `to_json` gave; raise KeyError, TypeError or ValueError for anything else."""
    verified, under_way, failed, waits, sold_out = (int(each) for each in raw["counts"])
    sizes, bounds = tuple(int(each) for each in raw["sizes"]), tuple(int(each) for each in raw["bounds"])
    wave = int(raw["wave"])
    if len(sizes) != len(bounds) + 1 or not 0 <= wave <= len(bounds):
        raise ValueError("waves without their sizes")
    excused = raw["excused_at"]
    return Rollout(
        rollout_id=str(raw["id"]),
        before=dict(raw["before"]),
        earlier=tuple(dict(each) for each in raw["earlier"]),
        sizes=sizes,
        bounds=bounds,
        first=UserKey(raw["first"]),
        began_at=_time(raw["began_at"]),
        opened_at=_time(raw["opened_at"]),
        wave=wave,
        state=RolloutState(raw["state"]),
        counts=Counts(verified=verified, under_way=under_way, failed=failed, waits=waits, sold_out=sold_out),
        excused_at=None if excused is None else _time(excused),
    )


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
