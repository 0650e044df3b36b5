"""A request (`Wish`), made by a user's click on the page: an object that the page may create but never change.

That is rule R20 of docs/architecture.md. The page writes requests. The lifecycle function and the sweep read them, verify
who asked, and change the record. The request contains the assertion that Identity-Aware Proxy signed. The page's own account
writes the object, so only the signature proves who the subject is.

The functions that change a record by a request of the user, or of an administrator for the user, are pure. The page and the
command line share them.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from shared.domain.record.record import Power, Presence, UserRecord
from shared.domain.record.status import ConditionStatus, ConditionType
from shared.domain.things.catalog import Catalog, Profile
from shared.domain.things.clusters import ClusterStatus, ClusterWish, cluster_name
from shared.domain.things.errors import InvalidMessageError, Reason, RefusedError
from shared.domain.things.identity import UserKey, parse_user_key
from shared.domain.things.late import late
from shared.domain.things.power import PowerReason

VERSION = 1
MAX_BYTES = 20_000  # an assertion has about 700 characters, 8 KiB at most
MAX_REASON = 200
# A request of yesterday may not be wanted today. A request that was not taken up by then lapses, and is reported.
LAPSES_AFTER = timedelta(hours=24)
_TIME = "%Y%m%dT%H%M%S.%fZ"
_ID = late(lambda: re.compile(r"[0-9a-f]{16,32}"))
_TEMPLATE = late(lambda: re.compile(r"[A-Za-z0-9._-]{1,100}"))
_SNAPSHOT = late(lambda: re.compile(r"[a-z][a-z0-9-]{0,62}"))


class WishKind(StrEnum):
    """The kind of a request on the page."""

    START = "START"
    STOP = "STOP"
    RESTART = "RESTART"
    RESTORE = "RESTORE"
    UNDO_RESTORE = "UNDO_RESTORE"
    KEEP_ON = "KEEP_ON"
    END_KEEP_ON = "END_KEEP_ON"
    START_CLUSTER = "START_CLUSTER"
    DELETE_CLUSTER = "DELETE_CLUSTER"
    HOLD = "HOLD"
    RELEASE = "RELEASE"
    LOOK_AGAIN = "LOOK_AGAIN"
    BLOCK = "BLOCK"
    LIFT = "LIFT"


OWN = frozenset(
    {
        WishKind.START,
        WishKind.STOP,
        WishKind.RESTART,
        WishKind.RESTORE,
        WishKind.UNDO_RESTORE,
        WishKind.KEEP_ON,
        WishKind.END_KEEP_ON,
        WishKind.START_CLUSTER,
        WishKind.DELETE_CLUSTER,
    }
)  # requests that users may make for themselves
ADMINISTRATORS = frozenset(
    {
        WishKind.START,
        WishKind.STOP,
        WishKind.RESTART,
        WishKind.RESTORE,
        WishKind.UNDO_RESTORE,
        WishKind.DELETE_CLUSTER,
        WishKind.HOLD,
        WishKind.RELEASE,
        WishKind.LOOK_AGAIN,
        WishKind.BLOCK,
        WishKind.LIFT,
    }
)  # requests that administrators may make for any user
# Requests with a reason. The last two nobody may make about themselves, whatever their role.
_WITH_REASON = frozenset({WishKind.HOLD, WishKind.BLOCK, WishKind.LIFT})
NEVER_OWN = frozenset({WishKind.BLOCK, WishKind.LIFT})
_OF_A_COPY = frozenset({WishKind.RESTORE, WishKind.UNDO_RESTORE})
_OF_A_CLUSTER = frozenset({WishKind.START_CLUSTER, WishKind.DELETE_CLUSTER})


class Asked(Struct, frozen=True, kw_only=True):
    """The content of a request.

    `until` is set with KEEP_ON, `template` with the two kinds about clusters, `reason` with HOLD, BLOCK and LIFT. `snapshot`
    is set with RESTORE and UNDO_RESTORE: the name of the copy to restore, or of the copy from before the last restore.
    """

    kind: WishKind
    until: datetime | None = None
    template: str = ""
    reason: str = ""
    snapshot: str = ""


class Wish(Struct, frozen=True, kw_only=True):
    """A request as the page wrote it. Its content is not trusted before the assertion is verified.

    `as_administrator` is True if the click was on the manager's page; the subject must then have a right to make the request
    when it is read. `asked_at` is the time by the page's clock, for display only; requests are ordered by the creation times
    of the objects.
    """

    wish_id: str
    user_key: UserKey
    asked: Asked
    as_administrator: bool
    asked_at: datetime
    assertion: str

    @property
    def name(self) -> str:
        """Return the name of the request's object, below the user's prefix. Names sort by time."""
        return f"{self.asked_at.astimezone(UTC).strftime(_TIME)}-{self.wish_id}"


def wish_id_of(name: str) -> str | None:
    """Return the request id at the end of a name that `Wish.name` made; None for any other name."""
    wish_id = name.rpartition("-")[2]
    return wish_id if _ID.fullmatch(wish_id) else None


def may_ask(kind: WishKind, *, as_administrator: bool) -> bool:
    """Return True if the manager's page (`as_administrator`) or the user's own page offers this kind of request."""
    return kind in (ADMINISTRATORS if as_administrator else OWN)


def to_json(wish: Wish) -> bytes:
    """Return the content of the request's object, as JSON bytes with the assertion."""
    return json.dumps({**_shown(wish), "assertion": wish.assertion}, ensure_ascii=False).encode()


