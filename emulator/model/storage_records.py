"""The stored data of Cloud Storage: buckets, and every generation of every object."""

from __future__ import annotations

import base64
import bisect
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from emulator.clock import rfc3339

_AFTER_ALL = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class StoredObject:
    """A generation of an object. A change of the metadata creates a new `StoredObject` with the next metageneration.

    `fields` are the writable fields (`contentType`, `metadata`...); times are RFC 3339 texts; `md5` is None for a
    composite. `deleted` is set once the generation is noncurrent; `soft_deleted` once it is deleted, and then it is
    removed at `hard_delete`.
    """

    bucket: str
    name: str
    generation: int
    metageneration: int
    content: bytes
    fields: dict[str, Any]
    created: str
    updated: str
    crc32c: str
    md5: str | None
    component_count: int | None = None
    deleted: str | None = None
    soft_deleted: str | None = None
    hard_delete: str | None = None

    def resource(self) -> dict[str, Any]:
        """Return the object's JSON without the links, which only a server knows."""
        body = {key: value_of(self) for key, value_of in _ALWAYS.items()}
        body.update(self.fields)
        optional = ((key, value_of(self)) for key, value_of in _AT_TIMES.items())
        body.update((key, value) for key, value in optional if value is not None)
        return body

    def part(self, keys: Collection[str]) -> dict[str, Any]:
        """Return only these fields of `resource`. A listing requests few fields of many objects."""
        body: dict[str, Any] = {}
        for key in keys:
            if key in _AT_TIMES and (value := _AT_TIMES[key](self)) is not None:
                body[key] = value
            elif key in self.fields:
                body[key] = self.fields[key]
            elif key in _ALWAYS:
                body[key] = _ALWAYS[key](self)
        return body

    def dump(self) -> dict[str, Any]:
        """Return the object as JSON-able data, with the content as base64."""
        # Not dataclasses.asdict: its deep copies take more time than the rest of a save. `fields` is never changed in place.
        raw: dict[str, Any] = {slot: getattr(self, slot) for slot in self.__slots__}
        raw["content"] = base64.b64encode(self.content).decode()
        return raw

    @classmethod
    def parse(cls, raw: dict[str, Any]) -> StoredObject:
        """Return the object of a result of `dump`."""
        return cls(**{**raw, "content": base64.b64decode(raw["content"])})


# The function for each field of the resource: first the fields of every object, unless `fields` has them, then those of some objects.
_ALWAYS: dict[str, Callable[[StoredObject], Any]] = {
    "kind": lambda _: "storage#object",
    "id": lambda stored: f"{stored.bucket}/{stored.name}/{stored.generation}",
    "name": lambda stored: stored.name,
    "bucket": lambda stored: stored.bucket,
    "generation": lambda stored: str(stored.generation),
    "metageneration": lambda stored: str(stored.metageneration),
    "storageClass": lambda _: "STANDARD",
    "size": lambda stored: str(len(stored.content)),
    "crc32c": lambda stored: stored.crc32c,
    "etag": lambda stored: etag_of(stored.generation, stored.metageneration),
    "timeCreated": lambda stored: stored.created,
    "updated": lambda stored: stored.updated,
    "timeStorageClassUpdated": lambda stored: stored.created,
    "timeFinalized": lambda stored: stored.created,
}
_AT_TIMES: dict[str, Callable[[StoredObject], Any]] = {
    "md5Hash": lambda stored: stored.md5,
    "componentCount": lambda stored: stored.component_count,
    "timeDeleted": lambda stored: stored.deleted,
    "softDeleteTime": lambda stored: stored.soft_deleted,
    "hardDeleteTime": lambda stored: stored.hard_delete,
}


