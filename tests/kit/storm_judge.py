"""Whether a storm was survived: what is in the world after it, against what was said, judged without asking the product."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from kit.oracle import GROUP_PROFILE, TEMPLATES, Sent, must_lose_access, wanted_cost_center, wanted_profile
from kit.storm_events import Drop, questions

_HORIZON = timedelta(days=1)


@dataclass(frozen=True)
class View:
    """The world at one moment: records as they are stored, (owner, state) of instances by name, template objects by MD5."""

    at: datetime
    records: dict[str, dict[str, Any]]
    instances: dict[str, tuple[str, str, tuple[tuple[str, str], ...]]]
    templates: dict[str, str]


@dataclass
class Evidence:
    """What a run leaves behind. `published` is the message by its Pub/Sub id, `made` every instance that ever came to be.

    `letters` are (reason, detail) by the message's id, as often as they are listed; `settled` is the world after the storm,
    `final` the one after the retention.
    """

    published: dict[str, Drop]
    made: Counter[str]
    letters: list[tuple[str, str, str]]
    settled: View
    final: View
    counts: Counter[str] = field(default_factory=Counter)


def faults_of(evidence: Evidence) -> list[str]:
    """Everything that is not as it should be; empty when nothing was lost, nothing doubled and every poison is listed."""
    by_user: dict[str, list[Sent]] = defaultdict(list)
    for drop in {drop.data: drop for drop in evidence.published.values()}.values():
        if drop.sent is not None:
            by_user[drop.sent.user].append(drop.sent)
    return [
        *_lost(by_user, evidence.settled),
        *_wrong(by_user, evidence.settled, over=False),
        *_wrong(by_user, evidence.final, over=True),
        *_doubled(by_user, evidence),
        *_unlisted(evidence),
    ]


def _lost(by_user: Mapping[str, list[Sent]], view: View) -> Iterator[str]:
    """Every message is in its person's facts, or one that overrules it is; and nothing is there that was not said."""
    for user in sorted(set(view.records) - set(by_user)):
        yield f"there is a record of {user}, of whom nothing usable was said"
    for user, sent in sorted(by_user.items()):
        record = view.records.get(user)
        if record is None:
            yield f"lost: {len(sent)} messages about {user}, of whom there is no record"
            continue
        known = {_entry_of(statement) for timeline in record["facts"].values() for statement in timeline}
        for stranger in sorted(known - {s.event_id for s in sent}):
            yield f"{user} has a fact of event {stranger}, which nobody sent about them"
        for message in sent:
            for question, takes_away in questions(message):
                if not _is_kept(message, question, takes_away, record["facts"].get(question, [])):
                    yield f"lost: event {message.event_id} ({message.kind}) about {user}, fact {question}"


def _entry_of(statement: dict[str, Any]) -> str:
    """The id of what was published: an entry of a log may hold several events, each of which has a part of its own in its id."""
    return str(statement["event_id"]).partition("/")[0]


def _is_kept(message: Sent, question: str, takes_away: bool, timeline: list[dict[str, Any]]) -> bool:
    """A leaver is overruled for good by a leaver only, for what ends a leave may be forgotten with it; a joiner by a joiner."""
    return any(
        _entry_of(kept) == message.event_id
        or (
            (question != "employment" or kept["withdraws"] is takes_away)
            and (datetime.fromisoformat(kept["occurred_at"]), kept["withdraws"]) >= (message.occurred, takes_away)
        )
        for kept in timeline
    )


def _is_merely_suspended(sent: list[Sent], user: str, now: datetime) -> bool:
    by_hr = [message for message in sent if message.kind != "account"]
    return must_lose_access(sent, user, now) and not must_lose_access(by_hr, user, now)


def _wrong(by_user: Mapping[str, list[Sent]], view: View, *, over: bool) -> Iterator[str]:
    """Who is to have an instance has one that runs, with the templates of the profile; nobody else has one that runs.

    With `over` the retention is over, and nobody else has anything, but for those who are merely suspended: nothing is deleted of
    theirs.
    """
    owned: dict[str, list[str]] = defaultdict(list)
    for owner, state, _ in view.instances.values():
        owned[owner].append(state)
    for user in sorted(set(owned) - set(by_user)):
        yield f"{user} has an instance, and nothing was said of them"
    for user, sent in sorted(by_user.items()):
        if user not in view.records:
            continue
        record = view.records[user]
        profile = wanted_profile(sent, user, view.at)
        states = owned.get(user, [])
        templates = {name.split("/")[2].removesuffix(".yaml") for name in view.templates if record["user_key"] in name}
        if profile is not None and (states != ["ACTIVE"] or record["spec"]["profile"] != profile):
            yield f"{user} is to have one {profile}, has {states} with {record['spec']['profile']}"
        may_have = {"STOPPED"} if not over or _is_merely_suspended(sent, user, view.at) else set()
        if profile is None and set(states) - may_have:
            yield f"{user} is to have nothing, has {states}"
        if templates != (TEMPLATES[profile] if profile is not None else set()):
            yield f"{user} ({profile}) has the templates {sorted(templates)}"
        if record["cost_center"] != wanted_cost_center(sent, user, view.at):
            yield f"{user} has the cost centre {record['cost_center']!r}"


