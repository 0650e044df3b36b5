"""The command `costs`: the cost of all users or of one user in a month, monthly totals, largest changes, and the limits of groups."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from fractions import Fraction
from typing import Any

import click
from rich.text import Text

from cli.context import FAILED, App, guarded, output_option, pass_app, stop
from cli.output import complain, console, print_csv, print_json, say, table
from cli.users import say_unknown, user_key
from shared.domain.fleet.fleet import FleetSnapshot
from shared.domain.fleet.spent import lines_of_record
from shared.domain.things.identity import UserKey
from shared.domain.things.meter import MONTHS, Line, month_before
from shared.domain.things.money import cost_of, rounded
from shared.domain.things.power import month_of
from shared.domain.things.times import rfc3339
from shared.engine.ports.deps import Deps
from shared.engine.views.costs import Month, Sums, month, past_month
from shared.engine.views.limits import LimitUse, limits_used
from shared.engine.views.months import CostChange, compare, not_before, thirteen

_MONTH = re.compile(r"^\d{4}-(0[1-9]|1[0-2])$")
_GROUPS = ("person", "profile", "cost-center", "department", "kind", "month", "limit")
_LINE = (
    "month", "kind", "profile", "machine", "disk_type", "disk_gb", "cost_center", "department", "seconds", "price",
    "cost", "estimated",
)  # fmt: skip
_SUM = (
    "people", "notebook_hours", "spark_hours", "unpriced_hours", "estimate", "billed", "storage",
    "unpriced_storage_hours", "is_estimated",
)  # fmt: skip
_LIMIT = (
    "group", "max_environments", "environments", "waiting", "waiting_since", "max_monthly_cost", "cost", "overshoot",
    "running_cost_an_hour",
)  # fmt: skip
_CHANGE = ("label", "user_key", "before", "after", "change", "change_a_day", "hours_a_day", "storage_a_day")


@click.command()
@click.argument("user", required=False)
@click.option("--month", "name", metavar="YYYY-MM", help="The month to show. Default: this month.")
@click.option(
    "--by",
    type=click.Choice(_GROUPS),
    default="profile",
    show_default=True,
    help="The kind of group that each line sums up.",
)
@click.option("--changes", is_flag=True, help="Show the largest changes since the previous month.")
@output_option("table", "json", "csv")
@pass_app
@guarded
def costs(app: App, user: str | None, name: str | None, *, by: str, changes: bool, output: str) -> None:
    """Show what all people, or USER, cost in a month.

    Amounts are the metered time multiplied by the configured prices. The page also shows the bill. The amounts of
    all people are those of the last sweep, as on the page Costs; those of USER are computed now, as on the person's page.
    The table and JSON name the time of the amounts.
    """
    if name is not None and not _MONTH.match(name):
        raise click.UsageError(f"'{name}' is not a month. Write it as 2026-10.")
    if user is not None:
        _print_person(app, user, name, output)
        return
    fleet = app.deps.fleet.fleet()
    if fleet is None:
        complain("No sweep has listed all people yet. Costs appear ten minutes after the first start.")
        stop(FAILED)
    if by == "limit":
        _print_limits(limits_used(fleet.rows, app.deps.policy.catalog, fleet.taken_at), output)
        return
    found = _month(app.deps, fleet, name)
    if changes:
        _print_changes(app, fleet, found, by, output)
        return
    if by == "month":
        sums = thirteen(found, app.deps.fleet.month_totals(), app.deps.policy.catalog)
        rows = [("month", each.month, each.sums) for each in sums if each.sums is not None]
        if output == "table" and (first := not_before(sums)):
            say(f"Nothing was metered before {first}.")
    else:
        rows = _rows(found, by)
    _print_sums(app, found, by, rows, output)


def _month(deps: Deps, fleet: FleetSnapshot, name: str | None) -> Month:
    if name is None or name == month_of(fleet.taken_at):
        return month(fleet, deps.policy.catalog, deps.fleet.notes())
    lines = deps.fleet.month(name)
    if lines is None:
        known = [each.month for each in deps.fleet.month_totals()]
        complain(f"No costs of {name} are stored. Stored months: {', '.join(known) or 'none'}.")
        stop(FAILED)
    return past_month(lines, fleet, deps.policy.catalog)


def _rows(found: Month, by: str) -> list[tuple[str, str, Sums]]:
    if by == "person":
        return [(row.user_key, row.email or row.user_key, sums) for row, sums in found.by_person]
    groups: dict[str, Iterable[tuple[str, Sums]]] = {
        "profile": found.by_profile,
        "cost-center": found.by_cost_center,
        "department": found.by_department,
        "kind": found.by_kind,
    }
    return [("", str(name) or "none", sums) for name, sums in groups[by]]


def _as_of(moment: datetime) -> str:
    return f", as of {moment:%Y-%m-%d %H:%M} UTC"


def _print_sums(app: App, found: Month, by: str, rows: list[tuple[str, str, Sums]], output: str) -> None:
    first = by.replace("-", "_")
    plain = [
        {
            **({"month": found.name} if by != "month" else {}),
            first: label,
            **({"user_key": key} if by == "person" else {}),
            **_sums(sums),
        }
        for key, label, sums in rows
    ]
    if output == "json":
        plain_head = {"month": found.name, "currency": app.settings.currency, "taken_at": rfc3339(found.at)}
        print_json({**plain_head, "rows": plain})
    elif output == "csv":
        keys = [*(["month"] if by != "month" else []), first, *(["user_key"] if by == "person" else []), *_SUM]
        print_csv(plain, keys)
    else:
        counts = () if by == "person" else (("PEOPLE", "whole"),)  # each line is one person
        cells = [
            (
                label,
                *((str(sums.people),) if counts else ()),
                _hours(sums.notebook_s),
                _hours(sums.spark_s),
                _money(sums.estimate),
                _guess(sums),
            )
            for _, label, sums in rows
        ]
        figures = ((each, "whole") for each in ("NOTEBOOK H", "SPARK H", "COST", ""))
        console().print(table([(by.upper(), "fold"), *counts, *figures], cells))
        total = found.total
        amount = f"{_money(total.estimate)} {app.settings.currency} for {total.people} people"
        say(f"{found.name}: {amount}{_as_of(found.at)}.")
        for kind, name in found.unpriced:
            say(f"Not included, because it has no price: {kind}{f' {name}' if name else ''}.")


def _print_limits(limits: Sequence[LimitUse], output: str) -> None:
    rows = [
        {
            "group": each.group,
            "max_environments": each.room,
            "environments": each.used if each.room is not None else None,
            "waiting": each.waiting,
            "waiting_since": None if each.waiting_since is None else each.waiting_since.isoformat(),
            "max_monthly_cost": each.budget,
            "cost": None if each.spending is None else _amount(each.spending.spent),
            "overshoot": None if each.spending is None else _amount(each.overshoot),
            "running_cost_an_hour": None if each.spending is None else _amount(each.spending.hourly),
        }
        for each in limits
    ]
    if output == "json":
        print_json({"rows": rows})
    elif output == "csv":
        print_csv(rows, _LIMIT)
    elif not rows:
        say("No group has a limit. One is set under assignments in profiles.yaml.")
    else:
        columns = [("GROUP", "fold"), *((each, "whole") for each in ("NOTEBOOKS", "COST", "OVERSHOOT", "WAITING"))]
        console().print(table(columns, [(e.group, *_limit_cells(e), str(e.waiting)) for e in limits]))


def _limit_cells(each: LimitUse) -> tuple[str, str, str]:
    """Return three cells: notebooks used, money spent, each with its limit, and the amount by which spending may exceed the limit.

    A cell is `-` if the group has no such limit.
    """
    notebooks = "-" if each.room is None else f"{each.used} of {each.room}"
    if each.spending is None or each.budget is None:
        return notebooks, "-", "-"
    return notebooks, f"{_money(each.spending.spent)} of {each.budget:,.2f}", _money(each.overshoot)


def _print_changes(app: App, fleet: FleetSnapshot, found: Month, by: str, output: str) -> None:
    if by == "month":
        raise click.UsageError(
            "--changes compares two months; use --by person, profile, cost-center, department or kind."
        )
    against = month_before(found.name)
    lines = app.deps.fleet.month(against)
    changes: tuple[CostChange, ...] = ()
    if lines is not None:
        before = past_month(lines, fleet, app.deps.policy.catalog)
        compared = compare(before, found, is_whole=found.name != month_of(fleet.taken_at))
        changes = getattr(compared, f"by_{by.replace('-', '_')}")
    elif output == "table":
        say(f"No costs of {against} are stored, so there is nothing to compare.")
        return
    rows = [
        {
            "label": each.label,
            "user_key": each.key if by == "person" else "",
            "before": _amount(each.before),
            "after": _amount(each.after),
            "change": _amount(each.change),
            "change_a_day": _amount(each.a_day),
            "hours_a_day": round(each.hours, 2),
            "storage_a_day": _amount(each.storage_a_day),
        }
        for each in changes
    ]
    if output == "json":
        print_json({"month": found.name, "against": against, "currency": app.settings.currency, "rows": rows})
    elif output == "csv":
        print_csv(rows, _CHANGE)
    else:
        cells = [
            (e.label or "none", _money(e.before), _money(e.after), _money(e.a_day), f"{e.hours:+.1f}") for e in changes
        ]
        heads = (against, found.name, "A DAY", "HOURS A DAY")
        console().print(table([(by.upper(), "fold"), *((each, "whole") for each in heads)], cells))


def _print_person(app: App, user: str, name: str | None, output: str) -> None:
    key = user_key(app, user)
    stored = app.deps.records.load(key)
    if stored is None:
        say_unknown(app, user)
    now, catalog = app.deps.clock.now(), app.deps.policy.catalog
    lines = list(lines_of_record(stored.record, now))
    lines += _older(app.deps, stored.record.user_key, {line.month for line in lines}, month_of(now))
    shown = [line for line in sorted(lines, key=_order, reverse=True) if name is None or line.month == name]
    costs_of = [cost_of(line, catalog) for line in shown]
    rows = [_plain_line(line, cost) for line, cost in zip(shown, costs_of, strict=True)]
    if output == "json":
        print_json({"user_key": key, "currency": app.settings.currency, "taken_at": rfc3339(now), "rows": rows})
    elif output == "csv":
        print_csv(rows, _LINE)
    elif not rows:
        say("Nothing was metered.")
    else:
        cells = [(*_cells(line), _money(cost)) for line, cost in zip(shown, costs_of, strict=True)]
        columns = [("MONTH", "whole"), ("WHAT", "fold"), ("HOURS", "whole"), ("COST", "whole")]
        console().print(table(columns, cells))
        total = _money(sum((cost for cost in costs_of if cost is not None), Fraction(0)))
        say(f"{total} {app.settings.currency}{_as_of(now)}.")


def _older(deps: Deps, key: UserKey, known: set[str], now: str) -> list[Line]:
    """Return the user's stored lines of the last twelve months that the record no longer has. Each stored month takes one read."""
    stored = {each.month for each in deps.fleet.month_totals()} - known
    found: list[Line] = []
    for _ in range(MONTHS - 1):
        now = month_before(now)
        found += (deps.fleet.month_about(now, key) or ()) if now in stored else ()
    return found


