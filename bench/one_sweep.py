"""The program that runs one sweep, or a baseline, in its own process, for `fleet.py`, `due.py` and `roster.py`.

`one_sweep.py KIND URL NOW` prints a line of JSON. The program imports only the product, as a function does. Linux
reports the peak memory of the process.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from msgspec.structs import replace

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

import functions  # noqa: E402, F401 - what a function's process sets for itself
from shared.cloud.http.clients import Clients, CloudConfig  # noqa: E402 - the tree comes first on sys.path
from shared.engine.ports.deps import Deps  # noqa: E402
from shared.engine.sweeps import due as due_sweep  # noqa: E402
from shared.engine.sweeps.sweeps import sweep  # noqa: E402
from shared.settings import load_settings  # noqa: E402
from shared.telemetry import JsonLog  # noqa: E402
from shared.wiring import wire  # noqa: E402


class StandingClock:
    """A clock that always returns the time of the measurement."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def now(self) -> datetime:
        """Return the time of the measurement."""
        return self._now

    def monotonic_s(self) -> float:
        """Return real seconds since an arbitrary start."""
        return time.monotonic()

    def speed(self) -> float:
        """Return 0, because the clock stands still."""
        return 0.0


def bare(deps: Deps, clients: Clients) -> int:
    """Read the pages of a drift sweep and discard them. Return their number."""
    bucket, pages = clients.bucket(), 0
    for prefix, fields in (("records/", "name,metadata"), ("templates/", "name,metadata,md5Hash")):
        query = {"prefix": prefix, "fields": f"items({fields}),nextPageToken", "projection": "noAcl"}
        pages += sum(1 for _ in bucket._pages(query, most=None, what="list"))  # noqa: SLF001 - the transport's pages are the yardstick
    token = ""
    path = f"/v2/projects/{deps.base_policy.project}/locations/-/instances"
    while True:
        page = clients.json("notebooks").call(
            "GET", path, params={"pageSize": 500, **({"pageToken": token} if token else {})}
        )
        token, pages = page.get("nextPageToken", ""), pages + 1
        if not token:
            return pages


def typed(deps: Deps) -> int:
    """Read the pages of a drift sweep as typed rows, templates and instances, without judging them. Return the number of these objects."""
    found = sum(1 for _ in deps.records.listed()) + sum(1 for _ in deps.templates.rows())
    return found + sum(len(page.notebooks) for page in deps.notebooks.pages())


def main(kind: str, url: str, now: str) -> None:
    """Run one sweep or baseline in this process, and print a line of JSON about it."""
    settings = replace(
        load_settings(env="local", config_dir=ROOT / "config", environ={}), api_endpoint=url, roster_groups=True
    )
    clients = Clients(CloudConfig(project=settings.project, bucket=settings.bucket, api_endpoint=url))
    deps = replace(
        wire(settings, log=JsonLog("bench"), clients=clients), clock=StandingClock(datetime.fromisoformat(now))
    )
    next(deps.records.due(deps.clock.now()), None)  # imports and the first connection
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark counts from here; what the imports took stays
    before, before_mb, begun = time.process_time(), _peak_mb(), time.monotonic()
    facts: dict[str, Any] = {}
    if kind == "bare":
        facts["pages"] = bare(deps, clients)
    elif kind == "typed":
        facts["objects"] = typed(deps)
    else:
        if kind == "due-apart":  # as if each sweep were alone
            kind, due_sweep.FEW = "due", sys.maxsize
        facts = sweep(kind, deps, proposes=False).as_facts()
    print(
        json.dumps(
            {
                "cpu_s": time.process_time() - before,
                "s": time.monotonic() - begun,
                "mb": _peak_mb(),
                "empty_mb": before_mb,
                "facts": facts,
            },
            default=str,
        )
    )


def _peak_mb() -> float:
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
