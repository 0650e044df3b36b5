"""The page in the reader's language: English as it is written, or another language translated by `words.yaml`.

`words.yaml` has each English text with its translation. Names in braces stand for parts that vary, so a finished sentence, for
example an old sentence in a record, is recognised by its text. Text without an entry is shown in English and marked as English.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from werkzeug.datastructures import LanguageAccept

COOKIE = "language"
ENGLISH = "en"
LANGUAGES: Mapping[str, str] = {ENGLISH: "English", "de": "Deutsch"}
_FILE = Path(__file__).with_name("words.yaml")
_NAME = re.compile(r"\{([a-z_]+)\}")
_FORMAT = re.compile(r"%\(([a-z_]+)\)s")
_SENTENCES = re.compile(r"(?<=[.!?]) (?=[^\W\d_a-z])")
_MOST_TOGETHER = 4  # sentences of the longest entry, and one more: a reason that somebody typed may have two
_DATE = re.compile(
    r"\b(?:(Mon|Tue|Wed|Thu|Fri|Sat|Sun) )?(\d{1,2}) (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\b"
)
_AMOUNT = re.compile(r"\d[\d,]*\.\d+|\d{1,3}(?:,\d{3})+")
_PREFIX = 6
_ANY = r"(?:(?![.!?] [^\W\d_a-z]).)+?"  # of one sentence
_NUMBER, _CLOCK = r"[\d.,]+", r"\d\d:\d\d(?: UTC)?"
# The form of the text for a name in braces, for names that do not stand for any text.
_SHAPES: Mapping[str, str] = {
    "n": _NUMBER, "gb": _NUMBER, "part": _NUMBER, "amount": rf"{_NUMBER} \w+", "price": rf"{_NUMBER} \w+",
    "at": _CLOCK, "clock": _CLOCK, "start": _CLOCK, "end": _CLOCK, "reason": ".+",
}  # fmt: skip
_FIGURES = frozenset({"n", "gb", "part", "amount", "price"})
# Names in braces whose text is ours and is translated, too. All others may stand for a name, and stay as they are.
_SPOKEN = frozenset({"what", "why", "when", "length", "rest", "day", "role", "others"})


class Words:
    """A translator from English into one language by the entries of `words.yaml`. Without entries every text stays as it is."""

    def __init__(self, entries: Mapping[str, str]) -> None:
        self._entries = entries
        self._patterns: dict[str, list[tuple[re.Pattern[str], str]]] = {}
        # The entry with the most fixed text is tried first.
        for english, other in sorted(entries.items(), key=lambda each: -len(_NAME.sub("", each[0]))):
            first = _NAME.search(english)
            if first is not None:
                found = self._patterns.setdefault(english[: min(first.start(), _PREFIX)], [])
                found.append((_pattern(english), other))

    def of_template(self, text: str) -> str:
        """Return the translation of a template's text, in which names are written `%(name)s`; the text itself if there is no entry."""
        english = _FORMAT.sub(r"{\1}", text).replace("%%", "%")
        other = self._entries.get(english)
        return text if other is None else _NAME.sub(r"%(\1)s", other.replace("%", "%%"))

    def plural(self, one: str, many: str, number: int) -> str:
        """Return the translation of `one` if the number is 1, else that of `many`. English and German share this plural rule."""
        return self.of_template(one if number == 1 else many)

    def short(self, text: str) -> str:
        """Return the translation of a word, a date or a whole text; the text itself if no entry knows it."""
        found = self._found(text)
        if found is not None:
            return found
        return self._parts(text)

    def told(self, text: str) -> Iterator[tuple[str, bool]]:
        """Yield each sentence of a text as (sentence, True) if it was translated, else as (English sentence, False)."""
        if not self._entries:
            yield text, True
            return
        sentences = _SENTENCES.split(text)
        while sentences:
            for length in range(min(_MOST_TOGETHER, len(sentences)), 0, -1):
                found = self._found(" ".join(sentences[:length]))
                if found is not None:
                    yield found, True
                    break
            else:
                length, english = 1, sentences[0]
                changed = self._parts(english)
                yield changed, changed != english or not any(letter.isalpha() for letter in english)
            del sentences[:length]

    def figures(self, text: str) -> str:
        """Return the text with numbers as this language writes them: decimal points and thousands separators."""
        if not self._entries:
            return text
        return _AMOUNT.sub(lambda found: found[0].translate(_SWAPPED), text)

    def _found(self, text: str) -> str | None:
        exact = self._entries.get(text)
        if exact is not None and not _NAME.search(text):
            return exact
        for length in range(min(_PREFIX, len(text)), -1, -1):
            for pattern, other in self._patterns.get(text[:length], ()):
                found = pattern.fullmatch(text)
                if found is not None:
                    said = {name: self._said(name, value) for name, value in found.groupdict().items()}
                    return _NAME.sub(lambda name, said=said: said[name[1]], other)  # type: ignore[misc]
        return None

    def _said(self, name: str, value: str) -> str:
        if name in _FIGURES:
            return self.figures(value)
        return self.short(value) if name in _SPOKEN else value

    def _parts(self, text: str) -> str:
        """Return the text with each part of a comma-separated list translated if every part has an entry.

        Otherwise translate only the dates in the text.
        """
        if not self._entries:
            return text
        words = text.split(", ")
        if len(words) > 1:
            found = [self._found(word) for word in words]
            if None not in found:
                return ", ".join(str(word) for word in found)
        return _DATE.sub(self._date, text)

    def _date(self, found: re.Match[str]) -> str:
        day = f"{self._entries.get(found[1], found[1])} " if found[1] else ""
        return f"{day}{found[2]}. {self._entries.get(found[3], found[3])}"


_SWAPPED = str.maketrans({",": ".", ".": ","})


def words_of(language: str) -> Words:
    """Return the words of a language. The words are read with the first request that needs them."""
    return Words({}) if language == ENGLISH else _read(language)


def language_of(cookies: Mapping[str, str], accepted: LanguageAccept) -> str:
    """Return the language that the reader chose, else the one that the browser prefers, else English."""
    chosen = cookies.get(COOKIE, "")
    return chosen if chosen in LANGUAGES else accepted.best_match([*LANGUAGES], default=ENGLISH) or ENGLISH


def entries_of(language: str) -> dict[str, str]:
    """Return the English texts and their translations, as `words.yaml` has them."""
    raw: list[dict[str, Any]] = yaml.load(_FILE.read_bytes(), Loader=yaml.CSafeLoader)
    return {str(entry[ENGLISH]): str(entry[language]) for entry in raw if language in entry}


@cache
def _read(language: str) -> Words:
    return Words(entries_of(language))


def _pattern(english: str) -> re.Pattern[str]:
    parts: list[str] = []
    seen: set[str] = set()
    for index, part in enumerate(_NAME.split(english)):
        if index % 2 == 0:
            parts.append(re.escape(part))
        else:
            parts.append(f"(?P={part})" if part in seen else f"(?P<{part}>{_SHAPES.get(part, _ANY)})")
            seen.add(part)
    return re.compile("".join(parts), re.DOTALL)
