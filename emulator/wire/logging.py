"""The REST API of Cloud Logging v2: `entries.write`, `entries.list` and the sinks. Sinks do not export any entry here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from emulator.wire.http import Call, Handler, Route, route, with_query
from emulator.world import CallSpec

if TYPE_CHECKING:
    from emulator.model.log_entries import LogEntries
    from emulator.model.log_sinks import Sinks


def routes(entries: LogEntries, sinks: Sinks) -> list[Route]:
    """Return the service's routes."""
    spec = CallSpec("logging", "entries.list", permission="logging.logEntries.list")
    pattern = re.compile(r"^/v2/entries:list$")
    found = [Route("POST", pattern, spec, lambda call: entries.listing(call.json()), "entries")]
    write = CallSpec("logging", "entries.write", mutates=True, permission="logging.logEntries.create")
    pattern = re.compile(r"^/v2/entries:write$")
    found.append(Route("POST", pattern, write, lambda call: entries.write(call.json()), "entries"))
    for kind in ("projects", "organizations"):
        parent = f"/v2/{kind}/{{owner}}/sinks"
        found += _sinks(sinks, kind, parent)
    return found


def _sinks(sinks: Sinks, kind: str, parent: str) -> list[Route]:
    def of(call: Call) -> str:
        return f"{kind}/{call.params['owner']}"

    def name(call: Call) -> str:
        return f"{of(call)}/sinks/{call.params['sink']}"

    def create(call: Call, query: dict[str, str]) -> Any:
        return sinks.create(of(call), call.json(), unique=query.get("uniqueWriterIdentity", "").lower() == "true")

    one = f"{parent}/{{sink}}"
    table: list[tuple[str, str, str, Handler]] = [
        ("GET", parent, "list", with_query(lambda call, _: sinks.listing(of(call)), "pageSize", "pageToken", "filter")),
        ("POST", parent, "create", with_query(create, "uniqueWriterIdentity")),
        ("GET", one, "get", with_query(lambda call, _: sinks.get(name(call)))),
        ("DELETE", one, "delete", with_query(lambda call, _: sinks.delete(name(call)))),
    ]
    return [
        route(
            verb,
            path,
            CallSpec("logging", f"sinks.{verb_name}", mutates=verb != "GET", permission=f"logging.sinks.{verb_name}"),
            handler,
            resource=f"{kind}/{{owner}}/sinks/{{sink}}" if path == one else f"{kind}/{{owner}}",
        )
        for verb, path, verb_name, handler in table
    ]
