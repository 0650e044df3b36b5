"""The cost of a user's environments this month: from the bill if there is one, else an estimate that is labelled as one. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec import Struct

from shared.domain.fleet.fleet import Notes
from shared.domain.record.record import UserRecord
from shared.domain.things.catalog import Catalog, Profile
from shared.domain.things.usage import NOTEBOOK, cluster_usage, month_of


class CostLine(Struct, frozen=True, kw_only=True):
    """The cost of an environment: its running time this month and its price. `hourly_cost` is None if no price is configured."""

    name: str
    ran: timedelta
    hourly_cost: float | None

    @property
    def hours(self) -> float:
        """The running time in hours, rounded to a tenth."""
        return round(self.ran.total_seconds() / 3600, 1)

    @property
    def estimate(self) -> float | None:
        """The running time in hours times the hourly price; None without a price."""
        return None if self.hourly_cost is None else self.ran.total_seconds() / 3600 * self.hourly_cost


class CostView(Struct, frozen=True, kw_only=True):
    """The cost of this month, in `currency`.

    `has_bill` is True if the bill of this month could be read, as of `billed_at`. `billed` is the amount that carries this
    user's label, None while the bill does not name the user. `estimate` is the sum of the lines that have a price. `unpriced`
    names the environments that ran and have no price.
    """

    month: datetime
    currency: str
    lines: tuple[CostLine, ...]
    has_bill: bool
    billed: float | None
    billed_at: datetime | None
    estimate: float | None
    unpriced: tuple[str, ...]

    @property
    def has_run(self) -> bool:
        """A flag: true if any environment ran this month."""
        return any(line.ran for line in self.lines)


def short_cost(view: CostView) -> str:
    """Return this month's cost in a few words for the line of facts: `4.90 EUR this month`."""
    amount = view.billed if view.billed is not None else view.estimate
    if amount is None:
        return "no price configured" if view.has_run else "nothing spent this month"
    about = "" if view.billed is not None or not amount else "about "
    return f"{about}{amount:,.2f} {view.currency} this month"


def cost_view(
    record: UserRecord, profile: Profile | None, catalog: Catalog, notes: Notes | None, *, currency: str, now: datetime
) -> CostView:
    """Return the costs of one user in the month of `now`."""
    usage = record.status.usage
    lines = [_line("Notebook", record, NOTEBOOK, profile.hourly_cost if profile is not None else None, now)]
    spark = sorted(name for name in usage if name != NOTEBOOK)
    templates = {cluster_usage(name): name for name in (*catalog.masters, *catalog.environments)}
    for name in spark:
        environment = catalog.environment(templates.get(name, name.partition(":")[2]))
        lines.append(_line(environment.title, record, name, environment.hourly_cost, now))
    shown = tuple(line for line in lines if line.ran or line is lines[0])
    priced = [line.estimate for line in shown if line.estimate is not None]
    costs = notes.costs if notes is not None and notes.costs_month == month_of(now) else None
    return CostView(
        month=now,
        currency=currency,
        lines=shown,
        has_bill=costs is not None,
        billed=costs.get(record.user_key) if costs is not None else None,
        billed_at=notes.costs_at if notes is not None and costs is not None else None,
        estimate=sum(priced) if priced else None,
        unpriced=tuple(line.name for line in shown if line.hourly_cost is None and line.ran),
    )


def _line(title: str, record: UserRecord, name: str, hourly_cost: float | None, now: datetime) -> CostLine:
    known = record.status.usage.get(name)
    ran = known.in_month_of(now) if known is not None else timedelta(0)
    return CostLine(name=title, ran=ran, hourly_cost=hourly_cost)
