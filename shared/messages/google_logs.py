"""The parser of Google's log entries into events: Workspace admin log, login log, Cloud Identity group log, Notebooks audit log.

An unreadable event of an entry becomes a fault and does not stop the other events. An entry about an action that was refused
or failed gives no events. Only entries of the configured organization are trusted. The Notebooks audit log is an exception:
its entries come from the project, and only wake a user.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC
from typing import Any

from shared.domain.people.events import (
    AccountChanged,
    AccountState,
    GroupChanged,
    LifecycleEvent,
    News,
    Renamed,
    Woken,
)
from shared.domain.people.events import is_cut as takes_away
from shared.domain.people.groups import GroupEvent, GroupEventKind
from shared.domain.people.sources import May, Source
from shared.domain.things.errors import (
    InvalidMessageError,
    PoisonError,
    Reason,
    RosterTellsError,
    UnsupportedMessageError,
)
from shared.domain.things.identity import UserEmail, user_key_of_instance
from shared.messages.addresses import (
    forms_of_cut,
    is_service_account,
    other_forms,
    parse_address,
    parse_person,
)
from shared.messages.log_entry import digest, entry_id, entry_time, has_failed, is_refused, parameter
from shared.messages.message import Fault, Message, Parsed, Rules, allowed
from shared.messages.table import ADMIN, ANY_DISABLED, BY_NAME, CLOUD_IDENTITY, LOGIN, NOTEBOOKS, LogEvent, States

NOT_A_PERSON = "NotAPerson"
KNOWN_SERVICES = (ADMIN, CLOUD_IDENTITY, LOGIN, NOTEBOOKS)
_ACCOUNT = {
    States.SUSPENDED: (AccountState.SUSPENDED, True),
    States.NOT_SUSPENDED: (AccountState.SUSPENDED, False),
    States.ARCHIVED: (AccountState.ARCHIVED, True),
    States.NOT_ARCHIVED: (AccountState.ARCHIVED, False),
    States.DELETED: (AccountState.DELETED, True),
    States.NOT_DELETED: (AccountState.DELETED, False),
    States.DISABLED: (AccountState.DISABLED, True),
    States.CREATED: (AccountState.CREATED, True),
}
_GROUP = {
    States.GROUP_DELETED: GroupEventKind.DELETED,
    States.GROUP_RENAMED: GroupEventKind.ADDRESS_CHANGED,
    States.GROUP_CREATED: GroupEventKind.CREATED,
}


def parse_entry(entry: dict[str, Any], message: Message, rules: Rules) -> Parsed:
    """Return the events and the faults of a log entry; neither for a refused action, except a wake of the Notebooks audit log.

    Raise `PoisonError` if the whole entry is unusable.
    """
    payload = entry["protoPayload"]
    service = str(payload.get("serviceName"))
    if service == NOTEBOOKS:
        return Parsed(news=tuple(_notebooks(entry, payload, message)))
    if service not in KNOWN_SERVICES:
        raise UnsupportedMessageError(
            user_message=f"Benchkeeper reads no log entries of service '{service[:80]}'. Leave them out of the log sink's filter.",
            detail=f"log entry of service {service[:80]!r}; known: {sorted(KNOWN_SERVICES)}",
        )
    _check_organization(entry, rules)
    if is_refused(entry):
        return Parsed()
    reading = _Reading(entry, message, rules)
    return reading.cloud_identity(payload) if service == CLOUD_IDENTITY else reading.events(payload)


def _check_organization(entry: dict[str, Any], rules: Rules) -> None:
    """Raise `UnsupportedMessageError` if the entry does not come from the configured organization's own log."""
    known = rules.people.organization
    parts = str(entry.get("logName")).split("/")
    if known is not None and parts[:2] == ["organizations", known]:
        return
    raise UnsupportedMessageError(
        user_message="The log entry is not from the configured organization (deployment.organization), so it "
        "is ignored.",
        detail=f"log entry of {'/'.join(parts[:2])[:60]!r}",
        reason=Reason.NOT_ALLOWED,
    )


