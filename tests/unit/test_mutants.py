"""What the mutants are, on a function of six lines."""

from __future__ import annotations

import ast

from kit.mutants.changes import mutants_in

SOURCE = b"""from x import replace
def f(a: int, log) -> int:
    if a > 1 and not log:
        log.info("Said", a=2)
        return replace(a, b=1)
    return "text"
"""


def test_each_place_that_decides_is_changed_and_texts_annotations_and_log_lines_are_not():
    texts = {(mutant.line, mutant.text) for mutant in mutants_in(SOURCE, "f.py")}
    assert texts == {
        (3, "(a >= 1)"), (3, "2"), (3, "(log)"), (3, "(a > 1 or not log)"), (3, "(a > 1)"), (3, "(not log)"),
        (3, "(not (a > 1 and (not log)))"), (5, "(replace(a))"), (5, "2"),
    }  # fmt: skip


def test_a_mutant_is_the_source_with_one_place_changed_and_can_be_read():
    for mutant in mutants_in(SOURCE, "f.py"):
        changed = mutant.applied(SOURCE)
        assert changed != SOURCE
        ast.parse(changed)
