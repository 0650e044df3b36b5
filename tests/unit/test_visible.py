"""What would act on a terminal, hide, or run in a spreadsheet is written out; the rest is as it was."""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.sheet import cell, csv_lines, safe_text
from shared.visible import json_text, one_line, visible

HOSTILE = {
    "\x1b[31mred": r"\x1b[31mred",
    "\x1b]8;;http://evil\x1b\\click": r"\x1b]8;;http://evil\x1b\click",
    "\x1b]52;c;cm0gLXJm\x07": r"\x1b]52;c;cm0gLXJm\x07",
    "\x9b2J\x9d0;title\x9c": r"\x9b2J\x9d0;title\x9c",
    "good\rbad": r"good\rbad",
    "ba\b\bok\x7f": r"ba\x08\x08ok\x7f",
    "exe\u202egpj.pdf\u202c": r"exe\u202egpj.pdf\u202c",
    "a\u2066b\u2069c": r"a\u2066b\u2069c",
    "an\u200ba\ufeff": r"an\u200ba\ufeff",
    "line\u2028line\u2029": r"line\u2028line\u2029",
    "tag\U000e0041": r"tag\U000e0041",
    "\ud83d alone": r"\ud83d alone",
    "ㅤ": r"\u3164",
    "tab\there": r"tab\there",
}
PLAIN = [
    "",
    "ana.silva@example.com",
    "Zoë Öß",
    "山田",
    "München, 5 €",
    "a  b",
    "👍",
    "naïve",
    "\\n is written like this",
    "a\u00a0b",
]


@pytest.mark.parametrize(("text", "shown"), HOSTILE.items())
def test_what_acts_or_hides_is_written_out(text: str, shown: str) -> None:
    assert one_line(text) == visible(text) == shown


@pytest.mark.parametrize("text", PLAIN)
def test_what_is_seen_stays(text: str) -> None:
    assert one_line(text) == visible(text) == text


def test_the_end_of_a_line_stays_only_where_lines_are_meant() -> None:
    assert one_line("a\nb") == r"a\nb"
    assert visible("a\nb") == "a\nb"


@given(st.text())
def test_nothing_of_a_control_or_format_category_gets_through(text: str) -> None:
    shown = one_line(text)
    assert not {unicodedata.category(letter) for letter in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert one_line(shown) == shown
    shown.encode()  # a terminal can be sent it


def test_every_control_and_format_character_of_unicode_is_known() -> None:
    hidden = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    missed = [
        hex(code)
        for code in range(0x110000)
        if unicodedata.category(chr(code)) in hidden and one_line(chr(code)) == chr(code)
    ]
    assert missed == []


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda each: st.lists(each) | st.dictionaries(st.text(), each),
    )
)
def test_json_says_the_same_and_acts_on_nothing(value: Any) -> None:
    for indent in (None, 2):
        text = json_text(value, indent=indent)
        assert json.loads(text) == value
        assert visible(text) == text


def test_json_keeps_letters_readable() -> None:
    assert json_text({"who": "Zoë\x1b\u202e\U000e0041"}) == '{"who": "Zoë\\u001b\\u202e\\udb40\\udc41"}'


# --- spreadsheets

STARTS = "=+-@＝＋－＠|"  # noqa: RUF001 - the wide ones are meant
FORMULAS = [
    "=1+1", "+1", "-1+1", "@SUM(A1)", "|calc", "＝1", "＋1", "－1", "＠x", " =1", "\u3000=1", "\t=1", "\n=1", "\r=1", "a;=1", "a; =1", "a\t=1",  # noqa: RUF001
    "a\n=1", "a\r\n=1", "a|=1", 'a;"=1', "a;;@x", "x;-2", '"=1"', "  '=1", "\u00a0=1", "x\n\n +1",
]  # fmt: skip


def begins_like_a_formula(text: str) -> bool:
    """White space and quotes before it do not help; an apostrophe makes it text."""
    return text.lstrip('" \t\r\n\u00a0\u3000')[:1] in {*STARTS}


@pytest.mark.parametrize("text", FORMULAS)
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_no_spreadsheet_finds_a_formula(text: str, separator: str) -> None:
    lines = csv_lines([["user", "why"], ["ana", text]])
    for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_NONE):
        for row in csv.reader(io.StringIO(lines, newline=""), delimiter=separator, quoting=quoting, strict=False):
            for found in row:
                assert not begins_like_a_formula(found), (separator, found)


@given(st.text(alphabet=st.sampled_from(list(STARTS + ";\t\n\r ,'\"ab1\u00a0")), max_size=12))
def test_no_mixture_makes_one(text: str) -> None:
    lines = csv_lines([["ana", text, "end"]])
    (row,) = list(csv.reader(io.StringIO(lines, newline="")))
    assert row[1].replace("'", "") == text.replace("'", "")  # nothing but apostrophes was added
    for separator in (";", "\t", "|"):
        for found in row[1].replace("\r", "\n").replace("\n", separator).split(separator):
            assert not begins_like_a_formula(found), (separator, found)


@pytest.mark.parametrize(
    "text", [*PLAIN, "a=b", "ana-silva", "é", "2026", "a;b", "1;2", "- "[:0], "a, b", "x - y", "5|6"]
)
def test_ordinary_cells_are_as_they_are(text: str) -> None:
    assert safe_text(text) == text


def test_numbers_are_known_by_their_type() -> None:
    assert [cell(value) for value in (-5, -0.25, 0, 10**20, True, False, None)] == [
        "-5", "-0.25", "0", "100000000000000000000", "true", "false", "",
    ]  # fmt: skip
    assert cell("-5") == "'-5"  # somebody's text, although it looks like a number
    assert cell(Decimal("-1.50")) == "-1.50"
    assert cell(["=1"]) == "['=1']"


def test_times_are_in_utc() -> None:
    berlin = timezone(timedelta(hours=1))
    assert (
        cell(datetime(2026, 11, 28, 9, tzinfo=berlin))
        == "2026-11-28T08:00:00Z"
        == cell(datetime(2026, 11, 28, 8, tzinfo=UTC))
    )


def test_lines_end_as_asked() -> None:
    assert csv_lines([["a", 'b"c'], ["d\ne", 1]]) == 'a,"b""c"\r\n"d\ne",1\r\n'
    assert csv_lines([["a"]], end="\n") == "a\n"
