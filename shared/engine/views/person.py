"""The views of a user, a fleet or a plan, as values that JSON can hold, for the command line, the page and scripts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from shared.domain.people import facts_json
from shared.domain.people.entitlement import judge_entitlement
from shared.domain.plan.plan import AccountSeen, ClustersSeen, Plan, SnapshotSight, TemplatesSeen
from shared.domain.record.parts import NOT_TOLD
from shared.domain.record.record import RecordRow, UserRecord, unknown_leaver_since
from shared.domain.things.errors import BenchkeeperError
from shared.domain.things.identity import UserKey
from shared.domain.things.notebook import Absent, NotebookSight, NotLooked, ObservedNotebook, Unreadable
from shared.domain.things.snapshots import SnapshotSeen, SnapshotState
from shared.domain.things.structs import to_dict
from shared.engine.ports.deps import Deps
from shared.engine.reconcile.reconciler import Preview, preview
from shared.engine.views.words import in_words, target_words


def show(user_key: UserKey, deps: Deps) -> dict[str, Any] | None:
    """Return all data about one user: record, conditions, observation, reasons, and the plan. Return None if there is no record."""
    found = preview(user_key, deps)
    if found is None:
        return None
    record, now = found.record, deps.clock.now()
    entitlement = judge_entitlement(record.facts, deps.policy.catalog, now, deps.policy.book)
    return {
        **address_view(record, now),
        "entitled": entitlement.entitled,
        "profile": entitlement.profile,
        "because": entitlement.because,
        "presence": record.spec.presence.value,
        "power": record.spec.power.value,
        "power_because": str(record.spec.power_reason),
        "target": target_words(record),
        "cost_center": record.cost_center,
        "unknown_leaver_since": _iso(unknown_leaver_since(record)),
        "hold": {"reason": record.hold.reason, "since": _iso(record.hold.since)} if record.hold is not None else None,
        "instance": record.status.notebook.instance_id,
        "zone": record.status.notebook.zone,
        "url": url_of(record.status.notebook.proxy_uri),
        "account": record.status.account.account_id,
        "former_instance": record.status.notebook.former.instance_id
        if record.status.notebook.former is not None
        else None,
        "snapshots": [
            {
                "name": s.name,
                "taken_at": _iso(s.asked_at),
                "ready_at": _iso(s.ready_at),
                "size_bytes": s.size_bytes,
                "kind": s.kind.value,
                "holds_the_disk": s.name == record.status.data.saved_in
                and _is_ready(found.observed.snapshots.get(s.name)),
            }
            for s in record.status.data.snapshots
        ],
        "operation": record.status.notebook.operation.name if record.status.notebook.operation is not None else None,
        "next_attempt_at": _iso(record.status.next_attempt_at),
        "attempts": record.status.attempts,
        "conditions": [
            {
                "type": c.type.value,
                "status": c.status.value,
                "reason": c.reason.value,
                "message": c.message,
                "last_transition_time": _iso(c.last_transition_time),
            }
            for c in record.status.conditions
        ],
        "observed": observed_view(found),
        "facts": facts_json.to_json(record.facts),
        "groups": sorted(record.facts.groups(now)),
        "plan": plan_view(found.plan),
    }


def _is_ready(sight: SnapshotSight | None) -> bool:
    """Return True if the snapshot was observed READY now: only then does the view say that the snapshot has the files."""
    return isinstance(sight, SnapshotSeen) and sight.state is SnapshotState.READY


def address_view(record: UserRecord, now: datetime) -> dict[str, Any]:
    """Return the user's addresses with the notices about them; `shared.engine.views.notices` has the words."""
    ends = record.facts.access_until(now)
    return {
        "user": record.email,
        "user_key": record.user_key,
        "person_id": record.facts.person_id(now),
        "access_until": _iso(ends[0]) if ends is not None else None,
        "former_addresses": list(record.former_emails),
        "notices": [notice.value for notice in record.status.notices],
        "not_told": [mail.stage.value for mail in record.status.mail.mails if mail.state in NOT_TOLD],
        "blocked": _blocked(record),
        "rename": plain(to_dict(record.rename)) if record.rename is not None else None,
        "predecessor": record.predecessor,
        "handed_over_to": record.handover.to if record.handover is not None else None,
        "handed_over_at": _iso(record.handover.at) if record.handover is not None else None,
        "now": _iso(now),
    }


