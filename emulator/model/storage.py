"""The model of Cloud Storage: objects with generations, preconditions and checksums. `wire/storage*.py` calls it under `world.lock`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from emulator.clock import rfc3339
from emulator.errors import ApiError
from emulator.model.storage_buckets import Buckets
from emulator.model.storage_fields import OBJECT_FIELDS, OBJECT_OUTPUT, check_kms_key, checked, merge, writable
from emulator.model.storage_listing import Listing, ListQuery, list_objects
from emulator.model.storage_records import Bucket, StoredObject
from emulator.model.storage_rules import (
    ANY,
    Preconditions,
    check_declared,
    check_object_name,
    crc32c_of,
    invalid,
    md5_of,
    not_found,
)

if TYPE_CHECKING:
    from emulator.world import World

_MAX_SOURCES = 32


@dataclass(frozen=True, slots=True)
class Source:
    """The source of a copy or a composition: an object, optionally with a generation and preconditions."""

    bucket: str
    name: str
    generation: int | None = None
    conditions: Preconditions = ANY


class StorageModel:
    """The model of all buckets and objects. Every method is one atomic step of the service; `ApiError` is an error of the service."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.buckets = Buckets(world)
        self._last_generation = 0

    # --- objects ---------------------------------------------------------------------------------------------------------

    def insert(
        self,
        bucket_name: str,
        name: str,
        content: bytes,
        *,
        body: dict[str, Any] | None = None,
        conditions: Preconditions = ANY,
        kms_key: str = "",
    ) -> StoredObject:
        """Write a new live generation. `body` is the object resource of the request: writable fields and declared checksums."""
        bucket = self.buckets.get(bucket_name)
        check_object_name(name)
        body = body or {}
        fields = checked(writable(body, OBJECT_FIELDS, OBJECT_OUTPUT), OBJECT_FIELDS)
        check_declared(content, crc32c=body.get("crc32c"), md5=body.get("md5Hash"))
        conditions.check(bucket.live.get(name))
        return self._write(bucket, name, content, fields=fields, kms_key=kms_key)

    def get(
        self, bucket_name: str, name: str, *, generation: int | None = None, conditions: Preconditions = ANY
    ) -> StoredObject:
        """Return an object. Raise 404 if it does not exist, 304 or 412 if a condition is not met."""
        return self._find(bucket_name, name, generation, conditions, reading=True)[1]

    def listing(self, bucket_name: str, query: ListQuery) -> Listing:
        """Return a page of a bucket's objects, or of its soft-deleted objects."""
        bucket = self.buckets.get(bucket_name)
        return list_objects(bucket.trashed(self._world.clock.now()) if query.soft_deleted else bucket, query)

    def change(
        self,
        bucket_name: str,
        name: str,
        body: dict[str, Any],
        *,
        generation: int | None = None,
        conditions: Preconditions = ANY,
        replacing: bool = False,
    ) -> StoredObject:
        """Patch the writable fields, or replace all of them with `replacing`. In a patch, null deletes a field or a key of `metadata`."""
        bucket, old = self._find(bucket_name, name, generation, conditions)
        asked = writable(body, OBJECT_FIELDS, OBJECT_OUTPUT)
        kept: dict[str, Any] = {key: old.fields[key] for key in ("kmsKeyName", "storageClass") if key in old.fields}
        if asked.get("storageClass", old.resource()["storageClass"]) != old.resource()["storageClass"]:
            raise invalid("The storage class of an object is changed by rewriting it.")
        old_writable = {key: value for key, value in old.fields.items() if key in OBJECT_FIELDS}
        merged = asked if replacing else merge(old_writable, asked)
        fields: dict[str, Any] = {**kept, **checked(merged, OBJECT_FIELDS)}
        if fields.get("metadata") == {}:
            del fields["metadata"]
        new = replace(old, fields=fields, metageneration=old.metageneration + 1, updated=self._stamp())
        bucket.replace(old, new)
        return new

    def delete(
        self, bucket_name: str, name: str, *, generation: int | None = None, conditions: Preconditions = ANY
    ) -> None:
        """Delete the requested generation: permanently, or soft-deleted if the bucket has a soft-delete policy.

        Without a `generation`, delete the live generation; in a bucket with versions, it only becomes noncurrent.
        """
        bucket, stored = self._find(bucket_name, name, generation, conditions)
        _check_holds(stored)
        if bucket.versioned and generation is None:
            bucket.archive(name, self._stamp())
        else:
            bucket.remove(stored, self._world.clock.now())

    def restore(
        self, bucket_name: str, name: str, *, generation: int | None, conditions: Preconditions = ANY
    ) -> StoredObject:
        """Make a soft-deleted generation the live one, under a new number; raise 400 without a generation.

        The soft-deleted generation also stays until its retention is over.
        """
        if generation is None:
            raise ApiError("INVALID_ARGUMENT", "Required parameter: generation", reason="required")
        stored = self.soft_deleted(bucket_name, name, generation=generation)
        bucket = self.buckets.get(bucket_name)
        conditions.check(bucket.live.get(name))
        fields = {key: value for key, value in stored.fields.items() if not key.endswith("Hold")}
        key = str(fields.pop("kmsKeyName", ""))
        return self._write(bucket, name, stored.content, fields=fields, kms_key=key, parts=stored.component_count)

    def soft_deleted(self, bucket_name: str, name: str, *, generation: int | None) -> StoredObject:
        """Return a soft-deleted generation; raise 404 if there is none, its retention is over, or no generation is named.

        gcloud asks without a generation before it lists a prefix, and continues after 404.
        """
        check_object_name(name)
        trash = self.buckets.get(bucket_name).trashed(self._world.clock.now())
        stored = trash.find(name, generation) if generation is not None else None
        if stored is None:
            raise not_found(bucket_name, name)
        return stored

    def copy(
        self,
        source: Source,
        bucket_name: str,
        name: str,
        *,
        body: dict[str, Any] | None = None,
        conditions: Preconditions = ANY,
        kms_key: str = "",
    ) -> StoredObject:
        """Copy or rewrite an object. The writable fields of `body` replace the source's fields; without any, the source's fields are copied."""
        stored = self._find(source.bucket, source.name, source.generation, source.conditions)[1]
        bucket = self.buckets.get(bucket_name)
        check_object_name(name)
        asked = writable(body or {}, OBJECT_FIELDS, OBJECT_OUTPUT)
        inherited = {
            key: value for key, value in stored.fields.items() if key in OBJECT_FIELDS and not key.endswith("Hold")
        }
        fields = checked(asked or inherited, OBJECT_FIELDS)
        conditions.check(bucket.live.get(name))
        return self._write(bucket, name, stored.content, fields=fields, kms_key=kms_key, parts=stored.component_count)

    def compose(
        self,
        sources: list[Source],
        bucket_name: str,
        name: str,
        *,
        body: dict[str, Any] | None = None,
        conditions: Preconditions = ANY,
        kms_key: str = "",
    ) -> StoredObject:
        """Join 1 to 32 objects into one, with a component count and no MD5. Raise 400 for another number of sources."""
        bucket = self.buckets.get(bucket_name)
        check_object_name(name)
        if not sources:
            raise ApiError("INVALID_ARGUMENT", "You must provide at least one source component.", reason="required")
        if len(sources) > _MAX_SOURCES:
            raise invalid(
                f"The number of source components provided ({len(sources)}) exceeds the maximum ({_MAX_SOURCES})."
            )
        parts = [self._find(s.bucket, s.name, s.generation, s.conditions)[1] for s in sources]
        fields = checked(writable(body or {}, OBJECT_FIELDS, OBJECT_OUTPUT), OBJECT_FIELDS)
        conditions.check(bucket.live.get(name))
        count = sum(part.component_count or 1 for part in parts)
        content = b"".join(part.content for part in parts)
        return self._write(bucket, name, content, fields=fields, kms_key=kms_key, parts=count)

    # --- state -----------------------------------------------------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        """Return the state as JSON-able data."""
        return {
            "last_generation": self._last_generation,
            "buckets": [bucket.dump() for bucket in self.buckets.by_name.values()],
            "deleted_buckets": [bucket.dump() for bucket in self.buckets.deleted],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Restore the state from a result of `dump`."""
        buckets = [Bucket.parse(raw) for raw in state["buckets"]]
        self._last_generation = int(state["last_generation"])
        self.buckets.by_name = {bucket.name: bucket for bucket in buckets}
        self.buckets.deleted = [Bucket.parse(raw) for raw in state.get("deleted_buckets", [])]

    # --- inside ----------------------------------------------------------------------------------------------------------

    def _find(
        self,
        bucket_name: str,
        name: str,
        generation: int | None,
        conditions: Preconditions,
        *,
        reading: bool = False,
    ) -> tuple[Bucket, StoredObject]:
        bucket = self.buckets.get(bucket_name)
        check_object_name(name)
        stored = bucket.find(name, generation)
        if stored is None:
            raise not_found(bucket_name, name)
        conditions.check(stored, reading=reading)
        return bucket, stored

    def _write(
        self,
        bucket: Bucket,
        name: str,
        content: bytes,
        *,
        fields: dict[str, Any],
        kms_key: str,
        parts: int | None = None,
    ) -> StoredObject:
        old = bucket.live.get(name)
        if old is not None:
            self._world.need("storage.objects.delete")  # iam-json, note 7: only if the object exists and is replaced
            _check_holds(old)
        if "acl" in fields and bucket.uniform_access:
            raise invalid("Cannot use ACL API to set object policy when uniform bucket-level access is enabled.")
        key = kms_key or bucket.fields.get("encryption", {}).get("defaultKmsKeyName", "")
        if key:
            check_kms_key(key)
            fields = {**fields, "kmsKeyName": key}
        if "storageClass" not in fields and bucket.fields["storageClass"] != "STANDARD":
            fields = {**fields, "storageClass": bucket.fields["storageClass"]}
        stamp = self._stamp()
        stored = StoredObject(
            bucket=bucket.name,
            name=name,
            generation=self._next_generation(),
            metageneration=1,
            content=content,
            fields={key: value for key, value in fields.items() if key != "metadata" or value},
            created=stamp,
            updated=stamp,
            crc32c=crc32c_of(content),
            md5=None if parts is not None else md5_of(content),
            component_count=parts,
        )
        if old is not None:
            if bucket.versioned:
                bucket.archive(name, stamp)
            else:
                bucket.remove(old, self._world.clock.now())
        bucket.put(stored)
        return stored

    def _next_generation(self) -> int:
        """Return the next generation: the virtual time in microseconds, but always more than any earlier generation."""
        now = int(self._world.clock.now().timestamp() * 1_000_000)
        self._last_generation = max(now, self._last_generation + 1)
        return self._last_generation

    def _stamp(self) -> str:
        return rfc3339(self._world.clock.now())


def _check_holds(stored: StoredObject) -> None:
    for key, kind in (("temporaryHold", "Temporary"), ("eventBasedHold", "Event-Based")):
        if stored.fields.get(key):
            raise ApiError(
                "PERMISSION_DENIED",
                f"Object '{stored.bucket}/{stored.name}' is under active {kind} hold and cannot be deleted, overwritten or "
                "archived until hold is removed.",
                reason="forbidden",
            )


__all__ = ["ANY", "ListQuery", "Preconditions", "Source", "StorageModel"]
