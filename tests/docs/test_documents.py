"""Documents stay short enough to be read, and nothing cites what is not in the repository."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.docs.test_readme import anchors

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
RULES = set(re.findall(r"(?m)^\| (R\d+) \|", (DOCS / "architecture.md").read_text(encoding="utf-8")))
README_MOST, ADR_MOST, GLOSSARY_MOST = 900, 300, 25
GUIDES = [
    "README.md",
    "CONTRIBUTING.md",
    "docs/start-here.md",
    "docs/using.md",
    "docs/platform-facts.md",
    "docs/glossary.md",
]
# A document of the authors' own by number ("facts 6.3", "facts, Notebooks API"), or a mark of a source that no legend explains.
FACTS = re.compile(r"\bfacts?(?: |, |: |/)(?:\d+(?:\.\d+)*\b|[A-Z]\w+ API|patch\b|[\w-]+\.md)")
# orphan, history, preview, fix, request (CONTRIBUTING.md); in code marks the names of the code may differ
HOUSE = re.compile(r"\b(?:strays?|story|stories|chronicles?|foresight|mend(?:s|ed|ing)?|wish(?:es)?)\b", re.IGNORECASE)
RULE = re.compile(r"(?<![\w$\"'#-])R\d{1,2}(?![\w\"'.-])")
MARK = re.compile(r"(?:\[|; )(WB|GEAP|GC|SDK|PY|MM|DIAG|KCC|CE|BP|TFB|SPAWN|SEED|PUB)\b(?=[^\[\]]*\])")
CITED = re.compile(r"docs/([\w-]+\.md)#([\w-]+)")
FOLDERS = ("functions", "cli", "portal", "shared", "emulator", "config", "tests", "docs", "bench")
# Files that the program writes.
WRITTEN = re.compile(r"config/(?:settings\.prod\.yaml|checked\.\w+\.json)")
READ = (".py", ".md", ".yaml", ".toml", ".sh", ".html", ".js", ".css", ".json")


def words(text: str) -> int:
    """Count words as a reader meets them: code and tables count, pictures and the targets of links do not."""
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    return sum(1 for word in text.split() if re.search(r"\w", word))


def tracked() -> list[Path]:
    """Return the files of the repository that hold text of ours; recorded data is not."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    ).stdout.split("\n")  # fmt: skip
    return [
        ROOT / name
        for name in listed
        if name.endswith(READ)
        and not name.startswith(("tests/data/", "portal/static/vendor/"))
        and (ROOT / name).is_file()
        and ROOT / name != Path(__file__)
    ]


TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in tracked()}


def test_words_are_counted_as_a_reader_meets_them():
    assert words("![a picture](x.png) two [words](http://x/y) | --- | `code here`") == 4


