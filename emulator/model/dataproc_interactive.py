"""The model of Dataproc's serverless interactive sessions: create, get, list, terminate, delete. Spark itself never runs here.

States follow from the times of a session and the time of the read. Two rules are inferred from the client's documentation
alone: a session that is terminating or over cannot be terminated (FAILED_PRECONDITION), and a deleted session terminates first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from emulator.clock import parse_rfc3339, rfc3339
from emulator.errors import ApiError
from emulator.model.dataproc_cluster import TYPE
from emulator.model.dataproc_config import check_cluster_labels, read_message, read_request_id, uuid_of, zones_of
from emulator.model.filters import fields_filter, labels_of
from emulator.model.notebooks_fresh import digest
from emulator.model.notebooks_rules import invalid
from emulator.model.pages import listed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emulator.world import World

_NAME = re.compile(r"projects/(?P<project>[^/]+)/locations/(?P<location>[^/]+)/sessions/(?P<id>[^/]*)")
_PARENT = re.compile(r"projects/(?P<project>[^/]+)/locations/(?P<location>[^/]+)")
_ID = re.compile(r"[a-z0-9-]{4,63}")  # the client's CreateSessionRequest
_OUTPUT_ONLY = ("uuid", "createTime", "runtimeInfo", "state", "stateMessage", "stateTime", "creator", "stateHistory")
_CREATE, _END = timedelta(seconds=60), timedelta(seconds=30)
_TIMES = ("created", "active", "ending", "ended", "gone", "started", "ends")
RUNNING = ("CREATING", "ACTIVE")


@dataclass(slots=True)
class Session:
    """A session. It is CREATING until `active`, then ACTIVE; TERMINATING from `ending` until `ended`, then TERMINATED.

    A session that is terminated before `active` is never ACTIVE. A deleted session is removed at `gone`.
    """

    name: str
    body: dict[str, Any]
    created: datetime
    active: datetime
    ending: datetime | None = None
    ended: datetime | None = None
    gone: datetime | None = None

    def history(self, now: datetime) -> list[tuple[str, datetime]]:
        """Return the states until now with their start times; the last is the present state."""
        states = [("CREATING", self.created)]
        if self.ending is None or self.active <= self.ending:
            states.append(("ACTIVE", self.active))
        if self.ending is not None and self.ended is not None:
            states += [("TERMINATING", self.ending), ("TERMINATED", self.ended)]
        return [state for state in states if state[1] <= now]

    def state(self, now: datetime) -> str:
        """Return the present state."""
        return self.history(now)[-1][0]

    def view(self, now: datetime) -> dict[str, Any]:
        """Return the REST JSON."""
        *before, (state, since) = self.history(now)
        seen = self.body | {"state": state, "stateTime": rfc3339(since)}
        rows = [{"state": name, "stateStartTime": rfc3339(at)} for name, at in before]
        return seen | ({"stateHistory": rows} if rows else {})


@dataclass(slots=True)
class SessionOperation:
    """An operation on a session; done at `ends`."""

    name: str
    kind: str
    session: str
    uuid: str
    started: datetime
    ends: datetime
    request_id: str
    response: dict[str, Any]

    def view(self, now: datetime) -> dict[str, Any]:
        """Return the REST JSON; `done` is only present if it is true."""
        metadata: dict[str, Any] = {
            "@type": f"{TYPE}SessionOperationMetadata",
            "session": self.session,
            "sessionUuid": self.uuid,
            "createTime": rfc3339(self.started),
            "operationType": self.kind,
        }
        if now < self.ends:
            return {"name": self.name, "metadata": metadata}
        done = metadata | {"doneTime": rfc3339(self.ends)}
        return {"name": self.name, "metadata": done, "done": True, "response": self.response}


class InteractiveSessions:
    """The model of all interactive sessions of the project, by full name, and of their operations."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._sessions: dict[str, Session] = {}
        self.operations: dict[str, SessionOperation] = {}
        self.latest: datetime | None = None  # the end of the operation that ends last
        self._serial = 0

    def dump(self) -> Any:
        """Return the state as JSON-able data."""
        return {
            "serial": self._serial,
            "sessions": [_row(each) for each in self._sessions.values()],
            "operations": [_row(each) for each in self.operations.values()],
        }

    def load(self, state: Any) -> None:
        """Restore the state from a result of `dump`; an empty state has no sessions."""
        self._serial = state.get("serial", 0)
        self._sessions = {row["name"]: Session(**_with_times(row)) for row in state.get("sessions", [])}
        self.operations = {row["name"]: SessionOperation(**_with_times(row)) for row in state.get("operations", [])}
        self.latest = max((operation.ends for operation in self.operations.values()), default=None)

    def create(
        self, parent: str, session_id: str, body: dict[str, Any], *, creator: str, request_id: str = ""
    ) -> dict[str, Any]:
        """Answer `CreateSession`: ACTIVE once its operation is done."""
        self._check_parent(parent)
        earlier = self._repeated("CREATE", request_id)
        if earlier is not None:
            return earlier
        if not _ID.fullmatch(session_id):
            raise invalid(f"Invalid session ID: '{session_id}'. It must be 4-63 characters of /[a-z][0-9]-/.")
        asked = {key: value for key, value in read_message("Session", body).items() if key not in _OUTPUT_ONLY}
        check_cluster_labels(asked.get("labels", {}))
        if not {"jupyterSession", "sparkConnectSession"} & set(asked):
            raise invalid("Session config must be set: jupyter_session or spark_connect_session.")
        name = f"{parent}/sessions/{session_id}"
        if name in self._sessions:
            raise ApiError("ALREADY_EXISTS", f"Already exists: Failed to create session: Session {name}")
        now = self.world.clock.now()
        self._serial += 1
        uuid = uuid_of(digest(name, self._serial))
        made = asked | {"name": name, "uuid": uuid, "creator": creator, "createTime": rfc3339(now)}
        session = self._sessions[name] = Session(name, made, now, now + _CREATE)
        return self._start(session, "CREATE", session.active, request_id, {"@type": f"{TYPE}Session", **made})

    def get(self, name: str) -> dict[str, Any]:
        """Answer `GetSession`."""
        return self._find(name).view(self._now())

    def listing(self, parent: str, *, filter_: str = "", size: int = 0, token: str = "") -> dict[str, Any]:
        """Answer `ListSessions`, ordered by name."""
        self._check_parent(parent)
        now, passes, prefix = (
            self._now(),
            fields_filter(
                filter_, ("session_id", "session_uuid", "state", "labels."), _fields, alone=True, either=True
            ),
            f"{parent}/sessions/",
        )
        views = [each.view(now) for name, each in self._sessions.items() if name.startswith(prefix)]
        return listed(
            "sessions",
            [view for view in views if passes(view)],
            size=size,
            token=token,
            scope=f"sessions {parent} {filter_}",
            key=lambda view: str(view["name"]),
        )

    def terminate(self, name: str, *, request_id: str = "") -> dict[str, Any]:
        """Answer `TerminateSession`."""
        earlier = self._repeated("TERMINATE", request_id)
        if earlier is not None:
            return earlier
        session, now = self._find(name), self._now()
        if session.state(now) not in RUNNING:
            text = f"Session '{name}' cannot be terminated in state {session.state(now)}."
            raise ApiError("FAILED_PRECONDITION", text)
        _end(session, now)
        return self._start(session, "TERMINATE", session.ended or now, request_id, _over(session))

    def delete(self, name: str, *, request_id: str = "") -> dict[str, Any]:
        """Answer `DeleteSession`: "If the session is not in terminal state, it is terminated, and then deleted" (the client)."""
        earlier = self._repeated("DELETE", request_id)
        if earlier is not None:
            return earlier
        session, now = self._find(name), self._now()
        if session.state(now) in RUNNING:
            _end(session, now)
        session.gone = max(now, session.ended or now)
        return self._start(session, "DELETE", session.gone, request_id, _over(session))

    def get_operation(self, name: str) -> dict[str, Any] | None:
        """Return the operation of that name, or None if no session has such an operation."""
        found = self.operations.get(name)
        return None if found is None else found.view(self._now())

    # --- inner

    def _now(self) -> datetime:
        now = self.world.clock.now()
        for each in list(self._sessions.values()):
            if each.gone is not None and each.gone <= now:
                del self._sessions[each.name]
        return now

    def _start(
        self, session: Session, kind: str, ends: datetime, request_id: str, response: dict[str, Any]
    ) -> dict[str, Any]:
        now, match = self.world.clock.now(), _NAME.fullmatch(session.name)
        if match is None:
            raise invalid(f"Invalid session name: '{session.name}'.")
        self._serial += 1
        place = f"projects/{match['project']}/regions/{match['location']}/operations"
        name = f"{place}/{uuid_of(digest(session.name, kind, self._serial))}"
        uuid = str(session.body["uuid"])
        operation = SessionOperation(name, kind, session.name, uuid, now, ends, request_id, response)
        self.operations[name] = operation
        self.latest = ends if self.latest is None else max(ends, self.latest)
        return operation.view(now)

    def _repeated(self, kind: str, request_id: str) -> dict[str, Any] | None:
        read_request_id(request_id)
        same = (each for each in self.operations.values() if (each.kind, each.request_id) == (kind, request_id))
        found = next(same, None) if request_id else None
        return found.view(self._now()) if found is not None else None

    def _check_parent(self, parent: str) -> None:
        match = _PARENT.fullmatch(parent)
        if match is None:
            raise invalid(f"Invalid parent: '{parent}'. It must be projects/PROJECT/locations/REGION.")
        self._check_place(match["project"], match["location"])

    def _check_place(self, project: str, location: str) -> None:
        if project != self.world.project:
            raise ApiError("PERMISSION_DENIED", f"Permission denied on resource project {project}.")
        if not zones_of(location):
            raise ApiError("PERMISSION_DENIED", f"Permission denied on 'locations/{location}' (or it may not exist).")

    def _find(self, name: str) -> Session:
        match = _NAME.fullmatch(name)
        if match is None:
            raise invalid(f"Invalid session name: '{name}'.")
        self._check_place(match["project"], match["location"])
        self._now()
        if name not in self._sessions:
            raise ApiError("NOT_FOUND", f"Not found: Session {name}")
        return self._sessions[name]


def _end(session: Session, now: datetime) -> None:
    session.ending, session.ended = now, now + _END


def _over(session: Session) -> dict[str, Any]:
    state = {"state": "TERMINATED", "stateTime": rfc3339(session.ended or session.created)}
    return {"@type": f"{TYPE}Session", **session.body, **state}


def _row(each: Session | SessionOperation) -> dict[str, Any]:
    row = {known.name: getattr(each, known.name) for known in fields(each)}
    return row | {key: rfc3339(row[key]) for key in _TIMES if row.get(key)}


def _with_times(row: dict[str, Any]) -> dict[str, Any]:
    return row | {key: parse_rfc3339(row[key]) for key in _TIMES if row.get(key)}


def _fields(view: Mapping[str, Any]) -> dict[str, Any]:
    ident = view["name"].rpartition("/")[2]
    return {**labels_of(view), "session_id": ident, "session_uuid": view["uuid"], "state": view["state"]}
