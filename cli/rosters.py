"""The commands `roster show`, `check`, `drop` and `allow`.

Rosters are the lists of all people that are compared with the records each hour.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import click
from msgspec import to_builtins

from cli.context import FAILED, App, guarded, output_option, pass_app, stop
from cli.output import PlainGroup, complain, console, print_json, say, table
from shared.domain.fleet.roster import ALLOWED_FOR, Allowed, Reading, RosterKind
from shared.domain.things.times import duration_text, rfc3339
from shared.engine.ports.roster import RosterRefusedError, RosterReport
from shared.engine.views.rosters import ALLOWABLE, TITLES, outcome_words, refusal_words, reports, stated_words
from shared.messages.addresses import parse_person
from shared.messages.roster_file import read_roster

_AHEAD = timedelta(days=1)  # a file may speak of a later moment than this machine's clock


@click.group(name="roster", cls=PlainGroup, invoke_without_command=True)
@output_option()
@click.pass_context
def roster(context: click.Context, output: str) -> None:
    """Show, check and allow the lists of all people: groups' members and HR's file.

    Without a subcommand: `roster show`.
    """
    if context.invoked_subcommand is None:
        context.invoke(show, output=output)


@roster.command()
@output_option()
@pass_app
@guarded
def show(app: App, *, output: str = "text") -> None:
    """Show the last reading of each roster: if it was accepted, and the differences that it found."""
    found = reports(app.deps)
    if output == "json":
        print_json({kind.value: None if report is None else to_builtins(report) for kind, report in found.items()})
        return
    if not found:
        say("No roster is switched on. Add roster: to the settings and deploy. See docs/operations.md, The rosters.")
    for kind, report in found.items():
        _show(kind, report)


def _show(kind: RosterKind, report: RosterReport | None) -> None:
    say(f"{TITLES[kind]} ({kind.value})")
    if report is None:
        say(
            "  not read yet" if kind is RosterKind.GROUPS else "  no file was dropped yet: benchkeeper roster drop FILE"
        )
        return
    if report.refusal:
        say(f"  not used: {refusal_words(report)}", err=True)
        if report.detail:
            say(f"  {report.detail}", err=True)
        if any(report.refusal == refusal.value for refusal in ALLOWABLE):
            say(f"  If the number is right: benchkeeper roster allow {kind.value} --people {report.people}", err=True)
        for fault in report.faults:
            say(f"  {fault}", err=True)
    say(f"  read {rfc3339(report.read_at)}, {report.people:,} people, {report.others:,} others")
    say(f"  in use: {'none yet' if report.accepted_at is None else rfc3339(report.accepted_at)}")
    if report.rows:
        rows = [(row.user_key, stated_words(row.stated), outcome_words(row.outcome)) for row in report.rows]
        console().print(table([("USER", "fold"), ("THE ROSTER SAYS", "fold"), ("OUTCOME", "fold")], rows))


def _read(app: App, path: Path) -> Reading:
    """Return the file's roster, as the sweep would read it now. If the file has faults, print them and exit with code 1."""
    people = app.settings.people
    try:
        return read_roster(
            path.read_bytes(),
            person=lambda address: parse_person(address, people),
            written_at=app.deps.clock.now() + _AHEAD,
        )
    except RosterRefusedError as error:
        for fault in error.faults:
            complain(f"{path}: {fault}")
        complain(error.user_message)
        stop(FAILED)


_FILE = click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))


@roster.command()
@_FILE
@output_option()
@pass_app
@guarded
def check(app: App, file: Path, *, output: str) -> None:
    """Read a file of HR as the sweep would, and list all its faults. Nothing is changed."""
    reading = _read(app, file)
    if output == "json":
        print_json({"file": str(file), "people": len(reading.people)})
        return
    say(f"{file}: {len(reading.people):,} people; the file is valid.")


@roster.command()
@_FILE
@output_option()
@pass_app
@guarded
def drop(app: App, file: Path, *, output: str) -> None:
    """Check a file of HR, and upload it to the place where the sweep reads it within the hour."""
    reading = _read(app, file)
    kind = "json" if file.read_bytes().lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{" else "csv"
    now = app.deps.clock.now()
    name = f"by-hand-{now:%Y-%m-%dT%H%M%SZ}.{kind}"
    app.deps.rosters.drop(name, file.read_bytes())
    if output == "json":
        print_json({"file": str(file), "people": len(reading.people), "name": name})
        return
    say(f"{len(reading.people):,} people. The file is read within the hour. To read it now: benchkeeper sweep roster")


@roster.command()
@click.argument("kind", type=click.Choice(RosterKind, case_sensitive=False))
@click.option(
    "--people", type=click.IntRange(min=1), required=True, help="The number of people on the list, within one per cent."
)
@click.option("--by", default="", help="The person who confirms the size, for the record.")
@output_option()
@pass_app
@guarded
def allow(app: App, kind: RosterKind, *, people: int, by: str, output: str) -> None:
    """Accept a roster with about the number of people in --people, although it shrank or many people are missing from it.

    The guard still judges each cut.
    """
    app.deps.rosters.allow(kind, Allowed(people=people, by=by[:200], at=app.deps.clock.now()))
    if output == "json":
        print_json({"kind": kind.value, "people": people, "allowed_for_s": int(ALLOWED_FOR.total_seconds())})
        return
    say(
        f"A roster of {kind.value} with about {people:,} people will be accepted for {duration_text(ALLOWED_FOR)}. "
        "To read it at once: benchkeeper sweep roster"
    )
