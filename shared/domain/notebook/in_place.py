"""The changes of an instance in place: a restart that its user requested, and larger disks.

The instance is neither stopped nor replaced.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from shared.domain.notebook.actions import ResetInstance, ResizeDisk
from shared.domain.notebook.differences import Change, Differences, digest, grows, immutables, is_refused, say, size_of
from shared.domain.plan.plan import Policy
from shared.domain.plan.step import VERB_TEXT, Step
from shared.domain.record.record import UserRecord
from shared.domain.record.status import ConditionStatus, Verb
from shared.domain.things.errors import Reason
from shared.domain.things.notebook import NotebookSpec, NotebookState, ObservedNotebook

# A restart that could not be sent by then is not wanted any more: the user has found another way, or started it anew.
RESTART_LAPSES = timedelta(hours=1)
DISKS = {"boot disk": "boot", "data disk": "data"}  # the differences that can grow, and the API's names


def restart_step(record: UserRecord, notebook: ObservedNotebook, policy: Policy, now: datetime) -> Step | None:
    """Return the step that restarts a running instance as its user asked.

    Return None if there is no recent request, or if the restart was already sent.

    The machine is kept, because after a stop the zone might have no machine for the start.
    """
    asked = record.spec.restart_at
    if asked is None or asked == record.status.notebook.restarted_for or now - asked > RESTART_LAPSES:
        return None
    return Step(
        record=record.with_status(restarted_for=asked, unwell_since=None),
        actions=(ResetInstance(ref=notebook.ref),),
        condition=ConditionStatus.FALSE,
        reason=Reason.STARTING,
        message=VERB_TEXT[Verb.RESET],
        requeue_after=policy.poll,
        because=("A restart was requested.",),
    )


def with_grown(record: UserRecord, notebook: ObservedNotebook, spec: NotebookSpec) -> UserRecord:
    """Return the record updated with enlarged disks.

    Listings show no disk type, so they are compared with the record.
    """
    built, wanted = dict(record.status.notebook.built_from), immutables(spec)
    for what, have, want in (
        ("boot disk", notebook.boot_disk, spec.boot_disk),
        ("data disk", notebook.data_disk, spec.data_disk),
    ):
        is_enough = have is not None and have.type == want.type and have.size_gb >= want.size_gb
        if is_enough and grows(built.get(what, ""), wanted[what]):
            built[what] = wanted[what]
    return record.with_status(built_from=built)


def growing(differences: Differences, refused: str) -> bool:
    """Return True if a disk should be enlarged and Google Cloud has not refused exactly that change."""
    grow = differences.of(Change.GROW)
    return bool(grow) and not is_refused(grow, refused)


def growth_step(record: UserRecord, notebook: ObservedNotebook, differences: Differences, policy: Policy) -> Step:
    """Return the step that enlarges the first disk that should be larger. A running notebook stays ready meanwhile."""
    wanted = differences.of(Change.GROW)
    grow = wanted[0]
    disk = DISKS[grow.what]
    runs = notebook.state is NotebookState.ACTIVE
    return Step(
        record=record,
        actions=(ResizeDisk(ref=notebook.ref, disk=disk, size_gb=size_of(grow.want), change=digest(wanted)),),
        condition=ConditionStatus.TRUE if runs else ConditionStatus.FALSE,
        reason=Reason.READY if runs else Reason.UPDATING,
        message=f"Your notebook is running. Its {disk} disk is made larger: the space is available after the next start."
        if runs
        else VERB_TEXT[Verb.RESIZE],
        requeue_after=policy.poll,
        because=(f"Out of line: {say((grow,))}.",),
    )
