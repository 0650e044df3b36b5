"""The neutral schema `workbench.lifecycle/v1` -> news. A leaver is read leniently, everything else strictly.

Whoever is known is cut by a message that plainly says so, although other parts of it are faulty; the faulty rest is reported.
Fields: schema, event_id, type (joiner, mover, leaver, leave_cancelled, renamed), user, person_id, occurred_at, effective_time,
access_until, attributes (groups, add_groups, remove_groups, profile, cost_center, any others), reason, new_user, account, by.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from msgspec import Struct, field

from shared.domain.people.events import (
    AccessUntil,
    AccountUsable,
    Joined,
    LeaveCancelled,
    Left,
    LifecycleEvent,
    Moved,
    Renamed,
)
from shared.domain.people.facts import Value
from shared.domain.people.sources import DIRECTORY, OPERATOR, Joiners, May
from shared.domain.things.errors import InvalidMessageError, PoisonError, Reason, UnsupportedMessageError
from shared.domain.things.identity import UserEmail
from shared.domain.things.times import parse_time, to_utc
from shared.messages.addresses import forms_of_cut, other_forms, parse_address, parse_person
from shared.messages.allowed import allowed
from shared.messages.message import Fault, Message, Parsed, Rules, Several, keys_twice, read_leniently, too_large
from shared.messages.unknown import looks_like_a_leaver

SCHEMA = "workbench.lifecycle/v1"
TYPES = ("joiner", "mover", "leaver", "leave_cancelled", "renamed", "account")
MAX_EVENT_ID, MAX_REASON, MAX_PERSON_ID = 256, 1000, 128
MAX_ATTRIBUTES, MAX_NAME, MAX_TEXT = 64, 128, 1024
MAX_LIST, MAX_ITEM, MAX_GROUPS = 100, 256, 200
CLOCKS_DIFFER = timedelta(minutes=5)
# What must be plain in a leaver: a key of these that stands twice leaves open who leaves.
_PLAIN = frozenset({"schema", "type", "user", "person_id"})
_UNREADABLE = "\ufffd"
_BASIC_DATE = re.compile(r"\d{8}", re.ASCII)
_OTHER_DATE = re.compile(r"(\d\d?)[./](\d\d?)[./](\d{4})", re.ASCII)
_LOCAL_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?", re.ASCII)
_MONTHS = 12
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_DATE_WITH_ZONE = re.compile(r"(\d{4}-\d\d-\d\d)(Z|[+-]\d\d:\d\d)", re.ASCII)


def parse_neutral(body: dict[str, Any], twice: frozenset[str], message: Message, rules: Rules) -> Parsed:
    """Return what a message of the neutral schema says. Raises `PoisonError` if it cannot be used at all."""
    try:
        return _read(body, twice, message, rules)
    except InvalidMessageError as error:
        if not is_leaver(body):
            raise
        raise InvalidMessageError(
            user_message=f"{error.user_message} It is the news of a leaver, who keeps access until it is sent as it should be.",
            detail=error.detail,
            reason=Reason.LEAVER_NOT_UNDERSTOOD,
        ) from error


def is_leaver(body: dict[str, Any]) -> bool:
    """Return True if the type says so, or if it says nothing that is known and something else looks like a leaver."""
    kind = _kind(body)
    return kind == "leaver" or (kind not in TYPES and looks_like_a_leaver(body))


def _kind(body: dict[str, Any]) -> str:
    return str(body.get("type")).strip().lower()


def _read(body: dict[str, Any], twice: frozenset[str], message: Message, rules: Rules) -> Parsed:
    if body.get("schema") != SCHEMA:
        raise InvalidMessageError(
            user_message=f"The schema '{str(body.get('schema'))[:60]}' is not known; this version reads '{SCHEMA}'.",
            detail=f"unknown schema {str(body.get('schema'))[:60]!r}",
        )
    kind = _kind(body)
    if kind == "leaver" and not twice & _PLAIN:
        return _Leaver(body, message, rules, twice).parsed()
    if twice:
        raise keys_twice(twice)
    if len(message.data) > rules.max_bytes:
        raise too_large(message, rules.max_bytes)
    if kind not in TYPES:
        raise _breaks(f"type: '{str(body.get('type'))[:40]}' is not one of {', '.join(TYPES)}")
    return _Strict(body, message, rules).parsed(kind)


def _breaks(why: str) -> InvalidMessageError:
    return InvalidMessageError(user_message=f"The message breaks {SCHEMA}: {why}.", detail=why)


class _Reader(Struct):
    """The fields of one message. Each method raises `InvalidMessageError` for a field that is wrong."""

    body: dict[str, Any]
    message: Message
    rules: Rules

    def text(self, name: str, most: int, *, needed: bool = False, where: Mapping[str, Any] | None = None) -> str:
        """Return a text without surrounding white space; empty where there is none and none is needed."""
        raw = (self.body if where is None else where).get(name)
        if raw is None and not needed:
            return ""
        if not isinstance(raw, str):
            raise _breaks(f"{name}: Input should be a valid string" if raw is not None else f"{name}: Field required")
        text = raw.strip()
        if needed and not text:
            raise _breaks(f"{name}: String should have at least 1 character")
        if len(text) > most:
            raise _breaks(f"{name}: String should have at most {most} characters")
        if not _is_shown(text):
            raise _breaks(f"{name}: holds control or invisible characters")
        return text

    def person_id(self) -> str:
        """Return the number that HR knows the person by: a text, or a whole number."""
        raw = self.field("person_id")
        if isinstance(raw, int) and not isinstance(raw, bool):
            return str(raw)
        raw = self.plain_number(raw) if isinstance(raw, str) else raw
        number = self.text("person_id", MAX_PERSON_ID, where={"person_id": raw})
        if _UNREADABLE in number:
            raise _breaks("person_id: holds characters that could not be read")
        return number

    def plain_number(self, raw: str) -> str:
        """Return a person's number with full-width and other compatibility characters as the ones that they stand for."""
        return unicodedata.normalize("NFKC", raw)

    def field(self, name: str) -> Any:
        """Return a field, also under the name that the source's configuration has for it among the attributes."""
        if name in self.body:
            return self.body[name]
        attributes = self.body.get("attributes")
        if not isinstance(attributes, dict):
            return None
        names = [name, *(alias for alias, means in (self.rules.source.aliases or {}).items() if means == name)]
        return next((attributes[each] for each in names if each in attributes), None)

    def user(self) -> object:
        """Return the address of whom it is about, as it was written."""
        if self.body.get("user") is None:
            raise _breaks("user: Field required, the person's address")
        return self.body["user"]

    def says(self) -> str:
        """Return the author that the message claims, which nothing is decided by."""
        raw = self.body.get("by")
        return raw.strip()[:254] if isinstance(raw, str) and _is_shown(raw.strip()) else ""

    def published(self) -> datetime:
        """Return when this was first published."""
        return self.message.first_published.astimezone(UTC)

    def moment(self, name: str, raw: object, *, day_ends: bool) -> datetime:
        """Return a time with its zone; of a bare date, the beginning or the end of that day where the people are."""
        if not isinstance(raw, str):
            raise _breaks(f"{name}: Input should be a time, for example 2026-12-01T08:00:00Z, or a date, 2026-12-01")
        text = raw.strip()
        try:
            if _DATE.fullmatch(text):
                return self._day(date.fromisoformat(text), day_ends=day_ends)
            zoned = _DATE_WITH_ZONE.fullmatch(text)
            if zoned is not None:
                begins = parse_time(f"{zoned[1]}T00:00:00{zoned[2]}")
                return to_utc(begins + timedelta(days=1)) if day_ends else begins
            return parse_time(text)
        except (ValueError, OverflowError) as error:
            raise _breaks(f"{name}: '{text[:40]}' is no time with a zone and no date: {error}") from error

    def _day(self, day: date, *, day_ends: bool) -> datetime:
        zone = ZoneInfo(self.rules.people.time_zone)
        return to_utc(datetime.combine(day + timedelta(days=1) if day_ends else day, time(), zone))

    def bounded(self, occurred_at: datetime) -> tuple[datetime, datetime | None]:
        """Return when it was said, and what was claimed where that lies in the future and is not believed."""
        published = self.published()
        if occurred_at > published + CLOCKS_DIFFER:
            return published, occurred_at
        return occurred_at, None


