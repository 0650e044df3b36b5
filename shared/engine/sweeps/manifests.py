"""The daily manifests of the audit. A manifest lists the objects of a day that is over, with their SHA-256; its own digest is in the log.

The drift sweep calls this each hour. A manifest is created once. While it is the newest, its digest is written to the
log repeatedly with the same id and time. So a lost write is repeated, and a query still shows one entry.
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta

from shared.domain.record.audit import ENTRIES, MANIFESTS, digest_of, manifest_name
from shared.domain.things.errors import BenchkeeperError
from shared.engine.ports.deps import Deps

_LATEST = timedelta(hours=1)  # after midnight: a pass that began before it has ended
_DAYS_AT_ONCE = 400  # a sweep catches up with so many days, if none ran for months


def keep_manifests(deps: Deps) -> None:
    """Write the manifests that are due. A failure is logged, and the next sweep tries again."""
    try:
        _keep(deps)
    except BenchkeeperError as error:
        deps.log.warning("Audit manifest was not written", reason=error.reason.value, detail=error.detail)


def _keep(deps: Deps) -> None:
    over = (deps.clock.now() - _LATEST).date() - timedelta(days=1)
    known = {found.name: found.digest for found in deps.audit.listed(MANIFESTS)}
    day = _first_due(max(known, default=""), over, deps)
    end = min(over, day + timedelta(days=_DAYS_AT_ONCE))
    while day <= end:
        name = manifest_name(day)
        content = None if name in known else _manifest(day, known.get(manifest_name(day - timedelta(days=1)), ""), deps)
        if content is not None:
            known[name] = digest_of(deps.audit.put(name, content))
        day += timedelta(days=1)
    last = manifest_name(over)
    if last in known:
        deps.audit.log_manifest(over.isoformat(), known[last], at=_end_of(over))


def _first_due(newest: str, over: date, deps: Deps) -> date:
    """Return the day after the newest manifest, however long no sweep ran.

    Without any manifest, return the day of the first entry; without entries, the day after `over`, so that no manifest is due.
    """
    if newest:
        return date.fromisoformat(newest.removeprefix(MANIFESTS).removesuffix(".json")) + timedelta(days=1)
    first = next(iter(deps.audit.listed(ENTRIES)), None)
    if first is None:
        return over + timedelta(days=1)
    try:
        return date.fromisoformat(first.name.removeprefix(ENTRIES).partition("/")[0])
    except ValueError:  # no object of ours
        return over + timedelta(days=1)


def _manifest(day: date, previous: str, deps: Deps) -> bytes | None:
    """Return the day's manifest; None for a day without an entry, if the day before has no manifest."""
    objects = [[found.name, found.digest] for found in deps.audit.listed(f"{ENTRIES}{day.isoformat()}/")]
    if not objects and not previous:
        return None
    manifest = {"version": 1, "day": day.isoformat(), "previous": previous, "count": len(objects), "objects": objects}
    return json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _end_of(day: date) -> datetime:
    return datetime.combine(day, time.max, UTC)
