"""The texts about rosters for the page and the command line."""

from __future__ import annotations

from collections.abc import Mapping

from shared.domain.fleet.roster import Refusal, RosterKind, RosterOutcome
from shared.engine.ports.deps import Deps
from shared.engine.ports.roster import RosterReport

TITLES: Mapping[RosterKind, str] = {
    RosterKind.GROUPS: "Members of the assigned groups",
    RosterKind.EMPLOYEES: "HR's list of employees",
}
REFUSALS: Mapping[Refusal, str] = {
    Refusal.EMPTY: "The list is empty.",
    Refusal.SHRUNK: "The list has far fewer people than before.",
    Refusal.MANY_GONE: "More people would lose access than the guard allows in an hour.",
    Refusal.OLDER: "The list is older than the list in use.",
    Refusal.STALE: "The list is older than two days: the export may have stopped.",
    Refusal.UNREADABLE: "The list could not be read completely.",
    Refusal.FAULTY: "The list has faults.",
    Refusal.CHANGED: "The list changed while it was read.",
}
# Those that an operator may allow: the others say nothing about how many people are right.
ALLOWABLE = frozenset({Refusal.SHRUNK, Refusal.MANY_GONE})
OUTCOMES: Mapping[RosterOutcome, str] = {
    RosterOutcome.STATED: "found, and stated",
    RosterOutcome.STILL_THERE: "not listed, but found at a second check: no action",
    RosterOutcome.LEFT: "listed, but left according to another source: ask HR",
    RosterOutcome.FAILED: "could not be stated; tried again in an hour",
    RosterOutcome.WAITS: "would be stated",
}


def reports(deps: Deps) -> dict[RosterKind, RosterReport | None]:
    """Return the last report of each roster that is configured or has a report; None for a configured roster without a report.

    Each report costs one read.
    """
    switched_on = {source.kind for source in deps.roster_sources}
    found = {kind: deps.rosters.report(kind) for kind in RosterKind}
    return {kind: report for kind, report in found.items() if report is not None or kind in switched_on}


def refusal_words(report: RosterReport) -> str:
    """Return the reason why the last reading is not used, as a sentence; empty if the reading is used."""
    known = next((words for refusal, words in REFUSALS.items() if refusal.value == report.refusal), report.refusal)
    return f"{known} The last accepted list stays in use." if report.refusal else ""


def outcome_words(outcome: str) -> str:
    """Return the outcome of a difference in words; an outcome that only a newer version knows is returned unchanged."""
    return next((words for each, words in OUTCOMES.items() if each.value == outcome), outcome)


def stated_words(stated: tuple[str, ...]) -> str:
    """Return what was stated, for example `joined analysts@example.com`."""
    return "; ".join(statements(stated))


def statements(stated: tuple[str, ...]) -> tuple[str, ...]:
    """Return each statement as a text; the single text `nothing` if there is none."""
    return tuple(_stated(each) for each in stated) or ("nothing",)


def _stated(each: str) -> str:
    match each[:1], each[1:]:
        case "+", "employment":
            return "works here"
        case "-", "employment":
            return "left"
        case "+", group:
            return f"joined {group}"
        case "-", group:
            return f"left {group}"
        case _:
            return f"other {each}"
