"""What a run costs: list prices in US dollars, rounded up, and the sum for what the run will make.

The prices are remembered ones of europe-west1 and not read from Google's list: they say how much money it is about, no more.
"""

from __future__ import annotations

from dataclasses import dataclass

AS_OF = "2026-11-29"
MACHINE, BOOT_GB, DATA_GB, GROWN_GB = "e2-standard-2", 150, 100, 110
_HOURS_A_MONTH = 730
# what -> (dollars, unit)
PRICES = {
    MACHINE: (0.08, "hour"),
    "disk pd-balanced": (0.12 / _HOURS_A_MONTH, "GB and hour"),
    "external address": (0.005, "hour"),
    "snapshot": (0.06 / _HOURS_A_MONTH, "GB and hour"),
    "serverless Spark": (0.10, "DCU and hour"),
    "Monitoring, series returned": (0.50 / 1e6, "series"),
}
_SESSION_DCU, _SESSION_HOURS, _SERIES = 12, 0.25, 500


@dataclass(frozen=True)
class Line:
    """A line of the estimate: what, how much of it, and the dollars."""

    what: str
    amount: float
    dollars: float


def estimate(minutes: float) -> list[Line]:
    """Return the lines for a run of so many minutes, in which the instance is there all the time."""
    hours = minutes / 60
    amounts = {
        MACHINE: hours,
        "disk pd-balanced": hours * (BOOT_GB + GROWN_GB),
        "external address": hours,
        "snapshot": hours * DATA_GB,
        "serverless Spark": _SESSION_DCU * _SESSION_HOURS,
        "Monitoring, series returned": _SERIES,
    }
    return [Line(what, amount, amount * PRICES[what][0]) for what, amount in amounts.items()]


def forgotten_a_day() -> float:
    """Return the dollars of a day for an instance and a snapshot that nobody removes."""
    return sum(line.dollars for line in estimate(24 * 60) if line.what != "serverless Spark")
