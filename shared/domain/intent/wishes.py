"""The requests of a user, or of an administrator for the user, from the page and the command line: pure changes of a record."""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec.structs import replace

from shared.domain.record.record import Power, Presence, UserRecord
from shared.domain.record.status import ConditionStatus, ConditionType
from shared.domain.things.catalog import Catalog, Profile
from shared.domain.things.clusters import ClusterStatus, ClusterWish, cluster_name
from shared.domain.things.errors import Reason, RefusedError
from shared.domain.things.power import PowerReason

_RESTARTS_WITHIN = timedelta(minutes=10)


def with_wish(record: UserRecord, template: str, catalog: Catalog, now: datetime) -> UserRecord:
    """Return the record that requests a cluster of `template`; the same object while such a cluster is being created.

    A request for a running cluster is renewed, so that a cluster that ended unobserved is created again. Raise `RefusedError`, which says
    what is allowed.
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
    """Return the record without a request for a cluster of `template`; the same object if it has none."""
    if record.spec.wish(template) is None:
        return record
    kept = tuple(w for w in record.spec.clusters if w.template != template)
    changed = replace(record, spec=replace(record.spec, clusters=kept))
    return changed.with_status(generation=record.status.generation + 1)


def with_keep_on(record: UserRecord, until: datetime | None, catalog: Catalog, now: datetime) -> UserRecord:
    """Return the record with no idle stop before `until`; the same object if nothing changes.

    None resumes the normal idle shutdown. Raise `RefusedError` for a time that is over or too far ahead.
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
                user_message=f"A notebook can be kept on for {hours:g} hours at most.",
                detail=f"keep on until {until:%Y-%m-%dT%H:%M:%SZ}, at most {longest:%Y-%m-%dT%H:%M:%SZ}",
            )
    if record.spec.keep_on_until == until:
        return record
    return replace(record, spec=replace(record.spec, keep_on_until=until))


def with_asked_power(record: UserRecord, power: Power, catalog: Catalog, reason: PowerReason) -> UserRecord:
    """Return the record that should run or be stopped by request; the same object if that is under way or reached."""
    entitled(record, catalog)
    if record.spec.power is power and (not record.status.notebook.power_settled or _is_reached(record, power)):
        return record
    spec = replace(record.spec, power=power, power_reason=reason)
    if power is Power.STOPPED:
        spec = replace(spec, keep_on_until=None)
    status = record.status.changed(power_settled=False, not_before=None, generation=record.status.generation + 1)
    return replace(record, spec=spec, status=status)


def with_restart(record: UserRecord, catalog: Catalog, now: datetime) -> UserRecord:
    """Return the record whose running notebook is to be restarted.

    The same object while a requested restart is pending.

    Raise `RefusedError` for a notebook that does not run.
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
    """Return the record without requests for templates that its profile no longer offers; unchanged if the profile is lost."""
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
    """Return the profile of an entitled user. Raise `RefusedError`, which says what is wrong, for every other user."""
    if record.spec.presence is Presence.ABSENT:
        raise RefusedError(
            user_message="There is no environment for you at present: ask whoever gives access to the data platform.",
            detail="asked for by somebody who is not entitled",
        )
    profile = catalog.profiles.get(record.spec.profile or "")
    if profile is None:
        raise RefusedError(
            user_message="Your profile is missing in the configuration; an administrator must fix that first.",
            detail=f"profile {record.spec.profile!r} is not in the configuration",
        )
    return profile
