"""A YAML reader that returns the line of every key. The settings and the template check use it."""

from __future__ import annotations

import functools
from contextlib import suppress
from typing import Any

import yaml

from shared.faults import Loc

_MOST_NODES = 20_000


class YamlFaultError(Exception):
    """The error of a text that is not a YAML mapping, has a duplicate key, or has too many keys and items."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.line = line
        self.problem = problem


@functools.cache
def _fast_loader() -> type[Any]:
    """Return a loader that uses libyaml if PyYAML has it, because every cold start reads the settings.

    `CSafeLoader` is not used, because it also composes in C, where deep nesting ends the process. In Python, deep nesting raises a
    RecursionError.
    """
    if not yaml.__with_libyaml__:
        return yaml.SafeLoader

    bases: tuple[Any, ...] = (
        yaml.composer.Composer,
        vars(yaml.cyaml)["CParser"],  # absent from the type stubs
        yaml.constructor.SafeConstructor,
        yaml.resolver.Resolver,
    )

    def start(self: Any, text: str) -> None:
        composer, parser, *others = bases
        parser.__init__(self, text)
        for base in (composer, *others):
            base.__init__(self)

    return type("FastLoader", bases, {"__init__": start})


def load_yaml(text: str) -> tuple[dict[str, Any], dict[Loc, int]]:
    """Return the mapping in a YAML text and the line (from 1) of every key and item. Raise `YamlFaultError` for invalid text."""
    # The loader below finds the same fault again and words it without libyaml.
    with suppress(yaml.YAMLError, ValueError, RecursionError):
        return _load(text, _fast_loader())
    try:
        return _load(text, yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        raise _in_words(error, text.splitlines()) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise YamlFaultError(
            line, f"not YAML: the character U+{error.character:04X} is not allowed. Remove it"
        ) from error
    except RecursionError as error:
        raise YamlFaultError(
            0, "not YAML: it is nested too deeply, or an alias (*) stands inside of its own anchor (&)"
        ) from error
    except (yaml.YAMLError, ValueError) as error:
        said = str(error).partition("\n")[0]
        raise YamlFaultError(
            0, f"not YAML: a date, time or number that does not exist ({said}). Put it into quotes"
        ) from error


# A part of the parser's sentence, whether the fault is where the construct begins, and the words for people.
_WORDS = (
    ("mapping values are not allowed", False, "a second ': ', or an indentation that differs from all lines before. Put a value with ': ' into quotes"),
    ("expected <block end>", False, "the indentation differs from all lines before. Indent each key like its neighbours"),
    ("could not find expected ':'", True, "a key without a colon. Write key: value"),
    ("found unexpected end of stream", True, "a quotation mark that is never closed"),
    ("expected ',' or", True, "a bracket that is never closed"),
    ("expected the node content", False, "a value is missing, or it begins with a bracket that belongs elsewhere"),
    ("found unknown escape character", False, "an unknown escape in double quotes. Use single quotes"),
    ("found undefined alias", False, "a value that begins with *. Put it into quotes"),
    ("could not determine a constructor for the tag", False, "a value that begins with !. Put it into quotes"),
    ("but found another document", False, "a second document begins here (---). Only one is read"),
)  # fmt: skip


def _in_words(error: yaml.MarkedYAMLError, lines: list[str]) -> YamlFaultError:
    """Return the parser's error with a text that says what to do; for an unknown error, with the parser's own text."""
    problem, mark = str(error.problem), error.problem_mark
    number = mark.line + 1 if mark is not None else 0
    line = lines[number - 1] if 0 < number <= len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return YamlFaultError(number, "the line is indented with a tab. Use spaces")
    if "cannot start any token" in problem and mark is not None and mark.column < len(line):
        return YamlFaultError(number, f"a value cannot begin with {line[mark.column]}. Put it into quotes")
    for part, at_its_begin, words in _WORDS:
        if part in problem:
            begin = error.context_mark if at_its_begin else None
            return YamlFaultError(begin.line + 1 if begin is not None else number, words)
    return YamlFaultError(number, problem)


def _load(text: str, loader: type[yaml.SafeLoader]) -> tuple[dict[str, Any], dict[Loc, int]]:
    reader = loader(text)
    try:
        root = reader.get_single_node()
        if not isinstance(root, yaml.MappingNode):
            raise YamlFaultError(1, "a mapping (key: value) is needed")
        lines: dict[Loc, int] = {}
        _walk(root, (), lines)
        data: dict[str, Any] = reader.construct_document(root)
    finally:
        reader.dispose()
    return data, lines


def _walk(node: yaml.Node, loc: Loc, lines: dict[Loc, int]) -> None:
    lines.setdefault(loc, node.start_mark.line + 1)
    if len(lines) > _MOST_NODES:  # nested anchors multiply without end
        raise YamlFaultError(node.start_mark.line + 1, "too many keys and items")
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:
                raise YamlFaultError(key.start_mark.line + 1, f"the key '{name}' is listed twice")
            seen.add(name)
            lines[(*loc, name)] = key.start_mark.line + 1
            _walk(value, (*loc, name), lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines[(*loc, index)] = item.start_mark.line + 1
            _walk(item, (*loc, index), lines)
