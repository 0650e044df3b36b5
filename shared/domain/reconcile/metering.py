"""The update of a user's meter by the observations and calls of a pass (`shared.domain.things.meter`).

Pure; called at the end of each pass.

The time of a running machine counts from the moment at which the cloud accepted its create or start, until the cloud accepted
its stop or deletion. If Benchkeeper did not make that call, the moment of the observation counts. The time of a machine that
could not be observed still counts.
"""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from shared.domain.people.facts import Facts
from shared.domain.plan.plan import Observed, Policy
from shared.domain.record.record import Presence, UserRecord
from shared.domain.record.status import OperationRef, Verb
from shared.domain.things.catalog import Catalog, Profile
from shared.domain.things.meter import Line, Meter, MeterKind, What, bare, changed, switched, whole, with_ended
from shared.domain.things.money import price_of
from shared.domain.things.notebook import RESTING, Absent, NotebookState, ObservedNotebook
from shared.domain.things.power import NOTEBOOK, cluster_usage, month_of

DEPARTMENT = "department"  # the attribute of HR that names it
_MOST_TEXT = 60
_NOTEBOOK, _FORMER, _SNAPSHOTS, _SPARK = "notebook", "predecessor", "snapshots", "spark:"
_RUNS = frozenset({NotebookState.ACTIVE, NotebookState.UPGRADING})
_ENDS = frozenset({Verb.STOP, Verb.DELETE})


def metered(before: UserRecord, after: UserRecord, seen: Observed, policy: Policy, now: datetime) -> UserRecord:
    """Return the record with its meter brought up to `now`; the same object if nothing changed.

    `before` is the record at the beginning of the pass, `after` is the record that the pass will save.
    """
    known = after.status.meter
    catalog, at = policy.catalog, whole(now)
    meter = _with_notebook(_begun(known, before, catalog, at), before, after, seen, catalog, at)
    meter = _with_former(meter, before, after, seen, catalog, at)
    meter = _with_snapshots(meter, after, at)
    meter = _with_clusters(meter, after, at)
    meter = changed(meter, lambda what: _dressed(what, after, catalog, at), at, known.open)
    digest = catalog.price_digest() if meter.open else ""
    if meter.priced != digest:
        meter = replace(meter, priced=digest)
    if meter == known or (meter.began_at is None and not meter.open and not meter.lines and meter.asked_at is None):
        return after
    return after.with_status(meter=meter if meter.began_at is not None else replace(meter, began_at=at))


def _begun(meter: Meter, before: UserRecord, catalog: Catalog, at: datetime) -> Meter:
    """Return the meter. A new meter starts with estimates: the hours that an earlier version counted this month."""
    if meter.began_at is not None:
        return meter
    lines = []
    for name, usage in before.status.usage.items():
        seconds = int(usage.in_month_of(at).total_seconds())
        what = What(kind=MeterKind.SPARK, profile=name.partition(":")[2])
        if name == NOTEBOOK:
            what = What(kind=MeterKind.NOTEBOOK, profile=before.spec.profile or "")
        if seconds:
            what = _dressed(what, before, catalog, at)
            lines.append(Line(month=month_of(at), what=what, seconds=seconds, units=seconds, estimated=True))
    return replace(meter, began_at=at, lines=with_ended(tuple(lines), (), at)) if lines else meter


def _dressed(what: What, record: UserRecord, catalog: Catalog, at: datetime) -> What:
    """Return the metered thing with its present cost centre, department and price. Without a configured price, the old price stays."""
    leaves = record.spec.presence is Presence.ABSENT
    what_now = bare(what)
    if leaves and what_now.kind is MeterKind.DISK:
        what_now = replace(what_now, kind=MeterKind.LEAVER)
    return replace(
        what_now,
        cost_center=record.cost_center[:_MOST_TEXT],
        department=department_of(record.facts, at),
        price=price_of(what_now, catalog) or what.price,
    )


def department_of(facts: Facts, at: datetime) -> str:
    """Return the department that HR states for a user, at most 60 characters; "" if there is none."""
    stated = facts.attribute(DEPARTMENT, at)
    return stated.strip()[:_MOST_TEXT] if isinstance(stated, str) else ""


def _with_notebook(
    meter: Meter, before: UserRecord, after: UserRecord, seen: Observed, catalog: Catalog, at: datetime
) -> Meter:
    """Return the meter with the machine or the disks of the present instance."""
    earlier, operation = before.status.notebook.operation, after.status.notebook.operation
    runs = any(line.group == _NOTEBOOK and line.what.kind is MeterKind.NOTEBOOK for line in meter.open)
    moved = before.status.notebook.instance_id != after.status.notebook.instance_id
    notebook = seen.notebook
    if moved or isinstance(notebook, Absent) or after.status.notebook.instance_id is None:
        meter = switched(meter, _NOTEBOOK, (), at)
    elif isinstance(notebook, ObservedNotebook) and notebook.state in _RUNS and not _is_ending(earlier, operation):
        since = at if runs else _started_at(meter, earlier, at)
        meter = replace(switched(meter, _NOTEBOOK, [_machine(notebook, after, catalog)], since), asked_at=None)
    elif isinstance(notebook, ObservedNotebook) and notebook.state in RESTING:
        since = earlier.started_at if earlier is not None and earlier.verb in _ENDS else at
        meter = switched(meter, _NOTEBOOK, _disks(notebook, after, catalog), since)
        meter = meter if operation is not None or meter.asked_at is None else replace(meter, asked_at=None)
    if operation is None or operation == earlier:
        return meter
    if operation.verb in {Verb.CREATE, Verb.START}:
        return replace(meter, asked_at=whole(operation.started_at))
    if operation.verb is Verb.STOP and isinstance(notebook, ObservedNotebook) and not moved:
        return switched(meter, _NOTEBOOK, _disks(notebook, after, catalog), operation.started_at)
    if operation.verb is Verb.DELETE:
        return switched(meter, _NOTEBOOK, (), operation.started_at)
    return meter