class _Reading:
    """The state of parsing one entry."""

    def __init__(self, entry: dict[str, Any], message: Message, rules: Rules) -> None:
        self.entry = entry
        self.message = message
        self.rules = rules
        self.ignored: list[str] = []
        self.bad_time: InvalidMessageError | None = None
        try:
            self.occurred_at = entry_time(entry, message)
        except InvalidMessageError as error:  # a cut is dated by its publish time; a grant is refused
            self.bad_time = error
            self.occurred_at = message.publish_time.astimezone(UTC)
        principal = entry["protoPayload"].get("authenticationInfo")
        says = principal.get("principalEmail") if isinstance(principal, dict) else None
        self.says = says[:254] if isinstance(says, str) and says.isprintable() else ""

    def events(self, payload: dict[str, Any]) -> Parsed:
        """Return the events and the faults of an admin or login entry.

        An invalid event does not affect the other events of the entry. Raise `InvalidMessageError` if the entry has no events.
        """
        metadata = payload.get("metadata")
        events = metadata.get("event") if isinstance(metadata, dict) else None
        alone_written = isinstance(events, dict) and bool(events)  # Google writes a list: accept only a cut
        if alone_written:
            events = [events]
        if not isinstance(metadata, dict) or not isinstance(events, list) or not events:
            raise InvalidMessageError(
                user_message="The Workspace log entry has no protoPayload.metadata.event list.",
                detail="Workspace entry without metadata.event",
            )
        news: list[News] = []
        faults: list[Fault] = []
        for event in events:
            try:
                said = list(self._event(event))
                if alone_written and not all(is_taking(piece) for piece in said):
                    raise InvalidMessageError(
                        user_message="The Workspace log entry's protoPayload.metadata.event is not a list.",
                        detail="Workspace entry whose metadata.event is no list",
                    )
                news += said
            except PoisonError as error:
                alone = {**self.entry, "protoPayload": {**payload, "metadata": {**metadata, "event": [event]}}}
                body = self.message.data if len(events) == 1 else json.dumps(alone, ensure_ascii=False).encode()
                faults.append(Fault(error=error, body=body, part=digest(event)))
        if self.bad_time is not None and not faults:
            faults.append(Fault(error=self.bad_time, body=self.message.data, part="timestamp"))
        return Parsed(news=tuple(news), faults=tuple(faults), ignored=tuple(self.ignored))

    def _event(self, event: Any) -> Iterator[News]:
        name = str(event.get("eventName")) if isinstance(event, dict) else ""
        known = BY_NAME.get(name) or (ANY_DISABLED if name.startswith("account_disabled") else None)
        if known is None:
            why = f"The event '{name[:60]}' has no effect in Benchkeeper."
            raise UnsupportedMessageError(user_message=why, detail=f"Workspace event {name[:60]!r}")
        if known.states is States.UNSUPPORTED:
            if has_failed(event):
                return
            raise RosterTellsError(user_message=known.why, detail=f"Workspace event {name[:60]!r}")
        if known.states is States.NOTHING or has_failed(event):
            return
        event_id = f"{entry_id(self.entry, self.message)}/{digest(event)}"
        if known.states in _GROUP:
            yield self._group_event(known, event, event_id)
        elif known.states in {States.MEMBER, States.NO_MEMBER}:
            group = parse_group(parameter(event, known.group), self.rules)
            member = known.states is States.MEMBER
            raw = parameter(event, known.user, is_cut=not member)
            yield from self.membership(raw, group, event_id, member=member)
        elif known.states is States.RENAMED:
            yield from self._renamed(parameter(event, known.user), parameter(event, known.new), event_id)
        else:
            state, holds = _ACCOUNT[known.states]
            is_cut = holds and state is not AccountState.CREATED
            raw = parameter(event, known.user, is_cut=is_cut)
            yield from self._account(raw, state, event_id, holds=holds, is_cut=is_cut)

    def _account(
        self, raw: object, state: AccountState, event_id: str, *, holds: bool, is_cut: bool
    ) -> Iterator[LifecycleEvent]:
        allowed(self.rules, May.ACCOUNT)
        for user, others in self._people(raw, is_cut=is_cut):
            yield AccountChanged(
                event_id=event_id, user=user, also_known_as=others, state=state, holds=holds,
                occurred_at=self.occurred_at, effective_at=self.occurred_at, source=self.source.name, says=self.says,
                published_at=self.message.publish_time,
            )  # fmt: skip

    def membership(self, raw: object, group: str, event_id: str, *, member: bool) -> Iterator[LifecycleEvent]:
        """Yield the change of one membership; nothing for a service account."""
        allowed(self.rules, May.GROUPS)
        for user, others in self._people(raw, is_cut=not member):
            yield GroupChanged(
                event_id=event_id, user=user, also_known_as=others, group=group, member=member,
                occurred_at=self.occurred_at, effective_at=self.occurred_at, source=self.source.name, says=self.says,
                published_at=self.message.publish_time,
            )  # fmt: skip

    def _people(self, raw: object, *, is_cut: bool) -> Iterator[tuple[UserEmail, tuple[UserEmail, ...]]]:
        """Yield the user of an address with the other forms of the address; nothing for a service account.

        A cut is parsed leniently, a grant strictly.
        """
        if isinstance(raw, str) and is_service_account(raw.strip().lower()):
            self.ignored.append(NOT_A_PERSON)
            return
        if is_cut:
            first, *others = forms_of_cut(raw, self.rules.people)
            yield first, tuple(others)
            return
        self._timely()
        user = parse_person(raw, self.rules.people)
        _check_domain(user, self.source)
        yield user, other_forms(raw, user)

    def _renamed(self, raw: object, raw_new: object, event_id: str) -> Iterator[LifecycleEvent]:
        """Yield the change of address; nothing if the two addresses have the same canonical form."""
        allowed(self.rules, May.ADDRESS)
        self._timely()
        user, new_user = parse_address(raw, self.rules.people), parse_person(raw_new, self.rules.people)
        if user != new_user:
            yield Renamed(
                event_id=event_id, user=user, also_known_as=other_forms(raw, user), new_user=new_user, confirmed=True,
                occurred_at=self.occurred_at, effective_at=self.occurred_at, source=self.source.name, says=self.says,
                published_at=self.message.publish_time,
            )  # fmt: skip

    def _group_event(self, known: LogEvent, event: dict[str, Any], event_id: str) -> GroupEvent:
        allowed(self.rules, May.GROUPS)
        self._timely()
        return GroupEvent(
            kind=_GROUP[known.states],
            group=parse_group(parameter(event, known.group), self.rules),
            new_group=parse_group(parameter(event, known.new), self.rules) if known.new else "",
            occurred_at=self.occurred_at,
            event_id=event_id,
            source=self.source.name,
            says=self.says,
        )

    def _timely(self) -> None:
        if self.bad_time is not None:
            raise self.bad_time

    @property
    def source(self) -> Source:
        """Return the source from which the entry came."""
        return self.rules.source

    def cloud_identity(self, payload: dict[str, Any]) -> Parsed:
        """Return the events of a group log entry; none if the role MEMBER did not change, or for a service account or a domain.

        The roles OWNER and MANAGER can change without the membership. Raise `RosterTellsError` for a group in a group, and
        `InvalidMessageError` or `UnsupportedMessageError` for any other unusable entry.
        """
        metadata = payload.get("metadata")
        delta = metadata.get("membershipDelta") if isinstance(metadata, dict) else None
        if not isinstance(metadata, dict) or not isinstance(delta, dict):
            raise InvalidMessageError(
                user_message="The Cloud Identity log entry has no protoPayload.metadata.membershipDelta.",
                detail="Cloud Identity entry without membershipDelta",
            )
        actions, is_plain = _actions(delta.get("roleDeltas"))
        if not actions:
            return Parsed()
        kind, _, member = str(delta.get("member")).partition(":")
        if kind in {"serviceAccount", "allMembers", "customer"}:
            return Parsed(ignored=(NOT_A_PERSON,))
        removed = member_of_removal(delta.get("member")) if actions[-1] == "REMOVE" else None
        if removed is not None:
            kind, member = "user", removed
        if not is_plain and actions[-1] != "REMOVE":
            raise _bad_deltas()
        if kind != "user":
            if kind != "group":
                raise UnsupportedMessageError(
                    user_message=f"A member of kind '{kind[:20]}' joined or left a group. Only people get environments, so nothing was changed.",
                    detail=f"membership of kind {kind[:20]!r}",
                )
            raise RosterTellsError(
                user_message="A group joined or left another group. The message does not name the people of nested groups; the "
                "roster of groups does (settings: roster.groups).",
                detail=f"membership of kind {kind[:20]!r}",
            )
        unknown = sorted(set(actions) - {"ADD", "REMOVE"})
        if unknown:
            raise InvalidMessageError(
                user_message=f"The role action '{unknown[0][:20]}' is not ADD or REMOVE.",
                detail=f"role action {unknown[0][:20]!r}",
            )
        group = parse_group(str(metadata.get("group")).removeprefix("group:"), self.rules)
        event_id = entry_id(self.entry, self.message)
        news = tuple(self.membership(member, group, event_id, member=actions[-1] == "ADD"))
        if self.bad_time is None:
            return Parsed(news=news, ignored=tuple(self.ignored))
        return Parsed(news=news, faults=(Fault(error=self.bad_time, body=self.message.data, part="timestamp"),))


