"""The audit as an outsider judges it: by the objects in the bucket and the embedded cloud's own journal, never by the product's readers."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from typing import Any

from kit.inprocess import Bench
from kit.official import storage_bucket
from shared.domain.things.identity import account_id_for

# By kind of action: the service's method, and the place of the target in the resource's name.
_METHODS = {
    "CreateInstance": "notebooks.CreateInstance", "StartInstance": "notebooks.StartInstance",
    "StopInstance": "notebooks.StopInstance", "ResetInstance": "notebooks.ResetInstance",
    "DeleteInstance": "notebooks.DeleteInstance", "UpdateInstance": "notebooks.UpdateInstance",
    "CreateCluster": "dataproc.CreateCluster", "DeleteCluster": "dataproc.DeleteCluster",
    "CreateAccount": "iam.serviceAccounts.create", "ShareAccount": "iam.serviceAccounts.setIamPolicy",
    "EnableAccount": "iam.serviceAccounts.enable", "DisableAccount": "iam.serviceAccounts.disable",
    "DeleteAccount": "iam.serviceAccounts.delete", "CreateSnapshot": "compute.disks.createSnapshot", "SaveCopy": "compute.disks.createSnapshot",
    "DeleteSnapshot": "compute.snapshots.delete", "PutTemplate": "storage.objects.insert templates",
    "RemoveTemplate": "storage.objects.delete templates", "WriteManifest": "storage.objects.insert manifests",
}  # fmt: skip
_REST = ("records/", "due/", "guard/", "index/", "policy/", "persons/", "audit/", "wishes/")


def objects(bench: Bench) -> dict[str, bytes]:
    """The entries' objects by name."""
    bucket = storage_bucket(bench.clients, bench.settings.audit_bucket)
    return {blob.name: blob.download_as_bytes() for blob in bucket.list_blobs(prefix="audit/")}


def entries(bench: Bench) -> list[dict[str, Any]]:
    """All entries, by user and number."""
    found = [json.loads(row) for content in objects(bench).values() for row in content.splitlines()]
    return sorted(found, key=lambda each: (each["user"]["uid"], each["metadata"]["sequence"]))


def broken_chains(bench: Bench) -> list[str]:
    """What is wrong with the users' chains: a number that is missing or there twice, a digest that is not that of the entry before."""
    rows: dict[str, dict[int, bytes]] = defaultdict(dict)
    faults = []
    for name, content in objects(bench).items():
        for row in content.splitlines():
            entry = json.loads(row)
            alias, number = entry["user"]["uid"], entry["metadata"]["sequence"]
            if "/alone-" in name:
                continue
            if number in rows[alias]:
                faults.append(f"{alias} {number} twice")
            rows[alias][number] = row
    for alias, found in rows.items():
        if sorted(found) != list(range(1, len(found) + 1)):
            faults.append(f"{alias}: numbers {sorted(found)}")
            continue
        for number, row in found.items():
            before = hashlib.sha256(found[number - 1]).hexdigest() if number > 1 else ""
            if json.loads(row)["unmapped"]["previous"] != before:
                faults.append(f"{alias} {number}: does not follow the one before")
    return faults


def unmatched(bench: Bench, keys: dict[str, str]) -> list[str]:
    """Changes in the cloud's journal without an entry, and entries without their change. `keys`: the users' keys by pseudonym."""
    made: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    for call in bench.calls():
        what = _what_of(call)
        if what is not None:
            tried[what] += 1
            made[what] += call["status"] < 300
    done: Counter[str] = Counter()
    open_ended: Counter[str] = Counter()
    for entry in entries(bench):
        more = entry["unmapped"]
        if more["kind"] != "call":
            continue
        kind, _, target = more["act"].partition(" ")
        key = keys.get(entry["user"]["uid"], entry["user"]["uid"])
        what = f"{_METHODS[kind]} {_named(target, entry['user']['uid'], key, kind)}"
        assert entry["class_uid"] == 3001
        assert entry["activity_id"] in {1, 2, 5, 6}
        assert entry["type_uid"] == 300100 + entry["activity_id"]
        if more["state"] == "done":
            done[what] += 1
        elif more["state"] != "held":
            open_ended[what] += entry.get("count", 1)
    faults = [
        f"{what}: {count} changes, {done[what]} entries and {open_ended[what]} open ones"
        for what, count in made.items()
        if count > done[what] + open_ended[what]
    ]
    faults += [f"{what}: {count} entries, {tried[what]} calls" for what, count in done.items() if count > tried[what]]
    return faults


def _what_of(call: dict[str, Any]) -> str | None:
    service, method, resource = call["service"], call["method"], call["resource"]
    if not call["mutates"]:
        return None
    if service == "storage":
        name = resource.partition("/")[2]
        if name.startswith(_REST) or not name:
            return None
        return f"storage.{method} {name.partition('/')[0]} {name.rpartition('/')[2].rpartition('.')[0]}"
    leaf = resource.rpartition("/")[2].partition("@")[0]
    if method == "disks.createSnapshot":
        leaf = leaf.removesuffix("-data-workspace")
    return f"{service}.{method} {leaf}" if f"{service}.{method}" in _METHODS.values() else None


def _named(target: str, alias: str, key: str, kind: str) -> str:
    if kind.endswith("Account"):
        return account_id_for(key)  # type: ignore[arg-type]
    if kind.endswith("Cluster"):
        return target.replace(alias, key.rpartition("-")[2])
    named = target.replace(alias, key)
    return re.sub(r"-s\d+$", "", named) if kind == "CreateSnapshot" else named
