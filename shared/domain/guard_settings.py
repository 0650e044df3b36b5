"""How much may happen in an hour before somebody has to agree: what `guard:` in the settings says."""

from __future__ import annotations

from datetime import timedelta

from msgspec import Struct

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


class GuardSettings(Struct, frozen=True, kw_only=True):
    """The limits of the guard against mass changes, counted in people.

    In any hour at most `per_hour` people lose access, or `share` of the fleet if that is more, and never more than `most`; of
    people who share a group or a profile `group_share` of them once they are `group_from`; `day_factor` times as many in a day.
    `urgent` is the window of its own for what a source calls urgent, `creations` how many environments may be made in an hour.
    Whoever waits for an approval longer than `patience` is stopped without one as far as it can be undone; None: never. `approvers`
    is how many must agree where no author is verified; one who approves alone waits `wait_alone`. An approval that is not used
    ends after `approval_lapses`.
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
        """Return how many of a fleet of this size may lose access in an hour."""
        return min(max(self.per_hour, int(fleet_size * self.share)), self.most)

    def per_hour_of_group(self, group_size: int) -> int | None:
        """Return how many of a group of this size may lose access in an hour; None if the group has no limit of its own."""
        if group_size < self.group_from or self.group_share >= 1:
            return None
        return max(1, int(group_size * self.group_share))

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
