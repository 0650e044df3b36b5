"""The command `certificate`: the proof that a leaver is gone."""

from __future__ import annotations

import click
from rich.text import Text

from cli.context import FAILED, App, guarded, output_option, pass_app, stop
from cli.output import complain, console, print_json, say, table
from cli.users import say_unknown, user_key
from shared.engine.views.certificate import NOT_COVERED, certificate_json, certificate_of


@click.command()
@click.argument("user")
@output_option()
@pass_app
@guarded
def certificate(app: App, user: str, output: str) -> None:
    """Show the certificate of USER, who left: when each of eight paths was cut, and when the cloud was asked again and said so.

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
        _print(certificate_json(found, stored.record))
    if not found.complete:
        stop(FAILED)


def _print(view: dict[str, object]) -> None:
    complete = f"complete since {view['complete_at']}" if view["complete"] else "NOT complete"
    say(f"Leaving of {view['user']}: {complete}. News of {view['since']}.")
    if view["note"]:
        say(str(view["note"]))
    rows: list[tuple[str | Text, ...]] = []
    for row in view["paths"]:  # type: ignore[attr-defined]  # a list of rows
        style = "green" if row["result"] == "verified" else "bold red"
        rows.append(
            (
                row["path"],
                Text(row["result"], style=style),
                row["cut_at"] or "-",
                row["verified_at"] or "-",
                row["says"],
            )
        )
    head = [("PATH", "whole"), ("", "whole"), ("CUT (UTC)", "whole"), ("ASKED AGAIN (UTC)", "whole"), ("SAYS", "fold")]
    console().print(table(head, rows))
    say("Not covered: " + "; ".join(NOT_COVERED) + ".")
