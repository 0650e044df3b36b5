"""What the world should be, worked out from the messages alone: no facts module, no planner, no record is asked.

Deliberately naive: every question is answered by going through all messages ever sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from emulator.model.storage_listing import ListQuery

GROUP_PROFILE = {"data-analysts@example.com": ("analyst", 10), "data-engineers@example.com": ("engineer", 20)}
TEMPLATES = {"analyst": {"personal-auth-cluster"}, "engineer": {"personal-auth-cluster", "single-node"}}
RETENTION = timedelta(days=30)


@dataclass(frozen=True)
class Sent:
    """One message of the neutral schema, as it was sent."""

    event_id: str
    kind: str
    user: str
    occurred: datetime
    effective: datetime
    attributes: dict[str, Any]


def _last(answers: list[tuple[datetime, bool, str, Any]]) -> Any:
    """The answer said last; at the same moment the one that takes away."""
    if not answers:
        return None
    return max(answers, key=lambda a: (a[0], a[1], a[2]))[3]


def wanted_profile(sent: list[Sent], user: str, now: datetime) -> str | None:
    """Which profile the person should have at `now`, None = nothing."""
    mine = {s.event_id: s for s in reversed(sent) if s.user == user and s.effective <= now}.values()
    employed = _last(
        [(s.occurred, s.kind == "leaver", s.event_id, s.kind != "leaver") for s in mine if s.kind != "mover"]
    )
    if employed is False:
        return None
    requests = [(s.occurred, asked is None, s.event_id, asked) for s in mine for said, asked in [_request(s)] if said]
    asked = _last(requests)
    groups = set()
    for group in GROUP_PROFILE:
        answers = [
            (s.occurred, group not in s.attributes["groups"], s.event_id, group in s.attributes["groups"])
            for s in mine
            if s.kind != "leaver" and "groups" in s.attributes
        ]
        if _last(answers):
            groups.add(group)
    if asked:
        return asked
    by_group = max((GROUP_PROFILE[g] for g in groups), key=lambda p: p[1], default=(None, 0))[0]
    if by_group is None and asked == "":
        return "analyst"  # the shipped default
    return by_group


def _request(s: Sent) -> tuple[bool, str | None]:
    """(did it say something about a profile asked for, what)."""
    if s.kind == "joiner":
        if "profile" in s.attributes:
            return True, s.attributes["profile"]
        return True, None if "groups" in s.attributes else ""
    if s.kind == "mover" and "profile" in s.attributes:
        return True, s.attributes["profile"]
    return False, None


def instances(cloud: Any) -> dict[str, Any]:
    """All instances of the embedded cloud by full name, read from its state (no listing lag, no fault)."""
    with cloud.world.lock:
        cloud.notebooks.settle()
        return dict(cloud.notebooks.fleet.instances)


def object_names(cloud: Any, bucket: str, prefix: str) -> set[str]:
    """All live objects of a bucket under a prefix."""
    names: set[str] = set()
    token = ""
    with cloud.world.lock:
        while True:
            page = cloud.storage.listing(bucket, ListQuery(prefix=prefix, token=token))
            names |= {item.name for item in page.items}
            token = page.token
            if not token:
                return names


def template_names(cloud: Any, bucket: str, user_key: str) -> set[str]:
    """Names of the user's template objects."""
    prefix = f"templates/{user_key}/"
    return {name.removeprefix(prefix).removesuffix(".yaml") for name in object_names(cloud, bucket, prefix)}
