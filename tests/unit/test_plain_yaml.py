"""What is written without PyYAML is what libyaml writes, byte for byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.cloud.dataproc.cluster_render import _as_yaml
from shared.cloud.dataproc.plain_yaml import plain_yaml

MASTERS = sorted((Path(__file__).resolve().parents[2] / "config/templates").glob("*.yaml"))
WORDS = (
    "", "a", "y", "N", "yes", "No", "ON", "off", "true", "True", "TRUE", "null", "Null", "~", "nan", ".nan", ".inf", "0", "00", "08", "1",
    "-1", "+1", "0x1f", "0b1", "0o7", "1_000", "1e3", "1.5", "1.", ".5", "1.5e3", "1.5e+3", "1:30", "1:30.5", "2026-12-01",
    "2026-12-01T18:00:00Z", "2026-12-01 18:00:00", "7200s", "2.2-debian12", "1d", "1f", "1e", "0x", "0xg", "10.0.0.1", "=", "<<", "a=b",
    "a:", "a:b", ":a", "a: b", "a #b", "a#b", "#a", "- a", "-a", "--", "---", "...", "?", "?a", "[a]", "a[b]", "{a}", "a,b", ",a",
    "gs://bucket/path", "dataproc:dataproc.allow.zero.workers", "-Xmx4g -Dx=y", "a b", " a", "a ", "a\nb", "a\n", "\t", "a\tb", "'", "''",
    "O'Neil", '"', 'a"b', "`", "@a", "a@b", "%a", "a%b", "!a", "&a", "*a", "|", ">", "\\", "a\\b", "\x00", "\x7f", "\x85", "\xa0", "é",
    "Ñandú O'Neil+test@sub.example.co", "ñandú.o'neil+test@sub.example.co", "日本", "\u2028", "\ufeff", "\ud7ff", "😀", "a😀", "a" * 130,
    "a" * 200, "n" * 60, "é" * 70,
)  # fmt: skip
TEXTS = (
    st.sampled_from(WORDS)
    | st.text(alphabet=st.sampled_from("aAyzN019éñ_./@+'=,:-#&* \n\"!%~[]{}\u2028"), max_size=12)
    | st.text(st.characters(exclude_categories=("Cs",)), max_size=6)
)
LEAVES = TEXTS | st.booleans() | st.none() | st.integers() | st.floats(allow_nan=False) | st.dates()
VALUES: st.SearchStrategy[Any] = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=20
)
SHARED = {"b": 1}


@settings(max_examples=400)
@given(st.dictionaries(TEXTS, VALUES, max_size=5))
@example({})
@example({"a": [{"b": [], "c": {}}, {}, []]})
@example({"a": [SHARED, SHARED]})
@example({"a": SHARED, "b": [[SHARED]]})
def test_what_is_plain_is_written_as_libyaml_writes_it(data):
    made = plain_yaml(data)
    assert made is None or made == _as_yaml(data)


@pytest.mark.parametrize("word", WORDS)
def test_each_word_alone(word):
    for data in ({"a": word}, {word: 1}, {"a": [word]}, {"a": [{word: word}]}):
        made = plain_yaml(data)
        assert made is None or made == _as_yaml(data)


@pytest.mark.parametrize("path", MASTERS, ids=lambda path: path.stem)
def test_the_shipped_templates_are_plain(path):
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert "config" not in data or plain_yaml(data) == _as_yaml(data)


def test_a_usual_template_is_plain():
    usual = (
        "7200s",
        "2.2-debian12",
        "gs://bucket/path",
        "ñandú.o'neil+test@sub.example.co",
        "1",
        "1.5",
        "true",
        "",
        "a=b",
    )
    assert plain_yaml({"a": [*usual, 1, True, None, {"b": {}}]}) is not None