def _is_ending(earlier: OperationRef | None, operation: OperationRef | None) -> bool:
    """Return True while an accepted stop or deletion is not known to have failed.

    The machine may still appear to be running.
    """
    return earlier is not None and earlier == operation and earlier.verb in _ENDS


def _started_at(meter: Meter, earlier: OperationRef | None, at: datetime) -> datetime:
    """Return the time since which a machine runs, if it was not observed as running before.

    After a failed stop or deletion, this is the time of that request, because the machine has been running since.
    """
    if earlier is not None and earlier.verb in _ENDS:
        return earlier.started_at
    return meter.asked_at or at


def _machine(notebook: ObservedNotebook, record: UserRecord, catalog: Catalog) -> tuple[What, int]:
    profile = _profile_of(notebook, record, catalog)
    disk = notebook.data_disk or (profile.data_disk if profile is not None else None)
    gpus = "".join(f"+{each.count}x{each.type}" for each in notebook.accelerators)
    what = What(
        kind=MeterKind.NOTEBOOK,
        profile=profile.name if profile is not None else record.spec.profile or "",
        machine=f"{notebook.machine_type}{gpus}",
        disk_type=disk.type if disk is not None else "",
        disk_gb=disk.size_gb if disk is not None else 0,
    )
    return what, 1


def _disks(notebook: ObservedNotebook, record: UserRecord, catalog: Catalog) -> list[tuple[What, int]]:
    """Return the boot disk and the data disk, which are billed while the machine is stopped."""
    profile = _profile_of(notebook, record, catalog)
    boot = notebook.boot_disk or (profile.boot_disk if profile is not None else None)
    data = notebook.data_disk or (profile.data_disk if profile is not None else None)
    name = profile.name if profile is not None else record.spec.profile or ""
    return [
        (What(kind=MeterKind.DISK, profile=name, disk_type=disk.type, disk_gb=disk.size_gb), disk.size_gb)
        for disk in (boot, data)
        if disk is not None
    ]


def _profile_of(notebook: ObservedNotebook, record: UserRecord, catalog: Catalog) -> Profile | None:
    """Return the profile by which this machine was built, because the price of that profile applies.

    Return None if no configured profile fits the machine. Of several profiles that fit, one with the same data disk comes
    first; then the wanted profile, the profile of the open line, and all others by name.
    """
    metering = (line.what.profile for line in record.status.meter.open if line.group == _NOTEBOOK)
    names = [record.spec.profile or "", *metering, *sorted(catalog.profiles)]
    alike = [p for p in map(catalog.profiles.get, names) if p is not None and _is_machine_of(p, notebook)]
    return next((p for p in alike if p.data_disk == notebook.data_disk), alike[0] if alike else None)


def _is_machine_of(profile: Profile, notebook: ObservedNotebook) -> bool:
    gpus = () if profile.accelerator is None else (profile.accelerator,)
    return profile.machine_type == notebook.machine_type and tuple(notebook.accelerators) == gpus


def _with_former(
    meter: Meter, before: UserRecord, after: UserRecord, seen: Observed, catalog: Catalog, at: datetime
) -> Meter:
    """Return the meter with the disks of a predecessor, which count until the predecessor is gone.

    Before the replacement, the same disks counted as the notebook's disks.
    """
    if after.status.notebook.former is None or isinstance(seen.former, Absent):
        return switched(meter, _FORMER, (), at)
    if before.status.notebook.former == after.status.notebook.former:
        return meter
    if any(line.group == _FORMER for line in meter.open):
        return meter
    disks = [
        (bare(line.what), line.quantity)
        for line in before.status.meter.open
        if line.group == _NOTEBOOK and line.what.kind is not MeterKind.NOTEBOOK
    ]
    if not disks and isinstance(seen.notebook, ObservedNotebook):
        disks = _disks(seen.notebook, before, catalog)
    things = [(replace(what, kind=MeterKind.PREDECESSOR), quantity) for what, quantity in disks]
    return switched(meter, _FORMER, things, at)


def _with_snapshots(meter: Meter, after: UserRecord, at: datetime) -> Meter:
    """Return the meter with the bytes of all snapshots that exist."""
    size = sum(each.size_bytes for each in after.status.data.snapshots if each.ready_at is not None and not each.lost)
    things = [(What(kind=MeterKind.SNAPSHOTS, profile=_payer(meter, after)), size)] if size else []
    return switched(meter, _SNAPSHOTS, things, at)


def _payer(meter: Meter, after: UserRecord) -> str:
    """Return the profile to which snapshots are charged: the user's, or for a leaver the former profile."""
    known = (line.what.profile for line in meter.open if line.group == _SNAPSHOTS)
    return after.spec.profile or next(known, "")


def _with_clusters(meter: Meter, after: UserRecord, at: datetime) -> Meter:
    """Return the meter with the Spark clusters that run, by the last observation."""
    for group in {line.group for line in meter.open if line.group.startswith(_SPARK)} | {
        f"{_SPARK}{name.partition(':')[2]}" for name in after.status.usage if name != NOTEBOOK
    }:
        template = group.removeprefix(_SPARK)
        usage = after.status.usage.get(cluster_usage(template))
        runs = usage is not None and usage.since is not None
        meter = switched(meter, group, [(What(kind=MeterKind.SPARK, profile=template), 1)] if runs else [], at)
    return meter
