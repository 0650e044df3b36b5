"""The sweep of each minute: it reconciles users who are due, and folds in requests whose wake-up was lost.

A sweep may last longer than a minute, so two sweeps may run at the same time. If many users are due, sweeps share them. A
sweep claims a part of the users, lists the due users of that part again, works on them, and releases the claim. Claims only
save work: if a claim cannot be written, the sweep works on the part anyway, because a pass may be made twice. The claim of
a dead sweep lapses.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta

from msgspec import Struct

from shared.domain.things.errors import BenchkeeperError
from shared.domain.things.identity import UserKey
from shared.domain.things.sweep import Sweep
from shared.engine.decisions.decisions import try_take_up_decisions
from shared.engine.news.requests import try_take_up
from shared.engine.ports.deps import Deps
from shared.engine.ports.inbox import InboxFolders
from shared.engine.ports.records import DueClaim, DueHint
from shared.engine.reconcile.reconciler import reconcile
from shared.engine.reconcile.repair import load_mended
from shared.engine.sweeps.sweeping import DEADLINE, ClockWatch, Summary, finish, for_each

FEW = 200  # one sweep finishes this many users before the next one begins
PARTS = 16  # with five thousand users, a part takes less than half a minute, and its claim two calls
AT_ONCE = 2  # sweeps that share many users; a third would take the place of an idle or a drift sweep
TURN = timedelta(seconds=120)  # the longest time that a sweep works on one part
LAPSE = timedelta(seconds=180)  # a turn, and the time to finish the passes begun in it
_LEFT_TO_ANOTHER = "left to another sweep"


def part_of(user_key: UserKey) -> int:
    """Return the part to which this user belongs; it is the same in each process."""
    return zlib.crc32(user_key.encode()) % PARTS


def sweep_due(deps: Deps, *, dry_run: bool = False) -> Summary:
    """Reconcile the users who are due, and fold in the page's requests and decisions that wait. With `dry_run`, only list these users.

    A quiet tick makes two listing calls, whatever the number of users.
    """
    summary = Summary(kind=Sweep.DUE, began_s=deps.clock.monotonic_s(), clock=(watch := ClockWatch.begin(deps.clock)))
    now = watch.started_at
    listed = _look(deps, now)
    if dry_run:
        summary.looked_at = len(listed.keys)
        summary.decisions = [
            (key, "a pass is due" if key in listed.hints else "a request waits to be carried out")
            for key in listed.keys
        ]
        return summary

    work = _Work(deps, now, summary, listed)
    living = list(_living(listed.claims, deps))
    if len(listed.keys) <= FEW:
        held = {claim.part for claim in living}
        work.over(key for key in listed.keys if part_of(key) not in held)
        work.leave(held)
    else:
        work.share(living)
    if listed.has_decisions:
        try_take_up_decisions(deps)
    oldest = min(work.due_since.values(), default=now)
    summary.measures["oldest_due_s"] = round((now - oldest).total_seconds(), 1)
    return finish(summary, deps)


class _Listed(Struct, frozen=True, kw_only=True):
    """The due index and the inbox as listed once. `wishing` are the users with waiting requests.

    `keys` are the users of `hints` and `wishing`, those that are due longest first.
    """

    hints: Mapping[UserKey, list[DueHint]]
    claims: tuple[DueClaim, ...]
    wishing: frozenset[UserKey]
    has_decisions: bool
    keys: tuple[UserKey, ...]


def _look(deps: Deps, now: datetime) -> _Listed:
    hints: dict[UserKey, list[DueHint]] = {}
    claims = []
    for found in deps.records.due_and_claims(now):
        if isinstance(found, DueClaim):
            claims.append(found)
        else:
            hints.setdefault(found.user_key, []).append(found)
    folders = _folders(deps)
    return _Listed(
        hints=hints,
        claims=tuple(claims),
        wishing=frozenset(folders.people),
        has_decisions=folders.has_decisions,
        keys=tuple(dict.fromkeys([*hints, *sorted(folders.people)])),
    )


def _folders(deps: Deps) -> InboxFolders:
    """Return the users with waiting requests; empty if the inbox cannot be listed, so that due users still get their passes."""
    try:
        return deps.inbox.folders()
    except BenchkeeperError as error:
        deps.log.warning("Requests could not be listed", reason=error.reason.value, detail=error.detail)
        return InboxFolders(people=())


def _living(claims: Iterable[DueClaim], deps: Deps) -> Iterator[DueClaim]:
    """Yield the claims in force, and remove lapsed ones."""
    for claim in claims:
        if _lapsed(claim, deps):
            _release(claim, deps)
        else:
            yield claim


def _lapsed(claim: DueClaim, deps: Deps) -> bool:
    """Return True if the claim has lapsed. The embedded cloud's clock runs faster than the sweeps do."""
    return claim.at + LAPSE * max(1.0, deps.clock.speed()) <= deps.clock.now()


