"""The types by which a record remembers a guarded cut: a user who had an environment becomes entitled to none."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from msgspec import Struct


class CutClass(StrEnum):
    """The kind of reason for which a cut, or another guarded change, may wait. It decides what happens meanwhile."""

    EMPLOYMENT = "Employment"
    ACCOUNT = "Account"
    GROUP = "Group"
    POLICY = "Policy"
    CREATION = "Creation"  # not a cut: many environments are to be created
    IDLE = "Idle"  # not a cut: most running environments look idle
    ANNOUNCED = "Announced"  # not a cut yet: a source announces beforehand which users will lose access


# The `ref` of a waiting creation, and of a waiting stop for idleness.
CREATE, IDLE_STOP = "create", "idle"
OF_NO_CUT = frozenset({CREATE, IDLE_STOP})
# A leaver's cut does not wait for ever: the part that can be undone is done once the guard's patience is over.
IMPATIENT = frozenset({CutClass.EMPLOYMENT, CutClass.ACCOUNT})


class StepKind(StrEnum):
    """The effect of a cut on a user. An approval covers it, so its values never change."""

    STOP = "Stop"  # the notebook is stopped, and deleted once its retention is over
    REVOKE = "Revoke"  # the user's own service account is disabled
    END_CLUSTERS = "EndClusters"  # the Spark clusters are deleted
    CREATE = "Create"  # an environment is created


class WaitingCut(Struct, frozen=True, kw_only=True):
    """A cut for which the limits left no room. It waits for room, for an approval, or for the end of the guard's patience.

    `ref` identifies the reason for the end of access (`shared.domain.intent.guard.cut_of`), `source` the source that
    stated it. `since` is when the wait began. From `undoable_at` on, the reversible part is done; the rest still waits.
    `urgent`: the cut may use the small window for urgent cuts.
    """

    ref: str
    cause: CutClass
    source: str
    since: datetime
    undoable_at: datetime | None = None
    urgent: bool = False


class SeatWait(Struct, frozen=True, kw_only=True):
    """A user's wait for a seat in each group of `groups`, with its start.

    `is_full` is False while it is unknown if there is a seat.

    `spent` are groups whose monthly limit is used up.
    """

    groups: tuple[str, ...]
    since: datetime
    is_full: bool = True
    spent: tuple[str, ...] = ()


class Clearance(Struct, frozen=True, kw_only=True):
    """A permission for a cut, valid before `until`.

    `ref` is the permitted cut, "" for any cut; `by` is "slot", or the digest of the approved list.
    """

    ref: str
    by: str
    until: datetime


class KeptIn(Struct, frozen=True, kw_only=True):
    """An operator's statement that this cut (`ref`) was a mistake. `by` are the operators' keys, `digest` is that of the list."""

    ref: str
    by: str
    digest: str
    at: datetime
