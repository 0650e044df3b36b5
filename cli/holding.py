"""The commands `hold`, `release` and `repair`, for the data of one user.

While a hold is in place, nothing that may contain the user's data is deleted. `repair` restores a damaged or deleted
record by hand; deliveries and sweeps restore such a record as soon as they read it.
"""

from __future__ import annotations

import sys
from typing import NoReturn

import click

from cli.context import FAILED, App, guarded, output_option, pass_app, stop
from cli.hub_door import hub_options, open_door, why_no_page
from cli.output import agreed, complain, print_json, say
from cli.users import say_unknown, user_key
from shared.domain.record.record import Presence, UserRecord
from shared.domain.record.recovery import Intact, NeverWritten, Recoverable
from shared.domain.things.identity import UserKey
from shared.domain.things.times import rfc3339
from shared.engine.reconcile.changing import is_decided, want_hold
from shared.engine.reconcile.reconciler import reconcile
from shared.engine.reconcile.repair import find_damage, load_mended

_LONGEST = 200


def _reason(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    text = " ".join(value.split())
    if not text or len(text) > _LONGEST or not text.isprintable():
        raise click.BadParameter(f"give the reason in 1 to {_LONGEST} characters")
    return text


@click.command()
@click.argument("user")
@click.option(
    "--reason", required=True, callback=_reason, help="The reason, which other people can read. Do not name people."
)
@output_option()
@pass_app
@guarded
def hold(app: App, user: str, reason: str, output: str) -> None:
    """Keep USER's data until the hold is released (legal hold): no deletion, whatever the retention says.

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
            "A deletion had been decided already, and perhaps cannot be cancelled. Check in a few minutes if the data still exists."
        )
        stop(FAILED)


def _say(record: UserRecord, output: str) -> None:
    if output == "json":
        print_json({"user": record.email, "hold": record.hold.reason if record.hold is not None else None})
    else:
        say(_said(record))


def _said(record: UserRecord) -> str:
    if record.hold is None:
        return f"{record.email} is not on hold. To see the next steps: benchkeeper plan {record.email}"
    return f"{record.email} has been on hold since {record.hold.since:%Y-%m-%d %H:%M} UTC: {record.hold.reason}"


@click.command()
@click.argument("user")
@click.option("--dry-run", is_flag=True, help="Show the version that would be restored, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@output_option()
@pass_app
@guarded
def repair(app: App, user: str, *, dry_run: bool, yes: bool, output: str) -> None:
    """Restore USER's record if it is damaged or deleted, from the newest older version that can be read.

    Statements after that version are lost, so publish them again. A record of a newer program version is never changed.
    """
    key = user_key(app, user)
    match find_damage(key, app.deps):
        case NeverWritten():
            complain(f"No such person: {user}, and no older version of a record is kept.")
            stop(FAILED)
        case Intact():
            _say_repair(
                output, {"user": user, "damaged": False}, f"Nothing is damaged: the record of {user} can be read."
            )
        case Recoverable() as found:
            _repair(app, key, user, found, dry_run=dry_run, yes=yes, output=output)


def _repair(app: App, key: UserKey, user: str, found: Recoverable, *, dry_run: bool, yes: bool, output: str) -> None:
    view = {
        "user": user,
        "user_key": found.user_key,
        "damaged": True,
        "deleted": found.deleted,
        "written_at": rfc3339(found.written_at),
        "generation": found.generation,
        "presence": found.record.spec.presence.value if found.record is not None else None,
        "leads_to": found.moved_to,
        "dry_run": dry_run,
    }
    what = f"The record of {user} is {'gone' if found.deleted else 'damaged'}. {_which(found)}"
    if dry_run:
        _say_repair(output, view, f"{what} would be restored. Nothing was done.")
        return
    if not yes:
        _ask(f"{what} comes back; statements made after it are lost. Continue?")
    stored = load_mended(key, app.deps, if_missing=True)
    if stored is None:
        _say_gone(user)
    reconcile(stored.record.user_key, app.deps)
    _say_repair(output, view, f"{what} is restored. See the plan: benchkeeper show {user}")


_ACCESS = {Presence.PRESENT: "with access", Presence.ABSENT: "without access"}


def _which(found: Recoverable) -> str:
    at = f"{found.written_at:%Y-%m-%d %H:%M:%S} UTC"
    if found.record is None:
        return f"The version of {at} (generation {found.generation}), which leads to {found.moved_to},"
    return f"The version of {at} (generation {found.generation}), {_ACCESS[found.record.spec.presence]},"


def _ask(question: str) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError("stdin is not a terminal, so no question was asked: use --yes, or try --dry-run first")
    if not agreed(question):
        stop(FAILED)


def _say_repair(output: str, view: dict[str, object], text: str) -> None:
    if output == "json":
        print_json(view)
    else:
        say(text)


def _say_gone(user: str) -> NoReturn:
    complain(f"The versions of {user}'s record have disappeared meanwhile.")
    stop(FAILED)
