"""The parser of all messages of the neutral schema (`workbench.lifecycle/v1`) except leavers. A single fault refuses a message.

`Reader` reads the fields, times and user of a message. It is the base class of this parser and of the parser of leavers
(`shared.messages.hr`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from msgspec import Struct

from shared.domain.people.events import (
    AccessUntil,
    AccountUsable,
    Joined,
    LeaveCancelled,
    LifecycleEvent,
    Moved,
    Renamed,
)
from shared.domain.people.facts import Value
from shared.domain.people.sources import DIRECTORY, OPERATOR, Joiners, May
from shared.domain.things.errors import InvalidMessageError, Reason, UnsupportedMessageError
from shared.domain.things.identity import UserEmail
from shared.domain.things.late import late
from shared.domain.things.times import parse_time, to_utc, zone_of
from shared.messages.addresses import other_forms, parse_address, parse_person
from shared.messages.message import Message, Parsed, Rules, allowed

MAX_EVENT_ID, MAX_REASON, MAX_PERSON_ID = 256, 1000, 128
MAX_ATTRIBUTES, MAX_NAME, MAX_TEXT = 64, 128, 1024
MAX_LIST, MAX_ITEM, MAX_GROUPS = 100, 256, 200
SCHEMA = "workbench.lifecycle/v1"
CLOCKS_DIFFER = timedelta(minutes=5)
# The keys that must be unique in a leaver: a duplicate of one leaves open who leaves.
PLAIN = frozenset({"schema", "type", "user", "person_id"})
UNREADABLE = "\ufffd"
BASIC_DATE = late(lambda: re.compile(r"\d{8}", re.ASCII))
OTHER_DATE = late(lambda: re.compile(r"(\d\d?)[./](\d\d?)[./](\d{4})", re.ASCII))
LOCAL_TIME = late(lambda: re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?", re.ASCII))
MONTHS = 12
_FIELDS = (
    "schema", "event_id", "type", "user", "person_id", "occurred_at", "effective_time", "access_until", "attributes", "reason",
    "new_user", "account", "by",
)  # fmt: skip
_IN_ATTRIBUTES = ("groups", "add_groups", "remove_groups", "profile", "cost_center")
_TYPED_WRONG = 0.85  # of difflib: one or two letters of a field's name
DATE = late(lambda: re.compile(r"\d{4}-\d\d-\d\d", re.ASCII))
DATE_WITH_ZONE = late(lambda: re.compile(r"(\d{4}-\d\d-\d\d)(Z|[+-]\d\d:\d\d)", re.ASCII))


def breaks(why: str) -> InvalidMessageError:
    """Return the error for a message that violates the schema."""
    return InvalidMessageError(user_message=f"The message breaks {SCHEMA}: {why}.", detail=why)


class Reader(Struct):
    """A reader of the fields of one message. Methods raise `InvalidMessageError` for an invalid field, or a missing needed one."""

    body: dict[str, Any]
    message: Message
    rules: Rules

    def text(self, name: str, most: int, *, needed: bool = False, where: Mapping[str, Any] | None = None) -> str:
        """Return a text without surrounding white space; empty if the field is missing and not needed."""
        raw = (self.body if where is None else where).get(name)
        if raw is None and not needed:
            return ""
        if not isinstance(raw, str):
            raise breaks(f"{name} must be text" if raw is not None else f"{name} is missing")
        text = raw.strip()
        if needed and not text:
            raise breaks(f"{name} must not be empty")
        if len(text) > most:
            raise breaks(f"{name} must have at most {most} characters")
        if not is_shown(text):
            raise breaks(f"{name}: holds control or invisible characters")
        return text

    def person_id(self) -> str:
        """Return HR's number of the user as text, "" if it is missing. A whole number is accepted, too."""
        raw = self.field("person_id")
        if isinstance(raw, int) and not isinstance(raw, bool):
            return str(raw)
        raw = self.plain_number(raw) if isinstance(raw, str) else raw
        number = self.text("person_id", MAX_PERSON_ID, where={"person_id": raw})
        if UNREADABLE in number:
            raise breaks("person_id: holds characters that could not be read")
        return number

    def plain_number(self, raw: str) -> str:
        """Return a person number with full-width and other compatibility characters replaced by plain ones."""
        return unicodedata.normalize("NFKC", raw)

    def field(self, name: str) -> Any:
        """Return a field of the message, or the attribute with the field's name or an alias of the source; None if missing."""
        if name in self.body:
            return self.body[name]
        attributes = self.body.get("attributes")
        if not isinstance(attributes, dict):
            return None
        names = [name, *(alias for alias, means in (self.rules.source.aliases or {}).items() if means == name)]
        return next((attributes[each] for each in names if each in attributes), None)

    def user(self) -> object:
        """Return the address of the user as it was written."""
        if self.body.get("user") is None:
            raise breaks("user is missing, the address of the person")
        return self.body["user"]

    def says(self) -> str:
        """Return the author named in the message, "" for none. The name is not verified, so no decision depends on it."""
        raw = self.body.get("by")
        return raw.strip()[:254] if isinstance(raw, str) and is_shown(raw.strip()) else ""

    def published(self) -> datetime:
        """Return the time, in UTC, at which this message was first published."""
        return self.message.first_published.astimezone(UTC)

    def moment(self, name: str, raw: object, *, day_ends: bool) -> datetime:
        """Return the time of a text in UTC; for a date, the beginning or the end of that day, by default in the users' zone."""
        if not isinstance(raw, str):
            raise breaks(f"{name} must be a time such as 2026-12-01T08:00:00Z, or a date such as 2026-12-01")
        text = raw.strip()
        try:
            if DATE.fullmatch(text):
                return self._day(date.fromisoformat(text), day_ends=day_ends)
            zoned = DATE_WITH_ZONE.fullmatch(text)
            if zoned is not None:
                begins = parse_time(f"{zoned[1]}T00:00:00{zoned[2]}")
                return to_utc(begins + timedelta(days=1)) if day_ends else begins
            return parse_time(text)
        except (ValueError, OverflowError) as error:
            valid = "Write 2026-12-01T08:00:00Z or 2026-12-01"
            raise breaks(f"{name}: '{text[:40]}' is neither a time with a zone nor a date. {valid}") from error

    def _day(self, day: date, *, day_ends: bool) -> datetime:
        zone = zone_of(self.rules.people.time_zone)
        return to_utc(datetime.combine(day + timedelta(days=1) if day_ends else day, time(), zone))

    def bounded(self, occurred_at: datetime) -> tuple[datetime, datetime | None]:
        """Return the time of the statement, and the claimed time if it is not trusted, else None.

        A time of more than five minutes after the publication is not trusted; the publish time is then used instead.
        """
        published = self.published()
        if occurred_at > published + CLOCKS_DIFFER:
            return published, occurred_at
        return occurred_at, None