class _Strict(_Reader):
    """Everything but a leaver: one fault, and nothing of it counts."""

    def parsed(self, kind: str) -> Parsed:
        """Return the news of a joiner, a mover, a cancelled leave, a changed address or an account's state."""
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
                raise _breaks("new_user goes with type 'renamed' only")
            raw_user = self.user()
            user = parse_person(raw_user, self.rules.people)
            common |= {"user": user, "also_known_as": other_forms(raw_user, user)}
            self._check_domain(user)
            news = [self._about(kind, common)]
        return Parsed(news=tuple(news), sender_faults=() if claimed is None else ("OccurredInFuture",))

    def _exact(self, name: str, raw: object) -> datetime:
        try:
            if not isinstance(raw, str):
                raise ValueError("no text")  # noqa: TRY004 - the one fault below
            return parse_time(raw)
        except ValueError as error:
            raise _breaks(
                f"{name}: '{str(raw)[:40]}' is no time with a zone, for example 2026-12-01T08:00:00Z ({error})"
            ) from error

    def _about(self, kind: str, common: dict[str, Any]) -> LifecycleEvent:
        match kind:
            case "leave_cancelled":
                allowed(self.rules, May.EMPLOYMENT)
                return LeaveCancelled(**common)
            case "account":
                allowed(self.rules, May.ACCOUNT)
                if self.body.get("account") != "usable":
                    raise _breaks("account: 'usable' is all that may be said of an account")
                return AccountUsable(**common)
            case "joiner":
                allowed(self.rules, May.EMPLOYMENT)
                confirms = self.rules.source.joiners is Joiners.CONFIRM
                details = self._details()
                if details.changes:
                    raise _breaks(
                        "attributes.add_groups and remove_groups go with type 'mover'; a joiner names all groups"
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
                user_message=f"The source '{source.name}' may give nothing to people of {domain}.",
                detail=f"source {source.name} about a person of {domain}",
                reason=Reason.NOT_ALLOWED,
            )

    def _details(self) -> _Details:
        raw = self.body.get("attributes")
        if raw is None:
            raw = {}
        if not isinstance(raw, dict):
            raise _breaks("attributes: Input should be a valid dictionary")
        if len(raw) > MAX_ATTRIBUTES:
            raise _breaks(f"attributes: Dictionary should have at most {MAX_ATTRIBUTES} items, not {len(raw)}")
        attributes = {name: value for name, value in raw.items() if name not in {"access_until", "person_id"}}
        groups = self._groups("groups", attributes.pop("groups", None))
        changes = {
            group: member
            for name, member in (("add_groups", True), ("remove_groups", False))
            for group in self._groups(name, attributes.pop(name, None)) or ()
        }
        if groups is not None and changes:
            raise _breaks("attributes.groups replaces all groups; name it or add_groups and remove_groups, not both")
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
                user_message=f"The source '{self.rules.source.name}' may not ask for profile '{profile}'. It may ask for: "
                f"{', '.join(sorted(mine)) or 'none'}.",
                detail=f"source {self.rules.source.name} asks for profile {profile!r}",
                reason=Reason.NOT_ALLOWED,
            )
        if attributes:
            allowed(self.rules, May.ATTRIBUTES)
        return _Details(
            groups=groups,
            changes=changes,
            profile=profile,
            profile_said=profile_said,
            others={_name(name): _value(name, value) for name, value in attributes.items()},
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
            raise _breaks(f"attributes.{name}: List should have at most {MAX_GROUPS} items, not {len(raw)}")
        return tuple(sorted({parse_address(item, self.rules.people) for item in raw}))

    def _renamed(self, common: dict[str, Any], *, begins_later: bool) -> list[LifecycleEvent]:
        """Nothing when the two differ in case only: that is one address."""
        allowed(self.rules, May.ADDRESS)
        if self.body.get("new_user") is None:
            raise _breaks("type 'renamed' needs new_user, the address from now on")
        if self.body.get("attributes"):
            raise _breaks("type 'renamed' takes no attributes; what else changed is a message of type 'mover'")
        raw_user = self.user()
        user = parse_address(raw_user, self.rules.people)
        try:
            new_user = parse_person(self.body["new_user"], self.rules.people)
        except InvalidMessageError as error:
            raise _breaks(f"new_user: {error.user_message.rstrip('.')}") from error
        if begins_later:
            raise _breaks("type 'renamed' takes no effective_time to come; send it when the address has changed")
        if new_user == user:
            return []
        confirmed = self.rules.source.name in {DIRECTORY, OPERATOR}
        said = {**common, "effective_at": common["occurred_at"], "explicit": False}
        return [
            Renamed(
                **said, user=user, also_known_as=other_forms(raw_user, user), new_user=new_user, confirmed=confirmed
            )
        ]


class _Details(Struct, frozen=True, kw_only=True):
    """What `attributes` says."""

    groups: tuple[str, ...] | None
    changes: Mapping[str, bool]
    profile: str | None
    profile_said: bool
    others: Mapping[str, Value]


class _Leaver(_Reader):
    """A leaver: all that is needed is who. Every other fault is kept, and reported with the rest of the message."""

    twice: frozenset[str]
    faults: list[str] = field(default_factory=list)

    def parsed(self) -> Parsed:
        """Return the leaver, and a fault for what else was wrong with the message."""
        allowed(self.rules, May.EMPLOYMENT)
        self.faults += [f"the key '{key[:60]}' stands twice" for key in sorted(self.twice)]
        if len(self.message.data) > self.rules.max_bytes:
            self.faults.append(
                f"the message is {len(self.message.data):,} bytes; at most {self.rules.max_bytes:,} are read"
            )
        person_id = self._tried(self.person_id, "")
        forms: tuple[UserEmail, ...] = ()
        raw_user = self.body.get("user")
        try:
            if _UNREADABLE in str(raw_user):
                raise _breaks("user: holds characters that could not be read")
            forms = forms_of_cut(self.user(), self.rules.people)
        except InvalidMessageError as error:
            if not person_id:
                raise
            if raw_user is not None:
                self.faults.append(error.user_message.rstrip("."))
        said_at, day = self._occurred()
        occurred_at, claimed = self.bounded(said_at)
        effective = self._effective()
        left = Left(
            event_id=self._tried(self._event_id, self.message.origin_id),
            user=forms[0] if forms else UserEmail(""),
            also_known_as=forms[1:],
            occurred_at=occurred_at,
            effective_at=effective or occurred_at,
            source=self.rules.source.name,
            says=self.says(),
            published_at=self.published(),
            claimed_at=claimed or day,
            explicit=effective is not None,
            undated=claimed is None and occurred_at == self.published(),
            person_id=person_id,
            cause=self._tried(lambda: self.text("reason", MAX_REASON), ""),
            urgent=self._urgent(),
        )
        self._look_at_the_rest()
        if claimed is not None and effective is None:
            self.faults.append("occurred_at lies in the future; the leave begins at once")
        senders = () if claimed is None else ("OccurredInFuture",)
        return Parsed(news=(left,), faults=self._reported(), sender_faults=senders)

    def _urgent(self) -> bool:
        """Return True if the message says that the leave is urgent, and the source may say so. The leave counts either way."""
        raw, source = self.body.get("urgent"), self.rules.source
        if raw is None or isinstance(raw, bool):
            if raw is not True or source.may(May.URGENT):
                return raw is True
            self.faults.append(f"urgent: the source '{source.name}' may not say so; config/sources.yaml says who may")
        else:
            self.faults.append("urgent: is true or false")
        return False

    def plain_number(self, raw: str) -> str:
        """Return the number without what does not show, too."""
        plain = unicodedata.normalize("NFKC", raw)
        return "".join(c for c in plain if unicodedata.category(c) not in {"Cc", "Cf"})

    def _event_id(self) -> str:
        raw = self.body.get("event_id")
        if isinstance(raw, int) and not isinstance(raw, bool):
            return str(raw)
        return self.text("event_id", MAX_EVENT_ID) or self.message.origin_id

    def _tried(self, read: Any, otherwise: str) -> str:
        try:
            return str(read())
        except PoisonError as error:
            self.faults.append(error.detail)
            return otherwise

    def _occurred(self) -> tuple[datetime, datetime | None]:
        """Return when it was said. A bare date and midnight say a day, not a moment: then, and where it cannot be read, it is the publish time.

        The second is the beginning of that day.
        """
        raw = self.body.get("occurred_at")
        if raw is None:
            return self.published(), None
        try:
            said = self.moment("occurred_at", raw, day_ends=False)
        except InvalidMessageError as error:
            self.faults.append(error.detail)
            return self.published(), None
        if said > self.published() + CLOCKS_DIFFER:
            return said, None
        text = str(raw).strip()
        is_day = len(text) <= len("2026-12-01+00:00") or re.search(
            r"[T ]00:00(:00(\.0+)?)?(Z|z|[+-]\d\d:?\d\d)?$", text
        )
        is_midnight = said.astimezone(ZoneInfo(self.rules.people.time_zone)).time() == time()
        return (self.published(), said) if is_day or is_midnight else (said, None)

    def _effective(self) -> datetime | None:
        """None, so that it holds at once, where none is said and where it cannot be read."""
        said = [self.field("effective_time")]
        if "effective_time" in self.twice:  # the earliest of them
            every = read_leniently(self.message.data, all_values=True).value.get("effective_time")
            said = every if isinstance(every, Several) else said
        moments: list[datetime] = []
        for raw in said:
            if raw is None:
                return None
            try:
                moments.append(self.moment("effective_time", self._local(raw), day_ends=True))
            except InvalidMessageError as error:
                self.faults.append(f"{error.detail}; the leave begins at once")
                return None
        return min(moments)

    def _local(self, raw: object) -> object:
        """Return a date of other spellings as one of ours, and a time without its zone in that of the people; anything else as it is."""
        text = raw.strip() if isinstance(raw, str) else ""
        if _BASIC_DATE.fullmatch(text):
            return f"{text[:4]}-{text[4:6]}-{text[6:]}"
        written = _OTHER_DATE.fullmatch(text)
        if written is not None:
            first, second, year = int(written[1]), int(written[2]), written[3]
            day, month = max(first, second), min(first, second)
            if month > _MONTHS or (day <= _MONTHS and day != month):  # none, or two readings
                return raw
            self.faults.append(f"effective_time: '{text}' is read as {year}-{month:02}-{day:02}")
            return f"{year}-{month:02}-{day:02}"
        if _LOCAL_TIME.fullmatch(text):
            zone = self.rules.people.time_zone
            try:
                moment = to_utc(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)))
            except (ValueError, OverflowError):
                return raw
            self.faults.append(f"effective_time: '{text}' has no zone; it is read as of {zone}")
            return moment.isoformat()
        return raw

    def _look_at_the_rest(self) -> None:
        """Note what else stands there and would be refused in a grant; a leaver needs none of it."""
        strict = _Strict(self.body, self.message, self.rules)
        try:
            strict._details()  # noqa: SLF001 - the same reading, only that a fault does not count
        except PoisonError as error:
            self.faults.append(error.detail)
        if self.body.get("new_user") is not None:
            self.faults.append("new_user goes with type 'renamed' only")

    def _reported(self) -> tuple[Fault, ...]:
        if not self.faults:
            return ()
        why = "; ".join(dict.fromkeys(self.faults))[:900]
        error = InvalidMessageError(
            user_message=f"The leaver was used. The rest of the message breaks {SCHEMA}: {why}.", detail=why
        )
        return (Fault(error=error, body=self.message.data, part="rest"),)


def _name(name: str) -> str:
    if not name or len(name) > MAX_NAME or not _is_shown(name):
        raise _breaks(f"attributes: a name must have 1 to {MAX_NAME} visible characters")
    return name


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
    raise _breaks(
        f"attributes.{name[:MAX_NAME]}: must be a text of at most {MAX_TEXT} characters, a number, true, false, null, or a list of "
        f"at most {MAX_LIST} of them"
    )


def _is_shown(text: str) -> bool:
    """Return True for text without control characters and halves of surrogate pairs."""
    return text.isprintable()
