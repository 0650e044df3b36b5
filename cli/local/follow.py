"""The view of environments that are being created: a live line for each user, or plain lines if there is no terminal."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec import Struct
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cli.output import Terminal, said_state, table
from shared.domain.record.record import UserRecord
from shared.domain.record.status import ConditionType
from shared.domain.things.errors import BenchkeeperError
from shared.domain.things.identity import UserKey
from shared.engine.ports.deps import Deps
from shared.engine.views.person import url_of
from shared.engine.views.words import status_words

_POLL_S = 0.25
_SETTLED = {"Ready", "Stopped", "Idle", "Removed", "NotEntitled", "Retained", "OnHold", "NotOurs", "UnknownProfile"}
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


class Line(Struct, frozen=True):
    """The state of one user's environment. `elapsed` is virtual time; `record` is None if the record is missing or unreadable."""

    email: str
    state: str
    message: str
    elapsed: timedelta
    record: UserRecord | None

    @property
    def settled(self) -> bool:
        """Return True if no further change is expected."""
        return self.state in _SETTLED


def follow(
    people: Sequence[tuple[UserKey, str]], deps: Deps, out: Terminal, stop: threading.Event, *, limit_s: float
) -> list[Line]:
    """Show the users until all are settled, `stop` is set or `limit_s` real seconds have passed.

    Return their last states.
    """
    ends = deps.clock.monotonic_s() + limit_s
    since: dict[str, datetime] = {}
    lines: list[Line] = []
    told: dict[str, str] = {}
    live = Live(console=out, refresh_per_second=8, transient=True) if out.is_terminal else None
    frame = 0
    if live is not None:
        live.start()
    try:
        while not stop.is_set() and deps.clock.monotonic_s() < ends:
            lines = look(people, deps, since)
            frame += 1
            if live is not None:
                live.update(picture(lines, frame))
            else:
                _say_changes(lines, told, out)
            if lines and all(line.settled for line in lines):
                break
            stop.wait(_POLL_S)
    finally:
        if live is not None:
            live.stop()
    return lines


def look(people: Sequence[tuple[UserKey, str]], deps: Deps, since: dict[str, datetime]) -> list[Line]:
    """Return the present state of all users. Elapsed time is virtual, from the creation of the record until the notebook is settled."""
    now = deps.clock.now()
    lines = []
    for user_key, email in people:
        try:
            stored = deps.records.load(user_key)
        except BenchkeeperError as error:
            lines.append(Line(email, "Unreadable", error.user_message, timedelta(0), None))
            continue
        if stored is None:
            lines.append(Line(email, "Pending", "Waiting for the message to arrive.", timedelta(0), None))
            continue
        record = stored.record
        began = since.setdefault(email, record.created_at)
        ready = record.status.condition(ConditionType.NOTEBOOK_READY)
        ended = ready.last_transition_time if ready is not None and ready.reason.value in _SETTLED else now
        state = ready.reason.value if ready is not None else "Pending"
        # The first sentence tells the state; `show` has the rest, which says what to do.
        message = ready.message.partition(". ")[0].rstrip(".") + "." if ready is not None else "The request is saved."
        lines.append(Line(email, state, message, max(ended - began, timedelta(0)), record))
    return lines


def picture(lines: list[Line], frame: int) -> Table:
    """Return one frame of the live view."""
    rows = []
    for line in lines:
        mark = (
            Text("✔", style="green") if line.state == "Ready" else Text(_SPINNER[frame % len(_SPINNER)], style="yellow")
        )
        if line.settled and line.state != "Ready":
            mark = Text("•", style="blue")
        rows.append((mark, line.email, said_state(line.state), _clock(line.elapsed), line.message))
    return table([("", ""), ("USER", ""), ("STATE", ""), ("TIME", ""), ("WHY", "fold")], rows)


def _say_changes(lines: list[Line], told: dict[str, str], out: Terminal) -> None:
    for line in lines:
        if told.get(line.email) != line.state:
            told[line.email] = line.state
            out.print(
                f"{_clock(line.elapsed):>8}  {status_words(line.state):<14} {line.email}  {line.message}",
                soft_wrap=True,
            )


def _clock(elapsed: timedelta) -> str:
    seconds = int(elapsed.total_seconds())
    return f"{seconds // 60}m{seconds % 60:02d}s"


def final_rows(lines: list[Line]) -> list[tuple[str, str | None, str | None, str, str | None]]:
    """Return rows of user, profile, instance, state and address; None for a value that is not known."""
    return [
        (
            line.email,
            line.record.spec.profile if line.record is not None else None,
            line.record.status.notebook.instance_id if line.record is not None else None,
            line.state,
            url_of(line.record.status.notebook.proxy_uri) if line.record is not None else None,
        )
        for line in lines
    ]
