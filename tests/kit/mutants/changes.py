"""All mutants of a module, from its source alone: each is one expression or statement put in another's place.

Not made: changes of texts, of annotations and of log lines, which decide nothing; and what `assert_never` guards, which no run reaches.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDERS = ("shared/domain", "shared/engine")
_OTHER_COMPARISON: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_TURNED = (ast.Eq, ast.NotEq, ast.Is, ast.IsNot, ast.In, ast.NotIn)  # whose other comparison is the negation
_OTHER_SUM: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr,
}  # fmt: skip
_OTHER_CALL = {"min": "max", "max": "min", "any": "all", "all": "any"}
_REPLACING = frozenset({"replace", "with_status"})  # whose keywords are what a decision changes


@dataclass(frozen=True, slots=True)
class Mutant:
    """A change of a file: the bytes from `start` to `end` become `text`. `line` is the first line of what is changed."""

    path: str
    line: int
    start: int
    end: int
    text: str
    was: str

    @property
    def name(self) -> str:
        return f"{self.path}:{self.line}: {' '.join(self.was.split())} -> {self.text}"

    def applied(self, source: bytes) -> bytes:
        return source[: self.start] + self.text.encode() + source[self.end :]


def mutants_of(root: Path) -> list[Mutant]:
    """Return every mutant of the product's decisions and orchestration, in the order of the files and their lines."""
    found: list[Mutant] = []
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*.py")):
            found += mutants_in(path.read_bytes(), str(path.relative_to(root)))
    return found


def mutants_in(source: bytes, path: str) -> list[Mutant]:
    """Return the mutants of one file."""
    tree = ast.parse(source)
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found: dict[tuple[int, int, str], Mutant] = {}
    for node, text in _changes(tree):
        if node.end_lineno is None or node.end_col_offset is None:
            continue
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[node.end_lineno - 1] + node.end_col_offset
        was = source[start:end].decode()
        found.setdefault((start, end, text), Mutant(path, node.lineno, start, end, text, was))
    return sorted(found.values(), key=lambda m: (m.start, m.end, m.text))


def _changes(tree: ast.Module) -> Iterator[tuple[ast.expr | ast.stmt, str]]:  # noqa: C901, PLR0912 - a case a kind of change
    """Yield each node with what is put in its place."""
    for node in _decisive(tree):
        match node:
            case ast.Compare(ops=[op]) if type(op) in _OTHER_COMPARISON:
                yield node, _text(ast.Compare(node.left, [_OTHER_COMPARISON[type(op)]()], node.comparators))
            case ast.Compare():
                for at, op in enumerate(node.ops):
                    ops = [*node.ops[:at], _OTHER_COMPARISON[type(op)](), *node.ops[at + 1 :]]
                    yield node, _text(ast.Compare(node.left, ops, node.comparators))
            case ast.BoolOp():
                other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
                yield node, _text(ast.BoolOp(other, node.values))
                for at in range(len(node.values)):
                    left = [*node.values[:at], *node.values[at + 1 :]]
                    yield node, _text(left[0] if len(left) == 1 else ast.BoolOp(node.op, left))
            case ast.UnaryOp(op=ast.Not()):
                yield node, _text(node.operand)
            case ast.Constant(value=bool()):
                yield node, repr(not node.value)
            case ast.Constant(value=int() | float()):
                yield node, repr(node.value + 1)
            case ast.BinOp() if type(node.op) in _OTHER_SUM and not (_is_text(node.left) or _is_text(node.right)):
                yield node, _text(ast.BinOp(node.left, _OTHER_SUM[type(node.op)](), node.right))
            case ast.Call(func=ast.Name(id=name)) if name in _OTHER_CALL:
                yield node.func, _OTHER_CALL[name]
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in _REPLACING:
                for at in range(len(node.keywords)):
                    left_over = [*node.keywords[:at], *node.keywords[at + 1 :]]
                    yield node, _text(ast.Call(node.func, node.args, left_over))
            case ast.Expr(value=ast.Call()) | ast.AugAssign():
                yield node, "pass"
            case ast.Continue():
                yield node, "break"
            case ast.Break():
                yield node, "continue"
            case ast.Return(value=None):
                yield node, "pass"
            case _:
                pass
        for test in _tests_of(node):
            if not isinstance(test, ast.UnaryOp) and not (isinstance(test, ast.Compare) and _is_turned(test)):
                yield test, _text(ast.UnaryOp(ast.Not(), test))


def _tests_of(node: ast.AST) -> list[ast.expr]:
    match node:
        case ast.If() | ast.While() | ast.IfExp():
            return [node.test]
        case ast.comprehension():
            return node.ifs
        case ast.match_case(guard=ast.expr() as guard):
            return [guard]
        case _:
            return []


def _is_turned(test: ast.Compare) -> bool:
    return len(test.ops) == 1 and isinstance(test.ops[0], _TURNED)


def _decisive(node: ast.AST) -> Iterator[ast.AST]:
    """Walk over a tree, without annotations, texts, log lines and what only the type checker sees."""
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns", "decorator_list", "bases", "keywords"} and not isinstance(node, ast.Call):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _decides_nothing(child):
                yield child
                yield from _decisive(child)


def _decides_nothing(node: ast.AST) -> bool:
    match node:
        case ast.JoinedStr() | ast.Import() | ast.ImportFrom() | ast.Raise():
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.Assign(targets=[ast.Name(id="__all__")]):
            return True
        case ast.Call(func=ast.Name(id="isinstance" | "field")):  # a name of a type, an option of a struct
            return True
        case ast.Assign(value=ast.BinOp(op=ast.BitOr())):  # the alias of a union
            return True
        case ast.Expr(value=ast.Constant()):
            return True
        case ast.Expr(value=ast.Call(func=ast.Name(id="assert_never"))):
            return True
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Attribute(attr="log") | ast.Name(id="log")))):
            return True
        case _:
            return False


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _text(node: ast.expr) -> str:
    return f"({ast.unparse(ast.fix_missing_locations(node))})"
