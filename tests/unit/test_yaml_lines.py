"""What is wrong with a YAML file, in words that say what to do."""

from __future__ import annotations

import pytest

from shared.yaml_lines import YamlFaultError, load_yaml


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("a:\n  b: 1\n c: 2\n", 3, "Indent each key like its neighbours"),
        ("a:\n    b: 1\n  c: 2\n", 3, "Indent each key like its neighbours"),
        ("a: 1\n  b: 2\n", 2, "an indentation that differs from all lines before"),
        ("a:\n\tb: 1\n", 2, "indented with a tab. Use spaces"),
        ("a:\n  b: 1\n \t c: 2\n", 3, "indented with a tab. Use spaces"),
        ("a: b: c\n", 1, "Put a value with ': ' into quotes"),
        ("a: [1, 2\nb: 3\n", 1, "a bracket that is never closed"),
        ("x: 1\na: {b: 1\n", 2, "a bracket that is never closed"),
        ("a: 'x\nb: 1\n", 1, "a quotation mark that is never closed"),
        ("a: 1\nb\nc: 2\n", 2, "a key without a colon"),
        ("a: @x\n", 1, "cannot begin with @"),
        ("a: %x\n", 1, "cannot begin with %"),
        ("a: *x\n", 1, "begins with *"),
        ("a: !x y\n", 1, "begins with !"),
        ('a: "\\q"\n', 1, "Use single quotes"),
        ("a: 1\n---\nb: 2\n", 2, "Only one is read"),
        ("a: \x00\n", 1, "U+0000 is not allowed"),
        ("a: 1\nb: \x00\n", 2, "U+0000 is not allowed"),
    ],
)
def test_a_fault_names_its_line_and_what_to_do(text, line, says):
    with pytest.raises(YamlFaultError) as caught:
        load_yaml(text)
    assert says in caught.value.problem
    assert "\n" not in caught.value.problem
    assert caught.value.line == line
