"""The rollout of a change of machines or images: it reaches the fleet in waves, so that a bad change affects few users.

Pure.

A `Rollout` is part of the policy in force. Before a user's turn, a notebook that matches an earlier policy is not stopped
for a change; differences that need no stop are corrected as usual. The drift sweep counts (`counts_of`), judges (`judge`)
and opens the next wave (`shared.engine.decisions.waves`).

A hash of the user key decides the wave of a user. The object therefore stays small, and no user is always the first.
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

# A change that stops at least this many notebooks goes in waves: one user, then these shares of all.
FROM = 6
SHARES = (0.05, 0.25, 1.0)
PATIENCE = timedelta(minutes=60)  # from the start of a user's change to a notebook that is ready and verified
_MOST_FAILED = 0.02
_STILL = 0.1  # the share of the begun changes that may be under way when the next wave opens
# The number of shapes kept: the oldest and the newest. A notebook that is right by none of them would be changed at once.
_MOST_EARLIER = 100


class RolloutState(StrEnum):
    """The state of a rollout."""

    OPEN = "Open"
    HALTED = "Halted"  # too many failed: no further change begins until an administrator decides
    DONE = "Done"


class Turn(Struct, frozen=True, kw_only=True):
    """The turn of a user in a rollout: the change of the user's notebook began at `began_at`.

    `ended_at` is the time at which the changed notebook was observed to work, None before. `refused` is True if the cloud
    permanently refused the change, so that the user keeps the old notebook. `sold_out` is True if Google has no machine or
    quota for the new notebook now; that does not mean that the change is bad.
    """

    rollout: str
    began_at: datetime
    ended_at: datetime | None = None
    refused: bool = False
    sold_out: bool = False


class Counts(Struct, frozen=True, kw_only=True):
    """The number of users whose turn has come, by standing.

    `waits` counts changes that have not begun, because the notebook is in use. `sold_out` counts changes without a machine.
    """

    verified: int = 0
    under_way: int = 0
    failed: int = 0
    waits: int = 0
    sold_out: int = 0

    @property
    def begun(self) -> int:
        """Return the number of users whose change began and was not stopped by a lack of machines."""
        return self.verified + self.under_way + self.failed

    @property
    def people(self) -> int:
        """Return the number of users who need the change and may have it."""
        return self.begun + self.waits + self.sold_out


class Rollout(Struct, frozen=True, kw_only=True):
    """A rollout: a change that reaches the fleet in waves.

    `sizes` are the numbers of users up to each wave; the last is the number of all users. `bounds` are the highest ranks of all
    waves but the last. `first` is the user of the first wave. `before` is the content of the previous policy, for a way
    back. `earlier` are the shapes (`policy_codec.shape_of`) of earlier policies, oldest first, which notebooks may still
    match. A change that began before `excused_at` does not count as failed, because an administrator decided to continue.
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
        """Return True in the last wave, when the turn of every user has come."""
        return self.wave >= len(self.bounds)

    @property
    def decided_by(self) -> str:
        """Return the digest that a decision about a halted rollout names: of the rollout, the wave and the last continuation."""
        said = f"{self.rollout_id}|{self.wave}|{self.opened_at.isoformat()}|{self.excused_at}"
        return hashlib.sha256(said.encode()).hexdigest()[:32]

    def reaches(self, user_key: UserKey) -> bool:
        """Return True if the user's wave was opened."""
        if self.is_last or user_key == self.first:
            return True
        return self.wave > 0 and rank(self.rollout_id, user_key) <= self.bounds[self.wave]

    def excuses(self, turn: Turn) -> bool:
        """Return True if the change began before an administrator decided to continue.

        Earlier failures are tried again.
        """
        return turn.rollout == self.rollout_id and self.excused_at is not None and turn.began_at < self.excused_at

    def admits(self, user_key: UserKey, turn: Turn | None) -> bool:
        """Return True if the user's change may begin or continue."""
        match self.state:
            case RolloutState.DONE:
                return True
            case RolloutState.HALTED:
                return turn is not None and turn.rollout == self.rollout_id
            case RolloutState.OPEN:
                return self.reaches(user_key)


def rank(rollout_id: str, user_key: UserKey) -> int:
    """Return the user's place in the order of a rollout: a number of 48 bits from a hash."""
    return int(hashlib.sha256(f"{rollout_id}|{user_key}".encode()).hexdigest()[:12], 16)


def sizes_for(people: int) -> tuple[int, ...]:
    """Return the total number of users with the change after each wave, for a change that reaches `people` users."""
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
    """Return a rollout for these users (at least one) with its first wave open.

    The first wave is one user, from `rather` if possible.
    """
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
    """The progress of one user in a rollout."""

    VERIFIED = "Verified"
    UNDER_WAY = "UnderWay"
    FAILED = "Failed"
    WAITS = "Waits"
    SOLD_OUT = "SoldOut"


class Sight(Struct, frozen=True, kw_only=True):
    """An observation of a user's notebook from a listing; `in_line` and `works` are None if unknown.

    `in_line` is True if all properties whose change needs a stop match the policy in force. `works` is True if the notebook is
    running and healthy, or stopped as wanted, and no replacement is under way.
    """

    in_line: bool | None
    works: bool | None


def standing_of(rollout: Rollout, turn: Turn | None, sight: Sight, now: datetime) -> Standing | None:
    """Return the standing of a user whose turn has come; None for a user who needs no change."""
    begun = turn if turn is not None and turn.rollout == rollout.rollout_id else None
    if begun is None:
        return Standing.WAITS if sight.in_line is False else None
    is_excused = rollout.excuses(begun)
    if begun.refused:
        return Standing.WAITS if is_excused else Standing.FAILED
    if begun.ended_at is not None or (sight.in_line and sight.works):
        return Standing.VERIFIED
    if sight.in_line is None and sight.works is None:
        return Standing.UNDER_WAY  # an unreadable notebook does not count as failed
    if begun.sold_out:
        return Standing.SOLD_OUT
    if now - begun.began_at < PATIENCE:
        return Standing.UNDER_WAY
    return Standing.WAITS if is_excused else Standing.FAILED


def counts_of(standings: Iterable[Standing]) -> Counts:
    """Return the number of users for each standing."""
    found = list(standings)
    return Counts(
        verified=found.count(Standing.VERIFIED),
        under_way=found.count(Standing.UNDER_WAY),
        failed=found.count(Standing.FAILED),
        waits=found.count(Standing.WAITS),
        sold_out=found.count(Standing.SOLD_OUT),
    )


def judge(rollout: Rollout, counts: Counts, now: datetime) -> Rollout:
    """Return the rollout with the new counts: halted, in its next wave, done, or otherwise unchanged.

    Only an open rollout can change. The rollout halts if more than 2 % of the begun changes have failed; in the first wave,
    if any has failed. The next wave opens if at least half of the users whose turn has come are verified and at most a tenth
    of the begun changes are under way. A user who works for days therefore does not block the next wave. The rollout is done
    once all users are verified in the last wave.
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
    """Return the rollout in JSON types."""
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
    """Return the rollout that `to_json` wrote. Raise KeyError, TypeError or ValueError for anything else."""
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
