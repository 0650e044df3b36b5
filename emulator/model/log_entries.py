"""The entries of Cloud Logging: the output of the functions, in the shape of Cloud Run's log entries.

The last 20,000 entries are stored in memory; `DIR/logs` has all output.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from emulator.clock import parse_rfc3339, rfc3339
from emulator.errors import ApiError
from emulator.model.filters import Parser, Predicate
from emulator.model.pages import listed

if TYPE_CHECKING:
    from emulator.world import World

_KEPT = 20_000
_PAGE, _MAX_PAGE = 50, 1000
_ORDERS = ("", "timestamp asc", "timestamp desc")
# google.logging.type.LogSeverity
SEVERITIES = {
    "DEFAULT": 0, "DEBUG": 100, "INFO": 200, "NOTICE": 300, "WARNING": 400, "ERROR": 500, "CRITICAL": 600, "ALERT": 700,
    "EMERGENCY": 800,
}  # fmt: skip
_LABELS, _TRACE = "logging.googleapis.com/labels", "logging.googleapis.com/trace"
_SPECIAL = frozenset(["severity", "time", _LABELS, _TRACE])
_FIELDS = frozenset(
    ["logName", "resource", "timestamp", "severity", "insertId", "labels", "textPayload", "jsonPayload", "trace", "spanId",
     "httpRequest", "operation", "sourceLocation"]
)  # fmt: skip
_LOG_NAME = re.compile(r"(projects|organizations|folders|billingAccounts)/[^/]+/logs/[A-Za-z0-9/_.%-]{1,511}")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


class LogEntries:
    """A store of log entries, oldest first: the functions' output, and the entries given to `entries.write`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._entries: deque[dict[str, Any]] = deque(maxlen=_KEPT)
        self._serial = 0

    def add(self, service: str, line: str, *, region: str = "europe-west1") -> None:
        """Add a line that a function wrote; an empty line is ignored."""
        if not line.strip():
            return
        with self._world.lock:
            self._serial += 1
            now, project = rfc3339(self._world.clock.now()), self._world.project
            labels = {
                "configuration_name": service,
                "location": region,
                "project_id": project,
                "revision_name": f"{service}-00001-emu",
                "service_name": service,
            }
            self._entries.append(
                {
                    "insertId": f"{self._serial:016x}",  # in the order of arrival
                    **_payload(line, now),
                    "resource": {"type": "cloud_run_revision", "labels": labels},
                    "logName": f"projects/{project}/logs/run.googleapis.com%2Fstdout",
                    "receiveTimestamp": now,
                }
            )

    def write(self, body: dict[str, Any]) -> dict[str, Any]:
        """Answer `entries.write`. Each entry needs a log name and a resource, its own or those of the request.

        The request's `labels` are added to each entry, whose own take precedence. With `dryRun` nothing is stored.
        `partialSuccess` has no effect.
        """
        unknown = sorted(set(body) - {"entries", "logName", "resource", "labels", "partialSuccess", "dryRun"})
        if unknown:
            text = f'Invalid JSON payload received. Unknown name "{unknown[0]}": Cannot find field.'
            raise ApiError("INVALID_ARGUMENT", text)
        if not isinstance(body.get("labels", {}), dict):
            raise ApiError("INVALID_ARGUMENT", "Invalid value at 'labels': an object is needed.")
        entries = body.get("entries")
        if not isinstance(entries, list) or not entries or not all(isinstance(each, dict) for each in entries):
            raise ApiError("INVALID_ARGUMENT", "Entries must be specified.")
        with self._world.lock:
            now = rfc3339(self._world.clock.now())
            made = [self._written(raw, body, now) for raw in entries]
            if body.get("dryRun") is not True:
                self._entries.extend(made)
        return {}

    def _written(self, raw: dict[str, Any], body: dict[str, Any], now: str) -> dict[str, Any]:
        unknown = sorted(set(raw) - _FIELDS)
        if unknown:
            text = f"Invalid JSON payload received. Unknown name \"{unknown[0]}\" at 'entries[0]': Cannot find field."
            raise ApiError("INVALID_ARGUMENT", text)
        name = str(raw.get("logName", body.get("logName", "")))
        if _LOG_NAME.fullmatch(name) is None:
            raise ApiError("INVALID_ARGUMENT", f"Log name is not valid: {name!r}")
        resource = raw.get("resource", body.get("resource"))
        if not isinstance(resource, dict) or not resource.get("type"):
            raise ApiError("INVALID_ARGUMENT", "A monitored resource must be specified for each log entry.")
        severity = str(raw.get("severity", "DEFAULT"))
        if severity not in SEVERITIES:
            raise ApiError("INVALID_ARGUMENT", f"Invalid value at 'entries[0].severity': {severity!r}")
        stamp = str(raw.get("timestamp", now))
        try:
            parse_rfc3339(stamp)
        except ValueError as error:
            raise ApiError("INVALID_ARGUMENT", f"Invalid value at 'entries[0].timestamp': {stamp!r}") from error
        self._serial += 1
        known = {
            "insertId": f"{self._serial:016x}",
            "timestamp": stamp,
            "severity": severity,
            "resource": resource,
            "receiveTimestamp": now,
        }
        own = raw.get("labels", {})
        if not isinstance(own, dict):
            raise ApiError("INVALID_ARGUMENT", "Invalid value at 'entries[0].labels': an object is needed.")
        labels = {**body.get("labels", {}), **own}
        return {
            **raw,
            **known,
            "logName": name,
            **({"labels": labels} if labels else {}),
            **({"insertId": raw["insertId"]} if raw.get("insertId") else {}),
        }

    def listing(self, body: dict[str, Any]) -> dict[str, Any]:
        """Answer `entries.list` with all matching entries if a resource name is of this project, else with none."""
        unknown = sorted(set(body) - {"resourceNames", "projectIds", "filter", "orderBy", "pageSize", "pageToken"})
        if unknown:
            text = f'Invalid JSON payload received. Unknown name "{unknown[0]}": Cannot find field.'
            raise ApiError("INVALID_ARGUMENT", text)
        names = body.get("resourceNames", [])
        if not isinstance(names, list) or not names:
            raise ApiError("INVALID_ARGUMENT", "Resource names must be specified.")
        order, size = body.get("orderBy", ""), body.get("pageSize", 0)
        if order not in _ORDERS:
            raise ApiError("INVALID_ARGUMENT", f"Invalid order_by: '{order}'.")
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _MAX_PAGE:
            raise ApiError("INVALID_ARGUMENT", f"page_size must be from 0 to {_MAX_PAGE}.")
        ours = any(str(name).startswith(f"projects/{self._world.project}") for name in names)
        passes = entry_filter(str(body.get("filter", "")))
        # Of entries with the same log, time and insertId a query shows one (LogEntry, insert_id).
        once = {(entry["logName"], entry["timestamp"], entry["insertId"]): entry for entry in self._entries}
        found = [entry for entry in once.values() if ours and passes(entry)]
        return listed(
            "entries",
            found,
            size=size or _PAGE,
            token=str(body.get("pageToken", "")),
            scope=f"{names} {body.get('filter', '')} {order}",
            key=lambda entry: f"{entry['timestamp']} {entry['insertId']}",
            descending=order.endswith("desc"),
        )


