"""The settings under `guard:`: the limits of mass changes. A change above a limit needs an approval."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated

from msgspec import Meta, Struct

from shared.domain.things.times import duration_text

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
_LEAST_PATIENCE = timedelta(minutes=15)


class GuardSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The limits of the guard against mass changes, counted in users.

    Without an approval at most `per_hour` users lose access in any hour, or `share` of the fleet if that is more, but at most
    `most`. Of the users who share a group or a profile, at most `group_share` lose access if the group has `group_from`
    members or more. A day's limit is `day_factor` times an hour's. `urgent` is a separate window for leaves that a
    source calls urgent. `creations` is the number of environments that may be created in an hour. If a leaver waits
    longer than `patience` for an approval, the reversible steps are done without an approval. If `patience` is None,
    they are never done without one. `approvers` is the number of approvals needed if no author is verified. A single
    approval takes effect after `wait_alone`. An unused approval lapses after `approval_lapses`.
    """

    per_hour: Annotated[
        int,
        Meta(ge=1, le=10_000, description="The limit of people who may lose something in an hour, for a small fleet."),
    ] = 20
    share: Annotated[
        float,
        Meta(
            gt=0,
            le=1,
            description="The share of the fleet that may lose something in an hour, if that is more than per_hour.",
        ),
    ] = 0.05
    most: Annotated[
        int, Meta(ge=1, le=10_000, description="The highest limit of people in an hour, however large the fleet is.")
    ] = 200
    group_share: Annotated[
        float,
        Meta(
            gt=0,
            le=1,
            description="The share of a group, or of a profile's people, that may lose something in an hour.",
        ),
    ] = 0.5
    group_from: Annotated[
        int, Meta(ge=2, le=10_000, description="The smallest number of members from which group_share applies.")
    ] = 6
    day_factor: Annotated[int, Meta(ge=1, le=24, description="The limit of a day, as a multiple of an hour's.")] = 3
    patience: Annotated[
        timedelta | None,
        Meta(
            extra={"words": {"never": None}},
            extra_json_schema={"words": ["never"]},
            description="How long a leaver waits for an approval before the reversible steps are done without one; never: no limit.",
        ),
    ] = timedelta(hours=4)
    approvers: Annotated[
        int,
        Meta(
            ge=1,
            le=2,
            description="The number of approvals needed if the author is not known. If the author is known, one other person. 1: a team of one.",
        ),
    ] = 2
    creations: Annotated[
        int, Meta(ge=1, le=100_000, description="The number of environments that may be created in an hour.")
    ] = 300
    urgent: Annotated[
        int,
        Meta(
            ge=0,
            le=10_000,
            description="The number of urgent leavers who may lose access in an hour, in addition to the others.",
        ),
    ] = 5
    approval_lapses: Annotated[
        timedelta,
        Meta(description="How long an approval is valid while further approvals are missing, or while it is not used."),
    ] = timedelta(hours=24)
    wait_alone: Annotated[
        timedelta, Meta(description="How long a single approval waits for an objection before it takes effect.")
    ] = timedelta(minutes=15)

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """Yield (field, problem) for impossible limits. The field is empty if several fields contradict each other."""
        if self.patience is not None and self.patience < _LEAST_PATIENCE:
            text = f"{duration_text(self.patience)} is too short for an administrator to examine a change"
            yield "patience", f"{text}. Valid: {duration_text(_LEAST_PATIENCE)} or more, or never"
        if self.most < self.per_hour:
            yield "", f"most ({self.most}) must not be smaller than per_hour ({self.per_hour})"

    def per_hour_of(self, fleet_size: int) -> int:
        """Return the number of users of a fleet of this size who may lose access in an hour."""
        return min(max(self.per_hour, int(fleet_size * self.share)), self.most)

    def per_hour_of_group(self, group_size: int) -> int | None:
        """Return the number of users of a group of this size who may lose access in an hour.

        Return None if the group has no limit of its own.
        """
        if group_size < self.group_from or self.group_share >= 1:
            return None
        return max(1, int(group_size * self.group_share))

    def is_looser_than(self, other: GuardSettings) -> bool:
        """Return True if at least one of these settings is looser than in `other`."""
        rising = ("per_hour", "share", "most", "group_share", "group_from", "day_factor", "creations", "urgent")
        return (
            any(getattr(self, name) > getattr(other, name) for name in rising)
            or self.approvers < other.approvers
            or self.approval_lapses > other.approval_lapses
            or self.wait_alone < other.wait_alone
            or (self.patience is not None and (other.patience is None or self.patience < other.patience))
        )