def to_text(wish: Wish) -> str:
    """Return the request without the assertion, for the object's metadata, so that a listing shows waiting requests."""
    return json.dumps(_shown(wish), ensure_ascii=False, separators=(",", ":"))


def from_json(raw: bytes | str) -> Wish:
    """Return the request that `to_json` or `to_text` wrote. Raise `InvalidMessageError` for anything else: the bytes are not trusted."""
    if len(raw) > MAX_BYTES:
        raise _no_wish(f"{len(raw)} bytes")
    try:
        found = json.loads(raw)
        if not isinstance(found, dict) or found["version"] != VERSION:
            raise _no_wish("another version")
        wish = Wish(
            wish_id=_text(found["id"]),
            user_key=parse_user_key(_text(found["user_key"])),
            asked=_asked(found["asked"]),
            as_administrator=found["as_administrator"] is True,
            asked_at=_moment(found["asked_at"]),
            assertion=_text(found.get("assertion", "")),
        )
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise _no_wish(type(error).__name__) from error
    if not _ID.fullmatch(wish.wish_id):
        raise _no_wish("an id of another form")
    return wish


def _shown(wish: Wish) -> dict[str, Any]:
    asked = wish.asked
    return {
        "version": VERSION,
        "id": wish.wish_id,
        "user_key": wish.user_key,
        "as_administrator": wish.as_administrator,
        "asked_at": wish.asked_at.astimezone(UTC).isoformat(),
        "asked": {
            "kind": asked.kind.value,
            "until": asked.until.astimezone(UTC).isoformat() if asked.until is not None else None,
            "template": asked.template,
            "reason": asked.reason,
            **({"snapshot": asked.snapshot} if asked.snapshot else {}),
        },
    }


def _asked(raw: Any) -> Asked:
    kind = WishKind(raw["kind"])
    until = _moment(raw["until"]) if raw["until"] is not None else None
    asked = Asked(
        kind=kind,
        until=until,
        template=_text(raw["template"]),
        reason=_text(raw["reason"]),
        snapshot=_text(raw.get("snapshot", "")),
    )
    if (until is not None) != (kind is WishKind.KEEP_ON):
        raise _no_wish("a time is only valid with KEEP_ON")
    if bool(asked.template) != (kind in _OF_A_CLUSTER) or (asked.template and not _TEMPLATE.fullmatch(asked.template)):
        raise _no_wish("a template is only valid with requests about clusters")
    if bool(asked.snapshot) != (kind in _OF_A_COPY) or (asked.snapshot and not _SNAPSHOT.fullmatch(asked.snapshot)):
        raise _no_wish("a copy is only valid with requests about files")
    reason = asked.reason
    if bool(reason) != (kind in _WITH_REASON) or len(reason) > MAX_REASON or not reason.isprintable():
        raise _no_wish("a reason of one short line is only valid with HOLD, BLOCK and LIFT")
    return asked


