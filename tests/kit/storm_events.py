"""A storm of messages from a seed: news about people in every shape that is understood, poison of every kind, and what is true of it.

Knows the shapes of the messages and nothing of the product. What a message says is kept beside it for the judge.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from kit.oracle import GROUP_PROFILE, Sent

DIRECTORY, HR = "directory", "hr"  # who says it: each has a topic of its own
MAX_BYTES = 4096  # of a message, so that "too large" does not cost half a gigabyte
POISON = 0.05
ORGANIZATION = "123456789012"  # whose logs config/settings.local.yaml believes
_ENTITLING = tuple(GROUP_PROFILE)
_GROUPS = (*_ENTITLING, "choir@example.com", "everybody@example.com")
_COST_CENTERS = ("CC-1", "CC-2", "CC-4410", "CC-99")


@dataclass(frozen=True)
class Drop:
    """One message of the storm: its bytes and attributes, and the source on whose topic it comes.

    `sent` is what it says, `reason` why it can never succeed; with neither it is understood and concerns nobody. `says` is part of
    the text that explains the reason.
    """

    data: bytes
    attributes: dict[str, str] = field(default_factory=dict)
    sent: Sent | None = None
    reason: str = ""
    says: str = ""
    source: str = HR


def make_storm(events: int, people: int, seed: int, now: datetime) -> list[Drop]:
    """`events` messages about `people`, in no order of time; a twentieth is poison."""
    chance = random.Random(seed)  # noqa: S311 - a seed, so that a failure comes again
    maker = _Maker(chance, now, [_address(number) for number in range(people)])
    bad = round(events * POISON)
    drops = [maker.good() for _ in range(events - bad)] + [maker.poison(number) for number in range(bad)]
    chance.shuffle(drops)
    return drops


def _address(number: int) -> str:
    kinds = ("person.{}@example.com", "Pat-{}@Example.net", "o'brien.{}@sub.example.co", "Ñandú.{}@München.Example")
    return kinds[number % len(kinds)].format(number)


class _Maker:
    """Makes one message after the other."""

    def __init__(self, chance: random.Random, now: datetime, people: list[str]) -> None:
        self._chance, self._now, self._people = chance, now, people
        self._strangers = frozenset(people[::20])  # nothing that is ever said of them entitles them
        self._number = 0
        self._last: dict[str, datetime] = {}
        self._kinds: list[Callable[[str], Drop]] = [
            self._joiner, self._joiner, self._mover, self._mover, self._leaver, self._workspace_member,
            self._workspace_member, self._identity_member, self._account, self._nobody,
        ]  # fmt: skip
        self._poisons: list[Callable[[str], Drop]] = [
            self._broken, self._schema, self._no_address, self._profile, self._too_large, self._no_data, self._no_text,
            self._bulk, self._nested, self._no_shape, self._renamed, self._service, self._another_organization,
            self._not_its_shape, self._no_person,
        ]  # fmt: skip

    def good(self) -> Drop:
        return self._chance.choice(self._kinds)(self._chance.choice(self._people))

    def poison(self, number: int) -> Drop:
        """Every kind in turn, about people who are known, and about one who is not."""
        who = self._chance.choice(self._people) if number % 5 else "ghost@example.com"
        return self._poisons[number % len(self._poisons)](who)

    # --- times and ids

    def _id(self) -> str:
        self._number += 1
        return f"s{self._number:07}"

    def _moment(self, user: str) -> datetime:
        """Some weeks back, now and then within the last day, sometimes the very moment of the message before."""
        if user in self._last and self._chance.random() < 0.02:
            return self._last[user]
        days = self._chance.random() if self._chance.random() < 0.1 else self._chance.uniform(1, 60)
        self._last[user] = self._now - timedelta(microseconds=round(days * 86_400_000_000))
        return self._last[user]

    # --- the neutral schema

    def _hr(self, kind: str, user: str, attributes: dict[str, Any], effective: timedelta | None = None) -> Drop:
        event_id, occurred = self._id(), self._moment(user)
        body: dict[str, Any] = {
            "schema": "workbench.lifecycle/v1", "event_id": event_id, "type": kind, "user": user,
            "occurred_at": occurred.isoformat(), "attributes": attributes,
        }  # fmt: skip
        if self._chance.random() < 0.03:  # then it holds from when it was published
            del body["occurred_at"]
            occurred = self._now
        holds = occurred if effective is None else self._now + effective
        if effective is not None:
            body["effective_time"] = holds.isoformat()
        sent = Sent(
            event_id, kind, _normal(user), occurred, holds, attributes,
            published=self._now, explicit=effective is not None, source=HR,
        )  # fmt: skip
        return Drop(_json(body), sent=sent)

    def _attributes(self, user: str) -> dict[str, Any]:
        attributes: dict[str, Any] = {}
        if self._chance.random() < 0.6:
            allowed = _GROUPS[2:] if user in self._strangers else _GROUPS
            attributes["groups"] = sorted(self._chance.sample(allowed, self._chance.randrange(min(3, len(allowed)))))
        if self._chance.random() < 0.4:
            attributes["cost_center"] = self._chance.choice(_COST_CENTERS)
        return attributes

    def _joiner(self, user: str) -> Drop:
        attributes = self._attributes(user)
        if user in self._strangers:
            attributes.setdefault("groups", [_GROUPS[-1]])  # a joiner without a group asks for the default
        elif self._chance.random() < 0.3:
            attributes["profile"] = self._chance.choice(["analyst", "engineer"])
        return self._hr("joiner", user, attributes, self._future())

    def _mover(self, user: str) -> Drop:
        attributes = self._attributes(user)
        if user not in self._strangers and self._chance.random() < 0.3:
            attributes["profile"] = self._chance.choice(["analyst", "engineer", None])
        return self._hr("mover", user, attributes)

    def _leaver(self, user: str) -> Drop:
        return self._hr("leaver", user, {}, self._future())

    def _future(self) -> timedelta | None:
        return timedelta(hours=self._chance.randrange(1, 200)) if self._chance.random() < 0.1 else None

    # --- log entries

    def _entry(
        self, service: str, metadata: dict[str, Any], user: str, organization: str = ORGANIZATION
    ) -> tuple[bytes, str, datetime]:
        """The entry, its id (to which the product adds a part for each event of it) and when it happened."""
        insert_id, occurred = self._id(), self._moment(user)
        timestamp = occurred.isoformat().replace("+00:00", "Z")
        entry = {
            "logName": f"organizations/{organization}/logs/cloudaudit.googleapis.com%2Factivity",
            "insertId": insert_id, "timestamp": timestamp, "severity": "NOTICE",
            "protoPayload": {"serviceName": service, "metadata": metadata},
        }  # fmt: skip
        return _json(entry), f"{insert_id}@{timestamp}", occurred

    def _admin(self, name: str, user: str, **parameters: str) -> tuple[bytes, str, datetime]:
        named = {"USER_EMAIL": user, **parameters}
        event = {"eventName": name, "parameter": [{"name": key, "value": value} for key, value in named.items()]}
        return self._entry("admin.googleapis.com", {"event": [event]}, user)

    def _logged(self, entry: tuple[bytes, str, datetime], kind: str, user: str, said: dict[str, Any]) -> Drop:
        """What the directory says is in effect from when it happened."""
        data, event_id, occurred = entry
        sent = Sent(
            event_id, kind, _normal(user), occurred, occurred, said,
            published=self._now, explicit=False, source=DIRECTORY,
        )  # fmt: skip
        return Drop(data, sent=sent, source=DIRECTORY)

    def _group_of(self, user: str) -> str:
        return self._chance.choice(_GROUPS[2:] if user in self._strangers else _GROUPS)

    def _workspace_member(self, user: str) -> Drop:
        group, member = self._group_of(user), self._chance.random() < 0.6
        name = "ADD_GROUP_MEMBER" if member else "REMOVE_GROUP_MEMBER"
        entry = self._admin(name, user, GROUP_EMAIL=group)
        return self._logged(entry, "member", user, {"group": group, "member": member})

    def _membership(self, user: str, member: str, role: str, action: str, group: str) -> tuple[bytes, str, datetime]:
        delta = {"member": member, "roleDeltas": [{"action": action, "role": role}]}
        metadata = {"group": f"group:{group}", "membershipDelta": delta}
        return self._entry("cloudidentity.googleapis.com", metadata, user)

    def _identity_member(self, user: str) -> Drop:
        group, member = self._group_of(user), self._chance.random() < 0.6
        action = "ADD" if member else "REMOVE"
        entry = self._membership(user, f"user:{user}", "MEMBER", action, group)
        return self._logged(entry, "member", user, {"group": group, "member": member})

    def _account(self, user: str) -> Drop:
        usable = self._chance.random() < 0.6
        entry = self._admin("UNSUSPEND_USER" if usable else "SUSPEND_USER", user)
        return self._logged(entry, "account", user, {"usable": usable})

    def _nobody(self, user: str) -> Drop:
        """A role that is not membership: understood, and of no concern."""
        return Drop(self._membership(user, f"user:{user}", "OWNER", "ADD", _GROUPS[0])[0], source=DIRECTORY)

    # --- poison

    def _broken(self, user: str) -> Drop:
        whole = self._hr("joiner", user, {}).data
        return Drop(whole[: len(whole) // 2], reason="InvalidMessage", says="not JSON")

    def _schema(self, user: str) -> Drop:
        body = {"schema": "workbench.lifecycle/v9", "event_id": self._id(), "type": "joiner", "user": user}
        return Drop(_json(body), reason="InvalidMessage", says="workbench.lifecycle/v9")

    def _no_address(self, _user: str) -> Drop:
        return Drop(self._hr("joiner", "nobody", {}).data, reason="InvalidMessage", says="address")

    def _profile(self, user: str) -> Drop:
        return Drop(self._hr("joiner", user, {"profile": "pilot"}).data, reason="UnknownProfile", says="pilot")

    def _too_large(self, user: str) -> Drop:
        data = self._hr("joiner", user, {"note": "x" * MAX_BYTES}).data
        return Drop(data, reason="InvalidMessage", says="at most 4,096 are read")

    def _no_data(self, _user: str) -> Drop:
        return Drop(b"", {"type": "joiner", "id": self._id()}, reason="InvalidMessage", says="no data, only attributes")

    def _no_text(self, _user: str) -> Drop:
        return Drop(b"\xff\xfe" + self._id().encode("utf-16-le"), reason="InvalidMessage", says="not JSON")

    def _bulk(self, user: str) -> Drop:
        data = self._admin("GROUP_MEMBER_BULK_UPLOAD", user)[0]
        return Drop(data, reason="UnsupportedMessage", says="bulk upload", source=DIRECTORY)

    def _nested(self, user: str) -> Drop:
        data = self._membership(user, "group:interns@example.com", "MEMBER", "ADD", _GROUPS[0])[0]
        return Drop(data, reason="UnsupportedMessage", says="nested", source=DIRECTORY)

    def _no_shape(self, _user: str) -> Drop:
        return Drop(_json({"hello": self._id()}), reason="InvalidMessage", says="unknown shape")

    def _renamed(self, user: str) -> Drop:
        data = self._admin("RENAME_USER", user)[0]
        return Drop(data, reason="InvalidMessage", says="no parameter NEW_VALUE", source=DIRECTORY)

    def _service(self, user: str) -> Drop:
        data = self._entry("compute.googleapis.com", {}, user)[0]
        return Drop(data, reason="UnsupportedMessage", says="compute.googleapis.com", source=DIRECTORY)

    def _another_organization(self, user: str) -> Drop:
        event = {"eventName": "DELETE_USER", "parameter": [{"name": "USER_EMAIL", "value": user}]}
        data = self._entry("admin.googleapis.com", {"event": [event]}, user, organization="999999999999")[0]
        return Drop(data, reason="NotAllowed", says="not from the configured organization", source=DIRECTORY)

    def _not_its_shape(self, user: str) -> Drop:
        """Whoever may write to HR's topic is not the directory thereby, nor the other way round."""
        if self._chance.random() < 0.5:
            data = self._admin("DELETE_USER", user)[0]
            return Drop(data, reason="NotAllowed", says="may not send log entries")
        data = self._hr("leaver", user, {}).data
        return Drop(data, reason="NotAllowed", says="may not send messages of the schema", source=DIRECTORY)

    def _no_person(self, user: str) -> Drop:
        """A changed address that leads out of the organization, and a guest."""
        name = user.partition("@")[0]
        body: dict[str, Any] = {"schema": "workbench.lifecycle/v1", "event_id": self._id(), "user": user}
        if self._chance.random() < 0.5:
            body |= {"type": "renamed", "new_user": f"{name}@elsewhere.example"}
        else:
            body |= {"type": "joiner", "user": f"{name}@elsewhere.example"}
        return Drop(_json(body), reason="InvalidMessage", says="not one of the organization's")


def _json(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode()


def _normal(user: str) -> str:
    return user.lower()


def questions(sent: Sent) -> Iterator[tuple[str, bool]]:
    """What a message is an answer to, by the names in the record, and whether it takes something away."""
    said = sent.attributes
    if sent.kind == "member":
        yield f"group:{said['group']}", not said["member"]
    elif sent.kind == "account":
        yield "account:suspended", not said["usable"]
    elif sent.kind == "leaver":
        yield "employment", True
    else:
        if sent.kind == "joiner":
            yield "employment", False
            if "profile" in said:
                yield "request", False
            else:  # it repeats what holds, and asks for the default if nobody asks for anything else
                yield "default", "groups" in said
        elif "profile" in said:
            yield "request", said["profile"] is None
        if "groups" in said:
            yield "roster", False
        if "cost_center" in said:
            yield "attribute:cost_center", False
