"""The audit as an outsider judges it: by the objects in the bucket and the embedded cloud's own journal, never by the product's readers."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from datetime import date, timedelta
from typing import Any

from kit.inprocess import Bench
from shared.domain.record.audit import alias_of_cuts
from shared.domain.things.identity import account_id_for

# By kind of action: the service's method, and the place of the target in the resource's name.
_METHODS = {
    "CreateInstance": "notebooks.CreateInstance", "StartInstance": "notebooks.StartInstance",
    "StopInstance": "notebooks.StopInstance", "ResetInstance": "notebooks.ResetInstance",
    "RestoreData": "notebooks.RestoreInstance", "ResizeDisk": "notebooks.ResizeDisk", "EndSession": "dataproc.TerminateSession",
    "DeleteInstance": "notebooks.DeleteInstance", "UpdateInstance": "notebooks.UpdateInstance",
    "CreateCluster": "dataproc.CreateCluster", "DeleteCluster": "dataproc.DeleteCluster",
    "CreateAccount": "iam.serviceAccounts.create", "ShareAccount": "iam.serviceAccounts.setIamPolicy",
    "EnableAccount": "iam.serviceAccounts.enable", "DisableAccount": "iam.serviceAccounts.disable",
    "DeleteAccount": "iam.serviceAccounts.delete", "CreateSnapshot": "compute.disks.createSnapshot", "SaveCopy": "compute.disks.createSnapshot",
    "DeleteSnapshot": "compute.snapshots.delete", "DropCopy": "compute.snapshots.delete", "PutTemplate": "storage.objects.insert templates",
    "RemoveTemplate": "storage.objects.delete templates", "WriteManifest": "storage.objects.insert manifests",
    "JoinGroup": "cloudidentity.memberships.create", "LeaveGroup": "cloudidentity.memberships.delete",
}  # fmt: skip


def objects(bench: Bench, prefix: str = "audit/") -> dict[str, bytes]:
    """The entries' objects by name, as the embedded cloud has them."""
    cloud = bench.cloud
    with cloud.world.lock:
        live = cloud.storage.buckets.get(bench.settings.audit_bucket).live
        return {name: live[name].content for name in sorted(live) if name.startswith(prefix)}


def faults(bench: Bench) -> list[str]:
    """All that is wrong with the audit of a world at rest: chains, manifests, changes without entries, entries without changes."""
    rows = list(bench.deps.records.rows())
    records = [stored.record for row in rows if (stored := bench.stored(row.user_key)) is not None]
    keys = {record.status.audit.alias: str(record.user_key) for record in records}
    days = {date.fromisoformat(name.split("/")[1]) for name in objects(bench)}
    keys |= {alias_of_cuts(row.user_key, day): str(row.user_key) for row in rows for day in days}
    left = [
        f"{record.user_key}: a line is not copied out"
        for record in records
        if any(x.waits for x in record.status.story)
    ]
    erased = {str(told["user"]) for _, message, told in bench.log.lines if message == "Erased personal data"}
    of_erased = {key.rpartition("-")[2] for key in erased}  # whose entries lead to nobody
    missing = [each for each in unmatched(bench, keys) if not any(digits in each for digits in of_erased)]
    known = [each for each in missing if any(key.rpartition("-")[2] in each for key in keys.values())]
    return [*left, *broken_chains(bench), *broken_manifests(bench), *(known if erased else missing)]


def broken_manifests(bench: Bench) -> list[str]:
    """What is wrong with the days' manifests: one that is missing, does not follow the day before, or lists other bytes."""
    entries_of, wrong = objects(bench), []
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in entries_of.items()}
    found = {name: (json.loads(content), content) for name, content in objects(bench, "manifests/").items()}
    before, yesterday = "", None
    for name, (manifest, content) in found.items():
        day = date.fromisoformat(manifest["day"])
        listed = {each: digest for each, digest in digests.items() if each.startswith(f"audit/{day}/")}
        if dict(manifest["objects"]) != listed:
            wrong.append(f"{name} lists other objects")
        follows = before if yesterday == day - timedelta(days=1) else ""
        if manifest["previous"] != follows:
            wrong.append(f"{name} does not follow the day before")
        before, yesterday = hashlib.sha256(content).hexdigest(), day
    over = (bench.now - timedelta(hours=3)).date().isoformat()
    days = {name.split("/")[1] for name in digests}
    return wrong + [f"{day} has no manifest" for day in days if day < over and f"manifests/{day}.json" not in found]


