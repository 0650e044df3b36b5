"""The command `repair`: restore a damaged or deleted record by hand. Deliveries and sweeps also do so when they meet one."""

from __future__ import annotations

import sys
from typing import NoReturn

import click

from cli.context import FAILED, App, guarded, output_option, pass_app, stop
from cli.output import agreed, complain, print_json, say
from cli.users import user_key
from shared.domain.record.record import Presence
from shared.domain.record.recovery import Intact, NeverWritten, Recoverable
from shared.domain.things.identity import UserKey
from shared.domain.things.times import rfc3339
from shared.engine.reconcile.reconciler import reconcile
from shared.engine.reconcile.repair import find_damage, load_mended


@click.command()
@click.argument("user")
@click.option("--dry-run", is_flag=True, help="Show the version that would be restored, and do nothing.")
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
            _say(output, {"user": user, "damaged": False}, f"Nothing is damaged: the record of {user} can be read.")
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
        _say(output, view, f"{what} would be restored. Nothing was done.")
        return
    if not yes:
        _ask(f"{what} comes back; what was said after it is lost. Go on?")
    stored = load_mended(key, app.deps, if_missing=True)
    if stored is None:
        _say_gone(user)
    reconcile(stored.record.user_key, app.deps)
    _say(output, view, f"{what} is restored. See the plan: benchkeeper show  {user}")


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


def _say(output: str, view: dict[str, object], text: str) -> None:
    if output == "json":
        print_json(view)
    else:
        say(text)


def _say_gone(user: str) -> NoReturn:
    complain(f"The versions of {user}'s record went away meanwhile.")
    stop(FAILED)