def test_the_readme_is_short_and_begins_with_the_page():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert words(text) <= README_MOST
    first = re.search(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert first is not None
    assert first[1] == "docs/pictures/hub-analyst.png"
    assert first.start() < text.index("\n## ")


@pytest.mark.parametrize("path", sorted((DOCS / "adr").glob("*.md")), ids=lambda path: path.stem)
def test_a_decision_fits_on_a_screen(path: Path):
    text = path.read_text(encoding="utf-8")
    assert words(text) <= ADR_MOST
    assert re.match(r"# \d+\. ", text)
    for part in ("**Context.**", "**Decision.**"):
        assert part in text, part


def test_the_glossary_is_short_and_each_word_stands_once():
    rows = re.findall(r"(?m)^\| ([^|]+) \| ([^|]+) \|$", (DOCS / "glossary.md").read_text(encoding="utf-8"))[1:]
    defined = [word for word, _ in rows if set(word) != {"-"}]
    also = [word for _, meaning in rows for word in re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", meaning)]
    assert 0 < len(defined) <= GLOSSARY_MOST
    assert defined == sorted(defined)
    every = [word.lower() for word in defined + also]
    assert [word for word in sorted(set(every)) if every.count(word) > 1] == []


@pytest.mark.parametrize("name", [name for name in sorted(TEXTS) if name.endswith(".md") and name != "CHANGELOG.md"])
def test_lines_fit(name: str):
    most = 120 if name in GUIDES else 140
    lines = re.sub(r"(?ms)^ *```.*?^ *```", "", TEXTS[name]).splitlines()
    assert [line for line in lines if len(line) > most and not line.startswith(("|", "![", "    ", "["))] == []


def prose(text: str) -> str:
    """Return what is said in the document's own words: no code, headings, links, quotations."""
    text = re.sub(r"(?ms)^ *```.*?^ *```", "", text)
    text = re.sub(r"(?m)^(?:#| {4}).*$", "", text)
    return re.sub(r"\[[^\]]*\]\([^)]*\)|`[^`]*`|\"[^\"\n]*\"", "", text)


@pytest.mark.parametrize("name", [name for name in sorted(TEXTS) if name.endswith(".md") and name != "CHANGELOG.md"])
def test_documents_use_the_words_of_the_field(name: str):
    assert HOUSE.findall(prose(TEXTS[name])) == []


@pytest.mark.parametrize("sentence", ["see facts 6.3", "(facts 9)", "facts, Notebooks API v2", "facts/local-cloud.md"])
def test_a_citation_of_what_is_not_here_is_noticed(sentence: str):
    assert FACTS.search(sentence)


def test_nothing_cites_facts_that_are_not_in_the_repository():
    # docs/adr cites sections of platform-facts.md as links: "[facts 8.1](../platform-facts.md#...)".
    found = {
        name: cited
        for name, text in TEXTS.items()
        if (cited := FACTS.findall(re.sub(r"\[facts [\d.]+\]\([^)]*platform-facts\.md#[^)]*\)", "", text)))
    }
    assert found == {}


def test_every_rule_that_is_cited_is_explained():
    assert {f"R{number}" for number in range(1, 21)} == RULES
    prose = [
        name for name in TEXTS if name.startswith(("docs/", "shared/", "portal/", "cli/", "functions/", "emulator/"))
    ]
    cited = {rule for name in prose for rule in RULE.findall(TEXTS[name])}
    assert cited >= {"R9", "R20"}
    assert cited - RULES == set()


def test_every_section_that_a_comment_cites_is_there():
    cited = {found for text in TEXTS.values() for found in CITED.findall(text)}
    assert sum(document == "platform-facts.md" for document, _ in cited) >= 8
    assert [
        f"{document}#{anchor}" for document, anchor in sorted(cited) if anchor not in anchors(DOCS / document)
    ] == []


@pytest.mark.parametrize("name", [name for name in sorted(TEXTS) if name.endswith(".md") and name != "CHANGELOG.md"])
def test_every_file_that_a_document_names_is_there(name: str):
    text = re.sub(r"(?s)\[[A-Z]{2,5} [^]]*\]", "", TEXTS[name])  # sources of the platform facts are files of others
    named = re.findall(
        rf"(?<![\w/.-])(?:{'|'.join(FOLDERS)})/[\w./-]*\.(?:py|yaml|md|sh|html|svg|png|json|txt)\b", text
    )
    gone = [path for path in named if not (ROOT / path).exists()]
    gone += [cited for cited in re.findall(r"docs/adr/\d{4}", text) if not list(ROOT.glob(f"{cited}-*.md"))]
    assert sorted({path for path in gone if not WRITTEN.fullmatch(path)}) == []


def test_every_mark_of_a_source_is_in_the_legend():
    text = TEXTS["docs/platform-facts.md"]
    legend = set(re.findall(r"(?m)^\| \[(\w+)[^]]*\] \|", text))
    used = set(MARK.findall(text.partition("\n## 1. ")[2]))
    assert used == legend


def test_sections_of_the_platform_facts_are_numbered_in_order():
    heads = re.findall(r"(?m)^(#{2,3}) ([\d.]+)\.? ", TEXTS["docs/platform-facts.md"])
    numbers = [tuple(int(part) for part in number.rstrip(".").split(".")) for _, number in heads]
    assert len(numbers) > 25
    assert numbers == sorted(set(numbers))
