"""The types of a guarded cut in a record. A cut means: a user who had an environment becomes entitled to none."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from msgspec import Struct


class CutClass(StrEnum):
    """The kind of reason of a waiting cut or other guarded change. For some kinds, the wait is limited (`IMPATIENT`)."""

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
    """The effect of a cut, or of a guarded creation, on a user. Approvals are bound to these values, so the values never change."""

    STOP = "Stop"  # the notebook is stopped, and deleted once its retention is over
    REVOKE = "Revoke"  # the user's own service account is disabled
    END_CLUSTERS = "EndClusters"  # the Spark clusters are deleted
    CREATE = "Create"  # an environment is created


class WaitingCut(Struct, frozen=True, kw_only=True):
    """A cut that waits for room under the limits, for an approval, or for the end of the guard's patience.

    `ref` identifies the reason for the end of access (`shared.domain.intent.guard.cut_of`), and `source` is the source that
    stated the reason. `since` is the time at which the wait began. From `undoable_at` on, the reversible part is done, and
    the rest still waits. `urgent` is True if the cut may use the separate window for urgent cuts.
    """

    ref: str
    cause: CutClass
    source: str
    since: datetime
    undoable_at: datetime | None = None
    urgent: bool = False


class SeatWait(Struct, frozen=True, kw_only=True):
    """A user's wait for a seat in each of the `groups`, since the time `since`.

    `is_full` is False if it could not be checked whether a seat is free. `spent` are groups whose monthly limit is used up.
    """

    groups: tuple[str, ...]
    since: datetime
    is_full: bool = True
    spent: tuple[str, ...] = ()


class Clearance(Struct, frozen=True, kw_only=True):
    """A permission for a cut, a creation or an idle stop, valid before `until`.

    `ref` identifies what is permitted, "" for any cut; `by` is "slot", or the digest of the approved list.
    """

    ref: str
    by: str
    until: datetime


class KeptIn(Struct, frozen=True, kw_only=True):
    """A decision that the cut, creation or idle stop `ref` is a mistake. `by` are operators' keys, `digest` is the list's."""

    ref: str
    by: str
    digest: str
    at: datetime
