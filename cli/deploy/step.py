"""The steps of a deployment's plan. A step has its resource, the kind of change, the reason, and the work."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from msgspec import Struct

from cli.deploy.gcloud import Do


class Mark(Enum):
    """The kind of change that a step makes, or the mark of a step that changes nothing."""

    CREATE = "+"
    CHANGE = "~"
    SAME = "="
    DELETE = "-"
    KEEP = "!"  # left unchanged, or to be done by a person


class Step(Struct, frozen=True, kw_only=True):
    """A step of the plan.

    `key` is `kind name`. `needs` names the steps of the plan that run before this step. An entry is the key of one step,
    or a kind for all steps of that kind; an entry that the plan lacks is ignored. Steps of one `lane` (an IAM policy) never run at the same time. A
    function in `work` returns commands that depend on the state at the time when the step runs.
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
        """Return True if running the step changes something."""
        return self.mark in {Mark.CREATE, Mark.CHANGE, Mark.DELETE}


def same(key: str) -> Step:
    """Return a step for a resource that is already as wanted."""
    return Step(key=key, mark=Mark.SAME, because="")


def differs(wanted: object, seen: object) -> str:
    """Return `seen -> wanted`, shortened to fit a line."""
    return f"{_short(seen)} -> {_short(wanted)}"


def _short(value: object) -> str:
    text = "nothing" if value is None or value == "" else str(value).rpartition("/topics/")[2]
    return text if len(text) <= 40 else f"{text[:39]}…"  # noqa: PLR2004 - half a line