def _actions(deltas: object) -> tuple[list[str], bool]:
    """Return the actions on the role MEMBER in order, and True if the actions are written in Google's exact form.

    Raise `InvalidMessageError` if `deltas` is neither a list of objects nor an object.
    """
    several = [deltas] if isinstance(deltas, dict) else deltas
    if not isinstance(several, list) or not all(isinstance(each, dict) for each in several):
        raise _bad_deltas()
    members = [each for each in several if str(each.get("role")).strip().upper() == "MEMBER"]
    actions = [str(each.get("action")) for each in members]
    plain = isinstance(deltas, list) and all(each.get("role") == "MEMBER" for each in members)
    return [action if plain else action.strip().upper() for action in actions], plain


def _bad_deltas() -> InvalidMessageError:
    return InvalidMessageError(
        user_message="The Cloud Identity log entry's membershipDelta.roleDeltas is not a list of roles and actions.",
        detail="Cloud Identity entry with unreadable roleDeltas",
    )


def member_of_removal(raw: object) -> str | None:
    """Return the user's address from the name of a group's member, parsed leniently; None if the member is not a user.

    `deleted:user:ADDRESS?uid=…` is a user whose account is deleted.
    """
    kinds, _, member = str(raw).strip().rpartition(":")
    if kinds.lower() not in {"user", "deleted:user", ""} or "@" not in member:
        return None
    return member.partition("?")[0] if kinds.lower().startswith("deleted") else member


