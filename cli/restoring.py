"""The command `restore`: list the copies of a user's files, restore one of them, and undo a restore."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import click

from cli.asking import length_of
from cli.context import FAILED, WRONG_USE, App, guarded, output_option, pass_app, stop
from cli.output import agreed, complain, console, print_json, say, table
from cli.users import say_unknown, user_key
from shared.domain.intent.restoring import chosen_at, offered_text, pending, undoable
from shared.domain.intent.wish import Asked, WishKind
from shared.domain.plan.step import WHAT_IS_RESTORED
from shared.domain.record.copies import UNDO_FOR, copies_of
from shared.domain.record.record import UserRecord
from shared.domain.record.status import ConditionType
from shared.domain.things.errors import RefusedError
from shared.domain.things.snapshots import Snapshot, SnapshotKind
from shared.domain.things.times import rfc3339
from shared.engine.news.requests import ask_restore
from shared.engine.reconcile.reconciler import reconcile

_DAYS = {"today": 0, "yesterday": 1}
_FOR_EXAMPLE = "yesterday, 3d, 2026-11-28 or 2026-11-28T09:00Z"
_KINDS = {SnapshotKind.DAILY: "copy of the day", SnapshotKind.BEFORE: "before a restore"}


@click.command(name="restore")
@click.argument("user")
@click.option("--at", "at", metavar="TIME", help=f"Restore the newest copy at or before TIME: {_FOR_EXAMPLE} (UTC).")
@click.option("--list", "lists", is_flag=True, help="List the copies, without changing anything.")
@click.option("--undo", is_flag=True, help="Restore the files from before the last restore.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@output_option()
@pass_app
@guarded
def restore(app: App, user: str, at: str | None, output: str, *, lists: bool, undo: bool, yes: bool) -> None:
    """Replace USER's files by a copy. The replaced files are kept for seven days.

    The notebook stops for some minutes. Only the home directory is replaced; packages and environments outside of it
    are not changed.
    """
    if sum([at is not None, lists, undo]) > 1:
        raise click.UsageError("use one of --at TIME, --list and --undo")
    deps = app.deps
    stored = deps.records.load(user_key(app, user))
    if stored is None:
        say_unknown(app, user)
    record, now = stored.record, deps.clock.now()
    if lists or (at is None and not undo):
        _show(record, now, output)
        if not lists:
            complain(f"Name a copy: --at TIME, for example {_FOR_EXAMPLE}")
            stop(WRONG_USE)
        return
    asked, chosen = _undo(record, now) if undo else _copy(record, moment(at or "", now))
    if output != "json":
        for line in _beforehand(record, chosen, now):
            say(line)
    if not yes:
        _ask(user, output)
    accepted = ask_restore(record.user_key, asked, deps, by="the command line")
    if accepted is None:
        say_unknown(app, user)
    result = reconcile(accepted.stored.record.user_key, deps)
    after = result.record if result is not None else accepted.stored.record
    ready = after.status.condition(ConditionType.NOTEBOOK_READY)
    message = ready.message if ready is not None else "No check was made yet."
    if output == "json":
        print_json(
            {
                "user": after.email,
                "copy": _row(chosen),
                "asked_for": accepted.changed,
                "message": message,
            }
        )
        return
    say(f"{after.email}: {'' if accepted.changed else 'Already requested. '}{message}")


def moment(text: str, now: datetime) -> datetime:
    """Return the moment of an option's value: a time, the end of a day (UTC, at most now), or a length of time before now.

    Raise `click.UsageError` with the valid forms for anything else.
    """
    words = text.strip().lower()
    days = _DAYS.get(words)
    if days is not None:
        return _end_of((now.astimezone(UTC) - timedelta(days=days)).date(), now)
    ago = length_of(words)
    if ago is not None:
        return now - ago
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", words):
            return _end_of(date.fromisoformat(words), now)
        found = datetime.fromisoformat(text.strip().replace("z", "Z"))
        return found.astimezone(UTC) if found.tzinfo is not None else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        near = difflib.get_close_matches(words, _DAYS, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise click.UsageError(f"'{text}' is not a time.{hint} Write it like {_FOR_EXAMPLE}.") from None


def _end_of(day: date, now: datetime) -> datetime:
    return min(datetime.combine(day, time.max, tzinfo=UTC), now)


def _copy(record: UserRecord, at: datetime) -> tuple[Asked, Snapshot]:
    chosen = chosen_at(record, at)
    return Asked(kind=WishKind.RESTORE, snapshot=chosen.name), chosen


def _undo(record: UserRecord, now: datetime) -> tuple[Asked, Snapshot]:
    """Return the request to undo the last restore, and the snapshot with the files from before that restore.

    An undo that is already under way is returned again. Raise `RefusedError` if there is nothing to undo.
    """
    last, under_way = undoable(record, now), pending(record)
    name = last.before if last is not None else ""
    if under_way is not None and last is None:
        name = under_way.snapshot
    chosen = record.status.snapshot(name)
    if chosen is None:
        raise RefusedError(
            user_message="There is no restore that can be undone: the files from before a restore are kept for seven days. "
            f"{offered_text(record)}",
            detail="undo of nothing",
        )
    return Asked(kind=WishKind.UNDO_RESTORE, snapshot=chosen.name), chosen


def _beforehand(record: UserRecord, chosen: Snapshot, now: datetime) -> Iterable[str]:
    yield f"{record.email} gets the files of {_when(chosen.asked_at)}."
    yield WHAT_IS_RESTORED
    yield (
        "The notebook stops for some minutes, and everything that runs in it ends. Its present files are saved first and kept for seven "
        f"days, until about {_when(now + UNDO_FOR)}. Until then: benchkeeper restore {record.email} --undo"
    )


def _ask(user: str, output: str) -> None:
    if not sys.stdin.isatty():
        complain(
            "No question was asked, because stdin is not a terminal. Use --yes to restore, or --list to list the copies."
        )
        stop(WRONG_USE)
    if not agreed(f"Replace the present files of {user}?", err=output == "json"):
        complain("Nothing was changed.")
        stop(FAILED)


def _show(record: UserRecord, now: datetime, output: str) -> None:
    rows = [_row(each) for each in reversed(copies_of(record.status))]
    last, under_way = undoable(record, now), pending(record)
    if output == "json":
        print_json(
            {
                "user": record.email,
                "copies": rows,
                "under_way": under_way.snapshot if under_way is not None else None,
                "undo_until": rfc3339(last.undo_until) if last is not None and last.undo_until is not None else None,
            }
        )
        return
    if rows:
        columns = [("FILES OF", ""), ("WHAT", "fold"), ("STORED", ""), ("SNAPSHOT", "fold")]
        shown = [
            (_when(each.asked_at), _KINDS[each.kind], _size(each.size_bytes), each.name)
            for each in reversed(copies_of(record.status))
        ]
        console().print(table(columns, shown))
    else:
        say(offered_text(record))
    kept = record.status.condition(ConditionType.COPIES_KEPT)
    if kept is not None:
        say(kept.message)
    if under_way is not None:
        say("A restore is under way.")
    elif last is not None and last.undo_until is not None:
        say(f"The last restore can be undone until {_when(last.undo_until)}: benchkeeper restore {record.email} --undo")


def _row(copy: Snapshot) -> dict[str, Any]:
    return {
        "saved_at": rfc3339(copy.asked_at),
        "what": _KINDS[copy.kind],
        "size_bytes": copy.size_bytes,
        "name": copy.name,
    }


def _when(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _size(size: int) -> str:
    for unit, much in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= much:
            return f"{size / much:.1f} {unit}"
    return f"{size} B"
