"""The buckets: their settings, their IAM policies, and their list."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any

from emulator.clock import rfc3339
from emulator.errors import ApiError
from emulator.model.storage_fields import BUCKET_FIELDS, BUCKET_OUTPUT, checked, merge, with_bucket_defaults, writable
from emulator.model.storage_records import Bucket
from emulator.model.storage_rules import ANY, Preconditions, check_bucket_name, condition_not_met, invalid, not_found

if TYPE_CHECKING:
    from emulator.world import World

_MEMBER = re.compile(
    r"allUsers|allAuthenticatedUsers|(user|serviceAccount|group|domain|principal|principalSet|projectOwner|projectEditor"
    r"|projectViewer|deleted|principalHierarchy):\S+"
)
_ROLE = re.compile(r"roles/[\w.]+|(projects|organizations)/[^/]+/roles/[\w.]+")
_POLICY_FIELDS = {"kind", "resourceId", "version", "etag", "bindings"}
_CONDITIONS_NEED_VERSION = 3


class Buckets:
    """The store of all buckets by name. Names are unique over all projects, as in the real service."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.by_name: dict[str, Bucket] = {}
        self.deleted: list[Bucket] = []  # soft-deleted, oldest first; a name can be there several times

    def create(self, body: dict[str, Any], *, project: str) -> Bucket:
        """Return a new bucket from a bucket resource; raise 409 if the name is taken."""
        if not project:
            raise ApiError("INVALID_ARGUMENT", "Required parameter: project", reason="required")
        name = body.get("name")
        if not isinstance(name, str):
            raise ApiError("INVALID_ARGUMENT", "Required", reason="required")
        check_bucket_name(name)
        fields = writable(body, BUCKET_FIELDS, BUCKET_OUTPUT)
        if isinstance(fields.get("location"), str):
            fields["location"] = fields["location"].upper()
        now = self._world.clock.now()
        fields = with_bucket_defaults(checked(fields, BUCKET_FIELDS), now=now, old={})
        if name in self.by_name:
            raise ApiError(
                "ALREADY_EXISTS",
                "Your previous request to create the named bucket succeeded and you already own it.",
                reason="conflict",
            )
        stamp = rfc3339(now)
        bucket = Bucket(name=name, project=project, created=stamp, updated=stamp, fields=fields)
        bucket.generation = int(now.timestamp() * 1_000_000)
        bucket.policy = {"version": 1, "bindings": _first_bindings(project)}
        self.by_name[name] = bucket
        return bucket

    def get(self, name: str, conditions: Preconditions = ANY, *, reading: bool = True) -> Bucket:
        """Return the bucket. Raise 404 if there is none, 304 or 412 if a condition on the metageneration is not met."""
        bucket = self.by_name.get(name)
        if bucket is None:
            raise not_found(name)
        conditions.check(bucket, reading=reading)
        return bucket

    def listing(
        self, *, project: str, prefix: str, after: str, limit: int, soft_deleted: bool = False
    ) -> tuple[list[Bucket], bool]:
        """Return at most `limit` buckets of `project` with names after `after`, and True if there are more."""
        held = self._trash() if soft_deleted else self.by_name.values()
        found = [b for b in held if b.project == project and b.name.startswith(prefix) and b.name > after]
        found.sort(key=lambda bucket: (bucket.name, bucket.generation))
        return found[:limit], len(found) > limit

    def soft_deleted(self, name: str, generation: int | None) -> Bucket:
        """Return a soft-deleted bucket, whose generation must be named.

        Raise 404 if there is no such bucket or its retention is over, 400 without a generation.
        """
        if generation is None:
            raise ApiError("INVALID_ARGUMENT", "Required parameter: generation", reason="required")
        for bucket in self._trash():
            if (bucket.name, bucket.generation) == (name, generation):
                return bucket
        raise not_found(name)

    def restore(self, name: str, generation: int | None) -> Bucket:
        """Restore a soft-deleted bucket with its soft-deleted objects; raise 409 if the name is in use."""
        bucket = self.soft_deleted(name, generation)
        if name in self.by_name:
            text = "Your previous request to create the named bucket succeeded and you already own it."
            raise ApiError("ALREADY_EXISTS", text, reason="conflict")
        self.deleted.remove(bucket)
        bucket.soft_deleted = bucket.hard_delete = None
        bucket.metageneration += 1
        self.by_name[name] = bucket
        return bucket

    def _trash(self) -> list[Bucket]:
        """Return the soft-deleted buckets whose retention is not over."""
        stamp = rfc3339(self._world.clock.now())
        self.deleted = [bucket for bucket in self.deleted if (bucket.hard_delete or "") > stamp]
        return self.deleted

    def change(self, name: str, body: dict[str, Any], conditions: Preconditions, *, replace: bool) -> Bucket:
        """Patch the settings (labels and nested settings merge, null deletes), or replace all settings with `replace`.

        Raise 400 for another location.
        """
        bucket = self.get(name, conditions, reading=False)
        asked = writable(body, BUCKET_FIELDS, BUCKET_OUTPUT)
        if isinstance(asked.get("location"), str):
            asked["location"] = asked["location"].upper()
        if asked.get("location", bucket.fields["location"]) != bucket.fields["location"]:
            raise invalid("A bucket's location cannot be changed.")
        fixed = {"location": bucket.fields["location"]}
        merged = {**asked, **fixed} if replace else merge(bucket.fields, asked)
        now = self._world.clock.now()
        bucket.fields = with_bucket_defaults(checked(merged, BUCKET_FIELDS), now=now, old=bucket.fields)
        bucket.metageneration += 1
        bucket.updated = rfc3339(now)
        return bucket

    def delete(self, name: str, conditions: Preconditions) -> None:
        """Delete an empty bucket, which is soft-deleted if its policy says so.

        Raise 409 while it has any generation of any object.
        """
        bucket = self.get(name, conditions, reading=False)
        if bucket.live or bucket.archived:
            raise ApiError("ALREADY_EXISTS", "The bucket you tried to delete is not empty.", reason="conflict")
        del self.by_name[name]
        if bucket.soft_delete:
            now = self._world.clock.now()
            bucket.soft_deleted, bucket.hard_delete = rfc3339(now), rfc3339(now + bucket.soft_delete)
            self.deleted.append(bucket)

    def policy(self, name: str) -> dict[str, Any]:
        """Return the bucket's IAM policy, with its etag."""
        bucket = self.get(name)
        return {
            "kind": "storage#policy",
            "resourceId": f"projects/_/buckets/{name}",
            **bucket.policy,
            "etag": _policy_etag(bucket.policy_version),
        }

    def set_policy(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        """Replace the IAM policy; raise 412 if the given etag is not the present one."""
        bucket = self.get(name)
        unknown = sorted(set(body) - _POLICY_FIELDS)
        if unknown:
            raise invalid(f'Invalid JSON payload received. Unknown name "{unknown[0]}": Cannot find field.')
        if body.get("etag") and body["etag"] != _policy_etag(bucket.policy_version):
            raise condition_not_met()
        version = body.get("version", 1)
        if not isinstance(body.get("bindings", []), list):
            raise invalid("Invalid argument: `bindings` is a list.")
        bindings = [_binding(raw, version=version, uniform=bucket.uniform_access) for raw in body.get("bindings", [])]
        bucket.policy = {"version": version, "bindings": bindings}
        bucket.policy_version += 1
        return self.policy(name)


def _binding(raw: Any, *, version: int, uniform: bool) -> dict[str, Any]:
    if not isinstance(raw, dict) or not isinstance(raw.get("members", []), list):
        raise invalid("Invalid argument: a binding has a role and a list of members.")
    if _ROLE.fullmatch(str(raw.get("role", ""))) is None:
        raise invalid(f"Role {raw.get('role')} is not supported for this resource.")
    for member in raw.get("members", []):
        if not isinstance(member, str) or _MEMBER.fullmatch(member) is None:
            raise invalid(f"The member {member} is of an unknown type. Please set a valid type prefix for the member.")
    if raw.get("condition") and (version < _CONDITIONS_NEED_VERSION or not uniform):
        raise invalid("A policy with conditions needs version 3 and uniform bucket-level access.")
    return {key: raw[key] for key in ("role", "members", "condition") if key in raw}


def _first_bindings(project: str) -> list[dict[str, Any]]:
    """Return the bindings of a new bucket: the project's owners and editors own the bucket, the project's viewers may read it."""
    return [
        {"role": "roles/storage.legacyBucketOwner", "members": [f"projectEditor:{project}", f"projectOwner:{project}"]},
        {"role": "roles/storage.legacyBucketReader", "members": [f"projectViewer:{project}"]},
    ]


def _policy_etag(version: int) -> str:
    return base64.b64encode(b"\x08" + version.to_bytes(2, "big")).decode()