def is_taking(piece: News) -> bool:
    """Return True for an event that takes access away from a user."""
    return not isinstance(piece, Woken | GroupEvent) and takes_away(piece)


def parse_group(raw: object, rules: Rules) -> str:
    """Return a group's address in canonical form. Raise `InvalidMessageError` for an invalid address."""
    try:
        return parse_address(raw, rules.people)
    except InvalidMessageError as error:
        raise InvalidMessageError(
            user_message=error.user_message.replace("The address", "The group's address", 1),
            detail=error.detail.replace("user address", "group address", 1),
        ) from error


def _check_domain(user: UserEmail, source: Source) -> None:
    domain = user.rpartition("@")[2]
    if source.domains is not None and domain not in source.domains:
        raise UnsupportedMessageError(
            user_message=f"The source '{source.name}' may not give access to people of {domain}.",
            detail=f"source {source.name} about a person of {domain}",
            reason=Reason.NOT_ALLOWED,
        )


def _notebooks(entry: dict[str, Any], payload: dict[str, Any], message: Message) -> Iterator[Woken]:
    """Yield a wake if the entry is the end of an operation on one of our instances. Any source may send wakes."""
    operation = entry.get("operation")
    if not (isinstance(operation, dict) and operation.get("last")):
        return
    user_key = user_key_of_instance(str(payload.get("resourceName")).rpartition("/")[2])
    if user_key is not None:
        yield Woken(event_id=entry_id(entry, message), user_key=user_key, occurred_at=entry_time(entry, message))
