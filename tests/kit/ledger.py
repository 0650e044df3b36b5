"""What people keep on their disks, and whether it is still somewhere: judged by the bytes in the cloud, never by the product's word."""

from __future__ import annotations

from dataclasses import dataclass, field

from emulator.model.disks import disk_path
from kit.inprocess import Bench
from kit.oracle import instances
from shared.domain.record.status import ConditionStatus, ConditionType
from shared.domain.things.identity import instance_id_for, user_key_for


@dataclass
class Ledger:
    """`newest` is what each person wrote last; `held` what each person had when a hold began."""

    bench: Bench
    newest: dict[str, bytes] = field(default_factory=dict)
    held: dict[str, bytes] = field(default_factory=dict)
    serial: int = 0

    def write(self, user: str) -> bool:
        """The person works, as far as they can: on an instance that runs and that they were told is ready."""
        first = instance_id_for(user)
        if not any(
            each.state == "ACTIVE" and each.short.startswith(first) for each in instances(self.bench.cloud).values()
        ):
            return False
        stored = self.bench.stored(user_key_for(user))
        ready = stored.record.status.condition(ConditionType.NOTEBOOK_READY) if stored is not None else None
        if stored is None or ready is None or ready.status is not ConditionStatus.TRUE:
            return False
        for instance in instances(self.bench.cloud).values():
            if instance.short == stored.record.status.notebook.instance_id and instance.state == "ACTIVE":
                self.serial += 1
                content = f"{user} {self.serial}\x00".encode()
                self.bench.cloud.compute.disks.find_disk(disk_path(instance, "data-workspace")).content = content
                self.newest[user] = content
                if user in self.held:  # nothing holds up the person's own hand
                    self.held[user] = content
                return True
        return False

    def everywhere(self) -> set[bytes]:
        """All that is on a disk or in a snapshot that can still be restored, or may come to be so."""
        found = self.bench.cloud.compute.disks
        found.sweep(self.bench.now)
        kept = {disk.content for disk in found.disks.values()}
        states = {"CREATING", "UPLOADING", "READY"}
        return kept | {s.content for s in found.snapshots.values() if s.status(self.bench.now) in states}

    def missing(self) -> dict[str, bytes]:
        """What was written last and is nowhere any more."""
        everywhere = self.everywhere()
        return {user: content for user, content in self.newest.items() if content not in everywhere}

    def missing_held(self) -> dict[str, bytes]:
        """What was there when a hold began and is nowhere any more."""
        everywhere = self.everywhere()
        return {user: content for user, content in self.held.items() if content not in everywhere}

    def hold(self, user: str) -> None:
        """A hold stands from now on: what is there now must stay."""
        if user in self.newest and user not in self.held and self.newest[user] in self.everywhere():
            self.held[user] = self.newest[user]

    def forget(self, user: str) -> None:
        """Somebody else took it away, or its time was over."""
        self.newest.pop(user, None)
        self.held.pop(user, None)

    def on_disk(self, instance: object) -> bytes:
        """What is on an instance's data disk."""
        content: bytes = self.bench.cloud.compute.disks.find_disk(disk_path(instance, "data-workspace")).content  # type: ignore[arg-type]
        return content
