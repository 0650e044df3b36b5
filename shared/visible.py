"""The escaping of text from outside: characters that control a terminal or are invisible are replaced by escapes.

A message, a group's name or an API error can carry a control sequence (ESC, the C1 controls), a direction override that
shows `gpj.exe` for `exe.jpg`, or letters without a width. The command line (`cli/output.py`, `cli/history.py`) passes text
from outside through this module.
"""

from __future__ import annotations

import json
import re
from typing import Any

# Unicode's Cc, Cf, Zl and Zp (controls, formats such as the direction overrides, separators of lines), unpaired surrogates, and
# letters and marks without a width: U+034F, the Hangul fillers, the Khmer inherent vowels, U+180B to U+180F.
_HIDDEN = (
    "\x00-\x1f\x7f-\x9f\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufeff\uffa0\ufff0-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_IN_A_LINE = re.compile(f"[{_HIDDEN}]")
_IN_LINES = re.compile(f"(?!\n)[{_HIDDEN}]")
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def one_line(text: str) -> str:
    r"""Return the text on one line: every control or invisible character becomes an escape such as `\n`, `\x1b` or `\u202e`."""
    return _IN_A_LINE.sub(_written, text)


def visible(text: str) -> str:
    """Return the text with escapes in place of control and invisible characters, except line ends."""
    return _IN_LINES.sub(_written, text)


def json_text(value: Any, *, indent: int | None = None) -> str:
    """Return the value as JSON, with escapes only for control and invisible characters. Parsing gives the same value."""
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
