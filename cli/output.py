"""How things look: tables that fit the terminal, colour that means something, JSON and CSV for scripts."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

# green: as wanted; yellow: on its way; blue: at rest; red: a person should look; dim: gone.
_COLOURS = {
    "green": {"Ready", "True", "ACTIVE", "RUNNING", "PRESENT", "Settled", "Saved"},
    "yellow": {
        "Creating", "Starting", "Stopping", "Deleting", "Updating", "Waiting", "Pending", "UpdatePending", "Busy",
        "PROVISIONING", "STARTING", "INITIALIZING", "STOPPING", "Conflict", "Unknown", "RateLimited", "Saving", "Restoring",
        "Replacing",
    },
    "blue": {"Stopped", "Idle", "STOPPED", "SUSPENDED", "Retained", "OnHold"},
    "red": {
        "Stockout", "QuotaExhausted", "CloudUnavailable", "AccessDenied", "NotOurs", "InvalidSpec", "Stuck",
        "Unreadable", "OperationFailed", "UnknownProfile", "Unexpected", "UNREADABLE", "SnapshotFailed", "DataMissing", "Drifted",
    },
    "dim": {"Removed", "Revoked", "NotEntitled", "ABSENT", "NONE"},
}  # fmt: skip


def console() -> Console:
    """The terminal; plain text where there is none."""
    return Console(highlight=False, soft_wrap=False)


def coloured(word: str) -> Text:
    """A state in the colour that says how it is."""
    for style, words in _COLOURS.items():
        if word in words:
            return Text(word, style=style)
    return Text(word)


def complain(message: str) -> None:
    """One sentence on stderr."""
    click.secho(f"benchkeeper: {message}", err=True, fg="red" if sys.stderr.isatty() else None)


def print_json(data: Any) -> None:
    """Indented JSON, addresses readable."""
    click.echo(json.dumps(data, indent=2, ensure_ascii=False))


def print_csv(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """CSV with a header; a cell that a spreadsheet would run as a formula is made text."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_safe_cell(row.get(column)) for column in columns])


def _safe_cell(value: Any) -> str:
    text = "" if value is None else str(value)
    return f"'{text}" if text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text


# A notebook's address has 73 characters: beside anything else it needs a wide terminal.
_WIDE = 165


def print_fleet(rows: Sequence[tuple[str, str | None, str | None, str, str | None]], out: Console) -> None:
    """People as (user, profile, instance, state, address); in a narrow terminal the address has a line of its own."""
    columns = [("USER", ""), ("PROFILE", "whole"), ("STATE", "whole"), ("INSTANCE", "whole")]
    # Only an address may be cut, and `--output json` has it whole: the names beside it are for copying.
    beside = [max([7, *(len(r[i] or "-") for r in rows)]) for i in (1, 2, 3)]
    room = max(12, out.width - sum(beside) - 2 * len(beside))
    cells = [
        (_cut(user, room), profile or "-", coloured(state), instance or "-")
        for user, profile, instance, state, _ in rows
    ]
    addresses = [Text(url or "-", style=f"link {url}" if url else "") for *_, url in rows]
    if out.width >= _WIDE:
        out.print(table([*columns, ("URL", "")], [(*cell, url) for cell, url in zip(cells, addresses, strict=True)]))
        return
    lines = out.render_lines(table(columns, cells), out.options, pad=False)
    for index, line in enumerate(lines):
        out.print(Text.assemble(*((s.text, s.style or "") for s in line)), soft_wrap=True)
        if index > 0 and index <= len(rows) and rows[index - 1][4]:
            out.print(Text.assemble("  ", addresses[index - 1]), style="dim", soft_wrap=True)


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else f"{text[: room - 1]}…"


def table(columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[str | Text]], *, title: str = "") -> Table:
    """A table; columns are (heading, overflow): `fold` into lines, stay `whole`, or else be cut where space is short."""
    rows = list(rows)
    result = Table(title=title or None, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for heading, overflow in columns:
        result.add_column(heading, overflow="fold" if overflow == "fold" else "ellipsis", no_wrap=overflow != "fold")
    for index, (heading, overflow) in enumerate(columns):
        if overflow == "whole":
            cells = [len(str(row[index])) for row in rows]
            result.columns[index].min_width = max([len(heading), *cells])
    for row in rows:
        result.add_row(*row)
    return result


def said_size(size: int) -> str:
    """Bytes in the unit that a person would say: `12.3 GB`, of 10^9 bytes as the APIs count."""
    for unit, factor in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"
