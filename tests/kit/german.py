"""What the tests of the German page share: a German reader, what is English on a page, and the texts that templates and code have."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import jinja2
from jinja2 import nodes

from kit.hub import ANA, Browser, Hub, plain
from portal.language import words_of

PAGES = Path(__file__).parents[2] / "portal" / "templates"
WORDS = words_of("de")
SAID_TO_PEOPLE = {"message", "user_message", "headline", "word"}
NAMED = {"message", "text", "said", "gone"}
# Words that no German text has.
ENGLISH = re.compile(
    r"\b(the|your|you|is|are|and|of|with|until|since|stopped|running|restart|files|kept|hour|hours|ago|this|for|it|at)\b",
    re.IGNORECASE,
)
NOT_TEXT = re.compile(r"<(script|style|code|pre)\b.*?</\1>", re.DOTALL)
ATTRIBUTES = re.compile(r'\b(?:alt|title|aria-label|data-label|placeholder|data-say|data-title|data-offline)="([^"]*)"')
# Names and descriptions of Spark environments, as the configuration writes them.
OF_OTHERS = re.compile(r'<details id="spark-more.*?</details>|Spark for (larger|the largest) tables', re.DOTALL)
# Names, and what is typed into a command line.
IN_ANY_LANGUAGE = re.compile(r"^reload$|Benchkeeper|^Spark$|^JupyterLab$|^benchkeeper ")


def german(hub: Hub, email: str = ANA) -> Browser:
    """Return somebody's browser, whose page is German and whose clock is Berlin's."""
    browser = hub.browser(email)  # type: ignore[arg-type]
    browser.client.set_cookie("language", "de")
    browser.client.set_cookie("tz", "Europe/Berlin")
    return browser


def english_in(html: str) -> list[str]:
    """Return what of a page's visible text and labels is English, though nothing marks it as English."""
    marked = re.sub(r'<(\w+)[^>]* lang="en"[^>]*>.*?</\1>', "", NOT_TEXT.sub("", html[html.find("<body") :]))
    marked = OF_OTHERS.sub("", marked)
    texts = [plain(marked.partition(">")[2]), *ATTRIBUTES.findall(marked)]
    return [text[max(0, found.start() - 40) : found.end() + 40] for text in texts for found in ENGLISH.finditer(text)]


def template_texts(paths: Iterable[Path]) -> Iterator[str]:
    """Yield each text of the templates that is to be translated, with its names in braces."""
    for path in paths:
        for _, _, found in _env().extract_translations(path.read_text()):
            texts = found if isinstance(found, tuple) else (found,)
            yield from (re.sub(r"%\((\w+)\)s", r"{\1}", text).replace("%%", "%") for text in texts if text)


def bare_texts(path: Path) -> list[str]:
    """Return the texts of a template, and of its labels, that stand outside a translation."""
    template = path.read_text()
    bare = re.sub(r"<pre.*?</pre>|{% trans.*?endtrans %}|{{.*?}}|{%.*?%}|{#.*?#}", " ", template, flags=re.DOTALL)
    texts = [text.strip() for text in [*re.findall(r">([^<>]+)<", bare), *ATTRIBUTES.findall(bare)]]
    texts += [text for text in _constants(_env().parse(template)) if re.match(r"[A-Z][a-z]", text)]
    return [text for text in texts if re.search(r"[a-z]{3}", text) and not IN_ANY_LANGUAGE.search(text)]


def _env() -> jinja2.Environment:
    env = jinja2.Environment(autoescape=True, extensions=["jinja2.ext.i18n"], trim_blocks=True, lstrip_blocks=True)
    env.policies["ext.i18n.trimmed"] = True
    env.newstyle_gettext = True  # type: ignore[attr-defined]
    return env


def _constants(node: nodes.Node) -> Iterator[str]:
    """Yield the strings that a template shows as they are: not what is translated, and not what is compared or looked up."""
    match node:
        case (
            nodes.Call(node=nodes.Name(name="_" | "gettext" | "ngettext" | "url_for"))
            | nodes.Filter(name="word" | "told")
        ):
            return
        case nodes.Compare() | nodes.Getitem() | nodes.Pair():
            return
        case nodes.Const(value=str(text)):
            yield text
    for child in node.iter_child_nodes():
        yield from _constants(child)


def sentences_of(path: Path) -> Iterator[str]:
    """Yield the sentences that a module says to people, with 7 for each value in them, and nothing for the end of a word."""
    for node in ast.walk(ast.parse(path.read_text())):
        value: ast.AST | None = None
        if isinstance(node, ast.keyword):
            value = node.value if node.arg in SAID_TO_PEOPLE else None
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            value = node.value if node.targets[0].id in NAMED else None
        elif isinstance(node, ast.Dict):
            named = [
                each for key, each in zip(node.keys, node.values, strict=True) if not isinstance(key, ast.Constant)
            ]
            value = ast.Tuple(elts=[each for each in named if isinstance(each, ast.Constant | ast.JoinedStr)])
        if value is None:
            continue
        inside = {id(part) for each in ast.walk(value) if isinstance(each, ast.JoinedStr) for part in each.values}
        for each in ast.walk(value):
            if id(each) in inside:
                continue
            if isinstance(each, ast.Constant) and isinstance(each.value, str):
                yield each.value
            elif isinstance(each, ast.JoinedStr):
                text = "".join(str(p.value) if isinstance(p, ast.Constant) else "7" for p in each.values)
                yield re.sub(r"(?<=[a-z.!])7+|(?<=[.!]) 7", "", text)
