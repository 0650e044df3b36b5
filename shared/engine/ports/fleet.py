"""Ports of the fleet lists that sweeps store for the pages, and of costs.

A method of a port may raise `RetryableError` or `PermanentError` (`shared.domain.things.errors`); any other exception
is a bug. Adapters in `shared.cloud` implement the ports; tests have their own fakes.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from shared.domain.fleet.figures import Figures
from shared.domain.fleet.fleet import FleetSnapshot

if TYPE_CHECKING:
    from shared.domain.fleet.fleet import Notes
    from shared.domain.fleet.spent import MonthLines, MonthTotal
    from shared.domain.things.identity import UserKey
    from shared.domain.things.meter import Line
    from shared.engine.ports.records import ListedRow


class FleetAbout(Struct, frozen=True):
    """A fleet list without its rows, and the figures of the rows; `figures` is None if an earlier version wrote the list."""

    fleet: FleetSnapshot
    figures: Figures | None

    @property
    def taken_at(self) -> datetime:
        """The time at which the list was taken."""
        return self.fleet.taken_at


class FleetDraft(Protocol):
    """A fleet list that is being built. The draft keeps its rows packed, so that memory does not limit their number."""

    def add(self, listed: ListedRow) -> None:
        """Add a row to the draft, without a call."""

    def write(self, about: FleetSnapshot, figures: Figures) -> None:
        """Write the list with the added rows and with everything else from `about`, whose rows are ignored.

        A newer list is not overwritten.

        `figures` are the figures of the added rows.
        """


class MonthDraft(Protocol):
    """A file of the metered lines of one past month that is being written, user by user."""

    def add(self, user_key: UserKey, lines: tuple[Line, ...]) -> None:
        """Add a user's lines without a call; lines of other months are ignored."""

    def write(self) -> None:
        """Store the month in place of an earlier version, and store its sum with those of the last twelve months."""


class FleetIndex(Protocol):
    """The store of the lists that sweeps write for the pages.

    It has the newest fleet list, the notes for users' own pages, and the metered lines of past months.
    The process caches reads: an unchanged object is not read again.
    """

    def fleet(self) -> FleetSnapshot | None:
        """Return the newest list; None before the first sweep."""

    def about(self) -> FleetAbout | None:
        """Return the newest list without its rows, for the next sweep and the overview page; None before the first sweep."""

    def draft(self) -> FleetDraft:
        """Return an empty list to which rows are added one by one."""

    def notes(self) -> Notes | None:
        """Return the newest notes; None before the first sweep."""

    def notes_for_tables(self) -> Notes | None:
        """Return the last uses and the costs of the newest notes, for tables of all users; None before the first sweep."""

    def notes_about(self, user_key: UserKey) -> Notes | None:
        """Return the part of the newest notes that is about one user; None before the first sweep."""

    def month(self, month: str) -> MonthLines | None:
        """Return the metered lines of all users in a past month; None if no lines of that month are stored."""

    def month_about(self, month: str, user_key: UserKey) -> tuple[Line, ...] | None:
        """Return one user's metered lines in a past month; None if no lines of that month are stored."""

    def month_totals(self) -> tuple[MonthTotal, ...]:
        """Return the sums of the months that are stored, oldest first."""

    def month_draft(self, month: str, taken_at: datetime) -> MonthDraft:
        """Return an empty draft for a month's lines. Makes no call."""

    def write_fleet(self, fleet: FleetSnapshot) -> None:
        """Replace an older list with this list; a newer list stays."""

    def write_notes(self, notes: Notes) -> None:
        """Replace older notes with these notes; newer notes stay."""


class Costs(Protocol):
    """The port that reads the cost of each user from the bill, by the labels of the resources."""

    def month(self, month: str) -> Mapping[UserKey, float] | None:
        """Return the cost of each user in a month (`2026-11`), in the bill's currency. Return None if no billing export is configured."""
