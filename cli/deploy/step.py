"""A deployment's plan: steps, each with what it is about, whether anything changes, why, and what does it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from msgspec import Struct

from cli.deploy.gcloud import Do


class Mark(Enum):
    """What a step does to what is there."""

    CREATE = "+"
    CHANGE = "~"
    SAME = "="
    DELETE = "-"
    KEEP = "!"  # left alone, or for a person to do


class Step(Struct, frozen=True, kw_only=True):
    """One line of the plan.

    `key` is `kind name`; `needs` are keys, or kinds for all of that kind, that come before where the plan has them. Steps of
    one `lane` (an IAM policy) never run at the same time. A function among the `work` says what is to be done once its turn comes,
    where that depends on what is there by then.
    """

    key: str
    mark: Mark
    because: str
    work: Sequence[Do] = ()
    needs: tuple[str, ...] = ()
    lane: str = ""

    @property
    def kind(self) -> str:
        """The first word of the key."""
        return self.key.split(" ", 1)[0]

    @property
    def acts(self) -> bool:
        """True when running it changes something."""
        return self.mark in {Mark.CREATE, Mark.CHANGE, Mark.DELETE}


def same(key: str) -> Step:
    """Nothing to do."""
    return Step(key=key, mark=Mark.SAME, because="")


def differs(wanted: object, seen: object) -> str:
    """`seen -> wanted`, short enough for a line."""
    return f"{_short(seen)} -> {_short(wanted)}"


def _short(value: object) -> str:
    text = "nothing" if value is None or value == "" else str(value).rpartition("/topics/")[2]
    return text if len(text) <= 40 else f"{text[:39]}…"  # noqa: PLR2004 - half a line
