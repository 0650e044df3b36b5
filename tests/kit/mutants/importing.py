"""An import hook that changes the product's source on its way in: to count which blocks run, or to make a mutant."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from kit.mutants.changes import FOLDERS

Change = Callable[[bytes, str], ast.Module | bytes]
_PACKAGES = tuple(folder.replace("/", ".") + "." for folder in FOLDERS)


class _Loader(SourceFileLoader):
    change: Change

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return compile(self.change(self.get_data(path), path), path, "exec", dont_inherit=True)


class Finder:
    """Loads the modules of decisions and orchestration changed. `change` gets a module's source and its path below `root`."""

    def __init__(self, root: Path, change: Change) -> None:
        self._change = lambda source, path: change(source, str(Path(path).resolve().relative_to(root)))

    def install(self) -> None:
        """Take effect. Raise RuntimeError if a module was imported before."""
        early = [name for name in sys.modules if name.startswith(_PACKAGES)]
        if early:
            raise RuntimeError(f"imported too early: {early}")
        sys.meta_path.insert(0, self)

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if not name.startswith(_PACKAGES):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.origin is not None:
            loader = _Loader(name, spec.origin)
            loader.change = self._change
            spec.loader = loader
        return spec


class Blocks:
    """Counts which blocks of functions run. A block is what runs as a whole once it is entered, up to the next branch.

    `spans` has each block's file, first and last line; `hit` the numbers of those that ran since it was cleared.
    """

    def __init__(self) -> None:
        self.spans: list[tuple[str, int, int]] = []
        self.hit: set[int] = set()

    def counted(self, source: bytes, path: str) -> ast.Module:
        """Return the module with a call at the head of each block."""
        tree = ast.parse(source)
        name = "__block__"
        setattr(__import__("builtins"), name, self.hit.add)
        for function in [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]:
            first = min([function.lineno, *(each.lineno for each in function.decorator_list)])
            function.body = self._of(function.body, path, name, first)
        return ast.fix_missing_locations(tree)

    def _of(self, body: list[ast.stmt], path: str, name: str, first: int) -> list[ast.stmt]:
        made: list[ast.stmt] = []
        waiting: list[ast.stmt] = []

        def close() -> None:
            nonlocal first
            if waiting:
                last = waiting[-1].end_lineno or waiting[-1].lineno
                number = len(self.spans)
                self.spans.append((path, min(first, waiting[0].lineno), last))
                call = ast.Expr(ast.Call(ast.Name(name, ast.Load()), [ast.Constant(number)], []))
                made.extend([ast.copy_location(call, waiting[0]), *waiting])
                waiting.clear()
                first = last + 1

        for statement in body:
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                waiting.append(statement)  # has its own turn
                continue
            waiting.append(statement)
            inner: list[Any] = [statement, *getattr(statement, "handlers", []), *getattr(statement, "cases", [])]
            branches = False
            for part in inner:
                for field in ("body", "orelse", "finalbody"):
                    block = getattr(part, field, None)
                    if isinstance(block, list) and block:
                        branches = True
                        setattr(part, field, self._of(block, path, name, block[0].lineno))
            if branches:
                close()
        close()
        return made
