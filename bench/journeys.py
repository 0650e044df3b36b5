"""The length of a reader's path: the files of the product that a journey runs through, and the number of statements.

A journey is the handling of one event or click, from the decorated function to its return, in a process that has
handled another user before. Its figures are the numbers of files, of functions, of calls from one file into another,
and of those calls that return to an earlier file. No file of `functions`, `shared`, `portal` and `cli` is left out;
lambdas and comprehensions belong to their function. A statement is one of Python's syntax tree, without docstrings.
`tests/data/journeys.txt` has the figures of the commit that it names; `--renew` writes it.
"""

from __future__ import annotations

import argparse
import ast
import base64
import io
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import flask  # noqa: E402 - the tree comes first on sys.path
from cloudevents.http import CloudEvent  # noqa: E402
from kit.hub import Hub, make_hub  # noqa: E402
from kit.inprocess import Bench  # noqa: E402
from msgspec.structs import replace  # noqa: E402

from functions import hub as hub_module  # noqa: E402
from functions.lifecycle import lifecycle  # noqa: E402
from functions.tick import tick  # noqa: E402
from shared import wiring  # noqa: E402
from shared.cloud.http.clock import SystemClock  # noqa: E402
from shared.domain.people.sources import SHIPPED  # noqa: E402
from shared.domain.things.identity import UserEmail, parse_email, user_key_for  # noqa: E402
from shared.domain.things.times import rfc3339  # noqa: E402
from shared.messages.parse import wake_message  # noqa: E402
from shared.telemetry import JsonLog  # noqa: E402

FILE = ROOT / "tests" / "data" / "journeys.txt"
_PRODUCT = tuple(f"{ROOT / folder}/" for folder in ("functions", "shared", "portal", "cli"))
_APP = flask.Flask("journeys")
_UNTIL_QUIET = 8  # minutes after which a pass has nothing more to do


class Journey(NamedTuple):
    """The figures of a journey: its files, its functions, its moves to another file, and the moves back to an earlier file."""

    files: int
    functions: int
    moves: int
    back: int


class Recorder:
    """A profile function that records the product's functions in the order in which they are entered.

    It records the current thread, and every thread that starts meanwhile.
    """

    def __init__(self) -> None:
        self.entered: list[CodeType] = []

    def __call__(self, frame: FrameType, event: str, _arg: object) -> None:
        """Record the entry of a named function of the product; ignore every other event. Python calls this method."""
        code = frame.f_code
        if event == "call" and not code.co_name.startswith("<") and code.co_filename.startswith(_PRODUCT):
            self.entered.append(code)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record the calls inside the block."""
        threading.setprofile(self)
        sys.setprofile(self)
        try:
            yield
        finally:
            sys.setprofile(None)
            threading.setprofile(None)  # type: ignore[arg-type] - None ends it

    def journey(self) -> Journey:
        """Return the figures of the recorded calls."""
        names = [code.co_filename for code in self.entered]
        moves, back, seen = 0, 0, set(names[:1])
        for before, now in pairwise(names):
            if now != before:
                moves += 1
                back += now in seen
                seen.add(now)
        return Journey(files=len(seen), functions=len(set(self.entered)), moves=moves, back=back)


class CountedClock(SystemClock):
    """A clock with the embedded cloud's time. It also calls the deployed clock, so that the file of that clock is counted."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def now(self) -> Any:
        """Return the current time, aware, in UTC."""
        super().now()
        return self._bench.now


