"""`hold` and `release`: nothing that may hold a person's data is deleted while somebody needs it kept."""

from __future__ import annotations

import click

from cli.context import FAILED, App, guarded, output_option, pass_app, stop
from cli.output import complain, print_json, say
from cli.users import say_unknown, user_key
from shared.domain.record import UserRecord
from shared.engine.intake import is_decided, want_hold

_LONGEST = 200


def _reason(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    text = " ".join(value.split())
    if not text or len(text) > _LONGEST or not text.isprintable():
        raise click.BadParameter(f"say why in 1 to {_LONGEST} characters")
    return text


@click.command()
@click.argument("user")
@click.option("--reason", required=True, callback=_reason, help="Why, for whoever looks; no names of people.")
@output_option()
@pass_app
@guarded
def hold(app: App, user: str, reason: str, output: str) -> None:
    """Keep USER's data until it is released (legal hold): no deletion, whatever the retention says.

    Access ends and begins as before. Holding again changes the reason.
    """
    _change(app, user, reason, output)


@click.command()
@click.argument("user")
@output_option()
@pass_app
@guarded
def release(app: App, user: str, output: str) -> None:
    """End USER's hold. What the retention has long let go is deleted at the next tick."""
    _change(app, user, None, output)


def _change(app: App, user: str, reason: str | None, output: str) -> None:
    stored = want_hold(user_key(app, user), reason, app.deps)
    if stored is None:
        say_unknown(app, user, announce=False)
    record = stored.record
    if output == "json":
        print_json({"user": record.email, "hold": record.hold.reason if record.hold is not None else None})
    else:
        say(_said(record))
    if reason is not None and is_decided(record):
        complain(
            "A deletion had been decided already and may not be called back. Look in a few minutes whether it is there."
        )
        stop(FAILED)


def _said(record: UserRecord) -> str:
    if record.hold is None:
        return f"{record.email} is not on hold. See what follows: benchkeeper plan {record.email}"
    return f"{record.email} is on hold since {record.hold.since:%Y-%m-%d %H:%M} UTC: {record.hold.reason}"
