"""What is wrong with the words of a rendered page: raw names of the code, words that the page does not use, long sentences.

Text that the page only quotes (the class `quoted`: a message, a record's own text; `code`, `pre`) is not judged.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from html.parser import HTMLParser

from shared.domain.intent.decision import About, Verdict
from shared.domain.people.entitlement import Cause
from shared.domain.record.cuts import CutClass, StepKind
from shared.domain.record.record import Power, Presence
from shared.domain.record.status import ConditionType, Notice
from shared.domain.things.clusters import ClusterState
from shared.domain.things.errors import Reason
from shared.domain.things.notebook import NotebookState
from shared.domain.things.power import PowerCause

MOST_WORDS = 20
_ENUMS: tuple[type[StrEnum], ...] = (
    About, Verdict, Cause, CutClass, StepKind, Power, Presence, ConditionType, Notice, ClusterState, Reason, NotebookState, PowerCause,
)  # fmt: skip
_RAW = re.compile(
    r"[A-Z][a-z]+(?:[A-Z][a-z]+)+|[A-Z]{4,}(?:_[A-Z]+)*"
)  # NotReady, PRESENT: no English word looks like that
RAW = {each.value for enum in _ENUMS for each in enum if _RAW.fullmatch(each.value)} | {"Blind", "NewsNotUnderstood"}
BANNED = (
    "stands", "stand still", "either way", "is to have one", "needs a person", "need a person", "whole story", "story", "what sort",
    "whoever", "whose", "nobody", "somebody", "everybody", "dearest", "upwards", "downwards", "dead letter", "dead letters", "letter",
    "letters", "stray", "strays", "wish", "wishes", "look again", "looks again", "change nothing", "the plan as it is", "soon", "mend",
    "sweeps look", "by the labels", "half within", "nothing at present", "keep on", "foreseen", "chronicle", "patience", "not meant",
)  # fmt: skip
_BLOCKS = frozenset({"p", "li", "td", "th", "dt", "dd", "h1", "h2", "h3", "h4", "caption", "option", "button", "label", "summary", "div",
    "section", "tr", "br", "a", "input", "select", "title", "desc", "figcaption", "form", "nav", "ul", "ol"})  # fmt: skip
_VOID = frozenset({"br", "input", "img", "meta", "link", "hr", "polyline", "line", "circle"})
_UNJUDGED = frozenset({"code", "pre", "script", "style", "svg"})
_END = re.compile(r"[.!?](?=\s|$)| · ")  # a line of facts is several


class Visible(HTMLParser):
    """The visible texts inside `main`, a block each, links kept in their sentence."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.blocks: list[str] = [""]
        self._open: list[tuple[str, bool]] = []
        self._main = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = dict(attrs)
        self._main = self._main or tag == "main"
        for name in ("aria-label", "placeholder", "alt", "title"):
            if self._main and names.get(name):
                self.blocks += [str(names[name]), ""]
        if tag in _BLOCKS and tag != "a":
            self.blocks.append("")
        if tag not in _VOID:
            quoted = "quoted" in (names.get("class") or "").split() or tag in _UNJUDGED
            self._open.append((tag, quoted))

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass
        if tag == "main":
            self._main = False
        if tag in _BLOCKS and tag != "a":
            self.blocks.append("")

    def handle_data(self, data: str) -> None:
        if self._main and not any(quoted for _, quoted in self._open):
            self.blocks[-1] += data


def texts_of(html: str) -> list[str]:
    """Return the visible texts of a page, single spaces."""
    return [text for block in Visible(html).blocks if (text := " ".join(block.split()))]


def faults_of(html: str) -> list[str]:
    """Return what is wrong with the words of a page."""
    found = []
    for text in texts_of(html):
        words = re.findall(r"[\w@.'/-]+", text)
        found += [f"raw name {word!r} in {text!r}" for word in words if word.strip(".'") in RAW]
        found += [
            f"{each!r} in {text!r}" for each in BANNED if re.search(rf"\b{re.escape(each)}\b", text, re.IGNORECASE)
        ]
        found += _long(text)
    return found


def long_sentences(html: str) -> list[str]:
    """Return the sentences of a page that are too long, in any language."""
    return [each for text in texts_of(html) for each in _long(text)]


def _long(text: str) -> list[str]:
    return [
        f"{len(sentence.split())} words: {sentence.strip()!r}"
        for sentence in _END.split(text)
        if len(sentence.split()) > MOST_WORDS
    ]


def faults_of_output(text: str, typed: Iterable[str] = ()) -> list[str]:
    """Return what is wrong with the words that a command printed for people. Words that were typed are not the command's own."""
    given = " ".join(typed).casefold()
    found = []
    for line in text.splitlines():
        names = [] if line.isupper() else re.findall(r"[A-Za-z_]+", line)  # a table's headings are no names
        found += [f"raw name {word!r} in {line!r}" for word in names if word in RAW and word.casefold() not in given]
        found += [
            f"{each!r} in {line!r}"
            for each in BANNED
            if each not in given and re.search(rf"\b{re.escape(each)}\b", line, re.IGNORECASE)
        ]
    return found
