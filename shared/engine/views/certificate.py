"""The certificate that a leaver has no access left, for the page, the command line and evidence.

For each access path, such as the virtual machine or the Spark clusters, it has the time of the cut and the time at which the
cloud confirmed it. It also says what it does not cover.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import Struct

from shared.domain.record.parts import LeavingPath, PathState
from shared.domain.record.record import Presence, UserRecord
from shared.domain.things.times import rfc3339

_TEXTS = {
    LeavingPath.PROXY: "JupyterLab sessions through the proxy (they end when the instance stops)",
    LeavingPath.VM: "the virtual machine, and its predecessor if one is being replaced",
    LeavingPath.ACCOUNT: "the person's own service account",
    LeavingPath.BINDINGS: "the permission to act as that account, its keys and its groups",
    LeavingPath.CLUSTERS: "Spark clusters",
    LeavingPath.SESSIONS: "serverless Spark sessions",
    LeavingPath.TEMPLATES: "Spark template objects",
    LeavingPath.PAGE: "the page",
}
_STATES = {
    PathState.GONE: "gone",
    PathState.NONE: "there was none",
    PathState.THERE: "still there at the last check",
    PathState.UNREADABLE: "could not be checked",
    PathState.NOT_LOOKED: "not checked yet",
}
NOT_COVERED = (
    "the person's Google account itself: your identity provider ends it",
    "what the person may do with that account elsewhere: Colab, BigQuery, other projects",
    "copies that the person made: downloads, other buckets, mail",
    "the person's saved files: they are kept for the retention, see the page",
)


class PathView(Struct, frozen=True, kw_only=True):
    """A line of a certificate, about one access path. `result` is "verified" or "not verified", `says` explains the result."""

    path: str
    covers: str
    result: str
    says: str
    cut_at: datetime | None
    verified_at: datetime | None


class Certificate(Struct, frozen=True, kw_only=True):
    """A leaver's certificate. `complete` is True if all eight access paths are verified. `note` is the reason why nothing can be verified yet, else ""."""

    complete: bool
    since: datetime | None
    complete_at: datetime | None
    paths: tuple[PathView, ...]
    note: str = ""


def certificate_of(record: UserRecord) -> Certificate | None:
    """Return the certificate of a leaver, or of a user whose end of access waits for an approval.

    Return None for any other user who has access, and for a leaver whose data was erased.
    """
    leaving = record.status.leaving
    waits = record.status.guard.waiting_cut
    if not record.email or (record.spec.presence is Presence.PRESENT and waits is None):
        return None
    note = ""
    if record.spec.presence is Presence.PRESENT and waits is not None:
        note, leaving = "Access has not ended: it waits for an approval.", None
    elif leaving is None:
        note = "No check has been made since access ended."
    known = {each.path: each for each in leaving.paths} if leaving is not None else {}
    rows = []
    for path in LeavingPath:
        cut = known.get(path)
        says = _STATES[cut.state] if cut is not None else _STATES[PathState.NOT_LOOKED]
        if cut is not None and cut.reason:
            says = f"{says} ({cut.reason})"
        if (
            cut is not None
            and cut.is_verified
            and path is LeavingPath.BINDINGS
            and leaving is not None
            and leaving.keys
        ):
            some = "1 key" if leaving.keys == 1 else f"{leaving.keys} keys"
            says = f"{says}: {some} that somebody made for the account cannot be used, because the account is disabled or deleted"
        rows.append(
            PathView(
                path=path.value,
                covers=_TEXTS[path],
                result="verified" if cut is not None and cut.is_verified else "not verified",
                says=says,
                cut_at=cut.cut_at if cut is not None else None,
                verified_at=cut.gone_at if cut is not None else None,
            )
        )
    since = leaving.since if leaving is not None else (waits.since if waits is not None else record.spec.absent_since)
    return Certificate(
        complete=leaving is not None and leaving.complete_at is not None,
        since=since,
        complete_at=leaving.complete_at if leaving is not None else None,
        paths=tuple(rows),
        note=note,
    )


def certificate_json(found: Certificate, record: UserRecord) -> dict[str, Any]:
    """Return the certificate for scripts and evidence."""
    return {
        "user": record.email,
        "user_key": record.user_key,
        "complete": found.complete,
        "since": _time(found.since),
        "complete_at": _time(found.complete_at),
        "note": found.note,
        "keys": record.status.leaving.keys if record.status.leaving is not None else None,
        "paths": [
            {
                "path": row.path,
                "covers": row.covers,
                "result": row.result,
                "says": row.says,
                "cut_at": _time(row.cut_at),
                "verified_at": _time(row.verified_at),
            }
            for row in found.paths
        ],
        "not_covered": list(NOT_COVERED),
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)
