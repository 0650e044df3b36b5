"""The shapes of `maintenance_window` and `hours` in config/profiles.yaml: times of the week."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from datetime import time, timedelta
from importlib.resources import files
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from msgspec import Meta

from shared.domain.things.catalog import Hours, Window
from shared.settings.fields import Strict, check, one_of

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_START = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]")


def _zones() -> list[str]:
    """Return all names of the time zone database of the `tzdata` package: a machine's own database may differ."""
    return files("tzdata").joinpath("zones").read_text(encoding="utf-8").split()


def _once(value: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(value)) != len(value):
        raise ValueError("a day stands here twice")
    return value


def _clock(raw: Any) -> str:
    if isinstance(raw, int):  # without quotes, YAML 1.1 reads 22:00 as 22 times 60
        raise ValueError('write the time in quotes: "22:00"')  # noqa: TRY004 - a fault of the file
    if not isinstance(raw, str) or not _START.fullmatch(raw):
        raise ValueError(f'\'{raw}\' is no time; write hours and minutes in quotes, from "00:00" to "23:59"')
    return raw


def _zone(value: str) -> str:
    known = _zones()
    if value not in known:
        close = difflib.get_close_matches(value, known, n=1, cutoff=0.5)
        nearest = f"the nearest name is '{close[0]}'" if close else "a name looks like Europe/Berlin"
        raise ValueError(f"'{value}' is no time zone; {nearest}")
    return value


class WindowFile(Strict, frozen=True, kw_only=True):
    """A time of the week in which a running environment may be stopped for a change."""

    days: Annotated[tuple[Annotated[str, one_of(*_DAYS)], ...], check(_once, min_length=1, max_length=7)]
    start: Annotated[
        str,
        Meta(
            pattern=rf"^{_START.pattern}$",
            description="When it opens, in that time zone, in quotes.",
            extra={"read": _clock},
        ),
    ]
    hours: Annotated[int, Meta(ge=1, le=24, description="How long it is open.")]
    time_zone: Annotated[str, check(_zone)] = "UTC"

    def to_domain(self) -> Window:
        """Return the window as the domain's type."""
        return Window(
            days=frozenset(_DAYS.index(day) for day in self.days),
            start=time.fromisoformat(self.start),
            length=timedelta(hours=self.hours),
            zone=ZoneInfo(self.time_zone),
        )


_CLOCK_TIME = Meta(pattern=rf"^{_START.pattern}$", description="In that time zone, in quotes.", extra={"read": _clock})


class HoursFile(Strict, frozen=True, kw_only=True):
    """Working hours.

    Outside of them an unused environment is stopped after an hour; notebooks of people who come on most days are
    started in advance.
    """

    days: Annotated[tuple[Annotated[str, one_of(*_DAYS)], ...], check(_once, min_length=1, max_length=7)]
    start: Annotated[str, _CLOCK_TIME]
    end: Annotated[str, _CLOCK_TIME]
    time_zone: Annotated[str, check(_zone)] = "UTC"

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """Yield (field, problem) for hours that end before they begin."""
        if self.end <= self.start:
            yield "end", f"the working hours end ({self.end}) before they begin ({self.start}); they are within one day"

    def to_domain(self) -> Hours:
        """Return the hours as the domain's type."""
        return Hours(
            days=frozenset(_DAYS.index(day) for day in self.days),
            start=time.fromisoformat(self.start),
            end=time.fromisoformat(self.end),
            zone=ZoneInfo(self.time_zone),
        )
