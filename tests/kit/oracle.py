"""What the world should be, worked out from the messages alone: no facts module, no planner, no record is asked.

Deliberately naive: every question is answered by going through all messages ever sent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from emulator.model.storage_listing import ListQuery

GROUP_PROFILE = {"data-analysts@example.com": ("analyst", 10), "data-engineers@example.com": ("engineer", 20)}
TEMPLATES = {
    "analyst": {"personal-auth-cluster", "single-node"},
    "engineer": {"large-cluster", "personal-auth-cluster", "single-node"},
}
RETENTION = timedelta(days=30)


@dataclass(frozen=True)
class Sent:
    """One message, as it was sent: of the neutral schema, or a `member` or `account` change of the logs.

    A `member` has the attributes `group` and `member`, an `account` has `usable`.
    """

    event_id: str
    kind: str
    user: str
    occurred: datetime
    effective: datetime
    attributes: dict[str, Any]
    published: datetime | None = None


@dataclass(frozen=True)
class _Answer:
    """One answer to one question."""

    said: datetime
    takes_away: bool
    event_id: str
    holds_from: datetime
    value: Any


def _last(answers: list[_Answer], now: datetime) -> Any:
    """The answer said last of those that hold; at the same moment the one that takes away.

    What was still to come when something newer was said never comes.
    """
    holding = [
        a for a in answers if a.holds_from <= now and not any(a.said < other.said < a.holds_from for other in answers)
    ]
    if not holding:
        return None
    return max(holding, key=lambda a: (a.said, a.takes_away, a.event_id)).value


def wanted_profile(sent: list[Sent], user: str, now: datetime) -> str | None:
    """Which profile the person should have at `now`, None = nothing."""
    mine = list({s.event_id: s for s in reversed(sent) if s.user == user}.values())

    def answers(question: Callable[[Sent], tuple[bool, Any, bool]]) -> list[_Answer]:
        """What each message says to a question: (says anything, what, takes away)."""
        return [
            _Answer(s.occurred, away, s.event_id, s.effective, value)
            for s in mine
            for says, value, away in [question(s)]
            if says
        ]

    if _last(answers(lambda s: (s.kind in {"joiner", "leaver"}, s.kind == "joiner", s.kind == "leaver")), now) is False:
        return None
    usable = answers(lambda s: (s.kind == "account", s.attributes.get("usable"), not s.attributes.get("usable")))
    if _last(usable, now) is False:
        return None
    asked = _last(answers(lambda s: (*_request(s), _request(s)[1] is None)), now)
    groups = [
        group
        for group in GROUP_PROFILE
        if _last(
            answers(
                lambda s, g=group: (
                    _lists(s) or (s.kind == "member" and s.attributes["group"] == g),
                    _in_group(s, g),
                    not _in_group(s, g),
                )
            ),
            now,
        )
    ]
    if asked:
        return asked
    by_group = max((GROUP_PROFILE[g] for g in groups), key=lambda p: p[1], default=(None, 0))[0]
    if by_group is None and asked == "":
        return "analyst"  # the shipped default
    return by_group


def _lists(s: Sent) -> bool:
    return s.kind != "leaver" and "groups" in s.attributes


def _in_group(s: Sent, group: str) -> bool:
    return s.attributes["member"] if s.kind == "member" else group in s.attributes.get("groups", ())


def wanted_cost_center(sent: list[Sent], user: str, now: datetime) -> str:
    """The cost centre that was said last, "" = none."""
    mine = {s.event_id: s for s in sent if s.user == user and "cost_center" in s.attributes}.values()
    answers = [_Answer(s.occurred, False, s.event_id, s.effective, s.attributes["cost_center"]) for s in mine]
    return _last(answers, now) or ""


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