def entries(bench: Bench) -> list[dict[str, Any]]:
    """All entries, by user and number."""
    found = [json.loads(row) for content in objects(bench).values() for row in content.splitlines()]
    return sorted(found, key=lambda each: (each["user"]["uid"], each["metadata"]["sequence"]))


def broken_chains(bench: Bench) -> list[str]:
    """What is wrong with the users' chains: a number that is missing or there twice, a digest that is not that of the entry before."""
    rows: dict[str, dict[int, bytes]] = defaultdict(dict)
    faults = []
    for content in objects(bench).values():
        for row in content.splitlines():
            entry = json.loads(row)
            alias, number = entry["user"]["uid"], entry["metadata"]["sequence"]
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
    calls = bench.cloud.world.journal.listing(mutating_only=False)
    groups = _data_groups(bench)
    foreign = Counter(map(_row, bench.foreign))
    for call in calls:
        if foreign[_row(call)]:
            foreign[_row(call)] -= 1
            continue
        if call["method"] == "serviceAccounts.getIamPolicy":  # a policy that is right already is not written again
            tried[f"iam.serviceAccounts.setIamPolicy {_leaf(call['resource'])}"] += 1
        if call["service"] == "cloudidentity":
            what = _membership(call, groups)
            if (
                call["method"] == "memberships.lookup" and what is not None
            ):  # whoever is in no such group is not taken out of it
                tried[what] += 1
                continue
        else:
            what = _what_of(call) if not call["resource"].startswith(f"{bench.settings.audit_bucket}/") else None
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
        if kind == "Erase":
            continue
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


def _data_groups(bench: Bench) -> dict[str, str]:
    """The addresses of the groups that give access to data, by Google's name."""
    named = {profile.data_group for profile in bench.deps.policy.catalog.profiles.values()}
    with bench.cloud.world.lock:
        found = bench.cloud.cloudidentity._groups.values()
        return {group.name: group.email for group in found if group.email in named}


def _membership(call: dict[str, Any], groups: dict[str, str]) -> str | None:
    """What a call at a group's members is, or would be. The journal does not name the member of a new membership."""
    group = groups.get("/".join(call["resource"].split("/")[:2]))
    how = {"memberships.create": "create", "memberships.delete": "delete", "memberships.lookup": "delete"}.get(
        call["method"]
    )
    return f"cloudidentity.memberships.{how} {group}" if group is not None and how is not None else None


def _row(call: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(call.values())


def _leaf(resource: str) -> str:
    return resource.rpartition("/")[2].partition("@")[0]


def _what_of(call: dict[str, Any]) -> str | None:
    service, method, resource = call["service"], call["method"], call["resource"]
    if not call["mutates"]:
        return None
    if service == "storage":
        name = resource.partition("/")[2]
        if not name.startswith(("templates/", "manifests/")):
            return None
        return f"storage.{method} {name.partition('/')[0]} {name.rpartition('/')[2].rpartition('.')[0]}"
    leaf = _leaf(resource)
    if method == "disks.createSnapshot":
        leaf = leaf.removesuffix("-data-workspace")
    return f"{service}.{method} {leaf}" if f"{service}.{method}" in _METHODS.values() else None


def _named(target: str, alias: str, key: str, kind: str) -> str:
    if kind.endswith("Group"):
        return target
    if kind.endswith("Account"):
        return account_id_for(key)  # type: ignore[arg-type]
    if kind.endswith("Cluster"):
        return target.replace(alias, key.rpartition("-")[2])
    named = target.replace(alias, key)
    return re.sub(r"-[a-z]\d+$", "", named) if kind in {"CreateSnapshot", "SaveCopy"} else named