def _payload(line: str, now: str) -> dict[str, Any]:
    """Return the fields of the entry that come from the line, as Cloud Run's agent reads it: a JSON object may have special fields."""
    try:
        said = json.loads(line)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        return {"textPayload": line, "severity": "DEFAULT", "timestamp": now}
    severity = str(said.get("severity", "DEFAULT")).upper()
    entry: dict[str, Any] = {
        "jsonPayload": {key: value for key, value in said.items() if key not in _SPECIAL},
        "severity": severity if severity in SEVERITIES else "DEFAULT",
        "timestamp": str(said.get("time", now)),
    }
    if _LABELS in said:
        entry["labels"] = said[_LABELS]
    if _TRACE in said:
        entry["trace"] = said[_TRACE]
    return entry


def entry_filter(text: str) -> Predicate:
    """Return the predicate on an entry; an empty filter accepts all. Raise 400 for an invalid filter."""
    return _Entries(text).parse() if text.strip() else lambda _entry: True


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda held, asked: held < asked,
    "<=": lambda held, asked: held <= asked,
    ">": lambda held, asked: held > asked,
    ">=": lambda held, asked: held >= asked,
}


class _Entries(Parser):
    """The Logging query language: `=`, `!=`, `:`, `=~`, `!~`, `<`, `<=`, `>`, `>=`, `=("a" OR "b")`, and a bare text, which matches any field."""

    word = r"[A-Za-z0-9_@%/*+](?:[\w@%/*+.\-]|(?<=\d):(?=\d))*"  # a colon is part of a time only
    marks = r"!=|=~|!~|<=|>=|[=:<>(),.\-]"
    text = r'"(?:[^"\\]|\\.)*"'
    refusal = "Unparseable filter: '{text}': {why}."

    def comparison(self) -> Predicate:
        if self.peek() == '"':
            return _anywhere(self.string())
        path = self.take_kind("word")
        while self.skips("."):
            path += "." + (self.string() if self.peek() == '"' else self.take_kind("word"))
        if self.peek() not in {"=", "!=", ":", "=~", "!~", *_COMPARE}:
            return _anywhere(path)
        operator = self.take("=", "!=", ":", "=~", "!~", *_COMPARE)
        if self.skips("("):
            values = [self._value()]
            while self.skips("OR"):
                values.append(self._value())
            self.take(")")
        else:
            values = [self._value()]
        tests = [self._test(path, operator, value) for value in values]
        return lambda entry: any(test(entry) for test in tests)

    def _value(self) -> str:
        minus = self.skips("-")
        return minus + (self.string() if self.peek() == '"' else self.take_kind("word"))

    def _test(self, path: str, operator: str, value: str) -> Predicate:
        if operator in _COMPARE:
            compare, asked = _COMPARE[operator], self._ordered(path, value)
            return lambda entry: any(
                type(known) is type(asked) and compare(known, asked)
                for held in _held(entry, path)
                if (known := _as_ordered(path, held)) is not None
            )
        matches = self._matching(operator, value)
        if operator.startswith("!"):
            return lambda entry: not any(matches(_shown(held)) for held in _held(entry, path))
        return lambda entry: any(matches(_shown(held)) for held in _held(entry, path))

    def _matching(self, operator: str, value: str) -> Callable[[str], bool]:
        if operator in {"=~", "!~"}:
            try:
                pattern = re.compile(value)
            except re.error as error:
                raise self.refuse(str(error)) from error
            return lambda held: pattern.search(held) is not None
        if operator == ":":
            return lambda held: value == "*" or value.lower() in held.lower()
        return lambda held: held == value

    def _ordered(self, path: str, value: str) -> Any:
        found = _as_ordered(path, value)
        if found is None:
            raise self.refuse(f"'{value}' cannot be compared with {path}")
        return found


def _held(entry: Mapping[str, Any], path: str) -> list[Any]:
    """Return all values at a path; a list on the path is searched item by item."""
    values: list[Any] = [entry]
    for part in path.split("."):
        values = [each[part] for each in values if isinstance(each, Mapping) and part in each]
        values = [item for each in values for item in (each if isinstance(each, list) else [each])]
    return values


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _as_ordered(path: str, value: Any) -> Any:
    """Return a value for comparisons: the number of a severity, a time, a number, or else the text.

    Return None for an unknown severity or an unreadable time.
    """
    if path == "severity":
        return SEVERITIES.get(str(value).upper())
    if path in {"timestamp", "receiveTimestamp"}:
        try:
            return parse_rfc3339(str(value))
        except ValueError:
            return None
    text = _shown(value)
    return float(text) if _NUMBER.fullmatch(text) else text


def _anywhere(text: str) -> Predicate:
    wanted = text.lower()
    return lambda entry: wanted in json.dumps(entry).lower()
