"""The commands `start`, `stop`, `restart`, `extend` and `spark`: the requests of the user's page, made by an operator."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import click
from rich.text import Text

from cli.context import App, guarded, output_option, pass_app
from cli.output import PlainGroup, coloured, console, print_json, say, table
from cli.users import say_unknown, user_key
from shared.domain.record.record import Power, UserRecord
from shared.domain.record.status import ConditionType
from shared.domain.things.identity import UserKey
from shared.engine.news import requests as wishes
from shared.engine.ports.deps import Deps
from shared.engine.reconcile.changing import Accepted
from shared.engine.reconcile.reconciler import reconcile
from shared.engine.views.words import CLUSTER

_BY = "the command line"
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def length(_context: click.Context, _parameter: click.Parameter, value: str | None) -> timedelta | None:
    """Return the length of time of an option such as `90m`, `4h` or `60d`; None without the option.

    Raise `BadParameter` for any other text.
    """
    if value is None:
        return None
    found = length_of(value)
    if found is None:
        raise click.BadParameter("give a length of time, for example 90m, 4h or 60d")
    return found


def length_of(text: str) -> timedelta | None:
    """Return the length of time that `90m`, `4h` or `60d` means (a number from 1 to 10,000); None for any other text."""
    unit = _UNITS.get(text[-1:])
    if unit is None or not text[:-1].isdigit() or not 0 < int(text[:-1]) <= 10_000:  # noqa: PLR2004 - a bound against durations of years
        return None
    return timedelta(**{unit: int(text[:-1])})


@click.command(name="start")
@click.argument("user")
@output_option()
@pass_app
@guarded
def start(app: App, user: str, output: str) -> None:
    """Start USER's notebook."""
    _ask(app, user, output, lambda key, deps: wishes.ask_power(key, Power.RUNNING, deps, by=_BY))


@click.command(name="stop")
@click.argument("user")
@output_option()
@pass_app
@guarded
def stop_notebook(app: App, user: str, output: str) -> None:
    """Stop USER's notebook; the files are kept."""
    _ask(app, user, output, lambda key, deps: wishes.ask_power(key, Power.STOPPED, deps, by=_BY))


@click.command(name="restart")
@click.argument("user")
@output_option()
@pass_app
@guarded
def restart(app: App, user: str, output: str) -> None:
    """Restart USER's running notebook on its machine; files are kept, and everything in memory is lost."""
    _ask(app, user, output, lambda key, deps: wishes.ask_restart(key, deps, by=_BY))


@click.command(name="extend")
@click.argument("user")
@click.option("--for", "long", callback=length, metavar="TIME", help="How long from now, for example 90m or 4h.")
@click.option("--off", is_flag=True, help="Resume the normal idle shutdown.")
@output_option()
@pass_app
@guarded
def extend(app: App, user: str, long: timedelta | None, output: str, *, off: bool) -> None:
    """Suspend the idle shutdown of USER's notebook for a while. The profile sets the longest time."""
    if (long is None) != off:
        raise click.UsageError("use either --for TIME or --off")

    def ask(key: UserKey, deps: Deps) -> Accepted | None:
        until: datetime | None = deps.clock.now() + long if long is not None else None
        return wishes.keep_on(key, until, deps, by=_BY)

    _ask(app, user, output, ask)


@click.group(name="spark", cls=PlainGroup)
def spark_group() -> None:
    """List, start and delete a user's Spark clusters."""


@spark_group.command(name="list")
@click.argument("user")
@output_option()
@pass_app
@guarded
def list_clusters(app: App, user: str, output: str) -> None:
    """List the Spark environments of USER and of USER's profile, with their states."""
    stored = app.deps.records.load(user_key(app, user))
    if stored is None:
        say_unknown(app, user)
    else:
        _show_clusters(stored.record, app, output)


@spark_group.command(name="start")
@click.argument("user")
@click.argument("template")
@output_option()
@pass_app
@guarded
def start_cluster(app: App, user: str, template: str, output: str) -> None:
    """Start USER's Spark cluster from TEMPLATE; a running cluster is reused."""
    _ask_spark(app, user, output, lambda key, deps: wishes.want_cluster(key, template, deps, by=_BY))


@spark_group.command(name="delete")
@click.argument("user")
@click.argument("template")
@output_option()
@pass_app
@guarded
def delete_cluster(app: App, user: str, template: str, output: str) -> None:
    """Delete USER's Spark cluster that was made from TEMPLATE."""
    _ask_spark(app, user, output, lambda key, deps: wishes.drop_cluster(key, template, deps, by=_BY))


def _asked(app: App, user: str, ask: Callable[[UserKey, Deps], Accepted | None]) -> UserRecord | None:
    """Make the request, then reconcile the user. Return the record after the pass; None if the user is unknown."""
    deps = app.deps
    accepted = ask(user_key(app, user), deps)
    if accepted is None:
        return None
    result = reconcile(accepted.stored.record.user_key, deps)
    return result.record if result is not None else accepted.stored.record


def _ask(app: App, user: str, output: str, ask: Callable[[UserKey, Deps], Accepted | None]) -> None:
    record = _asked(app, user, ask)
    if record is None:
        say_unknown(app, user)
    ready = record.status.condition(ConditionType.NOTEBOOK_READY)
    message = ready.message if ready is not None else "No check was made yet."
    until = record.spec.keep_on_until
    if output == "json":
        print_json(
            {
                "user": record.email,
                "power": record.spec.power.value,
                "keep_on_until": until.isoformat() if until is not None else None,
                "message": message,
            }
        )
        return
    say(f"{record.email}: {message}")
    if until is not None:
        say(f"Extended until {until:%Y-%m-%d %H:%M} UTC.")


def _ask_spark(app: App, user: str, output: str, ask: Callable[[UserKey, Deps], Accepted | None]) -> None:
    record = _asked(app, user, ask)
    if record is None:
        say_unknown(app, user)
    else:
        _show_clusters(record, app, output)


def _show_clusters(record: UserRecord, app: App, output: str) -> None:
    catalog = app.deps.policy.catalog
    profile = catalog.profiles.get(record.spec.profile or "")
    offered = profile.templates if profile is not None else ()
    names = dict.fromkeys([*offered, *(c.template for c in record.status.clusters)])
    rows = [_row(record, name) for name in names]
    if output == "json":
        print_json(rows)
    elif not rows:
        say("This profile has no Spark environments.")
    else:
        columns = [("TEMPLATE", "fold"), ("STATE", ""), ("WHY", "fold"), ("ADDRESS", "fold")]
        console().print(
            table(columns, [(r["template"], _said_state(str(r["state"])), r["message"], r["url"] or "-") for r in rows])
        )


def _said_state(state: str) -> Text:
    word = {"None": "Not started", "Pending": "Requested"}.get(state) or CLUSTER.get(state, "Not known")
    return Text(word, style=coloured(state).style)


def _row(record: UserRecord, template: str) -> dict[str, Any]:
    known = record.status.cluster(template)
    wanted = record.spec.wish(template) is not None
    return {
        "template": template,
        "wanted": wanted,
        "cluster": known.name if known is not None else None,
        "state": known.state.value
        if known is not None and known.state is not None
        else ("Pending" if wanted else "None"),
        "message": known.message if known is not None and (known.message or wanted) else "Not started.",
        "url": known.jupyter_url if known is not None else "",
    }
