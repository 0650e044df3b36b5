"""The step for a user's own service account.

The account is created and shared with its owner before any resource runs as the account. A leaver's account is disabled
first and deleted last.
Only profiles with `identity: personal-service-account` have such an account.
"""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from shared.domain.account.actions import (
    CreateAccount,
    DeleteAccount,
    DisableAccount,
    EnableAccount,
    JoinGroup,
    LeaveGroup,
    ShareAccount,
)
from shared.domain.plan.plan import AccountSeen, Action, Policy
from shared.domain.plan.step import Scene, Step, unreadable
from shared.domain.record.record import Presence, UserRecord
from shared.domain.record.status import ConditionStatus
from shared.domain.things.errors import Reason
from shared.domain.things.identity import AccountId, account_email
from shared.domain.things.notebook import Absent, NotLooked, ObservedNotebook, Unreadable

USER_ROLE = "roles/iam.serviceAccountUser"


class IdentityStep(NamedTuple):
    """The account's part of the plan.

    `step` is None if there is nothing to plan or report. `ready` is True if resources may be created or started.
    """

    step: Step | None
    ready: bool


def wants_account(record: UserRecord, policy: Policy) -> bool:
    """Return True if the user's environment should run as an account of the user's own."""
    profile = policy.catalog.profiles.get(record.spec.profile or "")
    return record.spec.presence is Presence.PRESENT and profile is not None and profile.needs_account


def identity_step(record: UserRecord, scene: Scene) -> IdentityStep:
    """Return the step that creates, shares, corrects, keeps or removes the user's own service account.

    The step is None if the record names no account, or if accounts were not observed.
    """
    account_id = record.status.account.account_id
    if account_id is None:
        return IdentityStep(None, ready=not wants_account(record, scene.policy))
    account = scene.seen.account
    match account:
        case NotLooked():
            return IdentityStep(None, ready=False)
        case Unreadable():
            return IdentityStep(_unreadable(record, account), ready=not wants_account(record, scene.policy))
        case AccountSeen(is_ours=False):
            return IdentityStep(_not_ours(record, account_id), ready=not wants_account(record, scene.policy))
        case Absent() | AccountSeen():
            if wants_account(record, scene.policy):
                return _wanted(record, account_id, account, scene)
            if record.spec.presence is Presence.PRESENT and _in_use(record, account_id, scene):
                return IdentityStep(_kept(record), ready=True)
            return IdentityStep(_unwanted(record, account_id, account, scene), ready=True)


def _unreadable(record: UserRecord, account: Unreadable) -> Step:
    return unreadable(
        record,
        account.error,
        what="The person's service account",
        because="The service account could not be read, so it is left as it is.",
        otherwise=timedelta(minutes=30),
    )


def _not_ours(record: UserRecord, account_id: AccountId) -> Step:
    return Step(
        record=record,
        condition=ConditionStatus.FALSE,
        reason=Reason.NOT_OURS,
        message=f"A service account named {account_id} exists that Benchkeeper did not make. "
        "An administrator must rename or remove it.",
        requeue_after=timedelta(hours=1),
        because=("A service account has our name but not our description, so it is not touched.",),
    )


def _wanted(record: UserRecord, account_id: AccountId, account: Absent | AccountSeen, scene: Scene) -> IdentityStep:
    actions: list[Action] = []
    because: list[str] = []
    groups: list[Action] = []
    if isinstance(account, Absent):
        actions += [CreateAccount(account_id=account_id), ShareAccount(account_id=account_id, user=record.email)]
        because.append("The person's own service account does not exist yet.")
    else:
        if dict(account.shared_with) != {USER_ROLE: (f"user:{record.email}",)}:
            actions.append(ShareAccount(account_id=account_id, user=record.email))
            because.append("The service account is not shared with its owner alone.")
        if account.disabled:
            actions.append(EnableAccount(account_id=account_id))
            because.append("The service account is disabled.")
        record, groups = _groups(record, account_id, account, scene)
    ready = not actions
    if ready and not groups:
        condition, reason = ConditionStatus.TRUE, Reason.READY
        message = "The person's own service account is ready, and only they may use it."
    elif ready:
        condition, reason = ConditionStatus.FALSE, Reason.UPDATING
        message = "The service account's group memberships for reading data are being corrected."
    else:
        condition, reason = ConditionStatus.FALSE, Reason.CREATING
        message = "The person's own service account is being set up."
    return IdentityStep(
        Step(
            record=record,
            actions=(*actions, *groups),
            condition=condition,
            reason=reason,
            message=message,
            requeue_after=scene.policy.poll if actions or groups else None,
            because=(*because, *(("The profile's group gives the service account its data roles.",) if groups else ())),
        ),
        ready=ready,
    )


