"""The CSV writer for the page's downloads and the command line.

A spreadsheet runs a cell that begins like a formula, and splits a file at the separator of its own locale. With a semicolon,
`x;=1` becomes two cells, and the second cell is a formula. So an apostrophe is inserted at each place where some spreadsheet
could begin a cell with a formula. Values of a Python number type are written unchanged, even negative ones; a text that
looks like a number is treated as text.
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

# A cell can begin at the start of the text and after every separator that some program uses (a comma is safe: such a text is quoted);
# white space and quotes before a formula do not prevent it. Formulas begin with = + - @ in every width (Excel, LibreOffice and Google
# Sheets accept the wide forms too), and | once called programs. White space at the end of a cell does not begin a cell.
_FORMULA = re.compile(r"""(^(?=[\t\r\n])|(?:^|[;|\t\r\n])(?=[\s"']*[=+\-@|＝＋－＠﹢﹣﹦﹫]))""")  # noqa: RUF001 - the wide and the small ones are meant


def csv_lines(rows: Iterable[Sequence[object]], *, end: str = "\r\n") -> str:
    """Return the rows as CSV by RFC 4180, safe for spreadsheets. `end` ends each line."""
    lines = io.StringIO()
    csv.writer(lines, lineterminator=end).writerows([cell(value) for value in row] for row in rows)
    return lines.getvalue()


def cell(value: object) -> str:
    """Return the text of a cell: None is empty, booleans in lower case, times in UTC, numbers unchanged, texts by `safe_text`."""
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
    """Return the text with an apostrophe before each possible formula, so that no spreadsheet runs it."""
    return _FORMULA.sub(r"\1'", text)
