"""The command `certificate`: the proof that a leaver is gone."""

from __future__ import annotations

from datetime import datetime

import click
from rich.text import Text

from cli.context import FAILED, App, guarded, output_option, pass_app, stop
from cli.output import complain, console, print_json, say_folded, table
from cli.users import say_unknown, user_key
from shared.engine.views.certificate import NOT_COVERED, Certificate, certificate_json, certificate_of


@click.command()
@click.argument("user")
@output_option()
@pass_app
@guarded
def certificate(app: App, user: str, output: str) -> None:
    """Show the certificate of USER, who left.

    For each of eight access paths, it has the times of the cut and of the cloud's last confirmation.

    Exit code 1 if a path is not verified, or USER has access.
    """
    stored = app.deps.records.load(user_key(app, user))
    if stored is None:
        say_unknown(app, user)
    found = certificate_of(stored.record)
    if found is None:
        complain(f"{user} has access, or was erased: there is nothing to certify.")
        stop(FAILED)
    if output == "json":
        print_json(certificate_json(found, stored.record))
    else:
        _print(found, user)
    if not found.complete:
        stop(FAILED)


def _print(found: Certificate, user: str) -> None:
    complete = f"complete since {_moment(found.complete_at)} UTC" if found.complete else "NOT complete"
    news = f" The news came {_moment(found.since)} UTC." if found.since is not None else ""
    say_folded(f"Leaving of {user}: {complete}.{news}")
    if found.note:
        say_folded(found.note)
    rows: list[tuple[str | Text, ...]] = [
        (
            f"{row.covers[0].upper()}{row.covers[1:]}",
            Text(f"{row.result}: {row.says}", style="green" if row.result == "verified" else "bold red"),
            _moment(row.cut_at),
            _moment(row.verified_at),
        )
        for row in found.paths
    ]
    head = [("WAY IN", "fold"), ("RESULT", "fold"), ("ENDED (UTC)", "whole"), ("CHECKED AGAIN", "whole")]
    console().print(table(head, rows))
    say_folded("Not covered: " + "; ".join(NOT_COVERED) + ".")


def _moment(moment: datetime | None) -> str:
    return "-" if moment is None else f"{moment:%Y-%m-%d %H:%M}"
