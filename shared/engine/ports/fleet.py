"""Ports of what sweeps keep of everybody for the pages, and what it cost.

Every method of a port may raise `RetryableError` or `PermanentError` of `shared.domain.things.errors`, and nothing else on purpose. Adapters in
`shared.cloud` fulfil the ports; tests bring fakes of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from shared.domain.fleet.figures import Figures
from shared.domain.fleet.fleet import FleetSnapshot, Notes
from shared.domain.things.identity import UserKey
from shared.engine.ports.records import ListedRow


class FleetAbout(Struct, frozen=True):
    """A list without its rows, and the figures of them; None if an earlier version wrote it."""

    fleet: FleetSnapshot
    figures: Figures | None

    @property
    def taken_at(self) -> datetime:
        """Return when the list was taken."""
        return self.fleet.taken_at


class FleetDraft(Protocol):
    """A list of the fleet in the making. It holds its rows packed, whatever their number."""

    def add(self, listed: ListedRow) -> None:
        """Take in a row; no call."""

    def write(self, about: FleetSnapshot, figures: Figures) -> None:
        """Write it: the rows that were added, and all else as `about` says, whose rows do not count. A newer list stays.

        `figures` are those of these rows.
        """


class FleetIndex(Protocol):
    """The fleet at one moment, kept in one object, and what people's own pages tell of it in another.

    Reads are kept in the process: what did not change since is not read again.
    """

    def fleet(self) -> FleetSnapshot | None:
        """Return the newest one, None before the first sweep."""

    def about(self) -> FleetAbout | None:
        """Return the newest one without its rows: what the next sweep has to know of it, and what the overview shows."""

    def draft(self) -> FleetDraft:
        """Begin a list, which takes its rows one by one."""

    def notes(self) -> Notes | None:
        """Return the newest ones, None before the first sweep."""

    def notes_about(self, user_key: UserKey) -> Notes | None:
        """Return the same as far as it is about one person."""

    def write_fleet(self, fleet: FleetSnapshot) -> None:
        """Take the place of an older one; a newer one stays."""

    def write_notes(self, notes: Notes) -> None:
        """Take the place of older ones; newer ones stay."""


class Costs(Protocol):
    """What people cost, by the labels on the bill."""

    def month(self, month: str) -> Mapping[UserKey, float] | None:
        """By person for a month (`2026-11`), in the bill's currency; None where no billing export is configured."""
