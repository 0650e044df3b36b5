"""A cut: somebody who is to have an environment comes to be entitled to none. What the record remembers of one that is guarded."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from msgspec import Struct


class CutClass(StrEnum):
    """What sort of reason ends access. It decides what waiting means."""

    EMPLOYMENT = "Employment"
    ACCOUNT = "Account"
    GROUP = "Group"
    POLICY = "Policy"
    CREATION = "Creation"  # no cut: many environments are to be made
    IDLE = "Idle"  # no cut: most of what runs looks idle
    ANNOUNCED = "Announced"  # no cut yet: somebody says beforehand who is going to lose access


# The `ref` of a creation that waits, and of a stop for idleness.
CREATE, IDLE_STOP = "create", "idle"
OF_NO_CUT = frozenset({CREATE, IDLE_STOP})
# A leaver is not kept waiting for good: what can be undone is done once the guard's patience is over.
IMPATIENT = frozenset({CutClass.EMPLOYMENT, CutClass.ACCOUNT})


class StepKind(StrEnum):
    """What a cut does to somebody. Part of what is approved, so its words never change."""

    STOP = "Stop"  # the notebook is stopped, and deleted once its retention is over
    REVOKE = "Revoke"  # the person's own service account is disabled
    END_CLUSTERS = "EndClusters"  # the Spark clusters are deleted
    CREATE = "Create"  # an environment is made


class WaitingCut(Struct, frozen=True, kw_only=True):
    """A cut for which there was no room: it waits for room, for an approval, or for the end of the guard's patience.

    `ref` names what ends access (`shared.domain.intent.guard.cut_of`), `source` who said it. `since` is when it began to wait. From
    `undoable_at` on, what can be undone is done: the rest still waits. `urgent`: it may use the small window that is kept for that.
    """

    ref: str
    cause: CutClass
    source: str
    since: datetime
    undoable_at: datetime | None = None
    urgent: bool = False


class Clearance(Struct, frozen=True, kw_only=True):
    """A cut that may happen: `ref` is the one that was cleared, "" for any; `by` is "slot", or the digest that was approved."""

    ref: str
    by: str
    until: datetime


class KeptIn(Struct, frozen=True, kw_only=True):
    """An operator's counter-statement: this cut (`ref`) was a mistake. `by` are the operators' keys, `digest` the list."""

    ref: str
    by: str
    digest: str
    at: datetime
