"""The writer of the pictures: a recorded terminal as an SVG file that loads nothing from the web."""

from __future__ import annotations

import re
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console


def save(out: Console, target: Path, *, title: str) -> None:
    """Write the recording of `out` as an SVG file, without the web font that Rich's own frame loads."""
    frame = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    frame = frame.replace("Fira Code, monospace", "ui-monospace, Menlo, Consolas, DejaVu Sans Mono, monospace")
    target.write_text(out.export_svg(title=title, code_format=frame), encoding="utf-8")