def _doubled(by_user: Mapping[str, list[Sent]], evidence: Evidence) -> Iterator[str]:
    for user, count in sorted(evidence.made.items()):
        if count > 1:
            yield f"doubled: {count} instances were made for {user}"
        if not any(_may_entitle(sent) for sent in by_user.get(user, ())):
            yield f"an instance was made for {user}, whom nothing ever entitled"


def _may_entitle(sent: Sent) -> bool:
    groups = sent.attributes.get("groups", [sent.attributes.get("group")])
    entitled = bool(set(groups) & set(GROUP_PROFILE)) or bool(sent.attributes.get("profile"))
    return entitled or (sent.kind == "joiner" and "groups" not in sent.attributes)


def _unlisted(evidence: Evidence) -> Iterator[str]:
    """One letter for each poisoned message, with its reason and words, and none for any other."""
    listed = Counter(letter_id for letter_id, _, _ in evidence.letters)
    for letter_id in sorted(set(listed) - set(evidence.published)):
        yield f"letter {letter_id} is of no message that was published"
    told = {letter_id: (reason, detail) for letter_id, reason, detail in evidence.letters}
    for message_id, drop in sorted(evidence.published.items()):
        wanted = 1 if drop.reason else 0
        if listed[message_id] != wanted:
            yield f"message {message_id} ({drop.reason or 'good'}) is listed {listed[message_id]} times"
        elif wanted and (told[message_id][0] != drop.reason or drop.says not in told[message_id][1]):
            yield f"letter {message_id} says {told[message_id]}, not {drop.reason}: {drop.says}"


def canonical(view: View) -> dict[str, Any]:
    """The world as two orders of the same messages must leave it, after the retention.

    Out are: times of writing and operations, ids of operations, attempts, conditions and counters (they tell how it came to
    be); instances that are stopped (a suspended person keeps the one that was made, if any was, with the labels of that time);
    the profile of whoever has none any more (it says what they had last) and since when; statements that no question about the
    last day can ask for (when they are forgotten depends on when they came); and an instance's machine, image and metadata
    (what an instance was made with stays until it is stopped: docs/limits.md).
    """
    return {
        "people": {user: _person(record, view.at - _HORIZON) for user, record in view.records.items()},
        "instances": {name: found for name, found in view.instances.items() if found[1] != "STOPPED"},
        "templates": view.templates,
    }


def _person(record: dict[str, Any], horizon: datetime) -> dict[str, Any]:
    spec = record["spec"]
    present = spec["presence"] == "PRESENT"
    return {
        "presence": spec["presence"],
        "power": spec["power"],
        "profile": spec["profile"] if present else None,
        "because": spec["because"],
        "cost_center": record["cost_center"],
        "facts": {
            name: _leaves(timeline) if name == "employment" else _deciding(timeline, horizon)
            for name, timeline in record["facts"].items()
        },
    }


def _leaves(timeline: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Joiners and leavers without those beside which a newer one of the same kind does at least as much. All are in effect."""

    def order(s: dict[str, Any]) -> tuple[str, str]:
        return s["occurred_at"], s["event_id"]

    def is_over(s: dict[str, Any]) -> bool:
        return any(
            other["withdraws"] is s["withdraws"]
            and order(other) > order(s)
            and (other["effective_at"] >= s["effective_at"] or not (s["withdraws"] or s.get("explicit")))
            and (s["withdraws"] or other.get("explicit", False) >= s.get("explicit", False))
            for other in timeline
        )

    return [s for s in timeline if not is_over(s)]


def _deciding(timeline: list[dict[str, Any]], horizon: datetime) -> list[dict[str, Any]]:
    def rank(s: dict[str, Any]) -> tuple[datetime, bool, str]:
        return datetime.fromisoformat(s["occurred_at"]), s["withdraws"], s["event_id"]

    def is_over(s: dict[str, Any]) -> bool:
        return any(
            rank(other) > rank(s)
            and datetime.fromisoformat(other["effective_at"]) <= horizon
            and not (isinstance(s["value"], list) and other["occurred_at"] == s["occurred_at"])
            for other in timeline
        )

    return [s for s in timeline if not is_over(s)]


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Where two canonical worlds differ."""
    found = []
    for part, things in one.items():
        for name in sorted(set(things) | set(other[part])):
            mine, theirs = things.get(name), other[part].get(name)
            if mine != theirs:
                found.append(f"{part} {name}: {mine} / {theirs}")
    return found
