"""The filters of Dataproc's lists: `field = value` joined by AND, or by nothing but space, which means the same."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from emulator.errors import ApiError

_TERM = re.compile(r"""(?P<field>[\w.\-]+)(?:\s*(?P<equals>=)\s*(?P<value>[^\s"]+|"[^"]*"))?""")
_BETWEEN = re.compile(r"\s+AND\s+|\s+")
_ACTIVE = ("CREATING", "UPDATING", "RUNNING")  # INACTIVE is every other state (the client's ListClustersRequest)
_LABEL = "labels."

Passes = Callable[[Mapping[str, Any]], bool]


def cluster_filter(text: str) -> Passes:
    """Return what lets clusters through: `status.state`, `clusterName` and `labels.KEY`, `*` is any value; 400 for anything else."""
    terms = _terms(text, ("status.state", "clusterName", _LABEL))
    return lambda view: all(_cluster_holds(view, field, value or "") for field, value in terms)


def template_filter(text: str) -> Passes:
    """Return the same for session templates: `labels.KEY = value`, and `labels.KEY` alone for one that is there at all.

    The client documents the form `[field [= value]]` and names no field; labels are what has values here.
    """
    terms = _terms(text, (_LABEL,), alone=True)
    return lambda view: all(_label_holds(view, field, "*" if value is None else value) for field, value in terms)


def session_filter(text: str) -> Passes:
    """Return what lets sessions through: `session_id`, `session_uuid`, `state`, `labels.KEY`, joined by AND and OR, AND first.

    The client documents comparisons of `create_time` and AIP-160's parentheses too; the embedded cloud refuses these.
    """
    known = ("session_id", "session_uuid", "state", _LABEL)
    either = [_terms(part, known, alone=True) for part in re.split(r"\s+OR\s+", text.strip())]
    return lambda view: any(all(_session_holds(view, field, value) for field, value in terms) for terms in either)


def _session_holds(view: Mapping[str, Any], field: str, value: str | None) -> bool:
    if field.startswith(_LABEL):
        return _label_holds(view, field, "*" if value is None else value)
    held = {"session_id": view["name"].rpartition("/")[2], "session_uuid": view["uuid"], "state": view["state"]}[field]
    return value in (None, "*", held)


def operation_filter(text: str) -> Passes:
    """Return the test of operations: `clusterName`, `operationType`, `status.state` (github.com/cdapio/cdap/pull/11683 sends the first two)."""
    terms = _terms(text, ("clusterName", "operationType", "status.state"))
    return lambda view: all(_operation_holds(view["metadata"], field, value or "") for field, value in terms)


def _terms(text: str, known: tuple[str, ...], *, alone: bool = False) -> list[tuple[str, str | None]]:
    """Return the fields and values; None is the value of a field that stands alone."""
    rest, terms = text.strip(), []
    while rest:
        match = _TERM.match(rest)
        if match is None or not any(_is(match["field"], each) for each in known) or not (alone or match["equals"]):
            raise ApiError("INVALID_ARGUMENT", f"Invalid filter: '{text}'.")
        terms.append((match["field"], match["value"].strip('"') if match["equals"] else None))
        rest = rest[match.end() :]
        between = _BETWEEN.match(rest)
        if rest and between is None:
            raise ApiError("INVALID_ARGUMENT", f"Invalid filter: '{text}'.")
        rest = rest[between.end() :] if between else rest
    return terms


def _is(field: str, known: str) -> bool:
    return (field.startswith(known) and field != known) if known.endswith(".") else field == known


def _cluster_holds(view: Mapping[str, Any], field: str, value: str) -> bool:
    if field == "status.state":
        state = view["status"]["state"]
        match value:
            case "ACTIVE":
                return state in _ACTIVE
            case "INACTIVE":
                return state not in _ACTIVE
            case _:
                return bool(value in (state, "*"))
    if field == "clusterName":
        return value in (view["clusterName"], "*")
    return _label_holds(view, field, value)


def _label_holds(view: Mapping[str, Any], field: str, value: str) -> bool:
    held = view.get("labels", {}).get(field.removeprefix(_LABEL))
    return held is not None and value in (held, "*")


def _operation_holds(metadata: Mapping[str, Any], field: str, value: str) -> bool:
    held = metadata["status"]["state"] if field == "status.state" else metadata[field]
    return value in (held, "*")
