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
STATES = ("suspended", "archived", "deleted", "disabled")


@dataclass(frozen=True)
class Sent:
    """One message, as it was sent: of the neutral schema, or a `member` or `account` change of the logs.

    A `member` has the attributes `group` and `member`, an `account` has `state` and `holds` (or `usable`, which is about a
    suspension). `published` is when Pub/Sub took it first; `explicit`: it named the moment from which it holds.
    """

    event_id: str
    kind: str
    user: str
    occurred: datetime
    effective: datetime
    attributes: dict[str, Any]
    published: datetime | None = None
    explicit: bool = True
    source: str = "hr"

    @property
    def said(self) -> datetime:
        """A leaver may be dated back; said aloud it was when it was published."""
        return max(self.occurred, self.published) if self.published is not None else self.occurred


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


def _has_left(mine: list[Sent], now: datetime) -> Sent | None:
    """The newest leave that stands, by the rules in words: what begins one, what ends it, what never comes."""
    begun = [s for s in mine if s.effective <= now]
    standing = []
    for leave in (s for s in begun if s.kind == "leaver"):
        postponed = any(s.kind == "leaver" and leave.occurred < s.occurred < leave.effective for s in mine)
        if not postponed and not any(_ends(s, leave) for s in begun):
            standing.append(leave)
    return max(standing, key=lambda s: s.occurred, default=None)


def _ends(s: Sent, leave: Sent) -> bool:
    is_later = s.occurred > leave.occurred and s.said >= leave.said
    if s.kind == "leave_cancelled":
        return is_later
    if s.kind != "joiner":
        return False
    if _converts(s, leave):
        return True
    if s.occurred < leave.said < s.effective:
        return False  # it was still to come when somebody said that the person leaves
    if s.source == "operator" and is_later:
        return True
    return s.explicit and s.effective > leave.effective


def _converts(s: Sent, leave: Sent) -> bool:
    return s.explicit and leave.explicit and s.effective == leave.effective and s.source == leave.source


def _returned_from(mine: list[Sent], now: datetime) -> Sent | None:
    """The newest leave after which the person was hired again."""
    begun = [s for s in mine if s.effective <= now]
    ended = [
        leave
        for leave in begun
        if leave.kind == "leaver"
        and any(s.kind == "joiner" and _ends(s, leave) and not _converts(s, leave) for s in begun)
    ]
    return max(ended, key=lambda s: (s.occurred, s.event_id), default=None)


def must_lose_access(sent: list[Sent], user: str, now: datetime) -> bool:
    """True for whoever left, or whose account is in a state that keeps them out, whatever else was said."""
    mine = _about(sent, user)
    return _has_left(mine, now) is not None or any(
        _last(_answers(mine, lambda s, state=state: _state(s, state)), now) is True for state in STATES
    )


def is_paused(sent: list[Sent], user: str, now: datetime) -> bool:
    """True for whoever is suspended and neither left nor came into another state: nothing of theirs is deleted."""
    mine = _about(sent, user)
    holding = [s for s in STATES if _last(_answers(mine, lambda m, state=s: _state(m, state)), now) is True]
    return holding == ["suspended"] and _has_left(mine, now) is None


def _about(sent: list[Sent], user: str) -> list[Sent]:
    return list({s.event_id: s for s in reversed(sent) if s.user == user}.values())


def _state(s: Sent, state: str) -> tuple[bool, bool, bool]:
    if s.kind != "account":
        return False, False, False
    if "usable" in s.attributes:
        return state == "suspended", not s.attributes["usable"], not s.attributes["usable"]
    return s.attributes["state"] == state, s.attributes["holds"], s.attributes["holds"]


def _answers(mine: list[Sent], question: Callable[[Sent], tuple[bool, Any, bool]]) -> list[_Answer]:
    """What each message says to a question: (says anything, what, takes away)."""
    return [
        _Answer(s.occurred, away, s.event_id, s.effective, value)
        for s in mine
        for says, value, away in [question(s)]
        if says
    ]


def wanted_profile(sent: list[Sent], user: str, now: datetime) -> str | None:
    """Which profile the person should have at `now`, None = nothing."""
    if must_lose_access(sent, user, now):
        return None
    mine = _about(sent, user)
    left = _returned_from(mine, now)
    requests = _answers(mine, lambda s: (*_request(s), _request(s)[1] is None))
    holding = [a for a in requests if a.holds_from <= now and not any(a.said < b.said < a.holds_from for b in requests)]
    newest = max(holding, key=lambda a: (a.said, a.takes_away, a.event_id), default=None)
    if newest is not None and left is not None and newest.said < left.occurred:
        newest = None  # asked for before the person left and was hired again
    asked = newest.value if newest is not None else _last(_answers(mine, _default), now)
    groups = [group for group in GROUP_PROFILE if _holds(mine, group, now)]
    if asked:
        return str(asked)
    by_group = max((GROUP_PROFILE[g] for g in groups), key=lambda p: p[1], default=(None, 0))[0]
    if by_group is None and asked == "":
        return "analyst"  # the shipped default
    return by_group


def _holds(mine: list[Sent], group: str, now: datetime) -> bool:
    """What the directory said last of the group, if it said anything; else HR's newest list."""

    def of_directory(s: Sent) -> tuple[bool, bool, bool]:
        says = s.kind == "member" and s.attributes["group"] == group
        return says, says and s.attributes["member"], says and not s.attributes["member"]

    by_directory = _last(_answers(mine, of_directory), now)
    if by_directory is not None:
        return bool(by_directory)

    def of_list(s: Sent) -> tuple[bool, bool, bool]:
        listed = _lists(s) and group in s.attributes["groups"]
        return _lists(s), listed, not listed

    return bool(_last(_answers(mine, of_list), now))


def _lists(s: Sent) -> bool:
    return s.kind != "leaver" and "groups" in s.attributes


def wanted_cost_center(sent: list[Sent], user: str, now: datetime) -> str:
    """The cost centre that was said last, "" = none."""
    mine = {s.event_id: s for s in sent if s.user == user and "cost_center" in s.attributes}.values()
    answers = [_Answer(s.occurred, False, s.event_id, s.effective, s.attributes["cost_center"]) for s in mine]
    return _last(answers, now) or ""


def _request(s: Sent) -> tuple[bool, str | None]:
    """(did it say something about a profile asked for, what). A joiner of a feed that repeats everybody takes none back."""
    if s.kind == "joiner" and s.source == "operator" and s.attributes.get("profile") is None:
        return True, None if "groups" in s.attributes else ""
    if s.kind == "joiner":
        return s.attributes.get("profile") is not None, s.attributes.get("profile")
    if s.kind == "mover" and "profile" in s.attributes:
        return True, s.attributes["profile"]
    return False, None


def _default(s: Sent) -> tuple[bool, str | None, bool]:
    """A joiner of such a feed that names neither groups nor a profile asks for the default one."""
    says = s.kind == "joiner" and s.source != "operator" and s.attributes.get("profile") is None
    names_groups = "groups" in s.attributes
    return says, None if names_groups else "", names_groups


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
