"""The cost of a user's environments this month: from the bill, or without a bill an estimate, which is labelled as such."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from fractions import Fraction
from typing import assert_never

from msgspec import Struct

from shared.domain.fleet.fleet import Notes
from shared.domain.fleet.spent import lines_of_record
from shared.domain.record.record import UserRecord
from shared.domain.things.catalog import Catalog, Profile
from shared.domain.things.meter import Line, MeterKind, is_priced, merged
from shared.domain.things.money import cost_of, price_of, rounded
from shared.domain.things.power import month_of

_RUNNING = frozenset({MeterKind.NOTEBOOK, MeterKind.SPARK})


class CostLine(Struct, frozen=True, kw_only=True):
    """The metered time of a machine, cluster, disk or snapshot this month, and its cost.

    `hourly_cost` is the price of an hour of a machine or cluster; None if no price is configured. It is None for storage,
    too, which is priced by GB and month. `estimate` is None without a price.
    """

    name: str
    ran: timedelta
    hourly_cost: float | None
    estimate: Fraction | None
    kind: MeterKind = MeterKind.NOTEBOOK

    @property
    def hours(self) -> float:
        """The metered time in hours, rounded to a tenth."""
        return round(self.ran.total_seconds() / 3600, 1)

    @property
    def is_storage(self) -> bool:
        """Return True if the line is for storage, not for a machine."""
        return self.kind not in _RUNNING


class CostView(Struct, frozen=True, kw_only=True):
    """The cost of this month, in `currency`.

    `has_bill` is True if the bill of this month could be read, as of `billed_at`. `billed` is the amount that carries
    this user's label, None while the bill does not name the user. `estimate` is the sum of the lines that have a price.
    `unpriced` names metered resources without a price. `is_estimated` is True if some hours are from before machines
    were metered.
    """

    month: datetime
    currency: str
    lines: tuple[CostLine, ...]
    has_bill: bool
    billed: float | None
    billed_at: datetime | None
    estimate: Fraction | None
    unpriced: tuple[str, ...]
    is_estimated: bool = False

    @property
    def has_run(self) -> bool:
        """Return True if anything was metered this month."""
        return any(line.ran for line in self.lines)


def short_cost(view: CostView) -> str:
    """Return this month's cost in a few words: `4.90 EUR this month`, or `about 4.90 EUR …` for an estimate.

    Without any amount, say that no price is configured or that nothing was spent.
    """
    amount = view.billed if view.billed is not None else view.estimate
    if amount is None:
        return "no price configured" if view.has_run else "nothing spent this month"
    about = "" if view.billed is not None or not amount else "about "
    shown = rounded(amount) if isinstance(amount, Fraction) else amount
    return f"{about}{shown:,.2f} {view.currency} this month"


def cost_view(
    record: UserRecord, profile: Profile | None, catalog: Catalog, notes: Notes | None, *, currency: str, now: datetime
) -> CostView:
    """Return the costs of one user in the month of `now`. The first line is the notebook's, even if it did not run."""
    found = [line for line in lines_of_record(record, now) if line.month == month_of(now)]
    shown = _shown(found, catalog)
    if not any(line.kind is MeterKind.NOTEBOOK for line in shown):
        price = profile.hourly_cost if profile is not None else None
        nothing = None if price is None else Fraction(0)
        shown = [CostLine(name="Notebook", ran=timedelta(0), hourly_cost=price, estimate=nothing), *shown]
    priced = [line.estimate for line in shown if line.estimate is not None]
    costs = notes.costs if notes is not None and notes.costs_month == month_of(now) else None
    return CostView(
        month=now,
        currency=currency,
        lines=tuple(shown),
        has_bill=costs is not None,
        billed=costs.get(record.user_key) if costs is not None else None,
        billed_at=notes.costs_at if notes is not None and costs is not None else None,
        estimate=sum(priced, Fraction(0)) if priced else None,
        unpriced=tuple(dict.fromkeys(line.name for line in shown if line.estimate is None and line.ran)),
        is_estimated=any(line.estimated for line in found),
    )


def _shown(lines: Sequence[Line], catalog: Catalog) -> list[CostLine]:
    """Return a line for each machine and price, for each kind of storage, and for each cluster, the present machine first."""
    by_what = merged(lines, _key)
    notebooks = [line for line in by_what if line.what.kind is MeterKind.NOTEBOOK]
    order = list(MeterKind)
    made = []
    for line in sorted(by_what, key=lambda line: order.index(line.what.kind)):
        price = line.what.price or price_of(line.what, catalog)
        runs = line.what.kind in _RUNNING
        made.append(
            CostLine(
                name=_name(line, catalog, is_only=len({each.what.machine for each in notebooks}) <= 1),
                ran=timedelta(seconds=line.seconds),
                hourly_cost=float(price) if runs and price else None,
                estimate=cost_of(line, catalog),
                kind=line.what.kind,
            )
        )
    return made


def _key(line: Line) -> object:
    what = line.what
    if what.kind in _RUNNING:
        return what.kind, what.profile, what.machine, what.price, bool(line.charge)
    return what.kind, what.disk_type, what.disk_gb, is_priced(line)


def _name(line: Line, catalog: Catalog, *, is_only: bool) -> str:
    what = line.what
    disk = f"{what.disk_gb} GB {what.disk_type}" if what.disk_gb else what.disk_type
    match what.kind:
        case MeterKind.NOTEBOOK:
            return "Notebook" if is_only or not what.machine else f"Notebook, {what.machine}"
        case MeterKind.SPARK:
            return catalog.environment(what.profile).title
        case MeterKind.DISK:
            return f"Disk while stopped, {disk}"
        case MeterKind.PREDECESSOR:
            return f"Disk of the replaced notebook, {disk}"
        case MeterKind.LEAVER:
            return f"Disk kept without access, {disk}"
        case MeterKind.SNAPSHOTS:
            return "Copies of the files"
        case _:
            assert_never(what.kind)
