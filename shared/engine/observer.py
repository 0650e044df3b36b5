"""Look at everything that one person's plan depends on. Reads only; a failed read is `Unreadable`, never absence."""

from __future__ import annotations

from shared.domain.errors import BenchkeeperError
from shared.domain.notebook import (
    RESTING,
    Absent,
    InstanceRef,
    NotebookSight,
    NotebookState,
    NotLooked,
    ObservedNotebook,
    Unreadable,
)
from shared.domain.plan import Observed, OperationSight, TemplatesSeen
from shared.domain.record import UserRecord, Verb
from shared.engine.ports import Deps


def observe(record: UserRecord, deps: Deps) -> Observed:
    """What is there for this person now: at most three reads (instance, operation, template listing)."""
    notebook = _notebook(record, deps)
    return Observed(notebook=notebook, operation=_operation(record, notebook, deps), templates=_templates(record, deps))


def _notebook(record: UserRecord, deps: Deps) -> NotebookSight:
    status = record.status
    if status.instance_id is None or status.zone is None:
        return NotLooked()
    try:
        return deps.notebooks.get(InstanceRef(instance_id=status.instance_id, zone=status.zone))
    except BenchkeeperError as error:
        return Unreadable(error)


def _operation(record: UserRecord, notebook: NotebookSight, deps: Deps) -> OperationSight:
    ref = record.status.operation
    try:
        if ref is not None:
            return NotLooked() if _is_over(ref.verb, notebook) else deps.notebooks.operation(ref)
        if isinstance(notebook, ObservedNotebook) and notebook.state not in {NotebookState.ACTIVE, *RESTING}:
            # Something is under way that the record does not know: a crash came between "cloud said yes" and the save.
            found = deps.notebooks.latest_operation(notebook.ref)
            return NotLooked() if found is None else deps.notebooks.operation(found)
    except BenchkeeperError as error:
        return Unreadable(error)
    return NotLooked()


def _is_over(verb: Verb, notebook: NotebookSight) -> bool:
    """True when the instance's own state says that the operation has ended well, so its reading can be saved."""
    match verb, notebook:
        case ((Verb.CREATE | Verb.START), ObservedNotebook(state=NotebookState.ACTIVE)):
            return True
        case Verb.STOP, ObservedNotebook(state=state):
            return state in RESTING
        case Verb.DELETE, Absent():
            return True
        case _:
            return False


def _templates(record: UserRecord, deps: Deps) -> TemplatesSeen | Unreadable:
    try:
        return deps.templates.seen(record.user_key)
    except BenchkeeperError as error:
        return Unreadable(error)