def _order(line: Line) -> tuple[str, str]:
    return line.month, line.what.kind.value


def _plain_line(line: Line, cost: Fraction | None) -> dict[str, Any]:
    what = line.what
    return {
        "month": line.month,
        "kind": what.kind.value,
        "profile": what.profile,
        "machine": what.machine,
        "disk_type": what.disk_type,
        "disk_gb": what.disk_gb,
        "cost_center": what.cost_center,
        "department": what.department,
        "seconds": line.seconds,
        "price": what.price or None,
        "cost": _amount(cost),
        "estimated": line.estimated,
    }


def _cells(line: Line) -> tuple[str | Text, ...]:
    what = line.what
    thing = what.machine or (f"{what.disk_gb} GB {what.disk_type}" if what.disk_gb else what.disk_type)
    said = ", ".join(part for part in (what.kind.value, what.profile, thing) if part)
    return line.month, f"{said}{' (estimated)' if line.estimated else ''}", _hours(line.seconds)


def _sums(sums: Sums) -> dict[str, Any]:
    return {
        "people": sums.people,
        "notebook_hours": round(sums.notebook_s / 3600, 2),
        "spark_hours": round(sums.spark_s / 3600, 2),
        "unpriced_hours": round(sums.unpriced_s / 3600, 2),
        "estimate": _amount(sums.estimate),
        "billed": None if sums.billed is None else round(sums.billed, 4),
        "storage": _amount(sums.storage),
        "unpriced_storage_hours": round(sums.unpriced_storage_s / 3600, 2),
        "is_estimated": sums.estimated,
    }


def _amount(amount: Fraction | None) -> float | None:
    return None if amount is None else float(rounded(amount, 4))


def _money(amount: Fraction | None) -> str:
    return "unknown" if amount is None else f"{rounded(amount):,.2f}"


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:,.1f}"


def _guess(sums: Sums) -> str:
    return "estimated" if sums.estimated else ""