class World:
    """A test system: the product's functions over the embedded cloud, in this process."""

    def __init__(self) -> None:
        self.hub: Hub = make_hub()
        self.bench = self.hub.bench
        self.bench.deps = replace(
            self.bench.deps, clock=CountedClock(self.bench), log=JsonLog("lifecycle", stream=io.StringIO())
        )
        for component in ("lifecycle", "tick", "hub"):
            wiring._CACHED[component] = (self.bench.settings, self.bench.deps)  # noqa: SLF001 - as a process that has begun
        hub_module._APPS[:] = [(self.bench.settings.project, self.hub.app)]  # noqa: SLF001 - likewise
        self._count = 0

    def send(self, function: Callable[[CloudEvent], None], topic: str, body: bytes) -> Journey:
        """Send a message to a function as Eventarc does, and return the journey."""
        self._count += 1
        name, moment = f"m{self._count}", rfc3339(self.bench.now)
        about = {
            "id": name, "time": moment, "type": "google.cloud.pubsub.topic.v1.messagePublished",
            "source": f"//pubsub.googleapis.com/projects/{self.bench.settings.project}/topics/{topic}",
        }  # fmt: skip
        message = {"data": base64.b64encode(body).decode(), "messageId": name, "publishTime": moment, "attributes": {}}
        event = CloudEvent(about, {"message": message, "subscription": "s", "deliveryAttempt": 1})
        recorder = Recorder()
        with _APP.test_request_context(), recorder.recording():
            function(event)
        return recorder.journey()

    def news(self, kind: str, user: UserEmail) -> Journey:
        """Send the news that the user joins or leaves, and return the journey."""
        body = {
            "schema": "workbench.lifecycle/v1", "event_id": f"{kind}-{user}", "type": kind, "user": str(user),
            "occurred_at": self.bench.now.isoformat(),
            "attributes": {"groups": ["data-analysts@example.com"]} if kind == "joiner" else {},
        }  # fmt: skip
        return self.send(lifecycle, SHIPPED["hr"].topic, json.dumps(body).encode())

    def due(self) -> Journey:
        """Move the clock by a minute and run the due sweep; return the sweep's journey."""
        self.bench.advance(minutes=1)
        return self.send(tick, "workbench-tick", b'{"sweep": "due"}')

    def minutes(self, count: int) -> None:
        """Move the clock by `count` minutes, and run the due sweep after each minute."""
        for _ in range(count):
            self.due()

    def until(self, method: str) -> Journey:
        """Move the clock minute by minute until a sweep calls `method` of the cloud; return the sweep's journey.

        Raise `RuntimeError` if no sweep does within twenty minutes.
        """
        for _ in range(20):
            known = len(self.bench.calls())
            journey = self.due()
            if any(row["method"] == method for row in self.bench.calls()[known:]):
                return journey
        raise RuntimeError(f"no sweep calls {method}")

    def click_stop(self, user: UserEmail) -> tuple[Journey, Journey]:
        """Click Stop on the user's page. Return two journeys: the click, and the pass that it triggers.

        Raise `RuntimeError` if the page does not answer 303.
        """
        browser = self.hub.browser(user)
        browser.get("/")
        (cookie,) = (f"{c.key}={c.value}" for c in browser.client._cookies.values())  # noqa: SLF001 - Flask shows them nowhere else
        recorder = Recorder()
        form = {"csrf": browser.token}
        headers = {**browser.headers, "Cookie": cookie}
        with (
            _APP.test_request_context("/notebook/stop", method="POST", data=form, headers=headers),
            recorder.recording(),
        ):
            answer = hub_module.hub(flask.request)
        if answer.status_code != 303:
            raise RuntimeError(f"the click was answered {answer.status_code}")
        woken = self.send(lifecycle, SHIPPED["wake"].topic, wake_message(user_key_for(user)))
        return recorder.journey(), woken


def journeys() -> dict[str, Journey]:
    """Return the figures of each journey. Two other users made the same journeys before, so that nothing is done for the first time."""
    world, found = World(), {}
    for name in ("first", "second"):
        leaver, other = (parse_email(f"{name}.{who}@example.com") for who in ("leaver", "other"))
        found["joiner, create event"] = world.news("joiner", leaver)
        world.news("joiner", other)
        world.minutes(_UNTIL_QUIET)
        found["click on Stop"], found["the pass that it wakes"] = world.click_stop(other)
        world.minutes(_UNTIL_QUIET)
        found["leaver, event"] = world.news("leaver", leaver)
        found["leaver, pass that orders the snapshot"] = world.until("disks.createSnapshot")
        world.minutes(_UNTIL_QUIET)
        world.bench.advance(seconds=world.bench.settings.retention.total_seconds())
        found["leaver, pass that deletes the instance"] = world.until("DeleteInstance")
        world.minutes(_UNTIL_QUIET)
    return found


def statements(folder: Path, source: Callable[[Path], bool]) -> int:
    """Return the number of statements, without docstrings, in the Python files that `source` selects."""
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=folder, check=True, capture_output=True, text=True).stdout
    return sum(_statements((folder / name).read_text()) for name in listed.splitlines() if source(Path(name)))


def _statements(text: str) -> int:
    nodes = list(ast.walk(ast.parse(text)))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = sum(isinstance(node, documented) and ast.get_docstring(node) is not None for node in nodes)
    return sum(isinstance(node, ast.stmt) for node in nodes) - docstrings


def figures() -> dict[str, str]:
    """Return the figures for `tests/data/journeys.txt` as a mapping from names to figures."""
    product = statements(ROOT, lambda path: path.parts[0] not in {"tests", "bench"})
    kit = statements(ROOT, lambda path: path.parts[:3] == ("tests", "kit", "gcp"))
    rows = {name: " ".join(map(str, journey)) for name, journey in journeys().items()}
    return {**rows, "statements, product": str(product), "statements, tests/kit/gcp": str(kit)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--renew", action="store_true", help=f"write {FILE.relative_to(ROOT)}")
    args = parser.parse_args()
    found = figures()
    if args.renew:
        commit = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, check=True, capture_output=True, text=True
        )
        head = f"# {commit.stdout.strip()}: files functions moves back: bench/journeys.py\n"
        FILE.write_text(head + "".join(f"{name}: {value}\n" for name, value in found.items()))
        return
    first, *lines = FILE.read_text().splitlines()
    before = dict(line.split(": ") for line in lines)
    print(f"files, functions, moves, moves back; before: {first.removeprefix('# ').partition(':')[0]}")
    for name in {**before, **found}:
        print(f"{name:40} {before.get(name, '-'):>20} -> {found.get(name, '-')}")


if __name__ == "__main__":
    main()
