"""One person's whole life over the embedded cloud: news, minutes, files on the data disk, and what is left in the world."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from msgspec.structs import replace

from emulator.model.disks import disk_path
from kit.inprocess import Bench, local_settings, make_bench
from kit.official import storage_bucket
from kit.oracle import instances, object_names
from shared.domain.people.events import Joined, Left, LifecycleEvent, Moved
from shared.domain.plan.guard_settings import GuardSettings
from shared.domain.record.record import UserRecord
from shared.domain.record.status import Condition, ConditionType
from shared.domain.things.catalog import Disruption, Identity, Profile
from shared.domain.things.identity import UserEmail, parse_email, user_key_for
from shared.domain.things.limits import GroupLimits
from shared.engine.news.deliver import deliver
from shared.engine.sweeps.sweeps import sweep
from shared.settings import Settings

ANA = parse_email("Ñandú O'Neil+test@sub.example.co")
DATA_GROUP = "data-readers@example.com"
RETENTION, SNAPSHOT_RETENTION = timedelta(days=30), timedelta(days=90)


def settings_with(changes: dict[str, dict[str, Any]] | None = None, **more: Any) -> Settings:
    """The local settings with some fields of some profiles changed."""
    settings = local_settings(**{"retention": RETENTION, "snapshot_retention": SNAPSHOT_RETENTION, **more})
    profiles = dict(settings.catalog.profiles)
    for name, fields in (changes or {}).items():
        base: Profile = profiles.get(name, profiles["analyst"])
        profiles[name] = replace(base, **{"name": name, **fields})
    return replace(settings, catalog=replace(settings.catalog, profiles=profiles))


def limited(limits: Mapping[str, GroupLimits], settings: Settings | None = None) -> Settings:
    """Settings in which these groups have limits, and no other group."""
    settings = settings or settings_with()
    given = tuple(replace(each, limits=limits.get(each.group)) for each in settings.catalog.assignments)
    return replace(settings, catalog=replace(settings.catalog, assignments=given))


def personal(**more: Any) -> Settings:
    """Settings in which both profiles run as the person's own service account."""
    own = {"identity": Identity.PERSONAL_SERVICE_ACCOUNT, **more}
    return settings_with({"analyst": own, "engineer": own})


# Of a whole crowd that leaves at once: the guard lets them.
NO_LIMIT = GuardSettings(per_hour=1000, most=1000, group_share=1.0)


def disruptive(mode: Disruption, **more: Any) -> Settings:
    """Settings in which both profiles may be stopped for a change as `mode` says."""
    fields = {"disruption": mode, **more}
    return settings_with({"analyst": fields, "engineer": fields})


@dataclass
class Life:
    """A bench and one person in it."""

    bench: Bench
    email: UserEmail = ANA
    serial: int = 0

    @property
    def key(self) -> Any:
        return user_key_for(self.email)

    @property
    def record(self) -> UserRecord:
        stored = self.bench.stored(self.key)
        assert stored is not None
        return stored.record

    def condition(self, kind: ConditionType) -> Condition | None:
        return self.record.status.condition(kind)

    def tell(self, kind: type[LifecycleEvent], **more: Any) -> None:
        self.serial += 1
        now = self.bench.now
        event = kind(event_id=f"{self.key}-{self.serial}", user=self.email, occurred_at=now, effective_at=now, **more)
        deliver(event, self.bench.deps)

    def join(self, *, minutes: int = 8, **more: Any) -> None:
        self.tell(Joined, **more)
        self.minutes(minutes)

    def leave(self, *, minutes: int = 0) -> None:
        self.tell(Left)
        self.minutes(minutes)

    def move(self, *, minutes: int = 0, **more: Any) -> None:
        self.tell(Moved, **more)
        self.minutes(minutes)

    def minutes(self, count: int) -> None:
        """As the scheduler has it: a due tick a minute. Never two that run."""
        for _ in range(count):
            self.bench.advance(minutes=1)
            sweep("due", self.bench.deps)
            self.never_two()

    def days(self, count: float) -> None:
        self.bench.advance(days=count)
        self.minutes(12)

    def never_two(self) -> None:
        running = [i.short for i in self.mine().values() if i.state not in {"STOPPED", "STOPPING", "DELETED"}]
        assert len(running) <= 1, f"two at once: {running}"

    def mine(self) -> dict[str, Any]:
        """The person's instances by name, whatever they are called."""
        return {
            i.short: i
            for i in instances(self.bench.cloud).values()
            if i.body["labels"].get("benchkeeper-user") == self.key
        }

    def states(self) -> dict[str, str]:
        return {name: i.state for name, i in self.mine().items()}

    def only(self) -> Any:
        (instance,) = self.mine().values()
        return instance

    def write(self, content: bytes) -> None:
        """What the person keeps on the data disk."""
        self.bench.cloud.compute.disks.find_disk(disk_path(self.only(), "data-workspace")).content = content

    def files(self) -> bytes:
        content: bytes = self.bench.cloud.compute.disks.find_disk(disk_path(self.only(), "data-workspace")).content
        return content

    def snapshots(self) -> dict[str, Any]:
        found = self.bench.cloud.compute.disks
        found.sweep(self.bench.now)
        return {
            path.rpartition("/")[2]: s
            for path, s in found.snapshots.items()
            if s.labels.get("benchkeeper-user") == self.key
        }

    def manifest(self) -> dict[str, Any]:
        """The only manifest about the person."""
        bucket = storage_bucket(self.bench.clients)
        (name,) = object_names(self.bench.cloud, self.bench.settings.bucket, f"manifests/{self.key}/")
        found: dict[str, Any] = json.loads(bucket.blob(name).download_as_bytes())
        return found

    def account(self) -> dict[str, Any] | None:
        """The person's service account with its policy, as the cloud has it; None when there is none."""
        project = self.bench.settings.project
        json = self.bench.clients.json("iam")
        email = f"{self.record.status.account.account_id}@{project}.iam.gserviceaccount.com"
        raw = json.call_or_none("GET", f"/v1/projects/{project}/serviceAccounts/{email}")
        if raw is None:
            return None
        policy = json.call("POST", f"/v1/projects/{project}/serviceAccounts/{email}:getIamPolicy", body={})
        return {"disabled": raw.get("disabled", False), "bindings": policy.get("bindings", [])}


def life(settings: Settings | None = None, email: UserEmail = ANA) -> Life:
    return Life(make_bench(settings=settings or settings_with()), email)
