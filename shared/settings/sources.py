"""The shape of config/sources.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta

from shared.domain.people.sources import FROM_ROSTER, NEEDED, Joiners, May, Shape, Source
from shared.settings.values import Strict, check, one_of

TopicId = Annotated[str, Meta(pattern=r"^[A-Za-z][A-Za-z0-9._~+%-]{2,254}$", examples=["workbench-lifecycle"])]
# Names, or `all`, which is None to the domain.
Names = Annotated[tuple[str, ...] | None, Meta(extra={"words": {"all": None}}, extra_json_schema={"words": ["all"]})]


class SourceFile(Strict, frozen=True, kw_only=True):
    """The settings of a source of messages: its topic and the kinds of facts that it may state."""

    topic: TopicId
    shapes: frozenset[Shape] = frozenset()
    may_state: frozenset[May] = frozenset()
    profiles: Names = None
    domains: Names = None
    joiners: Joiners = Joiners.CONFIRM
    aliases: Mapping[str, Annotated[str, one_of("access_until", "person_id", "effective_time")]] = {}

    def to_domain(self, name: str) -> Source:
        """Return the source as the domain's type."""
        return Source(
            name=name,
            topic=self.topic,
            shapes=self.shapes,
            may_state=self.may_state,
            profiles=None if self.profiles is None else frozenset(self.profiles),
            domains=None if self.domains is None else frozenset(self.domains),
            joiners=self.joiners,
            aliases=dict(self.aliases) or None,
        )


def _whole(value: Mapping[str, SourceFile]) -> Mapping[str, SourceFile]:
    missing = [name for name in NEEDED if name not in value]
    if missing:
        raise ValueError(f"the source '{missing[0]}' is missing; {', '.join(NEEDED)} are always required")
    if FROM_ROSTER in value:
        raise ValueError(f"'{FROM_ROSTER}' is the name of the source for the rosters; give your source another name")
    topics = [source.topic for source in value.values()]
    twice = sorted({topic for topic in topics if topics.count(topic) > 1})
    if twice:
        raise ValueError(f"the topic '{twice[0]}' belongs to two sources; a source is identified by its topic")
    if value["wake"].may_state:
        raise ValueError("the source 'wake' only requests passes and may state nothing")
    return value


class SourcesFile(Strict, frozen=True, kw_only=True):
    """The shape of config/sources.yaml: which source may state which facts about users."""

    sources: Annotated[
        Mapping[Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,30}$", examples=["hr"])], SourceFile], check(_whole)
    ]