def shown_name(name: str) -> str:
    """Return the name of an attribute unchanged. Raise `InvalidMessageError` if the name cannot be displayed."""
    if not name or len(name) > MAX_NAME or not is_shown(name):
        raise breaks(f"attributes: a name must have 1 to {MAX_NAME} visible characters")
    return name


def _plain(name: str) -> str:
    """Return a field's name without case and separators: `effectiveTime` and `Effective time` are `effective_time`."""
    return "".join(filter(str.isalnum, name.lower()))


def is_shown(text: str) -> bool:
    """Return True if all characters of the text are printable: no control characters, no halves of surrogate pairs."""
    return text.isprintable()


class Strict(Reader):
    """The reader of a message other than a leaver's. A single fault refuses the whole message."""

    def parsed(self, kind: str) -> Parsed:
        """Return the event of a joiner, a mover, a cancelled leave, a changed address or a usable account."""
        self._check_names()
        occurred_raw = self.body.get("occurred_at")
        if occurred_raw is None:
            occurred_at, claimed = self.published(), None
        else:
            occurred_at, claimed = self.bounded(self._exact("occurred_at", occurred_raw))
        effective_raw = self.field("effective_time")
        effective = None if effective_raw is None else self.moment("effective_time", effective_raw, day_ends=False)
        common: dict[str, Any] = {
            "event_id": self.text("event_id", MAX_EVENT_ID, needed=True),
            "occurred_at": occurred_at,
            "effective_at": effective or claimed or occurred_at,
            "source": self.rules.source.name,
            "says": self.says(),
            "published_at": self.published(),
            "claimed_at": claimed,
            "explicit": effective is not None,
            "undated": occurred_raw is None,
            "person_id": self.person_id(),
        }
        self.text("reason", MAX_REASON)
        if common["person_id"]:
            allowed(self.rules, May.PERSON_ID)
        if kind == "renamed":
            news = self._renamed(common, begins_later=common["effective_at"] > max(occurred_at, self.published()))
        else:
            if self.body.get("new_user") is not None:
                raise breaks("new_user is only valid with type 'renamed'")
            raw_user = self.user()
            user = parse_person(raw_user, self.rules.people)
            common |= {"user": user, "also_known_as": other_forms(raw_user, user)}
            self._check_domain(user)
            news = [self._about(kind, common)]
        return Parsed(news=tuple(news), sender_faults=() if claimed is None else ("OccurredInFuture",))

    def _check_names(self) -> None:
        """Raise `InvalidMessageError` for a field in the wrong place or with a misspelled name.

        Other unknown fields are ignored, so that a feed may have fields of its own.
        """
        others = [name for name in self.body if name not in _FIELDS]
        if not others:
            return
        import difflib  # noqa: PLC0415 - a cold start has no use for it

        plain = {_plain(name): name for name in (*_FIELDS, *_IN_ATTRIBUTES)}
        for name in others:
            meant = plain.get(_plain(name))
            if meant in _IN_ATTRIBUTES:
                raise breaks(f'{shown_name(name)} belongs in attributes: {{"attributes": {{"{meant}": …}}}}')
            close = difflib.get_close_matches(_plain(name), map(_plain, _FIELDS), n=1, cutoff=_TYPED_WRONG)
            if close:
                raise breaks(f"there is no field {shown_name(name)}; did you mean {plain[close[0]]}?")

    def _exact(self, name: str, raw: object) -> datetime:
        try:
            if not isinstance(raw, str):
                raise ValueError("no text")  # noqa: TRY004 - the one fault below
            return parse_time(raw)
        except ValueError as error:
            raise breaks(
                f"{name}: '{str(raw)[:40]}' is not a time with a zone, for example 2026-12-01T08:00:00Z ({error})"
            ) from error

    def _about(self, kind: str, common: dict[str, Any]) -> LifecycleEvent:
        match kind:
            case "leave_cancelled":
                allowed(self.rules, May.EMPLOYMENT)
                return LeaveCancelled(**common)
            case "account":
                allowed(self.rules, May.ACCOUNT)
                if self.body.get("account") != "usable":
                    raise breaks("account: 'usable' is the only valid value")
                return AccountUsable(**common)
            case "joiner":
                allowed(self.rules, May.EMPLOYMENT)
                confirms = self.rules.source.joiners is Joiners.CONFIRM
                details = self._details()
                if details.changes:
                    raise breaks(
                        "attributes.add_groups and remove_groups are only valid with type 'mover'; a joiner names all groups"
                    )
                return Joined(
                    **common, groups=details.groups, profile=details.profile, attributes=details.others,
                    access_until=self._access_until(), confirms=confirms,
                )  # fmt: skip
            case _:
                details = self._details()
                return Moved(
                    **common, groups=details.groups, profile=details.profile, profile_said=details.profile_said,
                    attributes=details.others, access_until=self._access_until(), group_changes=details.changes,
                )  # fmt: skip

    def _access_until(self) -> AccessUntil | None:
        aliases = [alias for alias, means in (self.rules.source.aliases or {}).items() if means == "access_until"]
        attributes = self.body.get("attributes") or {}
        if "access_until" not in self.body and not any(each in attributes for each in ("access_until", *aliases)):
            return None
        allowed(self.rules, May.ACCESS_UNTIL)
        raw = self.field("access_until")
        return AccessUntil(at=None if raw is None else self.moment("access_until", raw, day_ends=True))

    def _check_domain(self, user: UserEmail) -> None:
        source, domain = self.rules.source, user.rpartition("@")[2]
        if source.domains is not None and domain not in source.domains:
            raise UnsupportedMessageError(
                user_message=f"The source '{source.name}' may not give access to people of {domain}.",
                detail=f"source {source.name} about a person of {domain}",
                reason=Reason.NOT_ALLOWED,
            )

    def _details(self) -> Details:
        raw = self.body.get("attributes")
        if raw is None:
            raw = {}
        if not isinstance(raw, dict):
            raise breaks("attributes must be an object with names and values")
        if len(raw) > MAX_ATTRIBUTES:
            raise breaks(f"attributes must have at most {MAX_ATTRIBUTES} items, not {len(raw)}")
        attributes = {name: value for name, value in raw.items() if name not in {"access_until", "person_id"}}
        groups = self._groups("groups", attributes.pop("groups", None))
        changes = {
            group: member
            for name, member in (("add_groups", True), ("remove_groups", False))
            for group in self._groups(name, attributes.pop(name, None)) or ()
        }
        if groups is not None and changes:
            raise breaks("attributes.groups replaces all groups; name it or add_groups and remove_groups, not both")
        if groups is not None or changes:
            allowed(self.rules, May.GROUPS)
        profile_said = "profile" in attributes
        profile = attributes.pop("profile", None)
        if profile is not None and (not isinstance(profile, str) or len(profile) > MAX_NAME):
            raise InvalidMessageError(
                user_message="attributes.profile must be a profile's name or null.",
                detail="attributes.profile is no text",
            )
        if profile_said:
            allowed(self.rules, May.PROFILE)
        mine = self.rules.source.profiles
        if profile and mine is not None and profile not in mine:
            raise UnsupportedMessageError(
                user_message=f"The source '{self.rules.source.name}' may not request profile '{profile}'. It may request: "
                f"{', '.join(sorted(mine)) or 'none'}.",
                detail=f"source {self.rules.source.name} asks for profile {profile!r}",
                reason=Reason.NOT_ALLOWED,
            )
        if attributes:
            allowed(self.rules, May.ATTRIBUTES)
        return Details(
            groups=groups,
            changes=changes,
            profile=profile,
            profile_said=profile_said,
            others={shown_name(name): _value(name, value) for name, value in attributes.items()},
        )

    def _groups(self, name: str, raw: object) -> tuple[str, ...] | None:
        if raw is None:
            return None
        if not isinstance(raw, list):
            raise InvalidMessageError(
                user_message=f"attributes.{name} must be a list of group addresses.",
                detail=f"attributes.{name} is no list",
            )
        if len(raw) > MAX_GROUPS:
            raise breaks(f"attributes.{name} must have at most {MAX_GROUPS} items, not {len(raw)}")
        return tuple(sorted({parse_address(item, self.rules.people) for item in raw}))

    def _renamed(self, common: dict[str, Any], *, begins_later: bool) -> list[LifecycleEvent]:
        """Return the change of address as a list; empty if the two addresses are the same."""
        allowed(self.rules, May.ADDRESS)
        if self.body.get("new_user") is None:
            raise breaks("type 'renamed' needs new_user, the new address")
        if self.body.get("attributes"):
            raise breaks("type 'renamed' takes no attributes; send other changes as a message of type 'mover'")
        raw_user = self.user()
        user = parse_address(raw_user, self.rules.people)
        try:
            new_user = parse_person(self.body["new_user"], self.rules.people)
        except InvalidMessageError as error:
            raise breaks(f"new_user: {error.user_message.rstrip('.')}") from error
        if begins_later:
            raise breaks("type 'renamed' takes no future effective_time; send the message once the address has changed")
        if new_user == user:
            return []
        confirmed = self.rules.source.name in {DIRECTORY, OPERATOR}
        said = {**common, "effective_at": common["occurred_at"], "explicit": False}
        return [
            Renamed(
                **said, user=user, also_known_as=other_forms(raw_user, user), new_user=new_user, confirmed=confirmed
            )
        ]


class Details(Struct, frozen=True, kw_only=True):
    """The content of `attributes`. `groups` is None if no list is given. `changes` maps groups to True (joined) or False (left).

    `profile_said` is True if the key `profile` is given, even with null. `others` are all other attributes.
    """

    groups: tuple[str, ...] | None
    changes: Mapping[str, bool]
    profile: str | None
    profile_said: bool
    others: Mapping[str, Value]


def _value(name: str, value: object) -> Value:
    match value:
        case None | bool() | int() | float():
            return value
        case str() if len(value) <= MAX_TEXT:
            return value
        case list() if len(value) <= MAX_LIST and all(
            isinstance(item, str | int | float | bool) and len(str(item)) <= MAX_ITEM for item in value
        ):
            return tuple(str(item) for item in value)
    raise breaks(
        f"attributes.{name[:MAX_NAME]}: must be a text of at most {MAX_TEXT} characters, a number, true, false, null, or a list of "
        f"at most {MAX_LIST} of them"
    )
