"""The sources of messages, and the facts that each may state (rule R13 of docs/architecture.md).

A source is known by the topic of a message, never by its content.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

from msgspec import Struct

HR, DIRECTORY, OPERATOR, WAKE = "hr", "directory", "operator", "wake"
# The source of what the hourly comparison with the rosters finds. It has no topic, so no message can come from it.
FROM_ROSTER = "roster"
# These four sources always exist: parts of the product send to them or depend on them. The administrator may add others.
NEEDED = (HR, DIRECTORY, OPERATOR, WAKE)


class May(StrEnum):
    """A kind of fact that a source may state."""

    EMPLOYMENT = "employment"
    GROUPS = "groups"
    PROFILE = "profile"
    ATTRIBUTES = "attributes"
    ACCESS_UNTIL = "access-until"
    PERSON_ID = "person-id"
    ACCOUNT = "account"
    ADDRESS = "address"
    URGENT = "urgent"  # that a leave must not wait for an approval


class Shape(StrEnum):
    """A kind of message that a source may send."""

    NEUTRAL = "neutral"
    GOOGLE_LOGS = "google-logs"


class Joiners(StrEnum):
    """The meaning of a joiner without an explicit effective time.

    `CONFIRM`: the feed repeats all employees, so a joiner never ends a leave. `EVENTS`: each joiner is an event, so
    a joiner that was stated after the leave ends it.
    """

    CONFIRM = "confirm"
    EVENTS = "events"


class Source(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A source: the id of its topic, and the facts that it may state.

    `profiles` are the profiles that the source may request, and `domains` the domains of the users about whom it may make
    statements; None means all that are configured. A cut is accepted for any known user, even of another domain. `aliases` map
    names of attributes to fields of the schema.
    """

    name: str
    topic: str
    shapes: frozenset[Shape] = frozenset()
    may_state: frozenset[May] = frozenset()
    profiles: frozenset[str] | None = None
    domains: frozenset[str] | None = None
    joiners: Joiners = Joiners.CONFIRM
    aliases: Mapping[str, str] | None = None

    def may(self, what: May) -> bool:
        """Return True if this source may state that kind of fact."""
        return what in self.may_state


_BY_HR = frozenset(
    {
        May.EMPLOYMENT,
        May.GROUPS,
        May.PROFILE,
        May.ATTRIBUTES,
        May.ACCESS_UNTIL,
        May.PERSON_ID,
        May.ADDRESS,
    }
)
# The sources of an installation without config/sources.yaml; the shipped file has the same content.
SHIPPED: Mapping[str, Source] = {
    source.name: source
    for source in (
        Source(
            name=HR,
            topic="workbench-lifecycle",
            shapes=frozenset({Shape.NEUTRAL}),
            may_state=_BY_HR,
            aliases={"contract_end_date": "access_until"},
        ),
        Source(
            name=DIRECTORY,
            topic="workbench-directory",
            shapes=frozenset({Shape.GOOGLE_LOGS}),
            may_state=frozenset({May.GROUPS, May.ACCOUNT, May.ADDRESS}),
        ),
        Source(
            name=OPERATOR,
            topic="workbench-operator",
            shapes=frozenset({Shape.NEUTRAL}),
            may_state=frozenset(May),
            joiners=Joiners.EVENTS,
        ),
        Source(name=WAKE, topic="workbench-wake"),
    )
}


def source_of_topic(topic: str, sources: Iterable[Source]) -> Source | None:
    """Return the source of a topic, given as an id or as a full or CloudEvents resource name; None if no source has it."""
    topic_id = topic.rpartition("/")[2]
    return next((source for source in sources if source.topic == topic_id), None)
