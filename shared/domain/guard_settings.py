"""How much may change for how many people before somebody has to agree. Numbers only; the settings file has them under `guard`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardSettings:
    """The limits of changes that touch many people. The defaults hold where the settings say nothing.

    An hour's limit is the smaller of `most` and the larger of `per_hour` and `share` of the fleet; a day's is `day_factor` times
    that. Of people who share a group or a profile, `group_share` of them is the limit once they are `group_from`. `creations` is
    the most people who may be given an environment at once. `urgent` is how many people an urgent
    cut may name without waiting. `patience` is how long a
    change waits before it is done without approval (None: never). `approvers` is how many people a change takes, who asked
    included. `approval_lapses` is how long an approval holds, `wait_alone` how long a single change waits for its like.
    """

    per_hour: int = 20
    share: float = 0.05
    most: int = 200
    group_share: float = 0.5
    group_from: int = 6
    day_factor: int = 3
    patience: timedelta | None = timedelta(hours=4)
    approvers: int = 2
    creations: int = 300
    urgent: int = 5
    approval_lapses: timedelta = timedelta(hours=24)
    wait_alone: timedelta = timedelta(minutes=15)

    def per_hour_of(self, fleet_size: int) -> int:
        """Return the most people of a fleet who may lose something, be replaced or be stopped in an hour."""
        return min(max(self.per_hour, int(fleet_size * self.share)), self.most)

    def per_hour_of_group(self, group_size: int) -> int | None:
        """Return the same for people who share a group or a profile; None if they are too few for a limit."""
        return None if group_size < self.group_from else max(1, int(group_size * self.group_share))

    def is_looser_than(self, other: GuardSettings) -> bool:
        """Return True if anything that `other` would hold back goes through here."""
        rising = ("per_hour", "share", "most", "group_share", "group_from", "day_factor", "creations", "urgent")
        return (
            any(getattr(self, name) > getattr(other, name) for name in rising)
            or self.approvers < other.approvers
            or self.approval_lapses > other.approval_lapses
            or self.wait_alone < other.wait_alone
            or (self.patience is not None and (other.patience is None or self.patience < other.patience))
        )
