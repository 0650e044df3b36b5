"""Text of others made visible before it reaches a terminal or a table: what would act on the terminal, or hide, is written out.

A message, a group's name or an error of an API can carry a control sequence (ESC, the C1 controls), a direction override that shows
`gpj.exe` for `exe.jpg`, or letters without a width. The command line (`cli/output.py`) and the CSV writer (`shared/sheet.py`) pass all
their text through here. Standard library only.
"""

from __future__ import annotations

import json
import re
from typing import Any

# Unicode's Cc, Cf, Zl and Zp (controls, formats such as the direction overrides, separators of lines), unpaired surrogates, and what
# has no width although it counts as a letter or a mark: U+034F, the Hangul fillers, the Khmer inherent vowels, U+180B to U+180F.
_HIDDEN = (
    "\x00-\x1f\x7f-\x9f\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufeff\uffa0\ufff0-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_IN_A_LINE = re.compile(f"[{_HIDDEN}]")
_IN_LINES = re.compile(f"(?!\n)[{_HIDDEN}]")
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def one_line(text: str) -> str:
    r"""Return the text on one line: every control and invisible character as `\n`, `\x1b`, `\u202e`."""
    return _IN_A_LINE.sub(_written, text)


def visible(text: str) -> str:
    """Return the same, but the ends of lines stay."""
    return _IN_LINES.sub(_written, text)


def json_text(value: Any, *, indent: int | None = None) -> str:
    """JSON with readable letters, in which nothing acts on a terminal; the value is the same for who reads it."""
    return _IN_LINES.sub(_json_escape, json.dumps(value, indent=indent, ensure_ascii=False))


def _written(found: re.Match[str]) -> str:
    letter = found[0]
    code = ord(letter)
    if letter in _NAMED:
        return _NAMED[letter]
    if code < 0x100:  # noqa: PLR2004 - two digits are enough
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"  # noqa: PLR2004 - Python's own two forms


def _json_escape(found: re.Match[str]) -> str:
    return json.dumps(found[0])[1:-1]
