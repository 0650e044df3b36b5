"""The buckets: records, the inbox of requests, dead letters, the audit. They are created and corrected, never deleted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from cli.deploy.failures import NotThereError
from cli.deploy.gcloud import FileWord
from cli.deploy.models import BucketModel
from cli.deploy.step import Mark, Step, differs, same
from cli.deploy.target import BENCHKEEPER, OURS, Target

_STORAGE = "storage.googleapis.com"
_CRYPTO = "roles/cloudkms.cryptoKeyEncrypterDecrypter"


def buckets(target: Target) -> Iterator[Step]:
    """Yield a step for each bucket, preceded by a step for the encryption key if a key is configured."""
    yield from _key(target)
    for name, wanted in target.deployment.buckets.items():
        yield _bucket(target, name, wanted)


def _bucket(target: Target, name: str, wanted: BucketModel) -> Step:
    try:
        found = target.read(_STORAGE, "storage", "buckets", "describe", f"gs://{name}", "--raw", otherwise={})
    except NotThereError:
        found = {}
    key = target.deployment.options.kms_key
    rules = FileWord("--lifecycle-file", json.dumps(lifecycle(wanted)))
    versions = "--versioning" if wanted.versioning else "--no-versioning"
    retention = (_retention(wanted.retention),) if wanted.retention is not None else ()
    rest = (versions, rules, f"--update-labels={OURS}={BENCHKEEPER}", *retention)
    if not found:
        create = (
            "storage", "buckets", "create", f"gs://{name}", f"--location={target.region}", "--uniform-bucket-level-access",
            "--public-access-prevention", f"--soft-delete-duration={_seconds(wanted.soft_delete)}",
            *((f"--default-encryption-key={key}",) if key else ()),
        )  # fmt: skip
        because = f"uniform access, never public, {'versions kept' if wanted.versioning else 'no versions'}"
        work = [create, ("storage", "buckets", "update", f"gs://{name}", *rest)]
        return Step(key=f"bucket {name}", mark=Mark.CREATE, because=because, work=work, needs=("key",))
    why, words = _differences(target, wanted, found, rules)
    if str(found.get("projectNumber", target.number)) != target.number:
        because = "it belongs to another project: choose another name for `bucket` in the settings file"
        return Step(key=f"bucket {name}", mark=Mark.KEEP, because=because)
    if found.get("location", "").lower() != target.region:
        return Step(
            key=f"bucket {name}", mark=Mark.KEEP,
            because=f"it is in {found.get('location')}, not in {target.region}: a bucket cannot be moved",
        )  # fmt: skip
    if not words:
        return same(f"bucket {name}")
    update = [("storage", "buckets", "update", f"gs://{name}", *words)]
    return Step(key=f"bucket {name}", mark=Mark.CHANGE, because=", ".join(why), work=update, needs=("key",))


def _differences(
    target: Target, wanted: BucketModel, found: dict[str, Any], rules: FileWord
) -> tuple[list[str], list[str | FileWord]]:
    key = target.deployment.options.kms_key
    access = found.get("iamConfiguration", {})
    held_s = int(found.get("retentionPolicy", {}).get("retentionPeriod", 0))
    soft_s = int(found.get("softDeletePolicy", {}).get("retentionDurationSeconds", 0))
    checks: list[tuple[bool, str, str | FileWord]] = [
        (access.get("uniformBucketLevelAccess", {}).get("enabled") is True, "uniform access is off",
         "--uniform-bucket-level-access"),
        (access.get("publicAccessPrevention") == "enforced", "public access is not prevented", "--public-access-prevention"),
        (found.get("versioning", {}).get("enabled", False) is wanted.versioning,
         "versions are off" if wanted.versioning else "it keeps versions",
         "--versioning" if wanted.versioning else "--no-versioning"),
        (wanted.retention is None or held_s >= wanted.retention.total_seconds(), "its objects can be deleted",
         _retention(wanted.retention)),
        (soft_s == int(wanted.soft_delete.total_seconds()),
         f"soft delete {differs(_seconds(wanted.soft_delete), f'{soft_s}s')}",
         f"--soft-delete-duration={_seconds(wanted.soft_delete)}"),
        (_same_rules(found.get("lifecycle", {}), lifecycle(wanted)), "the retention of old versions differs",
         rules),
        (found.get("labels", {}).get(OURS) == BENCHKEEPER, "it lacks Benchkeeper's label", f"--update-labels={OURS}={BENCHKEEPER}"),
        (key is None or found.get("encryption", {}).get("defaultKmsKeyName") == key, "its key differs",
         f"--default-encryption-key={key}"),
    ]  # fmt: skip
    wrong = [(why, word) for is_right, why, word in checks if not is_right]
    return [why for why, _ in wrong], [word for _, word in wrong]


def _retention(retention: timedelta | None) -> str:
    return f"--retention-period={_seconds(retention or timedelta(0))}"


def lifecycle(wanted: BucketModel) -> dict[str, Any]:
    """Return the lifecycle rules of a bucket.

    Old versions of objects are deleted after a time, live objects only if the bucket has `delete_after`.
    """
    rules = [
        {
            "action": {"type": "Delete"},
            "condition": {"daysSinceNoncurrentTime": wanted.keep_old_versions.days, "isLive": False},
        }
    ]
    if wanted.delete_after is not None:
        rules.append({"action": {"type": "Delete"}, "condition": {"age": wanted.delete_after.days, "isLive": True}})
    return {"rule": rules}


def _same_rules(seen: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return bool(seen.get("rule", []) == wanted["rule"])


def _key(target: Target) -> Iterator[Step]:
    """Yield the step that lets Cloud Storage's own agent use the encryption key; none if no key is configured."""
    key = target.deployment.options.kms_key
    if key is None:
        return
    member = f"serviceAccount:{target.agent('storage')}"
    policy = target.read("cloudkms.googleapis.com", "kms", "keys", "get-iam-policy", key, otherwise={}, project=False)
    held = any(b["role"] == _CRYPTO and member in b["members"] for b in policy.get("bindings", []))
    if held:
        yield same("key of the buckets")
        return
    work = [("kms", "keys", "add-iam-policy-binding", key, f"--member={member}", f"--role={_CRYPTO}")]
    yield Step(key="key of the buckets", mark=Mark.CREATE, because="Cloud Storage may use it", work=work)


def _seconds(value: timedelta) -> str:
    return f"{int(value.total_seconds())}s"
