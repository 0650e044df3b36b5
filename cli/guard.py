"""The commands `guard`, `approve` and `reject`: changes that wait for administrators.

They call the hub page, as a browser does.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from cli.context import FAILED, WRONG_USE, App, stop
from cli.erasing import has_somebody
from cli.hub_door import Door, HubError, hub_options, open_door
from cli.output import PlainGroup, agreed, complain, console, print_json, say, say_next, table
from cli.publishing_files import read_content, say_faults, source_named
from portal.reader import duration_text
from shared.domain.people.events import Left
from shared.domain.people.sources import OPERATOR
from shared.domain.things.identity import UserEmail, UserKey, user_key_for
from shared.domain.things.times import parse_time
from shared.engine.views.words import step_words

_SHORT = 12  # the number of digits of a digest that are enough to tell lists apart
_WHOLE = 32


@click.group(name="guard", cls=PlainGroup, invoke_without_command=True)
@click.pass_context
@hub_options
def guard(app: App, context: click.Context, hub: str | None, who: str | None, output: str) -> None:
    """List the changes that wait for administrators: changes to many people at once, and questions that only a person can answer.

    benchkeeper approve DIGEST and benchkeeper reject DIGEST decide. Two administrators must agree, or one if nobody objects for 15 minutes.
    """
    if context.invoked_subcommand is not None:
        return
    found = open_door(app, hub, who).get("/api/changes")
    if output == "json":
        print_json(found)
        return
    for what in found["unread"]:
        complain(f"This list is not complete: {what} could not be read or stored just now. Try again in a minute.")
    if not found["changes"]:
        say("Nothing waits." if not found["unread"] else "Nothing could be shown.")
        return
    now = parse_time(found["taken_at"])
    rows = [
        (
            each["digest"][:_SHORT], each["cause"], each["source"] or "-", str(each["people"]), str(each["undone"]),
            _age(each["since"], now), _votes(each),
        )
        for each in found["changes"]
    ]  # fmt: skip
    columns = [
        ("DIGEST", "whole"), ("CAUSE", "whole"), ("SOURCE", ""), ("PEOPLE", "whole"), ("STOPPED", "whole"), ("OLDEST", "whole"),
        ("DECIDED", ""),
    ]  # fmt: skip
    console().print(table(columns, rows))
    say_next("Show one change: benchkeeper guard show DIGEST")


@guard.command(name="show")
@click.argument("digest")
@hub_options
def show(app: App, digest: str, hub: str | None, who: str | None, output: str) -> None:
    """Show one waiting change: its cause, its users, the decisions, and the effect of approving or rejecting it.

    The first digits of DIGEST are enough.
    """
    door = open_door(app, hub, who)
    found = door.get(f"/api/changes/{_whole(door, digest)}")
    if output == "json":
        print_json(found)
        return
    for line in _lines(found):
        say(line)
    rows = [
        (
            row["user_key"],
            row["address"] or "-",
            ", ".join(map(step_words, row["steps"])),
            "waits" if row["waits"] else "no longer waits",
        )
        for row in found["rows"]
    ]
    console().print(table([("USER", "fold"), ("ADDRESS", "fold"), ("STEPS", "fold"), ("NOW", "")], rows))
    if found["people"] > len(rows):
        say(
            f"The first {len(rows):,} of {found['people']:,}; all of them: {door.url}/manage/changes/{found['digest']}/people.csv"
        )


@guard.command(name="expect")
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--until", required=True, metavar="TIME", help="RFC 3339, at most 31 days from now: 2026-12-01T18:00:00Z")
@hub_options
def expect(app: App, paths: tuple[Path, ...], until: str, hub: str | None, who: str | None, output: str) -> None:
    """Announce the leavers of a file, in the format of publish file. Once another administrator approves, the leavers take no slots."""
    content = read_content(app, paths, source_named(app, OPERATOR))
    if content.faults:
        say_faults(content, output)
        stop(WRONG_USE)
    leaving = [event for _, news in content.rows for event in news if isinstance(event, Left) and event.user]
    if not leaving:
        raise click.UsageError("the file has no row about a leaver.")
    keys = [_key_of(app, event.user) for event in leaving]
    done = open_door(app, hub, who).post("/api/announcements", {"people": keys, "until": until})
    if output == "json":
        print_json(done)
        return
    say(f"Announced: {done['people']:,} people until {_moment(done['until'])}, list {done['digest']}.")
    say(f"Another administrator has to agree: benchkeeper approve {done['digest']}")


def _key_of(app: App, email: UserEmail) -> UserKey:
    """Return the key of the record to which the address leads; the address's own key if there is no record."""
    stored = app.deps.records.load(user_key_for(email))
    return stored.record.user_key if stored is not None else user_key_for(email)


