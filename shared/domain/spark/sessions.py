"""The step for a leaver's serverless interactive Spark sessions.

All are ended, and the search is repeated until none is left.

The product does not request sessions: a user who may use a session template starts a session from a notebook or with gcloud, with the
user's own identity. Sessions are therefore looked for only once the user leaves. Ending a session keeps its history in Dataproc and
destroys no data, so a hold does not prevent it.
"""

from __future__ import annotations

from datetime import timedelta

from msgspec import Struct

from shared.domain.plan.plan import SparkSessionsSeen
from shared.domain.plan.step import Scene, Step, unreadable
from shared.domain.record.record import Presence, UserRecord
from shared.domain.record.status import ConditionStatus, ConditionType
from shared.domain.spark.actions import EndSession
from shared.domain.things.errors import Reason
from shared.domain.things.identity import account_email
from shared.domain.things.notebook import RESTING, Absent, NotebookSight, NotLooked, ObservedNotebook, Unreadable


class SessionOwner(Struct, frozen=True):
    """The marks of one user's sessions: the user's addresses as creator or owner, or the user key in the label."""

    user_key: str
    addresses: frozenset[str]


def session_owner(record: UserRecord, project: str) -> SessionOwner:
    """Return the addresses under which the user starts sessions: present, former, and that of the user's own service account."""
    addresses = {str(email) for email in (record.email, *record.former_emails) if email}
    if record.status.account.account_id is not None:
        addresses.add(account_email(record.status.account.account_id, project))
    return SessionOwner(record.user_key, frozenset(addresses))


def sessions_to_look_for(record: UserRecord) -> bool:
    """Return True for a leaver whose sessions may still run.

    A user who never had an environment cannot have started one.
    """
    if record.spec.presence is Presence.PRESENT or record.status.notebook.instance_id is None:
        return False
    ended = record.status.condition(ConditionType.SESSIONS_ENDED)
    return ended is None or ended.status is not ConditionStatus.TRUE


def sessions_step(record: UserRecord, seen: SparkSessionsSeen | Unreadable, scene: Scene) -> Step:
    """Return the step for a leaver's sessions, of which `seen` were observed.

    The condition becomes true once no session is observed after the notebook has stopped; until then, a kernel may
    start another.
    """
    if isinstance(seen, Unreadable):
        return unreadable(
            record,
            seen.error,
            what="The person's serverless Spark sessions",
            because="The Spark sessions could not be read, so none is ended.",
            otherwise=timedelta(hours=1),  # a disabled API or a missing permission stays so until an administrator acts
        )
    if not seen.sessions:
        over = _is_over(scene.seen.notebook)
        return Step(
            record=record,
            condition=ConditionStatus.TRUE if over else ConditionStatus.FALSE,
            reason=Reason.REMOVED if over else Reason.WAITING,
            message="This user has no serverless Spark sessions."
            if over
            else "Benchkeeper looks for Spark sessions once more when the notebook has stopped.",
        )
    number = f"{len(seen.sessions)} serverless Spark session{'s' if len(seen.sessions) > 1 else ''}"
    return Step(
        record=record,
        actions=tuple(EndSession(name=name) for name in seen.sessions),
        condition=ConditionStatus.FALSE,
        reason=Reason.STOPPING,
        message=f"{number} being ended.",
        requeue_after=scene.policy.poll,
        because=(f"Access has ended: {number} to end.",),
    )


def _is_over(notebook: NotebookSight) -> bool:
    match notebook:
        case ObservedNotebook(state=state):
            return state in RESTING
        case Absent() | NotLooked():
            return True
        case Unreadable():
            return False
