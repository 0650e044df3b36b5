"""The writable fields of buckets and objects: their checks, and how a patch merges."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from emulator.clock import parse_rfc3339, rfc3339
from emulator.model.storage_rules import check_labels, invalid

_STORAGE_CLASSES = {
    "STANDARD",
    "NEARLINE",
    "COLDLINE",
    "ARCHIVE",
    "MULTI_REGIONAL",
    "REGIONAL",
    "DURABLE_REDUCED_AVAILABILITY",
}
_LOCATION = re.compile(r"US|EU|ASIA|[A-Z]{2,4}\d|[A-Z]+-[A-Z]+\d{1,2}")
_KMS_KEY = re.compile(r"projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+(/cryptoKeyVersions/\d+)?")
_MAX_METADATA_BYTES = 8 * 1024
_LOCK_AFTER = timedelta(days=90)  # uniform access can be turned off within 90 days

Check = Callable[[str, Any], None]


def _text(key: str, value: Any) -> None:
    if not isinstance(value, str):
        raise invalid(f"Invalid value for field '{key}': a string is needed.")


def _flag(key: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise invalid(f"Invalid value for field '{key}': a boolean is needed.")


def _object(key: str, value: Any) -> None:
    if not isinstance(value, dict):
        raise invalid(f"Invalid value for field '{key}': an object is needed.")


def _array(key: str, value: Any) -> None:
    if not isinstance(value, list):
        raise invalid(f"Invalid value for field '{key}': an array is needed.")


def _texts(key: str, value: Any) -> None:
    _object(key, value)
    if not all(isinstance(text, str) for text in value.values()):
        raise invalid(f"Invalid value for field '{key}': every value is a string.")


def _metadata(key: str, value: Any) -> None:
    _texts(key, value)
    if sum(len(k.encode()) + len(v.encode()) for k, v in value.items()) > _MAX_METADATA_BYTES:
        raise invalid("The total size of custom metadata keys and values is more than 8 KiB.")


def _labels(key: str, value: Any) -> None:
    _texts(key, value)
    check_labels(value)


def _time(key: str, value: Any) -> None:
    _text(key, value)
    try:
        parse_rfc3339(value)
    except ValueError as error:
        raise invalid(f"Invalid value for field '{key}': {value!r} is no RFC 3339 time.") from error


def _storage_class(key: str, value: Any) -> None:
    _text(key, value)
    if value not in _STORAGE_CLASSES:
        raise invalid(f"Invalid argument: storage class '{value}'.")


def _location(key: str, value: Any) -> None:
    _text(key, value)
    if _LOCATION.fullmatch(value) is None:
        raise invalid("The specified location constraint is not valid.")


def _encryption(key: str, value: Any) -> None:
    _object(key, value)
    name = value.get("defaultKmsKeyName")
    if name is not None:
        check_kms_key(name)


def check_kms_key(name: Any) -> None:
    """Raise 400 unless `name` is the resource name of a key."""
    if not isinstance(name, str) or _KMS_KEY.fullmatch(name) is None:
        raise invalid(f"Invalid Cloud KMS key name: {name!r}")


OBJECT_FIELDS: dict[str, Check] = {
    "acl": _array, "cacheControl": _text, "contentDisposition": _text, "contentEncoding": _text, "contentLanguage": _text,
    "contentType": _text, "customTime": _time, "eventBasedHold": _flag, "metadata": _metadata, "retention": _object,
    "storageClass": _storage_class, "temporaryHold": _flag,
}  # fmt: skip
# The fields that a client sends when it writes a whole resource back; the service ignores them.
OBJECT_OUTPUT = frozenset(
    [
        "kind",
        "id",
        "selfLink",
        "mediaLink",
        "name",
        "bucket",
        "generation",
        "metageneration",
        "timeCreated",
        "updated",
        "timeDeleted",
        "timeStorageClassUpdated",
        "timeFinalized",
        "size",
        "md5Hash",
        "crc32c",
        "etag",
        "owner",
        "componentCount",
        "kmsKeyName",
        "customerEncryption",
        "softDeleteTime",
        "hardDeleteTime",
        "retentionExpirationTime",
        "restoreToken",
    ]
)
BUCKET_FIELDS: dict[str, Check] = {
    "acl": _array, "autoclass": _object, "billing": _object, "cors": _array, "customPlacementConfig": _object,
    "defaultEventBasedHold": _flag, "defaultObjectAcl": _array, "encryption": _encryption, "hierarchicalNamespace": _object,
    "iamConfiguration": _object, "ipFilter": _object, "labels": _labels, "lifecycle": _object, "location": _location,
    "logging": _object, "objectRetention": _object, "retentionPolicy": _object, "rpo": _text, "softDeletePolicy": _object,
    "storageClass": _storage_class, "versioning": _object, "website": _object,
}  # fmt: skip
BUCKET_OUTPUT = frozenset(
    [
        "kind",
        "id",
        "selfLink",
        "name",
        "projectNumber",
        "generation",
        "metageneration",
        "timeCreated",
        "updated",
        "etag",
        "owner",
        "locationType",
        "satisfiesPZS",
        "satisfiesPZI",
        "softDeleteTime",
        "hardDeleteTime",
    ]
)


def writable(body: dict[str, Any], known: dict[str, Check], output: frozenset[str]) -> dict[str, Any]:
    """Return the writable fields of `body`; raise 400 for an unknown name.

    Nulls stay, because a null in a patch deletes the field.
    """
    unknown = sorted(set(body) - set(known) - output)
    if unknown:
        raise invalid(f'Invalid JSON payload received. Unknown name "{unknown[0]}": Cannot find field.')
    return {key: value for key, value in body.items() if key in known}


def checked(fields: dict[str, Any], known: dict[str, Check]) -> dict[str, Any]:
    """Return `fields` without nulls; raise 400 if a value is of the wrong kind."""
    kept = {key: value for key, value in fields.items() if value is not None}
    for key, value in kept.items():
        known[key](key, value)
    return kept


def merge(old: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """Return the result of a JSON merge patch: null deletes, an object merges, other values replace."""
    out = dict(old)
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
        elif isinstance(value, dict):
            before = out.get(key)
            out[key] = merge(before if isinstance(before, dict) else {}, value)
        else:
            out[key] = value
    return out


def with_bucket_defaults(fields: dict[str, Any], *, now: datetime, old: dict[str, Any]) -> dict[str, Any]:
    """Return the settings as the service stores them: with defaults, and access and soft delete in full form; raise 400 if invalid."""
    out = {"location": "US", "storageClass": "STANDARD", **fields}
    out["iamConfiguration"] = _access(fields.get("iamConfiguration", {}), now=now, old=old.get("iamConfiguration", {}))
    out["softDeletePolicy"] = _soft_delete(fields.get("softDeletePolicy"), now=now)
    if "versioning" in out:
        _flag("versioning.enabled", out["versioning"].get("enabled", False))
    rules = out.get("lifecycle", {}).get("rule", [])
    if not isinstance(rules, list) or not all(isinstance(r, dict) and {"action", "condition"} <= set(r) for r in rules):
        raise invalid("Invalid value for field 'lifecycle': every rule has an action and a condition.")
    return out


def _access(raw: dict[str, Any], *, now: datetime, old: dict[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(raw) - {"uniformBucketLevelAccess", "bucketPolicyOnly", "publicAccessPrevention"})
    if unknown:
        raise invalid(f"Invalid JSON payload received. Unknown name \"{unknown[0]}\" at 'bucket.iam_configuration'.")
    prevention = raw.get("publicAccessPrevention", "inherited")
    if prevention == "unspecified":
        prevention = "inherited"
    if prevention not in ("inherited", "enforced"):
        raise invalid(f"Invalid value for publicAccessPrevention: '{prevention}'.")
    asked = raw.get("uniformBucketLevelAccess") or raw.get("bucketPolicyOnly") or {}
    _object("iamConfiguration.uniformBucketLevelAccess", asked)
    uniform: dict[str, Any] = {"enabled": asked.get("enabled", False)}
    _flag("iamConfiguration.uniformBucketLevelAccess.enabled", uniform["enabled"])
    if uniform["enabled"]:
        before = old.get("uniformBucketLevelAccess", {}).get("lockedTime")
        uniform["lockedTime"] = before or rfc3339(now + _LOCK_AFTER)
    return {
        "bucketPolicyOnly": dict(uniform),
        "uniformBucketLevelAccess": uniform,
        "publicAccessPrevention": prevention,
    }


def _soft_delete(raw: dict[str, Any] | None, *, now: datetime) -> dict[str, Any]:
    seconds = "604800" if raw is None else str(raw.get("retentionDurationSeconds", "604800"))
    if not seconds.isdigit() or not (seconds == "0" or 604_800 <= int(seconds) <= 7_776_000):  # noqa: PLR2004 - 7 to 90 days, or off
        raise invalid("Soft delete policy retention duration must be 0 or between 7 and 90 days.")
    since = rfc3339(now) if raw is None else raw.get("effectiveTime", rfc3339(now))
    return {"retentionDurationSeconds": seconds, "effectiveTime": since}
