"""The commands `hold` and `release`: while a hold is in place, nothing that may hold the user's data is deleted."""

from __future__ import annotations

import click

from cli.context import FAILED, App, guarded, output_option, pass_app, stop
from cli.hub_door import hub_options, open_door, why_no_page
from cli.output import complain, print_json, say
from cli.users import say_unknown, user_key
from shared.domain.record.record import UserRecord
from shared.engine.reconcile.changing import is_decided, want_hold

_LONGEST = 200


def _reason(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    text = " ".join(value.split())
    if not text or len(text) > _LONGEST or not text.isprintable():
        raise click.BadParameter(f"say why in 1 to {_LONGEST} characters")
    return text


@click.command()
@click.argument("user")
@click.option(
    "--reason", required=True, callback=_reason, help="The reason, which others will read. Leave out names of people."
)
@output_option()
@pass_app
@guarded
def hold(app: App, user: str, reason: str, output: str) -> None:
    """Keep USER's data until it is released (legal hold): no deletion, whatever the retention says.

    Access is not affected. A second hold replaces the reason.
    """
    _change(app, user, reason, output)


@click.command()
@click.argument("user")
@hub_options
def release(app: App, user: str, hub: str | None, who: str | None, output: str) -> None:
    """Release USER's hold. Data past its retention is deleted at the next tick.

    A second administrator must agree, with benchkeeper approve DIGEST or on the page Changes. Nothing is deleted before
    that. With guard.approvers: 1, or if there is no page, the hold ends at once.
    """
    alone = _alone(app, hub)
    if alone:
        _change(app, user, None, output)
        complain(f"No other administrator was asked: {alone}")
        return
    key = user_key(app, user)
    stored = app.deps.records.load(key)
    if stored is None:
        say_unknown(app, user, announce=False)
    record = stored.record
    if record.hold is None:
        _say(record, output)
        return
    done = open_door(app, hub, who).post("/api/releases", {"user_key": record.user_key})
    if output == "json":
        print_json({"user": record.email, "hold": record.hold.reason, "waits": done["digest"]})
        return
    say(done["says"])
    if done["digest"]:
        say(f"Another administrator has to agree: benchkeeper approve {done['digest']}")


def _alone(app: App, hub: str | None) -> str:
    """Return the reason why one administrator may release a hold here, or "" if a second administrator must agree."""
    if app.deps.policy.guard.approvers == 1:
        return "guard.approvers is 1."
    return "" if hub is not None else why_no_page(app.settings)


def _change(app: App, user: str, reason: str | None, output: str) -> None:
    stored = want_hold(user_key(app, user), reason, app.deps)
    if stored is None:
        say_unknown(app, user, announce=False)
    record = stored.record
    _say(record, output)
    if reason is not None and is_decided(record):
        complain(
            "A deletion had been decided already and may not be called back. Look in a few minutes whether it is there."
        )
        stop(FAILED)


def _say(record: UserRecord, output: str) -> None:
    if output == "json":
        print_json({"user": record.email, "hold": record.hold.reason if record.hold is not None else None})
    else:
        say(_said(record))


def _said(record: UserRecord) -> str:
    if record.hold is None:
        return f"{record.email} is not on hold. See what follows: benchkeeper plan {record.email}"
    return f"{record.email} is on hold since {record.hold.since:%Y-%m-%d %H:%M} UTC: {record.hold.reason}"
