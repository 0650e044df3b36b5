"""The frame of the pictures: a recorded terminal as SVG that fetches nothing."""

from __future__ import annotations

import re
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console


def save(out: Console, target: Path, *, title: str) -> None:
    """Write what `out` recorded. Rich's own frame fetches a font from the web; a picture in a README should not."""
    frame = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    frame = frame.replace("Fira Code, monospace", "ui-monospace, Menlo, Consolas, DejaVu Sans Mono, monospace")
    target.write_text(out.export_svg(title=title, code_format=frame), encoding="utf-8")
