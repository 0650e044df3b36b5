"""Structured logs: one JSON object per line, in the shape that Cloud Logging parses from a function's standard output.

`severity`, `message`, `logging.googleapis.com/trace` and `logging.googleapis.com/labels` are the special fields; the rest
becomes jsonPayload. The shape equals google-cloud-logging's StructuredLogHandler (a test compares the two); that handler
itself is not imported here, because it costs two thirds of a second at every cold start.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TextIO

from shared.domain.things.identity import without_addresses

_TRACE: ContextVar[str] = ContextVar("trace", default="")
_WRITE = threading.Lock()


@contextmanager
def trace(header: str | None, project: str) -> Iterator[None]:
    """Add the trace of a `traceparent` (W3C) or `X-Cloud-Trace-Context` header, if valid, to all log lines inside the block."""
    token = _TRACE.set(_trace_name(header or "", project))
    try:
        yield
    finally:
        _TRACE.reset(token)


def _trace_name(header: str, project: str) -> str:
    trace_id = header.split("-")[1] if header.count("-") == 3 else header.split("/", maxsplit=1)[0]  # noqa: PLR2004 - traceparent has 4 parts
    is_hex = len(trace_id) == 32 and all(c in "0123456789abcdef" for c in trace_id.lower())  # noqa: PLR2004 - 16 bytes
    return f"projects/{project}/traces/{trace_id}" if is_hex else ""


def _clean(value: Any) -> Any:
    """Return the value without e-mail addresses. Callers log user keys, but a detail may quote text from outside."""
    match value:
        case str():
            return without_addresses(value)
        case dict():
            return {without_addresses(str(key)): _clean(item) for key, item in value.items()}
        case list() | tuple():
            return [_clean(item) for item in value]
        case None | bool() | int() | float():
            return value
        case _:
            return without_addresses(str(value))


class JsonLog:
    """The adapter of the port `Log`: constant messages, facts as JSON fields."""

    def __init__(self, component: str, *, stream: TextIO | None = None) -> None:
        self._component = component
        self._stream = stream

    def info(self, message: str, **facts: Any) -> None:
        """Log normal work."""
        self._write("INFO", message, facts)

    def warning(self, message: str, **facts: Any) -> None:
        """Log an event that an administrator should examine."""
        self._write("WARNING", message, facts)

    def error(self, message: str, **facts: Any) -> None:
        """Log an event on which an administrator must act."""
        self._write("ERROR", message, facts)

    def _write(self, severity: str, message: str, facts: dict[str, Any]) -> None:
        line: dict[str, Any] = {"severity": severity, "message": message, **_clean(facts)}
        line["logging.googleapis.com/labels"] = {"component": self._component}
        if _TRACE.get():
            line["logging.googleapis.com/trace"] = _TRACE.get()
        text = json.dumps(line, default=str)
        with _WRITE:  # threads share the stream; interleaved lines would not be JSON
            stream = self._stream or sys.stdout
            stream.write(text + "\n")
            stream.flush()


class SilentLog:
    """The adapter of the port `Log` for callers that print their own messages (the CLI): it logs nothing."""

    def info(self, message: str, **facts: Any) -> None:
        """Do nothing."""

    def warning(self, message: str, **facts: Any) -> None:
        """Do nothing."""

    def error(self, message: str, **facts: Any) -> None:
        """Do nothing."""
