"""`./tests/run.sh --mutants record FOLDER…`, then `./tests/run.sh --mutants run [--seed N] [--count K]`; see docs/testing.md."""

from __future__ import annotations

import argparse
import ast
import gc
import hashlib
import importlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest

from kit.mutants.changes import FOLDERS, Mutant, mutants_of
from kit.mutants.importing import Blocks, Finder

ROOT = Path(__file__).resolve().parents[3]
_PLAIN = ["-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:xdist", "--no-header", "--tb=line", "-r", ""]
_ONLY = "not slow and not e2e and not gcloud and not browser and not jupyter and not waits and not alone"
_MOST_WALL_S = 1800
_HISTORIES = 40


def sources_digest() -> str:
    """Return a digest of all that is mutated: a map of other sources says nothing."""
    found = hashlib.sha256()
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            found.update(path.read_bytes())
    return found.hexdigest()


class Recorder:
    """A pytest plugin: which blocks each test runs, and how much processor time it takes."""

    def __init__(self, blocks: Blocks) -> None:
        self.blocks = blocks
        self.tests: dict[str, tuple[float, list[int]]] = {}
        self.failed: list[str] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Any:
        self.blocks.hit.clear()
        began = time.process_time()
        answer = yield
        if self.blocks.hit:
            self.tests[item.nodeid] = (round(time.process_time() - began, 3), sorted(self.blocks.hit))
        return answer

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)


