"""The judge of the guard: an oracle that keeps only what was clicked says whether each cut was allowed.

By a slot, by an approval of just that list, or, as far as it can be undone, because nobody decided for hours. The state machine of the
guard and the simulator share it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from shared.domain.intent.batches import Batch
from shared.domain.intent.decision import Verdict
from shared.domain.plan.guard_settings import DAY, HOUR, GuardSettings
from shared.domain.record.record import Presence, UserRecord
from shared.domain.things.identity import UserKey
from shared.engine.ports.deps import Deps
from shared.engine.ports.records import Stored


@dataclass(frozen=True)
class Click:
    """A decision as it was clicked."""

    batch: Batch
    verdict: Verdict
    by: UserKey
    at: datetime
    counts: bool  # by an administrator who is not on the list


@dataclass
class GuardJudge:
    """What is held against the guard. `people` gives the states of each person's instances; `seen_within`: how late a cut may be seen."""

    deps: Callable[[], Deps]
    guard: GuardSettings
    people: Mapping[UserKey, Callable[[], set[str]]]
    sources: Sequence[str] = ("hr", "directory")
    seen_within: timedelta = timedelta(minutes=40)
    looks_at_instances: bool = True
    stored: Callable[[UserKey], Stored | None] | None = None  # reads a record; without it, `deps` does
    clicks: list[Click] = field(default_factory=list)
    gone: set[UserKey] = field(default_factory=set)

    def load(self, key: UserKey) -> Stored | None:
        return (self.stored or self.deps().records.load)(key)

    def is_approved(self, key: UserKey, now: datetime) -> bool:
        """Return True if the person is on a list that enough people approved of lately."""
        lately = [c for c in self.clicks if c.counts and now - c.at <= self.guard.approval_lapses * 2 + HOUR]
        for digest in {c.batch.digest for c in lately if key in c.batch.people}:
            approvals = [c for c in lately if c.batch.digest == digest and c.verdict is Verdict.APPROVE]
            if len({c.by for c in approvals}) >= self.guard.approvers:
                return True
            if approvals and now - min(c.at for c in approvals) >= self.guard.wait_alone:
                return True
        return False

    def approved_beside(self, record: UserRecord, rejected_at: datetime) -> bool:
        """Return True if after a rejection somebody approved of another reason, which the person has too: two sources said two things.

        A feed that repeats itself gives the same reason another `ref`; a list of the same cause and source is the same reason.
        """
        digests = {kept.digest for kept in record.status.guard.kept_in}
        rejected = {(click.batch.cause, click.batch.source) for click in self.clicks if click.batch.digest in digests}
        return any(
            record.user_key in click.batch.people and (click.batch.cause, click.batch.source) not in rejected
            for click in self.clicks
            if click.counts and click.verdict is Verdict.APPROVE and click.at > rejected_at
        )

    def cuts_are_allowed(self, now: datetime) -> None:
        """Whoever came to be without access has a slot, is on an approved list, or was stopped after hours and no more than that."""
        deps = self.deps()
        slots = [slot for source in self.sources for slot in deps.guard.slots(source)]
        holders = {slot.holder for slot in slots if now - slot.at < HOUR + self.seen_within}
        for key, states in self.people.items():
            stored = self.load(key)
            if stored is None:
                continue
            record, was_gone = stored.record, key in self.gone
            waits = record.status.guard.waiting_cut
            if record.spec.presence is Presence.PRESENT:
                self.gone.discard(key)
                continue
            if record.is_undecided:
                assert waits is not None
                assert now - waits.since >= (self.guard.patience or DAY * 999)
                assert not self.looks_at_instances or states() <= {"STOPPING", "STOPPED"}
                assert deps.templates.seen(key).digests, "a template is gone without a decision"
            elif not was_gone:
                assert key in holders or self.is_approved(key, now), f"{key} was cut without a slot or approval"
                self.gone.add(key)

    def windows_have_room(self, now: datetime) -> None:
        """At most so many slots stand, at any moment."""
        for source in self.sources:
            slots = self.deps().guard.slots(source)
            hourly = [slot for slot in slots if slot.window == "fleet-hour" and now - slot.at < HOUR]
            daily = [slot for slot in slots if slot.window == "fleet-day" and now - slot.at < DAY]
            assert len(hourly) <= self.guard.per_hour
            assert len(daily) <= self.guard.per_hour * self.guard.day_factor
            assert max(Counter(slot.holder for slot in hourly).values(), default=0) <= 1, "one person has two slots"

    def rejected_stay(self, news_at: Mapping[UserKey, datetime], now: datetime) -> None:
        """Whoever was on a rejected list when it was taken up, and of whom nothing was said since, is not without access."""
        for key in self.people:
            stored = self.load(key)
            if stored is None or not stored.record.status.guard.kept_in:
                continue
            newest = max(kept.at for kept in stored.record.status.guard.kept_in)
            if news_at.get(key, now) < newest < now - timedelta(minutes=2):
                assert stored.record.spec.presence is Presence.PRESENT, f"{key} was rejected and is cut"