def _groups(
    record: UserRecord, account_id: AccountId, account: AccountSeen, scene: Scene
) -> tuple[UserRecord, list[Action]]:
    """Return the record and the actions that correct the account's memberships in the groups that the record names.

    The account joins the profile's group and leaves the other groups. The returned record names only groups that the account
    joins, leaves or stays in. If a membership could not be read, the change is requested anyway: a repeated change does no
    harm.
    """
    profile = scene.policy.catalog.profiles.get(record.spec.profile or "")
    wanted = profile.data_group if profile is not None and wants_account(record, scene.policy) else None
    actions: list[Action] = []
    kept: list[str] = []
    for group in record.status.account.data_groups:
        member = account.in_groups.get(group)
        if group == wanted:
            kept.append(group)
            if member is not True:
                actions.append(JoinGroup(account_id=account_id, group=group))
        elif member is not False:
            kept.append(group)
            actions.append(LeaveGroup(account_id=account_id, group=group))
    return record.with_status(data_groups=tuple(kept)), actions


def _in_use(record: UserRecord, account_id: AccountId, scene: Scene) -> bool:
    """Return True while a resource that runs as the account exists, or may exist, or while the wanted profile is unknown.

    The record does not remember whether a Spark cluster was created with the account, so any cluster counts.
    """
    if (record.spec.profile or "") not in scene.policy.catalog.profiles:
        return True
    if record.status.notebook.former is not None or record.status.notebook.operation is not None:
        return True
    if any(known.is_there for known in record.status.clusters):
        return True
    notebook = scene.seen.notebook
    if isinstance(notebook, ObservedNotebook):
        return notebook.service_account == account_email(account_id, scene.policy.project)
    return isinstance(notebook, Unreadable)


def _kept(record: UserRecord) -> Step:
    return Step(
        record=record,
        condition=ConditionStatus.TRUE,
        reason=Reason.READY,
        message="The person's own service account is kept until nothing runs as it any more.",
    )


def _unwanted(record: UserRecord, account_id: AccountId, account: Absent | AccountSeen, scene: Scene) -> Step:
    if isinstance(account, Absent):
        return Step(
            record=record.with_status(data_groups=()),
            condition=ConditionStatus.FALSE,
            reason=Reason.REMOVED,
            message="The person has no service account of their own.",
        )
    record, actions = _groups(record, account_id, account, scene)
    cut = not account.disabled or bool(account.shared_with)
    if account.shared_with:
        actions.insert(0, ShareAccount(account_id=account_id, user=None))
    if not account.disabled:
        actions.insert(0, DisableAccount(account_id=account_id))
    because = ["Access has ended: no one may act as the service account, and it can do nothing."] if cut else []
    if not actions and _may_go(record, scene):
        actions.append(DeleteAccount(account_id=account_id))
        because.append("The person has no resources any more, so the service account is not needed.")
    on_hold = record.hold is not None
    return Step(
        record=record,
        actions=tuple(actions),
        condition=ConditionStatus.FALSE,
        reason=Reason.ON_HOLD if on_hold and not actions else Reason.REVOKED,
        message="The person's service account is being disabled."
        if cut
        else f"The person's service account is disabled{', and kept on hold' if on_hold else ''}.",
        requeue_after=scene.policy.poll if actions else None,
        because=tuple(because),
    )


def _may_go(record: UserRecord, scene: Scene) -> bool:
    """Return True if the account may be deleted.

    A hold, an undecided question about the user, a snapshot or a predecessor forbids that. So does an instance or a running
    operation if the user is absent from the wanted state; otherwise the caller has made sure that nothing runs as the
    account.
    """
    if (
        record.hold is not None
        or record.is_undecided
        or record.status.data.snapshots
        or record.status.notebook.former is not None
    ):
        return False
    if record.spec.presence is Presence.PRESENT:
        return True  # the caller has made sure that nothing runs as the account any more
    return isinstance(scene.seen.notebook, Absent | NotLooked) and record.status.notebook.operation is None
