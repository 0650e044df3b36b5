"""The shape of config/sources.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PrivateAttr, field_validator

from shared.domain.sources import NEEDED, Joiners, May, Shape, Source
from shared.faults import Loc
from shared.settings.fields import Strict

TopicId = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9._~+%-]{2,254}$")]


class SourceModel(Strict):
    """One source: the topic it is known by and what it may state."""

    topic: TopicId
    shapes: list[Shape] = Field(default=[])
    may_state: list[May] = Field(default=[])
    profiles: Literal["all"] | list[str] = "all"
    domains: Literal["all"] | list[str] = "all"
    joiners: Joiners = Joiners.CONFIRM
    aliases: dict[str, Literal["access_until", "person_id", "effective_time"]] = Field(default={})

    def to_domain(self, name: str) -> Source:
        """In the domain's words."""
        return Source(
            name=name,
            topic=self.topic,
            shapes=frozenset(self.shapes),
            may_state=frozenset(self.may_state),
            profiles=None if self.profiles == "all" else frozenset(self.profiles),
            domains=None if self.domains == "all" else frozenset(self.domains),
            joiners=self.joiners,
            aliases=dict(self.aliases) or None,
        )


class SourcesFile(Strict):
    """config/sources.yaml: who may say what about people."""

    sources: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")], SourceModel]
    _lines: dict[Loc, int] = PrivateAttr(default_factory=dict)

    @property
    def lines(self) -> dict[Loc, int]:
        """The line of every key, once the file was read."""
        return self._lines

    @lines.setter
    def lines(self, value: dict[Loc, int]) -> None:
        self._lines = value

    @field_validator("sources")
    @classmethod
    def _whole(cls, value: dict[str, SourceModel]) -> dict[str, SourceModel]:
        missing = [name for name in NEEDED if name not in value]
        if missing:
            raise ValueError(f"the source '{missing[0]}' is missing; {', '.join(NEEDED)} are always needed")
        topics = [source.topic for source in value.values()]
        twice = sorted({topic for topic in topics if topics.count(topic) > 1})
        if twice:
            raise ValueError(f"the topic '{twice[0]}' belongs to two sources; a topic is what tells sources apart")
        if value["wake"].may_state:
            raise ValueError("the source 'wake' only wakes and may state nothing")
        return value
