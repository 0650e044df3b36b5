"""The daily manifests of the audit: for each day that is over, the list of its objects with their SHA-256, and the digest in the log.

The drift sweep calls this each hour. A manifest is created once. Its digest is written to the log again and again while it is the newest
one, each time with the same id and time, so that a lost write is made good and a query shows one entry.
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta

from shared.domain.record.audit import ENTRIES, MANIFESTS, digest_of, manifest_name
from shared.domain.things.errors import BenchkeeperError
from shared.engine.ports.deps import Deps

_LATEST = timedelta(hours=1)  # after midnight: a pass that began before it has ended
_DAYS = 8  # that a manifest may be late, for example because no sweep ran


def keep_manifests(deps: Deps) -> None:
    """Write the manifests that are due. A failure is logged, and the next sweep tries again."""
    try:
        _keep(deps)
    except BenchkeeperError as error:
        deps.log.warning("Audit manifest waits", reason=error.reason.value, detail=error.detail)


def _keep(deps: Deps) -> None:
    over = (deps.clock.now() - _LATEST).date() - timedelta(days=1)
    listed = deps.audit.listed(MANIFESTS, after=manifest_name(over - timedelta(days=_DAYS)))
    known = {found.name: found.digest for found in listed}
    day = over
    while known and manifest_name(day - timedelta(days=1)) not in known and day > over - timedelta(days=_DAYS):
        day -= timedelta(days=1)  # no sweep ran for some days
    while day <= over:
        name = manifest_name(day)
        content = None if name in known else _manifest(day, known.get(manifest_name(day - timedelta(days=1)), ""), deps)
        if content is not None:
            known[name] = digest_of(deps.audit.put(name, content))
        day += timedelta(days=1)
    last = manifest_name(over)
    if last in known:
        deps.audit.log_manifest(over.isoformat(), known[last], at=_end_of(over))


def _manifest(day: date, previous: str, deps: Deps) -> bytes | None:
    """Return the day's manifest; None for a day without an entry, if there was none before either."""
    objects = [[found.name, found.digest] for found in deps.audit.listed(f"{ENTRIES}{day.isoformat()}/")]
    if not objects and not previous:
        return None
    manifest = {"version": 1, "day": day.isoformat(), "previous": previous, "count": len(objects), "objects": objects}
    return json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _end_of(day: date) -> datetime:
    return datetime.combine(day, time.max, UTC)
