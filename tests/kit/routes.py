"""The applications of the page that tests make, a thousand in a process: what werkzeug compiles for a route, it compiles once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from werkzeug.routing.rules import Rule

Builder = Callable[..., tuple[str, str]]


@functools.cache
def keep_builders() -> None:
    """From now on make the function that writes a route's address once for each route.

    It depends on the route's text alone (it gets the rule, with its converters, as an argument), and to compile it twice for each of a
    hundred routes was more than half of what an application costs.
    """
    compiled, kept = Rule._compile_builder, dict[Any, Builder]()

    def compile_builder(rule: Rule, append_unknown: bool = True) -> Builder:
        if rule.defaults:
            return compiled(rule, append_unknown)
        key = (rule.rule, tuple(rule._trace), append_unknown)
        if key not in kept:
            kept[key] = compiled(rule, append_unknown)
        return kept[key]

    Rule._compile_builder = compile_builder  # type: ignore[method-assign]
