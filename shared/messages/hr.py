"""The parser of the neutral schema `workbench.lifecycle/v1` into events. A leaver is parsed leniently, every other message strictly.

A message that plainly states a leave ends the user's access, even if other parts of the message are faulty. The faulty parts
are reported. A leaver that cannot be used becomes a dead letter with the reason `LEAVER_NOT_UNDERSTOOD`. Fields: schema,
event_id, type (joiner, mover, leaver, leave_cancelled, renamed), user, person_id, occurred_at, effective_time, access_until,
attributes (groups, add_groups, remove_groups, profile, cost_center, any others), reason, new_user, account, by.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime, time
from typing import Any

from msgspec import field

from shared.domain.people.events import Left
from shared.domain.people.sources import May
from shared.domain.things.errors import InvalidMessageError, PoisonError, Reason
from shared.domain.things.identity import UserEmail
from shared.domain.things.times import to_utc, zone_of
from shared.messages.addresses import forms_of_cut
from shared.messages.hr_strict import (
    BASIC_DATE,
    CLOCKS_DIFFER,
    LOCAL_TIME,
    MAX_EVENT_ID,
    MAX_REASON,
    MONTHS,
    OTHER_DATE,
    PLAIN,
    SCHEMA,
    UNREADABLE,
    Reader,
    Strict,
    breaks,
)
from shared.messages.message import (
    Fault,
    Message,
    Parsed,
    Rules,
    Several,
    allowed,
    keys_twice,
    read_leniently,
    too_large,
)
from shared.messages.unknown import looks_like_a_leaver


class Leaver(Reader):
    """The reader of a leaver's message. Only the user is needed; all other faults are collected and reported."""

    twice: frozenset[str]
    faults: list[str] = field(default_factory=list)

    def parsed(self) -> Parsed:
        """Return the leave, and one fault that lists all other faults of the message.

        Raise `InvalidMessageError` if the message names no user by address or number, and `UnsupportedMessageError` if the
        source may not state employment.
        """
        allowed(self.rules, May.EMPLOYMENT)
        self.faults += [f"the key '{key[:60]}' occurs twice" for key in sorted(self.twice)]
        if len(self.message.data) > self.rules.max_bytes:
            self.faults.append(
                f"the message is {len(self.message.data):,} bytes; at most {self.rules.max_bytes:,} are read"
            )
        person_id = self._tried(self.person_id, "")
        forms: tuple[UserEmail, ...] = ()
        raw_user = self.body.get("user")
        try:
            if UNREADABLE in str(raw_user):
                raise breaks("user: holds characters that could not be read")
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
        """Return True if the message states that the leave is urgent, and the source may state urgency."""
        raw, source = self.body.get("urgent"), self.rules.source
        if raw is None or isinstance(raw, bool):
            if raw is not True or source.may(May.URGENT):
                return raw is True
            self.faults.append(
                f"urgent: the source '{source.name}' may not state this; config/sources.yaml says which sources may"
            )
        else:
            self.faults.append("urgent: must be true or false")
        return False

    def plain_number(self, raw: str) -> str:
        """Return the person number as text, normalised and without invisible characters."""
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
        """Return the time at which the leave was stated, and the beginning of the stated day if only a day was stated.

        A date without a time, or a midnight, states a day and not a moment. For a day that is not in the future, and for a
        time that cannot be read, the returned time is the publish time.
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
        is_midnight = said.astimezone(zone_of(self.rules.people.time_zone)).time() == time()
        return (self.published(), said) if is_day or is_midnight else (said, None)

    def _effective(self) -> datetime | None:
        """Return the effective time; None if the time is missing or cannot be read, so that the leave begins at once."""
        said = [self.field("effective_time")]
        if "effective_time" in self.twice:  # a duplicate key: the earliest value counts
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
        """Return a date in another format as an ISO date, a time without a zone in the users' zone, other values unchanged."""
        text = raw.strip() if isinstance(raw, str) else ""
        if BASIC_DATE.fullmatch(text):
            return f"{text[:4]}-{text[4:6]}-{text[6:]}"
        written = OTHER_DATE.fullmatch(text)
        if written is not None:
            first, second, year = int(written[1]), int(written[2]), written[3]
            day, month = max(first, second), min(first, second)
            if month > MONTHS or (day <= MONTHS and day != month):  # no valid reading, or two
                return raw
            self.faults.append(f"effective_time: '{text}' is read as {year}-{month:02}-{day:02}")
            return f"{year}-{month:02}-{day:02}"
        if LOCAL_TIME.fullmatch(text):
            zone = self.rules.people.time_zone
            try:
                moment = to_utc(datetime.fromisoformat(text).replace(tzinfo=zone_of(zone)))
            except (ValueError, OverflowError):
                return raw
            self.faults.append(f"effective_time: '{text}' has no zone; it is read in the zone {zone}")
            return moment.isoformat()
        return raw

    def _look_at_the_rest(self) -> None:
        """Collect the faults of fields that a leaver does not need, but for which a grant would be refused."""
        strict = Strict(self.body, self.message, self.rules)
        try:
            strict._details()  # noqa: SLF001 - the same parsing, but a fault is only reported
        except PoisonError as error:
            self.faults.append(error.detail)
        if self.body.get("new_user") is not None:
            self.faults.append("new_user is only valid with type 'renamed'")

    def _reported(self) -> tuple[Fault, ...]:
        if not self.faults:
            return ()
        why = "; ".join(dict.fromkeys(self.faults))[:900]
        error = InvalidMessageError(
            user_message=f"The leave was accepted. The rest of the message violates {SCHEMA}: {why}.", detail=why
        )
        return (Fault(error=error, body=self.message.data, part="rest"),)


TYPES = ("joiner", "mover", "leaver", "leave_cancelled", "renamed", "account")


def parse_neutral(body: dict[str, Any], twice: frozenset[str], message: Message, rules: Rules) -> Parsed:
    """Return the events and faults of a message of the neutral schema. Raise `PoisonError` if the message is unusable."""
    try:
        return _read(body, twice, message, rules)
    except InvalidMessageError as error:
        if not is_leaver(body):
            raise
        raise InvalidMessageError(
            user_message=f"{error.user_message} The message is about a leaver, who keeps access until a correct message is sent.",
            detail=error.detail,
            reason=Reason.LEAVER_NOT_UNDERSTOOD,
        ) from error


def is_leaver(body: dict[str, Any]) -> bool:
    """Return True if the type is a leaver's, or if the type is unknown and another field looks like a leaver's."""
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
    if kind == "leaver" and not twice & PLAIN:
        return Leaver(body, message, rules, twice).parsed()
    if twice:
        raise keys_twice(twice)
    if len(message.data) > rules.max_bytes:
        raise too_large(message, rules.max_bytes)
    if kind not in TYPES:
        raise breaks(f"type: '{str(body.get('type'))[:40]}' is not one of {', '.join(TYPES)}")
    return Strict(body, message, rules).parsed(kind)
