"""Ports of the roster: the place from which the list of all people is read, and the state that the sweep stores about that list.

A method of a port may raise `RetryableError` or `PermanentError` (`shared.domain.things.errors`); any other exception
is a bug. Adapters in `shared.cloud` implement the ports; tests have their own fakes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from shared.domain.fleet.roster import RosterState
from shared.domain.things.errors import PermanentError
from shared.domain.things.identity import UserKey

if TYPE_CHECKING:
    from shared.domain.fleet.roster import Allowed, Reading, Refusal, RosterKind
    from shared.domain.things.identity import UserEmail


class RosterRefusedError(PermanentError):
    """The error for a roster that was read but must not be used.

    `refusal` is the reason, `faults` has one line for each fault in the file.
    """

    def __init__(self, refusal: Refusal, faults: Sequence[str], *, user_message: str, detail: str) -> None:
        super().__init__(user_message=user_message, detail=detail)
        self.refusal, self.faults = refusal, tuple(faults)


class RosterSource(Protocol):
    """A place from which a roster is read as a whole."""

    @property
    def kind(self) -> RosterKind:
        """The kind of roster."""

    def read(self, groups: frozenset[str], now: datetime) -> Reading | None:
        """Return the whole roster, or None if there is none yet. `groups` are the assigned groups, `now` is the start of the read.

        Raise `RosterRefusedError` for a faulty roster, and another `BenchkeeperError` if a part could not be read: a partial
        roster is never returned.
        """

    def is_absent(self, email: UserEmail, group: str, reading: Reading) -> bool:
        """Return True if a second read confirms that the person is not in the group now. `group` is "" for the roster of employees."""


class StoredRoster(Struct, frozen=True):
    """The state of a roster, and the generation of its object (0: none yet)."""

    state: RosterState
    generation: int


class ReportRow(Struct, frozen=True, kw_only=True):
    """A difference found by the last reading. `stated` names groups or "employment", each with a leading + or -; `outcome` is the value of a `RosterOutcome`."""

    user_key: UserKey
    stated: tuple[str, ...]
    outcome: str


class RosterReport(Struct, frozen=True, kw_only=True):
    """The result of the last reading, for page and command line.

    `refusal` is empty for an accepted reading; `faults` has one line for each fault in the file. `accepted_at` is the `as_of` of the
    roster in use. `found` counts the differences by outcome; `rows` lists them. `people` is the number of listed people, `others` that of
    members who do not count, `smallest` the smallest accepted number. `is_first` is True if no roster was accepted before.
    """

    kind: str
    read_at: datetime
    people: int = 0
    others: int = 0
    smallest: int = 0
    refusal: str = ""
    detail: str = ""
    faults: tuple[str, ...] = ()
    accepted_at: datetime | None = None
    is_first: bool = False
    found: Mapping[str, int] = {}
    rows: tuple[ReportRow, ...] = ()


class Rosters(Protocol):
    """The store of the rosters' states, of operators' statements about their sizes, and of the reports for pages."""

    def load(self, kind: RosterKind) -> StoredRoster:
        """Return the state; an empty one before the first accepted reading."""

    def save(self, kind: RosterKind, state: RosterState, *, expected: StoredRoster) -> None:
        """Write the state. Raise `ConflictError` if another process wrote it meanwhile."""

    def allowed(self, kind: RosterKind) -> Allowed | None:
        """Return the operator's statement that a roster of this size is right; None if there is none."""

    def allow(self, kind: RosterKind, allowed: Allowed) -> None:
        """Write an operator's statement that a roster of this size is right; it replaces an earlier statement."""

    def drop(self, name: str, raw: bytes) -> None:
        """Store a file of employees in the folder that the next reading reads, as HR does."""

    def report(self, kind: RosterKind) -> RosterReport | None:
        """Return the report of the last reading; None before the first one."""

    def write_report(self, kind: RosterKind, report: RosterReport) -> None:
        """Replace the report."""
