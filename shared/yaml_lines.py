"""A YAML reader that knows the line of every key. Used by the settings and by the template check."""

from __future__ import annotations

import functools
from contextlib import suppress
from typing import Any

import yaml

from shared.faults import Loc

_MOST_NODES = 20_000


class YamlFaultError(Exception):
    """The error of a text that is not a YAML mapping, or that has a duplicate key."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.line = line
        self.problem = problem


@functools.cache
def _fast_loader() -> type[Any]:
    """Return a loader that uses libyaml if PyYAML has it, because every cold start reads the settings.

    Not `CSafeLoader`: it also composes in C, where deep nesting ends the process. Composed in Python, deep nesting is a RecursionError.
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
        mark = error.problem_mark
        raise YamlFaultError(mark.line + 1 if mark is not None else 0, str(error.problem)) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise YamlFaultError(0, f"not YAML: {error}") from error


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
                raise YamlFaultError(key.start_mark.line + 1, f"the key '{name}' stands here twice")
            seen.add(name)
            lines[(*loc, name)] = key.start_mark.line + 1
            _walk(value, (*loc, name), lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines[(*loc, index)] = item.start_mark.line + 1
            _walk(item, (*loc, index), lines)