class Chosen:
    """A pytest plugin: run these tests alone, in this order."""

    def __init__(self, tests: list[str]) -> None:
        self.order = {name: at for at, name in enumerate(tests)}
        self.failed = ""

    @pytest.hookimpl(wrapper=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> Any:
        answer = yield
        chosen = [item for item in items if item.nodeid in self.order]
        items[:] = sorted(chosen, key=lambda item: self.order[item.nodeid])
        return answer

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.failed:
            self.failed = report.nodeid


def record(folders: list[str], out: Path) -> int:
    """Run the tests once, and write which blocks each of them runs."""
    blocks = Blocks()
    Finder(ROOT, blocks.counted).install()
    recorder = Recorder(blocks)
    pytest.main([*_PLAIN, "-m", _ONLY, *folders], plugins=[recorder])
    content = {
        "sources": sources_digest(),
        "blocks": blocks.spans,
        # One that fails without a mutant says nothing of one.
        "tests": {name: found for name, found in recorder.tests.items() if name not in recorder.failed},
    }
    out.mkdir(exist_ok=True)
    (out / f"map-{folders[0].replace('/', '-')}.json").write_text(json.dumps(content))
    sys.stdout.write(f"{len(recorder.tests)} tests of {folders}, {len(recorder.failed)} failed: {recorder.failed}\n")
    return 0


def tests_of(mutant: Mutant, maps: list[dict[str, Any]], most_s: float) -> dict[str, float]:
    """Return the tests that run the mutant's line, with the seconds that each takes.

    A line outside functions runs when its module is imported: those that run any block of the file count. Of the many tests
    that run a line of every pass, as many as take so many seconds: of each file of tests those first that run little else.
    """
    found: dict[str, list[tuple[int, float, str]]] = {}
    for each in maps:
        around = [
            (last - first, number)
            for number, (path, first, last) in enumerate(each["blocks"])
            if path == mutant.path and first <= mutant.line <= last
        ]
        whole = {number for number, (path, _, _) in enumerate(each["blocks"]) if path == mutant.path}
        wanted = {min(around)[1]} if around else whole
        for name, (seconds, hit) in each["tests"].items():
            if not wanted.isdisjoint(hit):
                found.setdefault(name.partition("::")[0], []).append((len(hit), seconds, name))
    ranked = [(rank, *each) for file in found.values() for rank, each in enumerate(sorted(file))]
    chosen: dict[str, float] = {}
    spent = 0.0
    for _, _, seconds, name in sorted(ranked):
        if not chosen or spent + seconds <= most_s:
            chosen[name] = seconds
            spent += seconds
    return chosen


class Trying:
    """A pytest plugin: in place of the tests it runs the mutants, each in a child of this process that has collected all tests.

    A child puts a mutated function's code in place of its own. What is outside functions is tried in a process that imports it.
    """

    def __init__(
        self, mutants: list[tuple[int, Mutant, dict[str, float]]], results: Path, out: Path, by: frozenset[str]
    ) -> None:
        self.mutants = mutants
        self.results = results
        self.out = out
        self.by = by

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        session.config.pluginmanager.unregister(name="stillness")  # it has a thread, which no child would have
        importlib.import_module("kit.simulator.history")  # once for all children
        items = {item.nodeid: item for item in session.items}
        functions = functions_by_place()
        gc.freeze()
        for number, mutant, tests in self.mutants:
            order = [name for name in tests if name in items]
            row = {"number": number, "name": mutant.name, "tests": len(order)}
            row |= self._verdict(mutant, [items[name] for name in order], tests, functions)
            with self.results.open("a") as file:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
            sys.stderr.write(f"{number} {row['verdict']} {mutant.name} {row['by']}\n")
        return True

    def _verdict(
        self, mutant: Mutant, items: list[pytest.Item], tests: dict[str, float], functions: dict[Any, list[Any]]
    ) -> dict[str, str]:
        """Say who catches it: `unit`, `simulator`, or nobody (`survives`)."""
        names = [item.nodeid for item in items]
        most_cpu_s = 60 + 5 * sum(tests[name] for name in names)
        codes = code_of(mutant, functions)
        said = ""
        if "tests" not in self.by:
            items = []
        if items and codes:
            said = self._forked(lambda: run_items(items), codes, most_cpu_s)
        elif items:
            said = _child("tests", mutant, names, most_cpu_s, self.out)
        if said:
            return {"verdict": "unit", "by": said}
        if "histories" not in self.by:
            return {"verdict": "survives the tests", "by": ""}
        most_cpu_s = 40 + 10 * _HISTORIES
        said = self._forked(run_histories, codes, most_cpu_s) if codes else ""
        said = said or ("" if codes else _child("histories", mutant, [], most_cpu_s, self.out))
        return {"verdict": "simulator" if said else "survives", "by": said}

    def _forked(self, work: Callable[[], str], codes: list[tuple[Any, CodeType]], most_cpu_s: float) -> str:
        """Return what noticed the mutant in a child of this process, "" for nothing."""
        answer = self.out / "answer.txt"
        answer.unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            try:
                seconds = int(most_cpu_s)
                resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
                signal.alarm(_MOST_WALL_S)
                for function, code in codes:
                    function.__code__ = code
                answer.write_text(work())
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            return f"it has no end (signal {os.WTERMSIG(status)})"
        return answer.read_text() if answer.exists() else "it cannot run"


def functions_by_place() -> dict[tuple[str, str], list[Any]]:
    """Return all functions of the product's decisions and orchestration by file and qualified name."""
    found: dict[tuple[str, str], list[Any]] = {}
    for each in gc.get_objects():
        if isinstance(each, FunctionType) and str(each.__module__).startswith(("shared.domain.", "shared.engine.")):
            found.setdefault((each.__code__.co_filename, each.__code__.co_qualname), []).append(each)
    return found


def code_of(mutant: Mutant, functions: dict[tuple[str, str], list[Any]]) -> list[tuple[Any, CodeType]]:
    """Return the function that a mutant is in, with its mutated code; nothing if the mutant is not in a function's body."""
    path = ROOT / mutant.path
    source = path.read_bytes()
    place = body_at(ast.parse(source), mutant.line)
    if place is None:
        return []
    waiting = [compile(mutant.applied(source), str(path), "exec", dont_inherit=True)]
    while waiting:
        code = waiting.pop()
        if code.co_qualname == place:
            return [(function, code) for function in functions.get((str(path), place), [])]
        waiting += [each for each in code.co_consts if isinstance(each, CodeType)]
    return []


def body_at(tree: ast.AST, line: int, within: str = "") -> str | None:
    """Return the qualified name of the outermost function whose body has the line."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            found = body_at(node, line, f"{within}{node.name}.")
            if found is not None:
                return found
        elif isinstance(node, ast.FunctionDef) and node.body[0].lineno <= line <= (node.end_lineno or 0):
            return within + node.name
    return None


def run_items(items: list[pytest.Item]) -> str:
    """Run tests in their order up to the first that fails; return that."""
    failed: list[str] = []

    class Failures:
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            if report.failed:
                failed.append(report.nodeid)

    items[0].config.pluginmanager.register(Failures())
    for item, following in zip(items, [*items[1:], None], strict=True):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if failed:
            return failed[0]
    return ""


def run(seed: int, count: int, out: Path, only: list[int], by: frozenset[str], most_s: float) -> int:
    """Draw mutants and try each. One that was tried before is not tried again, but for those of `only`."""
    maps = [json.loads(path.read_text()) for path in sorted(out.glob("map-*.json"))]
    if not maps or any(each["sources"] != sources_digest() for each in maps):
        raise SystemExit("record first: there is no map of the tests, or it is of other sources")
    results = out / f"results-{seed}.jsonl"
    tried = {row["number"] for row in map(json.loads, results.read_text().splitlines())} if results.exists() else set()
    drawn = random.Random(seed).sample(mutants_of(ROOT), count)  # noqa: S311 - a seed that replays, no secret
    numbers = only or [number for number in range(count) if number not in tried]
    mutants = [(number, drawn[number], tests_of(drawn[number], maps, most_s)) for number in numbers]
    files = sorted({name.partition("::")[0] for each in maps for name in each["tests"]})
    return pytest.main([*_PLAIN, "--basetemp", str(out / "tmp"), *files], plugins=[Trying(mutants, results, out, by)])


def _child(what: str, mutant: Mutant, tests: list[str], most_cpu_s: float, out: Path) -> str:
    """Return what noticed the mutant, "" for nothing, in a process of its own that imports the mutant."""
    spec, answer = out / "spec.json", out / "answer.txt"
    spec.write_text(json.dumps({"mutant": asdict(mutant), "tests": tests, "most_cpu_s": most_cpu_s}))
    answer.unlink(missing_ok=True)
    command = [sys.executable, "-m", "kit.mutants", what, "--out", str(out)]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False, timeout=_MOST_WALL_S)
    except subprocess.TimeoutExpired:
        return "it waits without end"
    if done.returncode < 0:
        return f"it has no end (signal {-done.returncode})"
    if not answer.exists():
        return f"it cannot run: {done.stderr.decode()[-300:]}"
    return answer.read_text()


def mutated(out: Path) -> dict[str, Any]:
    """Make the mutant of `spec.json` in this process, before the product is imported."""
    spec: dict[str, Any] = json.loads((out / "spec.json").read_text())
    mutant = Mutant(**spec["mutant"])
    Finder(ROOT, lambda source, path: mutant.applied(source) if path == mutant.path else source).install()
    seconds = int(spec["most_cpu_s"])
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    return spec


def one_by_tests(out: Path) -> None:
    """Run the tests of a mutant; the answer is the first that fails."""
    tests = mutated(out)["tests"]
    chosen = Chosen(tests)
    files = sorted({name.partition("::")[0] for name in tests})
    status = pytest.main([*_PLAIN, "-x", *files], plugins=[chosen])
    said = chosen.failed or ("" if status == pytest.ExitCode.OK else f"pytest ends with {status}")
    (out / "answer.txt").write_text(said)


def run_histories() -> str:
    """Run the kept histories and forty that are drawn, up to the first that fails; return that."""
    from kit.simulator import history  # noqa: PLC0415 - the product comes after the mutant
    from kit.simulator.journal import Journal  # noqa: PLC0415

    kept = [history.read(path) for path in sorted(history.KEPT.glob("*.json"))]
    for seed, steps in [*kept, *((f"mutants/{number}", None) for number in range(_HISTORIES))]:
        failure = history.run(steps, seed=seed, journal=Journal()).failure
        if failure is not None:
            return f"history {seed}: {failure.where}"
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(prog="./tests/run.sh --mutants", description=__doc__)
    parser.add_argument("what", choices=["record", "run", "list", "tests", "histories"])
    parser.add_argument("folders", nargs="*", help="of tests, for `record`; one map each time")
    parser.add_argument("--seed", type=int, default=2026, help="draws the mutants")
    parser.add_argument("--count", type=int, default=200, help="how many are drawn")
    parser.add_argument("--only", type=int, nargs="*", default=[], help="try these again, by their number")
    parser.add_argument("--by", nargs="*", default=["tests", "histories"], help="who tries them: tests, histories")
    parser.add_argument("--seconds", type=float, default=300, help="of tests, at most, for a mutant")
    parser.add_argument("--out", type=Path, default=ROOT / ".mutants")
    args = parser.parse_args()
    match args.what:
        case "record":
            return record(args.folders, args.out)
        case "run":
            return run(args.seed, args.count, args.out, args.only, frozenset(args.by), args.seconds)
        case "list":
            sys.stdout.writelines(f"{mutant.name}\n" for mutant in mutants_of(ROOT))
        case "tests":
            one_by_tests(args.out)
        case "histories":
            mutated(args.out)
            (args.out / "answer.txt").write_text(run_histories())
    return 0


if __name__ == "__main__":
    sys.exit(main())
