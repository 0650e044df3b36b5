"""Every call by which something could be changed in the embedded cloud, on everything that is there: what a thief would try.

Read from the cloud's own routes, so that a method that is added to it is attempted, too.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from kit.as_account import Acting
from kit.inprocess import Bench
from kit.oracle import object_names

_GROUP = re.compile(r"\(\?P<(\w+)>")
_READS = ("testIamPermissions", "getIamPolicy", "/wait$")
_PUBLISHED = {"messages": [{"data": "eA=="}]}
_JOB = {
    "schedule": "* * * * *",
    "pubsubTarget": {"topicName": "projects/benchkeeper-local/topics/workbench-tick", "data": "eA=="},
}


@dataclass(frozen=True)
class Attempt:
    """One call. `route` is the pattern of the cloud's route, without its version."""

    verb: str
    path: str
    route: str
    body: Any = None
    more: dict[str, Any] = field(default_factory=dict)


def attempts(bench: Bench) -> Iterator[Attempt]:
    """All of them."""
    yield from _uploads(bench)
    samples = _samples(bench)
    for verb, routes in bench.cloud.wsgi._by_method.items():
        for route in routes:
            pattern = route.pattern.pattern
            if verb == "GET" or "_emulator" in pattern or "upload/" in pattern or "batch" in pattern:
                continue
            if any(read in pattern for read in _READS):
                continue
            for path in _paths(route.pattern, samples):
                yield Attempt(verb, path, f"{verb} {pattern}", _body(pattern))


def permitted(bench: Bench, who: Acting) -> set[tuple[str, str]]:
    """Attempt everything; returns what no policy stood against, as (method, bucket or topic that it is about)."""
    journal = bench.cloud.world.journal
    journal.clear()
    for attempt in list(attempts(bench)):
        who.ask(attempt.verb, attempt.path, body=attempt.body, **attempt.more)
    found = set()
    for row in journal.listing(mutating_only=False):
        if row["principal"] == who.email and row["status"] not in {401, 403} and not row["method"].endswith(".start"):
            found.add((f"{row['service']}.{row['method']}", _where(row)))
    return found


def _where(row: dict[str, Any]) -> str:
    match row["service"]:
        case "storage":
            return str(row["resource"].partition("/")[0])
        case "pubsub":
            return str(row["resource"].rpartition("/")[2])
        case _:
            return ""


def _samples(bench: Bench) -> dict[str, list[str]]:
    """Values by the name of a group in a pattern."""
    project, settings = bench.settings.project, bench.settings
    objects = {name for bucket in settings.all_buckets for name in object_names(bench.cloud, bucket, "")}
    topics, subscriptions = list(bench.cloud.pubsub.topics), list(bench.cloud.pubsub.subscriptions)
    instances = [n.name for n in bench.cloud.notebooks.fleet.instances.values()]
    location = f"projects/{project}/locations/europe-west1"
    accounts = [f"projects/{project}/serviceAccounts/{email}" for email in bench.cloud.iam._living]
    groups = list(bench.cloud.cloudidentity._groups)
    names = [
        *topics, *subscriptions, *instances, *accounts, *groups, *(f"{name}/memberships/1" for name in groups),
        f"projects/{project}/roles/benchkeeper_objects", f"projects/{project}/roles/benchkeeper_page_wishes",
        f"{location}/operations/o-1", f"projects/{project}/regions/europe-west1/operations/o-1",
        f"{location}/sessionTemplates/s-1", f"{location}/jobs/benchkeeper-due", f"projects/{project}/snapshots/s-1",
        f"projects/{project}/schemas/s-1",
    ]  # fmt: skip
    return {
        "bucket": list(settings.all_buckets),
        "to_bucket": list(settings.all_buckets),
        "object": sorted(quote(name, safe="") for name in objects),
        "to_object": [quote(f"records/{name}", safe="") for name in ("x.json",)],
        "project": [project],
        "project_id": [project],
        "region": ["europe-west1"],
        "cluster_name": ["c-1"],
        "path": [f"projects/{project}/zones/europe-west1-b/disks/d-1", f"projects/{project}/global/snapshots/s-1"],
        "parent": [f"projects/{project}/global", f"projects/{project}/locations/europe-west1-b", location, *groups],
        "name": names,
    }


def _paths(pattern: re.Pattern[str], samples: dict[str, list[str]]) -> Iterator[str]:
    groups = _GROUP.findall(pattern.pattern)
    choices = [samples.get(group, samples["name"]) for group in groups]
    template = _template(pattern.pattern)
    for values in itertools.product(*choices):
        path = template.format(*values)
        if pattern.match(path):
            yield path


def _template(pattern: str) -> str:
    """The pattern with `{}` for each of its groups."""
    out, index = "", 0
    pattern = pattern.removeprefix("^").removesuffix("$")
    while index < len(pattern):
        if pattern.startswith("(?P<", index):
            depth, end = 0, index
            while True:
                depth += {"(": 1, ")": -1}.get(pattern[end], 0)
                end += 1
                if depth == 0:
                    break
            out, index = out + "{}", end
        elif pattern[index] == "\\":
            out, index = out + pattern[index + 1], index + 2
        else:
            out, index = out + pattern[index], index + 1
    return out


def _body(pattern: str) -> Any:
    for part, body in (
        (":publish", _PUBLISHED),
        ("compose", {"sourceObjects": [{"name": "x"}], "destination": {}}),
        ("/jobs", _JOB),
        ("/iam$", {"bindings": []}),
        ("setIamPolicy", {"policy": {"bindings": []}}),
        ("/o/", {"metadata": {"a": "b"}} if "To/" not in pattern else {}),
        ("/memberships", {"preferredMemberKey": {"id": "thief@example.com"}, "roles": [{"name": "MEMBER"}]}),
    ):
        if part in pattern:
            return body
    return {}


def _uploads(bench: Bench) -> Iterator[Attempt]:
    """Each object overwritten, and a new one beside each kind, in the three ways of uploading."""
    for bucket in bench.settings.all_buckets:
        there = object_names(bench.cloud, bucket, "")
        new = (
            "records/x.json",
            "due/20261123T080000Z/x",
            "templates/x/y.yaml",
            "dead-letters/x.json",
            "policy/groups",
            "x",
        )
        for name in (*sorted(there), *new):
            where = f"/upload/storage/v1/b/{bucket}/o?name={quote(name, safe='')}&uploadType="
            yield Attempt("POST", f"{where}media", f"upload media {bucket}", more={"data": b"stolen"})
            yield Attempt("POST", f"{where}resumable", f"upload resumable {bucket}", {"name": name})