def _release(claim: DueClaim, deps: Deps) -> None:
    """Release the claim. A failure is only logged, because an old claim lapses."""
    try:
        deps.records.release_due(claim)
    except BenchkeeperError as error:
        deps.log.warning(
            "Claim of due users was not released", part=claim.part, reason=error.reason.value, detail=error.detail
        )


class _Work:
    """The work of one sweep.

    `due_since` has the time since which each remaining user is due, for the sweep's metric.
    """

    def __init__(self, deps: Deps, now: datetime, summary: Summary, listed: _Listed) -> None:
        self._deps, self._now, self._summary, self._listed = deps, now, summary, listed
        self._holder = f"{now.isoformat()} {summary.began_s}"
        # A user whose record cannot be read, or whom the deadline leaves over, counts as due since the hint's time.
        self.due_since: dict[UserKey, datetime] = {}
        self._note(listed.keys)

    def _note(self, keys: Iterable[UserKey]) -> None:
        for key in keys:
            self.due_since[key] = max((hint.at for hint in self._listed.hints.get(key, ())), default=self._now)

    def over(self, keys: Iterable[UserKey], *, until_s: float | None = None) -> None:
        """Make a pass for each of these users, until `until_s` of the monotonic clock or the sweep's deadline."""
        chosen = list(keys)
        self._summary.looked_at += len(chosen)
        for_each(chosen, self._one, self._summary, self._deps, until_s=until_s)

    def _one(self, key: UserKey) -> bool:
        deps, listed = self._deps, self._listed
        accepted = try_take_up(key, deps) if key in listed.wishing else None
        stays_due: datetime | None = None
        # A hint implies that there was a record, so a missing one may have been deleted.
        stored = accepted.stored if accepted is not None else load_mended(key, deps, if_missing=True)
        is_new = accepted is not None and accepted.changed
        if stored is None or not (is_new or stored.record.is_due(self._now)):
            del self.due_since[key]  # a stale hint
            acted = False
        else:
            self.due_since[key] = min(stored.record.status.next_attempt_at or self._now, self._now)
            result = reconcile(key, deps, stored=stored)
            acted = result is not None and bool(result.plan.actions)
            stays_due = result.requeue_at if result is not None else None
        for hint in listed.hints.get(key, ()):
            if stays_due is not None and hint.at - timedelta(seconds=1) < stays_due <= hint.at:
                del self.due_since[key]  # the user had a pass just now
            else:
                deps.records.drop_hint(hint)
        return acted

    def share(self, living: list[DueClaim]) -> None:
        """Work on one part after another until the sweep's deadline, skipping parts that other sweeps have claimed.

        The part whose user is due longest comes first. If `AT_ONCE` other sweeps work already, leave all users to them.
        """
        if len({claim.holder for claim in living}) >= AT_ONCE:
            self.leave(set(range(PARTS)))
            return
        held, done = {claim.part for claim in living}, set[int]()
        end_s = self._summary.began_s + DEADLINE.total_seconds()
        while self._deps.clock.monotonic_s() < end_s:
            parts = (part_of(key) for key in self._listed.keys)
            part = next((each for each in parts if each not in held and each not in done), None)
            if part is None:
                break
            claimed, claim = self._claimed(part)
            if not claimed:
                held.add(part)
                continue
            done.add(part)
            self._turn(part)
            held |= {each.part for each in self._listed.claims if self._is_anothers(each)} - done
            if claim is not None:
                _release(claim, self._deps)
        left = {part_of(key) for key in self._listed.keys} - held - done
        self._summary.left_over += sum(part_of(key) in left for key in self._listed.keys)
        self.leave(held)

    def _is_anothers(self, claim: DueClaim) -> bool:
        return claim.holder != self._holder and not _lapsed(claim, self._deps)

    def _claimed(self, part: int) -> tuple[bool, DueClaim | None]:
        """Return (True if this sweep works on the part, the claim to release afterwards).

        If the claim cannot be written, the sweep works on the part and has no claim to release.
        """
        try:
            claim = self._deps.records.claim_due(part, self._holder)
        except BenchkeeperError as error:
            self._deps.log.warning(
                "Claim of due users could not be written", reason=error.reason.value, detail=error.detail
            )
            return True, None
        if claim is None or self._is_anothers(claim):
            return False, None
        return True, claim

    def _turn(self, part: int) -> None:
        """List the due users of the part again, because another sweep may have handled them meanwhile, and work on them.

        If they cannot be listed, work on those of the earlier listing.
        """
        try:
            self._listed = _look(self._deps, self._now)
        except BenchkeeperError as error:
            self._deps.log.warning(
                "Due users could not be listed again", reason=error.reason.value, detail=error.detail
            )
        for key in [key for key in self.due_since if part_of(key) == part]:
            del self.due_since[key]
        keys = [key for key in self._listed.keys if part_of(key) == part]
        self._note(keys)
        self.over(keys, until_s=self._deps.clock.monotonic_s() + TURN.total_seconds())

    def leave(self, parts: set[int]) -> None:
        """Count the users of these parts as left to other sweeps."""
        left = sum(part_of(key) in parts for key in self._listed.keys)
        if left:
            self._summary.found[_LEFT_TO_ANOTHER] += left
