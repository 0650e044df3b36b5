"""The parts of a plan: `Step`, the steps that several states share, and the wait before a further attempt.

The wait is deterministic: it is always the same for the same user and attempt, and differs between users.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from msgspec import Struct

from shared.domain.plan.plan import Action, Observed, Policy
from shared.domain.record.record import UserRecord
from shared.domain.record.status import ConditionStatus, Verb
from shared.domain.things.errors import (
    BenchkeeperError,
    Reason,
    RetryableError,
    SetUpError,
    UnknownAnswerError,
    UnknownRefusalError,
)
from shared.domain.things.notebook import Absent, NotebookState, ObservedNotebook

FIRST = timedelta(seconds=30)
LONGEST = timedelta(minutes=30)
A_DAY = timedelta(days=1)


def backoff(attempts: int, *, at_least: timedelta, spread_by: str) -> timedelta:
    """Return a wait that doubles with each attempt from 30 s up to 30 min, but is at least `at_least`.

    Up to a quarter is added, depending on `spread_by` (the user key).

    The spread prevents a thousand users who failed together from being retried together.
    """
    base = max(at_least, min(LONGEST, FIRST * int(2 ** max(0, min(attempts - 1, 10)))))
    share: float = hashlib.sha256(f"{spread_by}:{attempts}".encode()).digest()[0] / 1024
    return base + base * share


def slow_backoff(attempts: int, *, first: timedelta, longest: timedelta, spread_by: str) -> timedelta:
    """Return a wait that doubles with each attempt from `first` up to `longest`, with the spread of `backoff` added.

    This is for failures that last until a person acts.
    """
    base = min(longest, first * int(2 ** max(0, min(attempts - 1, 10))))
    return backoff(attempts, at_least=base, spread_by=spread_by)


# Errors of a failed read whose own reason says more than that something could not be read.
_TELLING = (SetUpError, UnknownAnswerError, UnknownRefusalError)
_VERB_REASON = {
    Verb.CREATE: Reason.CREATING,
    Verb.START: Reason.STARTING,
    Verb.STOP: Reason.STOPPING,
    Verb.DELETE: Reason.DELETING,
    Verb.UPDATE: Reason.UPDATING,
    Verb.RESTORE: Reason.RESTORING,
    Verb.RESET: Reason.STARTING,
    Verb.RESIZE: Reason.UPDATING,
}
# Of a new machine with the content of the data disk, which is the user's home.
WHAT_STAYS = "The files of your home directory are kept; packages and environments outside of it are lost."
# Of a restore on request, where only the data disk changes; said before it is asked for, too.
WHAT_IS_RESTORED = "Your home directory returns to its state at that time. Packages and environments outside of it are not in the copies and stay as they are."
RESTORING_TEXT = f"Your files are being restored; please wait until that is done. {WHAT_IS_RESTORED}"
VERB_TEXT = {
    Verb.CREATE: "Being created; this takes a few minutes.",
    Verb.START: "Your notebook is starting.",
    Verb.STOP: "The notebook is being stopped.",
    Verb.DELETE: "The notebook is being deleted.",
    Verb.UPDATE: "The notebook is being updated.",
    Verb.RESTORE: f"Your files are being brought back; please wait until that is done. {WHAT_STAYS}",
    Verb.RESET: "Your notebook is restarting.",
    Verb.RESIZE: "The notebook's disk is being made larger.",
}
_STAGES = {
    NotebookState.INITIALIZING: "Being created: the machine is set up.",
    NotebookState.STARTING: "Being created: the machine starts.",
    NotebookState.PROVISIONING: "Being created: JupyterLab is installed.",
}


class Scene(Struct, frozen=True, kw_only=True):
    """The plan context: the input of every half of a plan. Nothing may be created or started before `identity_ready` is True."""

    seen: Observed
    policy: Policy
    now: datetime
    identity_ready: bool = True


class Step(Struct, frozen=True, kw_only=True):
    """The plan for one kind of resource.

    `record` is the record after the actions have been started. `condition`, `reason` and `message` are the condition to set.
    `requeue_after` is the wait until the next pass, None if nothing is pending. `because` has the reasons for people.
    """

    record: UserRecord
    condition: ConditionStatus
    reason: Reason
    message: str
    actions: tuple[Action, ...] = ()
    requeue_after: timedelta | None = None
    because: tuple[str, ...] = ()


def patience(record: UserRecord, error: BenchkeeperError, otherwise: timedelta) -> timedelta:
    """Return the wait before a failed read is repeated: at least the time that the error states, or else `otherwise`."""
    at_least = error.retry_after if isinstance(error, RetryableError) else otherwise
    return backoff(record.status.attempts + 1, at_least=at_least, spread_by=record.user_key)


def unreadable(
    record: UserRecord, error: BenchkeeperError, *, what: str, because: str, otherwise: timedelta = timedelta(minutes=5)
) -> Step:
    """Return a step without actions that reads again later: a failed read does not mean absence."""
    return Step(
        record=record,
        condition=ConditionStatus.UNKNOWN,
        reason=error.reason if isinstance(error, _TELLING) else Reason.UNREADABLE,
        message=f"{what} could not be read. {error.user_message}",
        requeue_after=patience(record, error, otherwise),
        because=(because,),
    )


def wait_for(
    verb: Verb,
    record: UserRecord,
    notebook: Absent | ObservedNotebook,
    poll: timedelta,
    *,
    stuck: str,
    because: str,
) -> Step:
    """Return a step without actions that waits for a change under way, and reads again after `poll`.

    `stuck` is a text that names the part that takes too long, "" if nothing does. With such a text the step asks for an
    administrator, and reads again only after ten times `poll`.
    """
    return Step(
        record=record,
        condition=ConditionStatus.FALSE,
        reason=Reason.STUCK if stuck else _VERB_REASON[verb],
        message=f"{stuck}; an administrator should look." if stuck else _progress(verb, record, notebook),
        requeue_after=poll * 10 if stuck else poll,
        because=(because,),
    )


def _progress(verb: Verb, record: UserRecord, notebook: Absent | ObservedNotebook) -> str:
    """Return the progress in words. For a create, the words name the stage in which the instance is."""
    if verb is Verb.RESTORE and record.status.data.rollback is not None:
        return RESTORING_TEXT
    if verb is Verb.CREATE and isinstance(notebook, ObservedNotebook):
        return _STAGES.get(notebook.state, VERB_TEXT[verb])
    return VERB_TEXT[verb]


def wait_for_identity(record: UserRecord, policy: Policy) -> Step:
    """Return a step that waits for the user's own service account, which every create or start needs."""
    return Step(
        record=record,
        condition=ConditionStatus.FALSE,
        reason=Reason.WAITING,
        message="Your own service account is being set up first.",
        requeue_after=policy.poll,
        because=("Nothing is created or started before the person's service account is ready.",),
    )
