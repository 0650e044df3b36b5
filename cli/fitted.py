"""The tables that fit the terminal without breaking a word, so that an address, a name or a digest can be copied whole.

Each column is at least as wide as its longest word; the remaining width goes to the columns that need more. If not even
the words fit, each row is printed as a block of lines, one line for each cell. If the output is not a terminal, nothing
is folded: each row is one line.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

_GAP = 2  # between two columns


class FittedTable(Table):
    """A table that never breaks a word. A column that is marked in `whole` is never folded at all.

    If the terminal is too narrow for that, the table is printed as lines instead of columns.
    """

    def __init__(
        self, headings: Sequence[str], rows: Sequence[Sequence[Text]], whole: Sequence[bool], *, title: str
    ) -> None:
        super().__init__(title=title or None, title_justify="left", header_style="bold", box=None, pad_edge=False)
        self._headings, self._cells = headings, rows
        for heading in headings:
            self.add_column(heading, overflow="fold")
        for row in rows:
            self.add_row(*row)
        columns = [[heading, *(row[index].plain for row in rows)] for index, heading in enumerate(headings)]
        self._needed = [
            max(cell_len(text) if is_whole else _longest_word(text) for text in column)
            for column, is_whole in zip(columns, whole, strict=True)
        ]
        self._wanted = [max(map(cell_len, column)) for column in columns]

    def __rich_console__(self, console: Any, options: ConsoleOptions) -> RenderResult:
        """Yield the table. If the terminal is too narrow for the longest words, yield a block of lines for each row.

        A table without headings has names in its first column; its rows are then folded (`_lines`).
        """
        room = options.max_width - _GAP * (len(self._needed) - 1) - sum(self._needed)
        if room < 0:
            yield from self._blocks() if any(self._headings) else self._lines(options.max_width)
            return
        for column, width in zip(self.columns, _widths(self._needed, self._wanted, room), strict=True):
            column.width = width
        yield from super().__rich_console__(console, options)

    def _blocks(self) -> Iterator[Text]:
        width = max(map(len, self._headings), default=0)
        for number, row in enumerate(self._cells):
            if number:
                yield Text("")
            for heading, cell in zip(self._headings, row, strict=True):
                if cell.plain:
                    line = Text.assemble((heading.ljust(width), "bold"), "  ", cell)
                    line.no_wrap, line.overflow = True, "ignore"
                    yield line

    def _lines(self, width: int) -> Iterator[Text]:
        """Yield the lines of a table of names and values.

        A value is folded between words; a value with a word that does not fit gets lines of its own.
        """
        named = max((row[0].cell_len for row in self._cells), default=0) + _GAP
        for name, *cells in self._cells:
            value = Text("  ").join(cells)
            own_lines = bool(name.plain) and _longest_word(value.plain) > width - named
            if own_lines:
                yield name
            indent = _GAP if own_lines else named
            room = max(width - indent, 1)
            folded = textwrap.wrap(value.plain, room, break_long_words=False, break_on_hyphens=False) or [""]
            for number, part in enumerate(folded):
                said = value if len(folded) == 1 else Text(part, style=value.style)
                head = name if number == 0 and not own_lines else Text("")
                line = Text.assemble(head, " " * (indent - head.cell_len), said)
                line.no_wrap, line.overflow = True, "ignore"
                yield line


def _longest_word(text: str) -> int:
    return max(map(cell_len, text.split()), default=0)


def _widths(needed: Sequence[int], wanted: Sequence[int], room: int) -> list[int]:
    """Return the column widths.

    Each column gets its width in `needed`. The remaining `room` goes towards the widths in `wanted`, first to the column that
    lacks the least.
    """
    widths = list(needed)
    order = sorted(range(len(needed)), key=lambda index: wanted[index] - needed[index])
    for position, index in enumerate(order):
        more = min(max(wanted[index] - needed[index], 0), room // (len(order) - position))
        widths[index] += more
        room -= more
    return widths
