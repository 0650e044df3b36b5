"""The commands `audit` (verify the audit trail, and list its entries by day) and `certificate` (the proof that a leaver has no access left)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import click
from rich.text import Text

from cli.context import FAILED, App, Day, guarded, output_option, pass_app, stop
from cli.output import PlainGroup, complain, console, print_csv, print_json, say, table
from cli.users import say_unknown, user_key
from shared.domain.record.audit import Entry
from shared.domain.things.times import rfc3339
from shared.engine.views.audit import Checked, entries_on, verify
from shared.engine.views.certificate import NOT_COVERED, Certificate, certificate_json, certificate_of
from shared.engine.views.words import line_words

COLUMNS = ("at", "user", "number", "kind", "text", "because", "by", "event", "state", "activity", "policy", "ref")


@click.group(name="audit", cls=PlainGroup, invoke_without_command=True)
@output_option("table", "json", "csv")
@click.pass_context
def audit_group(context: click.Context, output: str) -> None:
    """Verify and read the audit trail: each message, request, decision and cloud call, once and unchanged.

    Without a subcommand: `audit list`.
    """
    if context.invoked_subcommand is None:
        context.invoke(list_entries, output=output)


@audit_group.command(name="verify")
@output_option()
@pass_app
@guarded
def verify_audit(app: App, output: str) -> None:
    """Check every entry against its neighbours, the daily manifests, the log and the records. Exit code 1 if something is wrong."""
    result = verify(app.deps)
    if output == "json":
        print_json(_checked(result))
    else:
        say(
            f"{result.entries} entries in {result.objects} objects, {result.manifests} manifests "
            f"({result.logged} with a digest in the log), {result.records} records."
        )
        for fault in result.faults:
            complain(f"{fault.place}: {fault.says}")
        if not result.faults:
            say("Nothing was altered, removed or added.")
    if result.faults:
        stop(FAILED)


def _checked(result: Checked) -> dict[str, object]:
    return {
        "entries": result.entries,
        "objects": result.objects,
        "manifests": result.manifests,
        "logged": result.logged,
        "records": result.records,
        "faults": [{"place": fault.place, "says": fault.says} for fault in result.faults],
    }


@audit_group.command(name="list")
@click.option("--since", type=Day(), default=None, help="The first day (UTC). Default: today.")
@click.option("--until", type=Day(), default=None, help="The last day (UTC). Default: today.")
@output_option("table", "json", "csv")
@pass_app
@guarded
def list_entries(app: App, since: datetime | None, until: datetime | None, output: str) -> None:
    """List the audit entries of all users, from the first to the last day.

    Users appear as pseudonyms; `benchkeeper history USER --since` names one user.
    """
    today = app.deps.clock.now().date()
    first, last = since.date() if since else today, until.date() if until else today
    rows = [view(entry) for day in _days(first, last) for entry in entries_on(day, app.deps)]
    rows.sort(key=lambda row: str(row["at"]))
    if output == "json":
        print_json(rows)
    elif output == "csv":
        print_csv(rows, COLUMNS)
    elif not rows:
        say("Nothing happened on these days.")
    else:
        shown = [
            (str(row["at"])[:19].replace("T", " "), str(row["user"]), str(row["kind"]), line_words(str(row["text"])))
            for row in rows
        ]
        console().print(table([("WHEN (UTC)", "whole"), ("USER", "whole"), ("", "whole"), ("WHAT", "fold")], shown))


def _days(first: date, last: date) -> Iterator[date]:
    while first <= last:
        yield first
        first += timedelta(days=1)


def view(entry: Entry) -> dict[str, object]:
    """Return an entry as the JSON object that is printed."""
    return {
        "at": rfc3339(entry.at.astimezone(UTC)),
        "user": entry.alias,
        "number": entry.number,
        "kind": entry.kind.value,
        "text": entry.words,
        "because": entry.because,
        "by": entry.by,
        "event": entry.event,
        "state": entry.state.value if entry.state is not None else "",
        "activity": entry.activity,
        "policy": entry.policy,
        "ref": entry.ref,
    }


@click.command()
@click.argument("user")
@output_option()
@pass_app
@guarded
def certificate(app: App, user: str, output: str) -> None:
    """Show the certificate of USER, who left.

    The certificate has, for each of eight access paths, the time of the cut and of the cloud's last confirmation.

    Exit code 1 if a path is not verified, or USER has access.
    """
    stored = app.deps.records.load(user_key(app, user))
    if stored is None:
        say_unknown(app, user)
    found = certificate_of(stored.record)
    if found is None:
        why = "has access" if stored.record.email else "was erased"
        complain(f"{user} {why}: there is nothing to certify.")
        stop(FAILED)
    if output == "json":
        print_json(certificate_json(found, stored.record))
    else:
        _print(found, user)
    if not found.complete:
        stop(FAILED)


def _print(found: Certificate, user: str) -> None:
    complete = f"complete since {_moment(found.complete_at)} UTC" if found.complete else "NOT complete"
    news = f" The leave was reported {_moment(found.since)} UTC." if found.since is not None else ""
    say(f"Leaving of {user}: {complete}.{news}")
    if found.note:
        say(found.note)
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
    say("Not covered: " + "; ".join(NOT_COVERED) + ".")


def _moment(moment: datetime | None) -> str:
    return "-" if moment is None else f"{moment:%Y-%m-%d %H:%M}"