def _text(raw: object) -> str:
    if not isinstance(raw, str):
        raise _no_wish("a field that is not text")
    return raw


def _moment(raw: object) -> datetime:
    moment = datetime.fromisoformat(_text(raw))
    if moment.tzinfo is None:
        raise _no_wish("a time without its zone")
    return moment.astimezone(UTC)


def _no_wish(why: str) -> InvalidMessageError:
    return InvalidMessageError(user_message="This object is not a request.", detail=f"no wish: {why}")


_RESTARTS_WITHIN = timedelta(minutes=10)


def with_wish(record: UserRecord, template: str, catalog: Catalog, now: datetime) -> UserRecord:
    """Return the record with a request for a cluster of `template`; the same object while such a cluster is being created.

    A request for a running cluster is renewed, so that a cluster that ended unobserved is created again. Raise `RefusedError`
    if the user is not entitled, if the profile does not offer the template, or if the user has too many clusters.
    """
    profile = entitled(record, catalog)
    if template not in profile.templates:
        offered = ", ".join(profile.templates) or "none"
        raise RefusedError(
            user_message=f"Your profile has no Spark environment '{template}'. It has: {offered}.",
            detail=f"no template {template[:100]!r} in profile {profile.name}",
        )
    known_status = record.status.cluster(template)
    wish = record.spec.wish(template)
    if wish is not None and (known_status is None or known_status.seen_running_at is None):
        return record
    others = tuple(w for w in record.spec.clusters if w.template != template)
    going = [
        c
        for c in record.status.clusters
        if c.is_there and c.template != template and record.spec.wish(c.template) is None
    ]
    if wish is None and len(others) + len(going) >= profile.spark.max_clusters:
        number = profile.spark.max_clusters
        raise RefusedError(
            user_message=f"You may have {number} Spark cluster{'s' if number != 1 else ''} at a time. Delete one first, and wait "
            "until it is gone.",
            detail=f"{len(others)} clusters wanted and {len(going)} going, {number} allowed",
        )
    wishes = sorted([*others, ClusterWish(template=template, since=now)], key=lambda w: w.template)
    known = known_status or ClusterStatus(template=template, name=cluster_name(template, record.user_key))
    statuses = sorted(
        [*(c for c in record.status.clusters if c.template != template), replace(known, diagnosis="")],
        key=lambda c: c.template,
    )
    changed = replace(record, spec=replace(record.spec, clusters=tuple(wishes)))
    return changed.with_status(clusters=tuple(statuses), generation=record.status.generation + 1)


def without_wish(record: UserRecord, template: str) -> UserRecord:
    """Return the record without a request for a cluster of `template`; the same object if there is no such request."""
    if record.spec.wish(template) is None:
        return record
    kept = tuple(w for w in record.spec.clusters if w.template != template)
    changed = replace(record, spec=replace(record.spec, clusters=kept))
    return changed.with_status(generation=record.status.generation + 1)


