"""Carry out a plan: the only writer to the cloud. Each action by itself; a failure is a result, not an exception."""

from __future__ import annotations

from typing import assert_never

from shared.domain.errors import BenchkeeperError, NotOursError
from shared.domain.outcome import Done, Failed, Outcome, Started
from shared.domain.plan import (
    Action,
    CreateInstance,
    DeleteInstance,
    NotebookAction,
    Plan,
    PutTemplate,
    RemoveTemplate,
    StartInstance,
    StopInstance,
    UpdateInstance,
)
from shared.domain.record import OperationRef
from shared.engine.ports import Deps


def carry_out(plan: Plan, deps: Deps) -> list[tuple[Action, Outcome]]:
    """Do the plan's actions in order. A failed one does not hold up the others: notebook and templates are apart."""
    outcomes: list[tuple[Action, Outcome]] = []
    for action in plan.actions:
        try:
            outcome = _do(action, plan, deps)
        except BenchkeeperError as error:
            outcome = Failed(error)
            _log_failure(action, error, plan, deps)
        outcomes.append((action, outcome))
    return outcomes


def _do(action: Action, plan: Plan, deps: Deps) -> Outcome:
    match action:
        case PutTemplate():
            deps.templates.put(plan.record, action)
        case RemoveTemplate():
            deps.templates.remove(plan.record.user_key, action.template)
        case CreateInstance() | StartInstance() | StopInstance() | DeleteInstance() | UpdateInstance():
            operation = _do_notebook(action, deps)
            deps.log.info(
                "Asked for a change",
                user=plan.record.user_key,
                action=type(action).__name__,
                operation=operation.name if operation is not None else "",
                because=" ".join(plan.because),
            )
            return Done() if operation is None else Started(operation)
        case _:
            assert_never(action)
    return Done()


def _do_notebook(action: NotebookAction, deps: Deps) -> OperationRef | None:
    match action:
        case CreateInstance():
            return deps.notebooks.create(action.spec, action.zone, action.request_id)
        case StartInstance():
            return deps.notebooks.start(action.ref)
        case StopInstance():
            return deps.notebooks.stop(action.ref)
        case DeleteInstance():
            return deps.notebooks.delete(action.ref, action.request_id)
        case UpdateInstance():
            return deps.notebooks.update(
                action.ref,
                labels=action.labels,
                metadata=action.metadata,
                machine_type=action.machine_type,
                request_id=action.request_id,
            )
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
