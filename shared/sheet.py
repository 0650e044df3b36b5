"""The one CSV writer, of the page's downloads and of the command line.

A spreadsheet runs a cell that begins like a formula, and opens a file with separators of its own: where the list separator is a
semicolon, `x;=1` becomes two cells. So a text gets an apostrophe before each place in it where some spreadsheet could see a cell begin
with a formula. A number is known by its type: what Python has as a number is a number of ours, whatever its sign; a text that looks like
one is somebody's text. Standard library only.
"""

from __future__ import annotations

import csv
import io
import re
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from shared.domain.things.times import rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Value = str | float | bool | datetime | None

# A cell can begin at the beginning and after every separator that some program takes (a comma is safe: such a text is quoted); white
# space and quotes before it do not help. Formulas begin with = + - @ in every width (Excel, LibreOffice and Google Sheets take the
# wide ones too), and | once called programs. White space that ends a cell elsewhere is no beginning of a cell either.
_FORMULA = re.compile(r"""(^(?=[\t\r\n])|(?:^|[;|\t\r\n])(?=[\s"']*[=+\-@|＝＋－＠﹢﹣﹦﹫]))""")  # noqa: RUF001 - the wide and the small ones are meant


def csv_lines(rows: Iterable[Sequence[object]], *, end: str = "\r\n") -> str:
    """Return the rows as CSV by RFC 4180. `end` ends each line."""
    lines = io.StringIO()
    csv.writer(lines, lineterminator=end).writerows([cell(value) for value in row] for row in rows)
    return lines.getvalue()


def cell(value: object) -> str:
    """Return a cell: true and false in small letters, times in UTC, numbers as they are, texts that no spreadsheet runs."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case datetime():
            return rfc3339(value)
        case int() | float() | Decimal():
            return str(value)
        case _:
            return safe_text(str(value))


def safe_text(text: str) -> str:
    """Return a text that no spreadsheet runs, whatever somebody wrote into a name or a reason."""
    return _FORMULA.sub(r"\1'", text)