def with_keep_on(record: UserRecord, until: datetime | None, catalog: Catalog, now: datetime) -> UserRecord:
    """Return the record that forbids an idle stop before `until`; the same object if nothing changes.

    If `until` is None, the normal idle shutdown applies again. Raise `RefusedError` if the user is not entitled, or if the
    time is over or too far ahead.
    """
    profile = entitled(record, catalog)
    if until is not None:
        longest = now + profile.idle.max_keep_on
        if until <= now:
            raise RefusedError(
                user_message="That time has passed. Choose a later one.",
                detail=f"keep on until {until:%Y-%m-%dT%H:%M:%SZ}",
            )
        if until > longest:
            hours = profile.idle.max_keep_on.total_seconds() / 3600
            raise RefusedError(
                user_message=f"A notebook can be extended by {hours:g} hours at most.",
                detail=f"keep on until {until:%Y-%m-%dT%H:%M:%SZ}, at most {longest:%Y-%m-%dT%H:%M:%SZ}",
            )
    if record.spec.keep_on_until == until:
        return record
    return replace(record, spec=replace(record.spec, keep_on_until=until))


def with_asked_power(record: UserRecord, power: Power, catalog: Catalog, reason: PowerReason) -> UserRecord:
    """Return the record with a requested power state; the same object if that state is reached or under way.

    Raise `RefusedError` if the user is not entitled, or if the configuration does not have the user's profile.
    """
    entitled(record, catalog)
    if record.spec.power is power and (not record.status.notebook.power_settled or _is_reached(record, power)):
        return record
    spec = replace(record.spec, power=power, power_reason=reason)
    if power is Power.STOPPED:
        spec = replace(spec, keep_on_until=None)
    status = record.status.changed(power_settled=False, not_before=None, generation=record.status.generation + 1)
    return replace(record, spec=spec, status=status)


def with_restart(record: UserRecord, catalog: Catalog, now: datetime) -> UserRecord:
    """Return the record with a request to restart the running notebook.

    Return the same object while a restart that was requested in the last ten minutes is pending. Raise `RefusedError` if the
    notebook does not run, or if the user is not entitled.
    """
    entitled(record, catalog)
    ready = record.status.condition(ConditionType.NOTEBOOK_READY)
    runs = ready is not None and (ready.status is ConditionStatus.TRUE or ready.reason is Reason.NOT_ANSWERING)
    asked = record.spec.restart_at
    if (
        asked is not None
        and (asked != record.status.notebook.restarted_for or not runs)
        and now - asked < _RESTARTS_WITHIN
    ):
        return record
    if record.spec.power is not Power.RUNNING or not runs:
        raise RefusedError(
            user_message="The notebook does not run, so there is nothing to restart. Start it.",
            detail=f"restart of what is {record.spec.power.value}, {ready.reason.value if ready is not None else 'unknown'}",
        )
    changed = replace(record, spec=replace(record.spec, restart_at=now))
    return changed.with_status(generation=record.status.generation + 1)


def with_profile_templates(record: UserRecord, profile: Profile | None) -> UserRecord:
    """Return the record without requests for templates that the profile no longer offers; unchanged if `profile` is None."""
    if profile is None:
        return record
    for wish in record.spec.clusters:
        if wish.template not in profile.templates:
            record = without_wish(record, wish.template)
    return record


def _is_reached(record: UserRecord, power: Power) -> bool:
    """Return True if the notebook was last observed in the requested power state."""
    ready = record.status.condition(ConditionType.NOTEBOOK_READY)
    if ready is None:
        return False
    if power is Power.RUNNING:
        return ready.status is ConditionStatus.TRUE
    return ready.reason in {Reason.STOPPED, Reason.IDLE}


def entitled(record: UserRecord, catalog: Catalog) -> Profile:
    """Return the profile of an entitled user.

    Raise `RefusedError` for a user who is not entitled, and if the configuration does not have the profile.
    """
    if record.spec.presence is Presence.ABSENT:
        raise RefusedError(
            user_message="There is no environment for you at present: ask the team that grants access to the data platform.",
            detail="asked for by somebody who is not entitled",
        )
    profile = catalog.profiles.get(record.spec.profile or "")
    if profile is None:
        raise RefusedError(
            user_message="Your profile is missing in the configuration; an administrator must fix that first.",
            detail=f"profile {record.spec.profile!r} is not in the configuration",
        )
    return profile
