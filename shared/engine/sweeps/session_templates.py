"""The sync of the templates of serverless Spark sessions with the configuration. Called by the hourly drift sweep."""

from __future__ import annotations

from collections import Counter
from typing import assert_never

from msgspec import Struct, field

from shared.domain.template.sessions import (
    CreateSession,
    LeaveSession,
    RemoveSession,
    SessionAction,
    UpdateSession,
    WantedSession,
    offers,
    plan_sessions,
)
from shared.domain.things.errors import BenchkeeperError, Reason
from shared.engine.ports.deps import Deps


class SessionsSynced(Struct):
    """The result of a sync of the session templates. `found` counts by action, `failed` by reason.

    `lines` describe each template. On a dry run nothing was changed.
    """

    wanted: int = 0
    found: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    lines: list[str] = field(default_factory=list)

    def as_facts(self) -> dict[str, object]:
        """Return the facts for the sweep's one log line."""
        return {
            "wanted": self.wanted,
            "found": dict(self.found),
            "failed": dict(self.failed),
            "lines": self.lines[:20],
        }


def sync_sessions(deps: Deps, *, dry_run: bool = False) -> SessionsSynced:
    """Create, update and remove the templates that differ: one listing, then a call for each difference.

    One template's failure stops neither the others nor the sweep: it is counted, and the next hourly sweep tries again.
    """
    synced = SessionsSynced()
    wanted, unknown = _rendered(deps, synced)
    try:
        seen = tuple(deps.sessions.rows())
    except BenchkeeperError as error:
        _failed("Session templates could not be listed", "", error, synced, deps)
        return synced
    for action in plan_sessions(wanted, seen, unknown=unknown):
        session_id, verb = _named(action)
        if not dry_run:
            try:
                _carry_out(action, deps)
            except BenchkeeperError as error:
                _failed("Session template failed", session_id, error, synced, deps)
                continue
        synced.found[verb] += 1
        synced.lines.append(f"{session_id}: {verb}, {action.because}")
    return synced


def _rendered(deps: Deps, synced: SessionsSynced) -> tuple[list[WantedSession], frozenset[str]]:
    """Return the wanted templates, and the ids of those that could not be rendered: a wrong master must not remove a template."""
    wanted: list[WantedSession] = []
    unknown: set[str] = set()
    for offer in offers(deps.policy.catalog):
        synced.wanted += 1
        try:
            wanted.append(deps.sessions.render(offer))
        except BenchkeeperError as error:
            unknown.add(offer.session_id)
            _failed("Session template could not be rendered", offer.session_id, error, synced, deps)
    return wanted, frozenset(unknown)


def _named(action: SessionAction) -> tuple[str, str]:
    match action:
        case CreateSession(wanted=wanted):
            return wanted.session_id, "create"
        case UpdateSession(wanted=wanted):
            return wanted.session_id, "update"
        case RemoveSession(session_id=session_id):
            return session_id, "remove"
        case LeaveSession(session_id=session_id):
            return session_id, "not ours"
    assert_never(action)


def _carry_out(action: SessionAction, deps: Deps) -> None:
    match action:
        case CreateSession(wanted=wanted):
            deps.sessions.create(wanted)
        case UpdateSession(wanted=wanted):
            deps.sessions.update(wanted)
        case RemoveSession(session_id=session_id):
            deps.sessions.remove(session_id)
        case LeaveSession(session_id=session_id, because=because):
            deps.log.warning(
                "Left a session template of another owner unchanged",
                template=session_id,
                reason=Reason.NOT_OURS.value,
                because=because,
            )
        case _:
            assert_never(action)


def _failed(message: str, session_id: str, error: BenchkeeperError, synced: SessionsSynced, deps: Deps) -> None:
    deps.log.warning(message, template=session_id, reason=error.reason.value, detail=error.detail)
    synced.failed[error.reason.value] += 1
    synced.lines.append(f"{session_id or 'listing'}: failed, {error.reason.value}")
