"""Small worlds for pure code: a catalog, a policy, a person's record, things that were seen. No cloud, no files."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec.structs import replace

from shared.domain.intent import wanted
from shared.domain.intent.wanted import new_record, with_wanted
from shared.domain.people.events import AccountChanged, AccountState, GroupChanged, Joined, Left, Moved
from shared.domain.plan.plan import Observed, Policy, TemplatesSeen
from shared.domain.record.record import Power, Presence, Spec, UserRecord
from shared.domain.record.status import OperationRef, Status, Verb
from shared.domain.template.wanted import wanted_templates
from shared.domain.things.catalog import (
    Assignment,
    Catalog,
    Disk,
    Identity,
    IdleSettings,
    MasterTemplate,
    Profile,
    VmImage,
)
from shared.domain.things.identity import UserEmail, instance_id_for, user_key_for
from shared.domain.things.notebook import (
    InstanceRef,
    Network,
    NotebookState,
    NotLooked,
    ObservedNotebook,
    labels_for,
    metadata_for,
)
from shared.domain.things.power import PowerCause, PowerReason
from shared.domain.things.snapshots import Snapshot, SnapshotSeen, SnapshotState

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
ANA = UserEmail("ana.silva@example.com")
ANALYSTS = "data-analysts@example.com"
ENGINEERS = "data-engineers@example.com"
STRANGERS = "choir@example.com"
ZONES = ("europe-west1-b", "europe-west1-c", "europe-west1-d")
UID = "0b8e8c2e-6a1d-4f5e-9b0a-3f6b2c9d1e77"
RETENTION = timedelta(days=30)


def with_event(record, event):
    """The record with an event, folded in now."""
    return wanted.with_event(record, event, NOW)


def profile(name: str, **changes: Any) -> Profile:
    made = Profile(
        name=name,
        title=name.title(),
        machine_type="e2-standard-4",
        image=VmImage(project="cloud-notebooks-managed", family="workbench-instances-2603"),
        boot_disk=Disk(size_gb=150, type="PD_BALANCED"),
        data_disk=Disk(size_gb=100, type="PD_BALANCED"),
        idle=IdleSettings(timeout=timedelta(hours=3), max_blind=timedelta(hours=24)),
        identity=Identity.END_USER_CREDENTIALS,
        metadata={"notebook-disable-root": "true"},
        templates=("spark",),
    )
    return replace(made, **changes)


def catalog(**changes: Any) -> Catalog:
    made = Catalog(
        profiles={"analyst": profile("analyst"), "engineer": profile("engineer", machine_type="n2-standard-8")},
        assignments=(
            Assignment(group=ANALYSTS, profile="analyst", priority=10),
            Assignment(group=ENGINEERS, profile="engineer", priority=20),
        ),
        default_profile="analyst",
        masters={"spark": MasterTemplate(name="spark", text="config: {}\n")},
    )
    return replace(made, **changes)


def policy(**changes: Any) -> Policy:
    return Policy(
        **{"catalog": catalog(), "zones": ZONES, "network": Network(), "retention": RETENTION, **changes},
    )


def at(hours: float) -> datetime:
    return NOW + timedelta(hours=hours)


def joined(event_id: str = "j", hours: float = -24, *, effective: float | None = None, **more: Any) -> Joined:
    return Joined(
        event_id=event_id, user=ANA, occurred_at=at(hours), effective_at=at(_or(effective, hours)), **more
    )  # fmt: skip


def moved(event_id: str = "m", hours: float = -12, *, effective: float | None = None, **more: Any) -> Moved:
    return Moved(
        event_id=event_id, user=ANA, occurred_at=at(hours), effective_at=at(_or(effective, hours)), **more
    )  # fmt: skip


def left(event_id: str = "l", hours: float = -1, *, effective: float | None = None) -> Left:
    return Left(event_id=event_id, user=ANA, occurred_at=at(hours), effective_at=at(_or(effective, hours)))


def group(event_id: str, name: str, hours: float, *, member: bool) -> GroupChanged:
    return GroupChanged(
        event_id=event_id, user=ANA, occurred_at=at(hours), effective_at=at(hours), group=name, member=member
    )


def account(event_id: str, hours: float, *, usable: bool) -> AccountChanged:
    return AccountChanged(
        event_id=event_id,
        user=ANA,
        occurred_at=at(hours),
        effective_at=at(hours),
        state=AccountState.SUSPENDED,
        holds=not usable,
    )


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value


def after(*events: Any, now: datetime = NOW, rules: Policy | None = None) -> UserRecord:
    """The record of Ana after these pieces of news, with what is wanted at `now`."""
    record = new_record(ANA, now)
    for event in events:
        record = with_event(record, event)
    return with_wanted(record, rules or policy(), now)


def person(
    presence: Presence = Presence.PRESENT,
    power: Power = Power.RUNNING,
    *,
    settled: bool = True,
    rules: Policy | None = None,
    absent_for: timedelta = timedelta(days=1),
    **status: Any,
) -> UserRecord:
    """Ana in a given state, her spec and her facts agreeing, observed as far as what is wanted goes."""
    present = presence is Presence.PRESENT
    news = [joined("j", -10_000, groups=(ANALYSTS,))] + (
        [] if present else [left("l", -absent_for.total_seconds() / 3600)]
    )
    record = new_record(ANA, NOW)
    for event in news:
        record = with_event(record, event)
    spec = Spec(
        presence=presence,
        power=power,
        power_reason=PowerReason(cause=PowerCause.JOINED if power is Power.RUNNING else PowerCause.STOPPED_BY_PERSON),
        profile="analyst",
        because=f"member of {ANALYSTS} (event j)" if present else "left (event l)",
        absent_since=None if present else NOW - absent_for,
    )
    known = {
        "generation": 3,
        "observed_generation": 3,
        "instance_id": instance_id_for(ANA),
        "zone": ZONES[0],
        "power_settled": settled,
        "entitling_digest": (rules or policy()).catalog.entitling_digest,
        "last_event_id": news[-1].event_id,
    }
    return replace(record, spec=spec, status=Status().changed(**{**known, **status}))


def notebook(state: NotebookState = NotebookState.ACTIVE, **changes: Any) -> ObservedNotebook:
    """Ana's instance as her analyst profile wants it."""
    wants = profile("analyst")
    made = ObservedNotebook(
        ref=InstanceRef(instance_id=instance_id_for(ANA), zone=ZONES[0]),
        state=state,
        machine_type=wants.machine_type,
        labels={**labels_for(wants, user_key_for(ANA), ""), "goog-notebooks": "true"},
        metadata={**metadata_for(wants), "framework": "PyTorch"},
        proxy_uri="0123-dot-europe-west1.notebooks.googleusercontent.com",
        uid=UID,
        create_time=NOW - timedelta(hours=48),
    )
    return replace(made, **changes)