@dataclass(slots=True)
class Bucket:
    """A bucket. `fields` are its settings; `live` are the current generations, `archived` the noncurrent ones by name, oldest first.

    `trash` has the soft-deleted generations by name. A bucket can be soft-deleted, too.
    """

    name: str
    project: str
    created: str
    updated: str
    fields: dict[str, Any]
    metageneration: int = 1
    generation: int = 1
    live: dict[str, StoredObject] = field(default_factory=dict)
    archived: dict[str, list[StoredObject]] = field(default_factory=dict)
    trash: dict[str, list[StoredObject]] = field(default_factory=dict)
    soft_deleted: str | None = None
    hard_delete: str | None = None
    policy: dict[str, Any] = field(default_factory=dict)
    policy_version: int = 1
    _names: list[str] = field(default_factory=list)

    @property
    def versioned(self) -> bool:
        """Return True if replaced and deleted generations stay as noncurrent versions."""
        return bool(self.fields.get("versioning", {}).get("enabled"))

    @property
    def soft_delete(self) -> timedelta:
        """The time for which deleted generations can be restored; zero if they cannot."""
        return timedelta(seconds=int(self.fields.get("softDeletePolicy", {}).get("retentionDurationSeconds", 0)))

    def trashed(self, now: datetime) -> Bucket:
        """Return a bucket whose noncurrent generations are the soft-deleted ones of this bucket, for a listing of them.

        Generations whose retention is over are removed.
        """
        stamp = rfc3339(now)
        held = {name: [each for each in kept if (each.hard_delete or "") > stamp] for name, kept in self.trash.items()}
        self.trash = {name: kept for name, kept in held.items() if kept}
        shown = Bucket(self.name, self.project, self.created, self.updated, self.fields, archived=self.trash)
        shown._names = sorted(self.trash)
        return shown

    @property
    def uniform_access(self) -> bool:
        """Return True if ACLs are off."""
        return bool(self.fields.get("iamConfiguration", {}).get("uniformBucketLevelAccess", {}).get("enabled"))

    def put(self, stored: StoredObject) -> None:
        """Make `stored` the live generation of its name. The caller must first handle the generation that was live."""
        self._know(stored.name)
        self.live[stored.name] = stored

    def archive(self, name: str, when: str) -> None:
        """Make the live generation noncurrent."""
        stored = self.live.pop(name)
        self.archived.setdefault(name, []).append(replace(stored, deleted=when))

    def replace(self, old: StoredObject, new: StoredObject) -> None:
        """Replace `old` with `new`, which has the same generation."""
        if self.live.get(old.name) is old:
            self.live[old.name] = new
        else:
            versions = self.archived[old.name]
            versions[versions.index(old)] = new

    def remove(self, stored: StoredObject, now: datetime) -> None:
        """Remove this generation: permanently, or soft-deleted if the bucket has a soft-delete policy."""
        if self.soft_delete:
            gone = replace(stored, soft_deleted=rfc3339(now), hard_delete=rfc3339(now + self.soft_delete))
            self.trash.setdefault(stored.name, []).append(gone)
        if self.live.get(stored.name) is stored:
            del self.live[stored.name]
        else:
            self.archived[stored.name].remove(stored)
            if not self.archived[stored.name]:
                del self.archived[stored.name]
        if stored.name not in self.live and stored.name not in self.archived:
            del self._names[bisect.bisect_left(self._names, stored.name)]

    def find(self, name: str, generation: int | None) -> StoredObject | None:
        """Return the generation of this number, live or not; without a number, the live generation. None for a missing generation."""
        live = self.live.get(name)
        if generation is None or (live is not None and live.generation == generation):
            return live
        return next((s for s in self.archived.get(name, ()) if s.generation == generation), None)

    def names_from(self, start: str) -> list[str]:
        """Return all names from `start` on, in byte order (which for Python text is the order of code points)."""
        return self._names[bisect.bisect_left(self._names, start) :]

    def skip_prefix(self, prefix: str) -> str:
        """Return a text that sorts after every name that begins with `prefix`."""
        return prefix + _AFTER_ALL * 8

    def _know(self, name: str) -> None:
        index = bisect.bisect_left(self._names, name)
        if index == len(self._names) or self._names[index] != name:
            self._names.insert(index, name)

    def resource(self, project_number: str) -> dict[str, Any]:
        """Return the bucket's JSON without the links."""
        return {
            "kind": "storage#bucket",
            "id": self.name,
            "name": self.name,
            "projectNumber": project_number,
            "generation": str(self.generation),
            "metageneration": str(self.metageneration),
            "timeCreated": self.created,
            "updated": self.updated,
            "etag": etag_of(0, self.metageneration),
            "locationType": location_type(str(self.fields["location"])),
            **({"softDeleteTime": self.soft_deleted, "hardDeleteTime": self.hard_delete} if self.soft_deleted else {}),
            **({} if location_type(str(self.fields["location"])) == "region" else {"rpo": "DEFAULT"}),
            **self.fields,
        }

    def acl(self, project_number: str) -> dict[str, Any]:
        """Return the access control lists of a new bucket, as `projection=full` shows them; empty if ACLs are off."""
        if self.uniform_access:
            return {}
        owners = f"project-owners-{project_number}"
        rights = {"owners": "OWNER", "editors": "OWNER", "viewers": "READER"}
        return {
            "acl": [
                {
                    "kind": "storage#bucketAccessControl",
                    "id": f"{self.name}/project-{team}-{project_number}",
                    "bucket": self.name,
                    "entity": f"project-{team}-{project_number}",
                    "role": role,
                    "projectTeam": {"projectNumber": project_number, "team": team},
                    "etag": etag_of(0, self.metageneration),
                }
                for team, role in rights.items()
            ],
            "defaultObjectAcl": [
                {
                    "kind": "storage#objectAccessControl",
                    "entity": f"project-{team}-{project_number}",
                    "role": role,
                    "projectTeam": {"projectNumber": project_number, "team": team},
                    "etag": etag_of(0, self.metageneration),
                }
                for team, role in rights.items()
            ],
            "owner": {"entity": owners},
        }

    def dump(self) -> dict[str, Any]:
        """Return the bucket as JSON-able data."""
        plain = (
            "name",
            "project",
            "created",
            "updated",
            "fields",
            "metageneration",
            "generation",
            "policy",
            "policy_version",
            "soft_deleted",
            "hard_delete",
        )
        versions = [s for held in (self.trash, self.archived) for kept in held.values() for s in kept]
        versions += self.live.values()
        return {key: getattr(self, key) for key in plain} | {"objects": [stored.dump() for stored in versions]}

    @classmethod
    def parse(cls, raw: dict[str, Any]) -> Bucket:
        """Return the bucket of a result of `dump`."""
        bucket = cls(**{key: value for key, value in raw.items() if key != "objects"})
        for entry in raw["objects"]:
            stored = StoredObject.parse(entry)
            if stored.soft_deleted is not None:
                bucket.trash.setdefault(stored.name, []).append(stored)
            elif stored.deleted is None:
                bucket.live[stored.name] = stored
            else:
                bucket.archived.setdefault(stored.name, []).append(stored)
        bucket._names = sorted(set(bucket.live) | set(bucket.archived))
        return bucket


def etag_of(generation: int, metageneration: int) -> str:
    """Return an etag that changes with either number; base64, because gcloud decodes it."""
    return base64.b64encode(f"{generation}/{metageneration}".encode()).decode()


def location_type(location: str) -> str:
    """Return the type of a location: `multi-region`, `dual-region` or `region`."""
    if location in {"US", "EU", "ASIA"}:
        return "multi-region"
    return "region" if "-" in location else "dual-region"