def _blocked(record: UserRecord) -> dict[str, str] | None:
    """Return the time of an operator's block and the reason for it; None if there is no block, or if an owner lifted it."""
    said = record.facts.blocked()
    return None if said is None else {"at": said.occurred_at.isoformat(), "because": str(said.value)}


def _templates_view(seen: TemplatesSeen | Unreadable | NotLooked) -> list[str] | str:
    match seen:
        case TemplatesSeen(digests=digests):
            return sorted(digests)
        case NotLooked():
            return "not read while an operation is under way"
        case _:
            return "unreadable"


def observed_view(found: Preview) -> dict[str, Any]:
    """Return the observation in words."""
    seen = found.observed
    account, clusters = seen.account, seen.clusters
    view = {
        "notebook": _notebook_view(seen.notebook),
        "templates": _templates_view(seen.templates),
    }
    if found.record.status.notebook.former is not None:
        view["former"] = _notebook_view(seen.former)
    if isinstance(account, AccountSeen):
        view["account"] = {"disabled": account.disabled, "shared": bool(account.shared_with)}
    if isinstance(clusters, ClustersSeen):
        view["clusters"] = [cluster.name for cluster in clusters.clusters]
    return view


def _notebook_view(sight: NotebookSight) -> dict[str, Any]:
    match sight:
        case ObservedNotebook():
            return {
                "state": sight.state.value,
                "zone": sight.ref.zone,
                "machine_type": sight.machine_type,
                "health": sight.health,
                "labels": dict(sight.labels),
                "public_ip": sight.has_public_ip,
                "created": _iso(sight.create_time),
            }
        case Absent():
            return {"state": "ABSENT"}
        case NotLooked():
            return {"state": "NONE"}
        case Unreadable(error=error):
            return {"state": "UNREADABLE", "why": error.user_message}


def plan_view(plan: Plan) -> dict[str, Any]:
    """Return the plan's actions in words, their reasons, and the time of the next pass."""
    return {
        "actions": [action.describe() for action in plan.actions],
        "because": [in_words(why) for why in plan.because],
        "requeue_at": _iso(plan.requeue_at),
    }


def fleet(deps: Deps) -> Iterator[dict[str, Any]]:
    """Yield one row per user, by listing, with the last sign of use that the idle sweeps saw; None if no sweep has seen any."""
    last_used = last_uses(deps)
    for row in deps.records.rows():
        yield row_view(row) | {"last_used": _iso(last_used.get(row.user_key))}


def last_uses(deps: Deps) -> Mapping[UserKey, datetime]:
    """Return the last sign of use by user, from the notes of the idle sweeps; empty if there are no notes or they cannot be read."""
    try:
        notes = deps.fleet.notes()
    except BenchkeeperError as error:
        deps.log.warning("Notes of the sweeps could not be read", reason=error.reason.value, detail=error.detail)
        return {}
    return notes.last_used if notes is not None else {}


def row_view(row: RecordRow) -> dict[str, Any]:
    """Return a row as a JSON object, with the notebook's state and URL added."""
    raw: dict[str, Any] = plain(to_dict(row))
    raw["state"] = row.reason
    raw["url"] = url_of(row.proxy_uri)
    return raw


def plain(value: Any) -> Any:
    """Return the value in types that JSON has: times as RFC 3339, durations in seconds, enumerations as their values."""
    match value:
        case datetime():
            return _iso(value)
        case timedelta():
            return value.total_seconds()
        case StrEnum():
            return value.value
        case Mapping():
            return {key: plain(each) for key, each in value.items()}
        case tuple() | list():
            return [plain(each) for each in value]
        case _:
            return value


def url_of(host_or_url: str) -> str:
    """Return the URL for a browser. A bare host, as the Notebooks API gives it, gets https; a host of this machine (`.localhost`) gets http.

    Return "" for http to another machine and for anything but a plain web address, because the result becomes a link on a
    page.
    """
    if not host_or_url:
        return ""
    url = host_or_url if "://" in host_or_url else f"//{host_or_url}"
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port  # raises unless the port is a number: `javascript:alert(1)` is not a host with a port
    except ValueError:
        return ""
    if not host or parts.username is not None or parts.scheme not in {"", "http", "https"}:
        return ""
    is_here = host == "localhost" or host.endswith(".localhost")
    if parts.scheme == "http" and not is_here:
        return ""
    return parts._replace(scheme=parts.scheme or ("http" if is_here else "https")).geturl()


def _iso(moment: Any) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")
