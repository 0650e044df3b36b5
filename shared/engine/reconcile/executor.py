"""The execution of a plan's actions, called by each pass. A failed action is a result, not an exception."""

from __future__ import annotations

from typing import assert_never

from shared.domain.account.actions import (
    AccountAction,
    CreateAccount,
    DeleteAccount,
    DisableAccount,
    EnableAccount,
    JoinGroup,
    LeaveGroup,
    ShareAccount,
)
from shared.domain.notebook.actions import (
    CreateInstance,
    DeleteInstance,
    NotebookAction,
    ResetInstance,
    ResizeDisk,
    RestoreData,
    StartInstance,
    StopInstance,
    UpdateInstance,
)
from shared.domain.plan.plan import Action, Plan
from shared.domain.reconcile.outcome import Asked, Done, Failed, Outcome, Started
from shared.domain.record.status import OperationRef
from shared.domain.snapshot.actions import CreateSnapshot, DeleteSnapshot, SnapshotAction, WriteManifest
from shared.domain.spark.actions import CreateCluster, DeleteCluster, EndSession
from shared.domain.template.wanted import PutTemplate, RemoveTemplate
from shared.domain.things.errors import BenchkeeperError, NotOursError
from shared.domain.things.identity import account_email
from shared.engine.ports.deps import Deps
from shared.engine.reconcile.guard import check_room


def carry_out(plan: Plan, deps: Deps) -> list[tuple[Action, Outcome]]:
    """Carry out the plan's actions in order, and return each action with its outcome.

    A failed action does not stop the actions after it, because each action may be tried alone.
    """
    outcomes: list[tuple[Action, Outcome]] = []
    for action in plan.actions:
        sent = False
        try:
            check_room(action, plan.record, deps)
            sent = True
            outcome = _do(action, plan, deps)
        except BenchkeeperError as error:
            outcome = Failed(error, sent)
            _log_failure(action, error, plan, deps)
        outcomes.append((action, outcome))
    return outcomes


def _do(action: Action, plan: Plan, deps: Deps) -> Outcome:
    operation: OperationRef | None = None
    cluster_operation: str | None = None
    match action:
        case PutTemplate():
            deps.templates.put(plan.record, action)
            return Done()
        case RemoveTemplate():
            deps.templates.remove(plan.record.user_key, action.template)
            return Done()
        case (
            CreateInstance()
            | StartInstance()
            | StopInstance()
            | ResetInstance()
            | ResizeDisk()
            | DeleteInstance()
            | UpdateInstance()
            | RestoreData()
        ):
            operation = _do_notebook(action, deps)
        case CreateSnapshot() | DeleteSnapshot() | WriteManifest():
            _do_keeping(action, plan, deps)
        case CreateCluster():
            cluster_operation = deps.clusters.create(plan.record, action)
        case DeleteCluster():
            deps.clusters.delete(action.name)
        case EndSession():
            deps.live_sessions.end(action.name)
        case (
            CreateAccount()
            | ShareAccount()
            | EnableAccount()
            | DisableAccount()
            | DeleteAccount()
            | JoinGroup()
            | LeaveGroup()
        ):
            _do_account(action, plan, deps)
        case _:
            raise AssertionError(f"nothing carries out {type(action).__name__}")
    deps.log.info(
        "Requested a change",
        user=plan.record.user_key,
        action=type(action).__name__,
        operation=operation.name if operation is not None else cluster_operation or "",
        because=" ".join(plan.because),
    )
    if cluster_operation is not None:
        return Asked(cluster_operation)
    return Done() if operation is None else Started(operation)


def _do_notebook(action: NotebookAction, deps: Deps) -> OperationRef | None:
    match action:
        case CreateInstance():
            return deps.notebooks.create(action.spec, action.zone, action.request_id)
        case StartInstance():
            return deps.notebooks.start(action.ref)
        case StopInstance():
            return deps.notebooks.stop(action.ref)
        case ResetInstance():
            return deps.notebooks.reset(action.ref)
        case ResizeDisk():
            return deps.notebooks.resize(action.ref, action.disk, action.size_gb)
        case DeleteInstance():
            return deps.notebooks.delete(action.ref, action.request_id)
        case UpdateInstance():
            return deps.notebooks.update(action.ref, action.patch, action.request_id)
        case RestoreData():
            return deps.notebooks.restore(action.ref, action.snapshot)
        case _:
            assert_never(action)


def _do_keeping(action: SnapshotAction, plan: Plan, deps: Deps) -> None:
    match action:
        case CreateSnapshot():
            deps.snapshots.create(action.name, action.source, action.labels)
        case DeleteSnapshot():
            deps.snapshots.delete(action.name)
        case WriteManifest():
            deps.snapshots.write_manifest(plan.record.user_key, action)
        case _:
            assert_never(action)


def _do_account(action: AccountAction, plan: Plan, deps: Deps) -> None:
    match action:
        case CreateAccount():
            deps.accounts.create(action.account_id, plan.record.user_key)
        case ShareAccount():
            deps.accounts.share(action.account_id, action.user)
        case EnableAccount():
            deps.accounts.enable(action.account_id)
        case DisableAccount():
            deps.accounts.disable(action.account_id)
        case DeleteAccount():
            deps.accounts.delete(action.account_id)
        case JoinGroup():
            deps.groups.join(action.group, account_email(action.account_id, deps.policy.project))
        case LeaveGroup():
            deps.groups.leave(action.group, account_email(action.account_id, deps.policy.project))
        case _:
            assert_never(action)


def _log_failure(action: Action, error: BenchkeeperError, plan: Plan, deps: Deps) -> None:
    tell = deps.log.error if isinstance(error, NotOursError) else deps.log.warning
    tell(
        "Action failed",
        user=plan.record.user_key,
        action=type(action).__name__,
        reason=error.reason.value,
        detail=error.detail,
    )
