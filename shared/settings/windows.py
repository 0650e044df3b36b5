"""When a change may stop an environment that runs: the shape of `maintenance_window` in config/profiles.yaml."""

from __future__ import annotations

import difflib
import re
from datetime import time, timedelta
from importlib.resources import files
from typing import Any, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator

from shared.domain.catalog import Window
from shared.settings.fields import Strict

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_START = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]")


def _zones() -> list[str]:
    """All names of the time zone database, the same on every machine: a system may have fewer, or names of its own."""
    return files("tzdata").joinpath("zones").read_text(encoding="utf-8").split()


class WindowModel(Strict):
    """A time of the week in which a running environment may be stopped for a change."""

    days: list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]] = Field(min_length=1, max_length=7)
    start: str = Field(
        pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$", description="When it opens, in that time zone, in quotes."
    )
    hours: int = Field(ge=1, le=24, description="How long it is open.")
    time_zone: str = "UTC"

    @field_validator("days")
    @classmethod
    def _once(cls, value: list[str]) -> list[str]:
        if len(set(value)) != len(value):
            raise ValueError("a day stands here twice")
        return value

    @field_validator("start", mode="before")
    @classmethod
    def _clock(cls, value: Any) -> Any:
        if isinstance(value, int):  # bare, YAML 1.1 reads 22:00 as 22 times 60
            raise ValueError('write the time in quotes: "22:00"')  # noqa: TRY004 - pydantic wants ValueError
        if isinstance(value, str) and not _START.fullmatch(value.strip()):
            raise ValueError(f'\'{value}\' is no time; write hours and minutes in quotes, from "00:00" to "23:59"')
        return value

    @field_validator("time_zone")
    @classmethod
    def _zone(cls, value: str) -> str:
        known = _zones()
        if value not in known:
            close = difflib.get_close_matches(value, known, n=1, cutoff=0.5)
            nearest = f"the nearest name is '{close[0]}'" if close else "a name looks like Europe/Berlin"
            raise ValueError(f"'{value}' is no time zone; {nearest}")
        return value

    def to_domain(self) -> Window:
        """In the domain's words."""
        return Window(
            days=frozenset(_DAYS.index(day) for day in self.days),
            start=time.fromisoformat(self.start),
            length=timedelta(hours=self.hours),
            zone=ZoneInfo(self.time_zone),
        )
