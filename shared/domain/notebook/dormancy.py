"""The dormancy of a notebook that is unused for a long time: its files are saved and its instance is deleted.

The owner is warned 14, 3 and 1 days before that. The next start creates the instance again, with the files.

`idle.dormant_after` of the profile switches dormancy on. No evidence of use is needed: a stopped notebook is not used, and
every start ends its dormancy.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec.structs import replace

from shared.domain.notebook.leaver import delete
from shared.domain.plan.plan import Policy
from shared.domain.plan.step import Scene, Step
from shared.domain.record.parts import WARNED_BEFORE, Stage, warned_of
from shared.domain.record.record import UserRecord
from shared.domain.record.status import ConditionStatus, ConditionType
from shared.domain.snapshot.step import save_data
from shared.domain.things.catalog import Identity
from shared.domain.things.errors import Reason
from shared.domain.things.notebook import Absent, ObservedNotebook
from shared.domain.things.snapshots import Dormancy

_AT_REST = frozenset({Reason.STOPPED, Reason.IDLE, Reason.STOPPING})


def ends_at(dormancy: Dormancy, limit: timedelta) -> datetime:
    """Return the time at which the notebook is put away, never earlier than a warning has promised."""
    regular = dormancy.unused_since + limit
    return regular if dormancy.promised is None else max(regular, dormancy.promised)


def with_dormancy(record: UserRecord, scene: Scene) -> UserRecord:
    """Return the record of a stopped notebook with the warnings that are due now.

    The record is without dormancy if the notebook must not be put away. A late warning postpones the deletion: at least
    fourteen days pass after the first warning, three days after the second, and one day after the last.
    """
    limit = _limit(record, scene.policy)
    status = record.status
    is_restoring = status.data.restoring is not None or status.data.rollback is not None
    is_kept = record.hold is not None or status.notebook.former is not None or is_restoring
    if limit is None or is_kept:
        return record if status.notebook.dormancy is None else record.with_status(dormancy=None)
    found = status.notebook.dormancy or Dormancy(unused_since=_unused_since(record, scene.now))
    if scene.now < found.unused_since + limit - timedelta(days=WARNED_BEFORE[0]):
        found = replace(found, warned=(), promised=None)  # the limit was raised since
    for days in WARNED_BEFORE:
        before, end = timedelta(days=days), ends_at(found, limit)
        if days not in found.warned and end - scene.now <= before:
            found = replace(found, warned=(*found.warned, days), promised=max(end, scene.now + before))
    return record.with_status(dormancy=found)


def _unused_since(record: UserRecord, now: datetime) -> datetime:
    """Return the time since which the notebook is unused, according to the record.

    This is the time of the last use before an idle stop, or of any other stop; `now` if both are unknown.
    """
    ready = record.status.condition(ConditionType.NOTEBOOK_READY)
    reason = record.spec.power_reason
    if reason.is_idle and reason.since is not None:
        return min(reason.since, now)
    is_at_rest = ready is not None and ready.status is ConditionStatus.FALSE and ready.reason in _AT_REST
    return min(ready.last_transition_time, now) if ready is not None and is_at_rest else now


def next_warning(record: UserRecord, scene: Scene) -> timedelta | None:
    """Return the time until the next warning, or until the notebook is put away; None without dormancy."""
    found, limit = record.status.notebook.dormancy, _limit(record, scene.policy)
    if found is None or limit is None:
        return None
    end = ends_at(found, limit)
    moments = [end - timedelta(days=days) for days in WARNED_BEFORE if days not in found.warned]
    return max(min([*moments, end]) - scene.now, timedelta(0))


def said_of(record: UserRecord, scene: Scene) -> str:
    """Return the text that warns the owner; "" if no warning is due yet."""
    found, limit = record.status.notebook.dormancy, _limit(record, scene.policy)
    if found is None or limit is None or not found.warned:
        return ""
    return (
        f" Nobody has used the notebook since {found.unused_since:%Y-%m-%d %H:%M} UTC. It is put away at {ends_at(found, limit):%Y-%m-%d %H:%M} UTC "
        f"unless you start it before: its files are saved, and its machine is deleted. {_lost(record, scene.policy)}"
    )


def _lost(record: UserRecord, policy: Policy) -> str:
    """Return a text for the owner that says which data comes back after dormancy, and which data is lost."""
    return (
        "Every file of your home directory can be brought back at any time; that takes a few minutes longer than a start. "
        f"{_what_goes(record, policy)}"
    )


def _what_goes(record: UserRecord, policy: Policy) -> str:
    profile = policy.catalog.profiles.get(record.spec.profile or "")
    asks = profile is not None and profile.identity is Identity.END_USER_CREDENTIALS
    consent = ", and so is your consent in the Google Cloud console" if asks else ""
    return f"Packages and environments outside of your home directory are lost{consent}."


def dormancy_step(record: UserRecord, notebook: ObservedNotebook, scene: Scene) -> Step | None:
    """Return the step that saves the files of a stopped notebook, or deletes the instance once the files are saved.

    Return None if the notebook must not be put away now. The instance is not deleted before its snapshot was observed as
    READY and the manifest is written.
    """
    found, limit = record.status.notebook.dormancy, _limit(record, scene.policy)
    if found is None or limit is None or not record.status.notebook.power_settled:
        return None
    if set(found.warned) != set(WARNED_BEFORE) or ends_at(found, limit) > scene.now:
        return None
    mails = record.status.mail
    if scene.policy.tells and not warned_of(mails, Stage.WILL_BE_PUT_AWAY, found.unused_since, scene.now):
        return None
    saving = save_data(record, notebook, scene)
    why = f"Nobody has used the notebook since {found.unused_since:%Y-%m-%d %H:%M} UTC."
    if not saving.done:
        return Step(
            record=saving.record,
            actions=saving.actions,
            condition=ConditionStatus.FALSE,
            reason=Reason.SAVING,
            message=f"{why} Your notebook is being put away; the files are saved first. {_lost(record, scene.policy)}",
            requeue_after=saving.requeue_after,
            because=(why, *saving.because),
        )
    record = saving.record.with_status(dormancy=replace(found, away_since=found.away_since or scene.now))
    message = f"{why} Your notebook is being put away; its files are saved."
    return delete(
        record, notebook.ref, Reason.DELETING, message, (why, "Its owner was warned, and the files are saved.")
    )


def away_step(record: UserRecord, scene: Scene) -> Step:
    """Return the step of a notebook that is put away: it has no actions until the owner starts the notebook."""
    found = record.status.notebook.dormancy
    since = f" on {found.away_since:%Y-%m-%d %H:%M} UTC" if found is not None and found.away_since is not None else ""
    is_lost = isinstance(scene.seen.snapshots.get(record.status.data.saved_in), Absent)
    files = (
        "Its saved files were deleted outside Benchkeeper; an administrator should look."
        if is_lost
        else "Every file of your home directory is saved. Bring it back to continue where you stopped: you get a new machine with these files, "
        f"which takes a few minutes longer than a normal start. {_what_goes(record, scene.policy)}"
    )
    return Step(
        record=record.with_status(
            operation=None,
            was_active=False,
            instance_uid="",
            proxy_uri="",
            not_before=None,
            attempts=0,
            power_settled=True,
            restoring=None,
            built_from={},
            refused="",
            refused_spec="",
            unwell_since=None,
            unsettled_since=None,
        ),
        condition=ConditionStatus.FALSE,
        reason=Reason.DORMANT,
        message=f"Your notebook was put away{since}, because nobody used it. {files}",
    )


def _limit(record: UserRecord, policy: Policy) -> timedelta | None:
    profile = policy.catalog.profiles.get(record.spec.profile or "")
    return None if profile is None else profile.idle.dormant_after