def _decide(verdict: str, text: str) -> Callable[..., None]:
    def decide(app: App, digest: str, hub: str | None, who: str | None, output: str, *, yes: bool) -> None:
        door = open_door(app, hub, who)
        found = door.get(f"/api/changes/{_whole(door, digest)}")
        why_not = found["why_not"] or (found["cannot_approve"] if verdict == "approve" else "")
        if why_not:
            raise HubError(f"{why_not} Nothing was changed.")
        if not yes:
            _ask(found, verdict)
        done = door.post(f"/api/changes/{found['digest']}/{verdict}")
        if output == "json":
            print_json(done)
        else:
            say(done["says"])
            say_next(f"Its status: benchkeeper guard show {found['digest'][:_SHORT]}")

    decide.__doc__ = text
    return decide


def _command(verdict: str, text: str) -> click.Command:
    command = click.option("--yes", is_flag=True, help="Do not ask.")(hub_options(_decide(verdict, text)))
    made: click.Command = click.command(name=verdict)(click.argument("digest")(command))
    return made


approve = _command(
    "approve",
    """Approve the change DIGEST. It takes effect once enough administrators agree. A person concerned cannot decide.

    benchkeeper guard show DIGEST shows the effect: people lose access, an address is changed, a hold is released.
    """,
)
reject = _command(
    "reject",
    """Reject the change DIGEST. One rejection is enough.

    benchkeeper guard show DIGEST shows the effect: people keep access despite earlier statements, or nothing changes.
    """,
)


def _ask(found: dict[str, Any], verdict: str) -> None:
    if not has_somebody():
        complain("No question was asked, because stdin is not a terminal. See benchkeeper guard show, then use --yes.")
        stop(WRONG_USE)
    for line in _lines(found):
        say(line, err=True)
    if not agreed(f"{verdict.capitalize()} this?", err=True):
        complain("Nothing was changed.")
        stop(FAILED)


def _whole(door: Door, digest: str) -> str:
    """Return the full digest of the one waiting list whose digest begins with these digits; a full digest unchanged.

    Return "-" for an empty text. Raise `HubError` if no list or several lists match.
    """
    if len(digest) >= _WHOLE or not digest:
        return digest or "-"
    found = [each["digest"] for each in door.get("/api/changes")["changes"] if each["digest"].startswith(digest)]
    if len(found) != 1:
        which = "No waiting change begins" if not found else f"{len(found)} waiting changes begin"
        raise HubError(f"{which} with {digest}. See those that wait: benchkeeper guard")
    return str(found[0])


def _moment(text: str) -> str:
    return f"{parse_time(text):%Y-%m-%d %H:%M} UTC"


def _age(since: str | None, now: datetime) -> str:
    return duration_text(now - parse_time(since)) if since is not None else "-"


def _votes(change: dict[str, Any]) -> str:
    counted = [
        f"{sum(vote['verdict'] == verdict for vote in change['votes'])} {word}"
        for verdict, word in (("APPROVE", "approved"), ("REJECT", "rejected"))
        if any(vote["verdict"] == verdict for vote in change["votes"])
    ]
    return ", ".join(counted) or "-"


def _lines(found: dict[str, Any]) -> list[str]:
    said = f", said by {found['source']}" if found["source"] else ""
    lines = [f"{found['title']} ({found['cause']}{said}): {found['people']:,} people, list {found['digest']}"]
    if found["still"] is not None and found["still"] != found["people"]:
        lines.append(f"  {found['still']:,} of them still wait for exactly this")
    if found["undone"]:
        lines.append(f"  {found['undone']:,} are stopped already")
    if found["since"]:
        lines.append(f"  the first has waited since {_moment(found['since'])}")
    if found["takes_access"] and found["since"]:
        lines.append(
            "  without a decision: people lose access one by one, as the limits of the hour and of the day allow"
        )
    if found["patience_ends"]:
        lines.append(
            f"  from {_moment(found['patience_ends'])} on, the notebooks of those who still wait are stopped, "
            "and everything else waits for administrators"
        )
    if found["is_outdated"]:
        lines.append("  out of date" + (f"; the present list: {found['present']}" if found["present"] else ""))
    lines += [f"  {vote['verdict'].lower()}: {vote['by']} at {_moment(vote['at'])}" for vote in found["votes"]]
    lines += [
        f"  {'approved' if each['verdict'] == 'APPROVE' else 'rejected'} with list {each['digest'][:_SHORT]}: applies to "
        f"{each['people']:,} who wait"
        for each in found["bound_by"]
    ]
    if found["is_decided"]:
        lines.append("  decided: it takes effect for one person after the other, within minutes")
    if found["needs_another"]:
        lines.append("  takes effect once another administrator approves it")
    if found["cannot_approve"]:
        lines.append(f"  cannot be approved: {found['cannot_approve']}")
    if found["takes_effect_at"]:
        lines.append(
            f"  takes effect at {_moment(found['takes_effect_at'])} if no one objects, or as soon as another administrator approves it too"
        )
    lines += ["  if approved:", *(f"    {line}" for line in found["approving"])]
    lines += ["  if rejected:", *(f"    {line}" for line in found["rejecting"])]
    return lines