def operation(verb: Verb, started: datetime = NOW - timedelta(minutes=2)) -> OperationRef:
    return OperationRef(name=f"projects/p/locations/{ZONES[0]}/operations/{verb}", verb=verb, started_at=started)


def saved(uid: str = UID, *, ready: bool = True, manifest: bool = True, name: str = "") -> dict[str, Any]:
    """Status fields of somebody whose files are, or will be, in a snapshot."""
    name = name or f"{instance_id_for(ANA)}-s1"
    snapshot = Snapshot(
        name=name,
        instance_id=instance_id_for(ANA),
        zone=ZONES[0],
        instance_uid=uid,
        asked_at=NOW - timedelta(minutes=10),
        ready_at=NOW - timedelta(minutes=5) if ready else None,
        manifest=manifest and ready,
    )
    return {"snapshots": (snapshot,), "snapshots_taken": 1, "saved_in": name}


def snapshot_seen(name: str, state: SnapshotState = SnapshotState.READY) -> SnapshotSeen:
    return SnapshotSeen(
        name=name,
        state=state,
        labels={},
        source_disk="",
        snapshot_id="1",
        size_bytes=1_000,
        disk_size_gb=100,
        created_at=NOW,
    )


def seen(sight: Any, op: Any = None, templates: Any = None, *, record: UserRecord | None = None) -> Observed:
    """What was looked at; the templates are as wanted when a record is given."""
    if templates is None:
        templates = TemplatesSeen((wanted_templates(record, policy()) if record is not None else None) or {})
    snapshots = record.status.data.snapshots if record is not None else ()
    return Observed(
        notebook=sight,
        operation=op if op is not None else NotLooked(),
        templates=templates,
        snapshots={s.name: snapshot_seen(s.name) for s in snapshots},
    )
