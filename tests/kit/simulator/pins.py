"""`./tests/run.sh --pinned [--renew] [--against COMMIT]`: which calls the product makes, pinned; see docs/testing.md.

A digest for each of 200 simulated histories is in `tests/data/pinned-calls.txt`, a line each: `seed digest calls`. Seed N is the
history that `--simulate --seed N` draws first. The digest is of the calls to the cloud in order, each with method, resource,
status and the body that goes there. Three things are left out, as they may change while the behaviour stays:

* the bytes of the product's own bookkeeping (`OWN`), and which fields of its listings are asked for;
* the metadata of the product's own objects, the row of a record among them, and checksums;
* what people read. No call has such texts but in these two, and in an object of the inbox.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote

from kit.simulator.history import run
from kit.simulator.journal import Journal

ROOT = Path(__file__).resolve().parents[3]
FILE = ROOT / "tests" / "data" / "pinned-calls.txt"
SEEDS = range(1, 201)
# Objects that nobody but the product reads. Templates and manifests are for people, or go to the cloud: their bytes count.
OWN = ("records/", "due/", "index/", "guard/", "policy/", "wishes/", "dead-letters/")
_CONTEXT = 4  # calls that are shown before and after the first that differs


class Pin(NamedTuple):
    """A history's digest, and how many calls it is of."""

    digest: str
    calls: int


class Calls(Journal):
    """A journal that keeps the product's calls, as they are pinned, and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def note(self, kind: str, *facts: Any) -> None:
        if kind == "call" and facts[0] != "driver":  # the driver's calls are the simulator's own
            _, method, asked, body, status, _ = facts
            self.calls.append(json.dumps(pinned(method, asked, body, status), ensure_ascii=False))


def pinned(method: str, asked: str, body: bytes | str, status: int) -> list[Any]:
    """Return what is pinned of a call: method, resource, status, body."""
    content = body if isinstance(body, bytes) else body.encode()
    path, _, query = asked.partition("?")
    if "/storage/v1/" not in path:
        return [method, asked, status, _plain(content)]
    resource = unquote(path) + "".join(f" {name}={value}" for name, value in sorted(_asked_for(query)))
    if method == "POST" and path.startswith("/upload/"):
        name, said = _uploaded(content)
        return [method, f"{resource} {name}", status, said]
    return [method, resource, status, _plain(content)]


def _asked_for(query: str) -> Iterator[tuple[str, str]]:
    """The parameters of a call to Cloud Storage, without generations and page tokens, which are the cloud's, and without fields."""
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name == "fields":
            continue
        is_clouds = name == "pageToken" or (name.startswith(("ifGeneration", "generation")) and value != "0")
        yield name, "..." if is_clouds else value


def _uploaded(content: bytes) -> tuple[str, str]:
    """The name of an object that is written, and its bytes if they are pinned."""
    boundary = content.partition(b"\r\n")[0]
    about, media = content.split(boundary)[1:3]
    name = json.loads(about.partition(b"\r\n\r\n")[2])["name"]
    return name, "" if name.startswith(OWN) else _plain(media.partition(b"\r\n\r\n")[2])


def _plain(content: bytes) -> str:
    return content.decode(errors="backslashreplace")


def calls_of(seed: int) -> list[str]:
    """The pinned calls of a seed's history, one line of JSON each. Raises what made the history fail."""
    journal = Calls()
    ran = run(None, seed=f"{seed}/0", journal=journal)
    if ran.failure is not None:
        raise ran.failure.error
    return journal.calls


def pin_of(seed: int) -> Pin:
    """Return a seed's pin."""
    calls = calls_of(seed)
    return Pin(hashlib.sha256("\n".join(calls).encode()).hexdigest()[:32], len(calls))


def pins_of(seeds: Sequence[int], *, workers: int | None = None) -> dict[int, Pin]:
    """Return the pins of many seeds, made by several processes."""
    with ProcessPoolExecutor(workers or os.cpu_count()) as pool:
        return dict(zip(seeds, pool.map(pin_of, seeds), strict=True))


def read_pins() -> dict[int, Pin]:
    """Return what is pinned in this tree."""
    rows = [line.split() for line in FILE.read_text().splitlines() if not line.startswith("#")]
    return {int(seed): Pin(digest, int(calls)) for seed, digest, calls in rows}


def write_pins(pins: dict[int, Pin]) -> None:
    """Write the file of pins."""
    lines = [f"{seed} {pin.digest} {pin.calls}\n" for seed, pin in sorted(pins.items())]
    FILE.write_text("# seed digest calls: ./tests/run.sh --pinned --renew\n" + "".join(lines))


def first_difference(before: Sequence[str], now: Sequence[str]) -> Iterator[str]:
    """Lines for people: the first call that differs, with a few around it. `-` is before, `+` is now."""
    longest = range(max(len(before), len(now)))
    at = next((n for n in longest if before[n : n + 1] != now[n : n + 1]), None)
    if at is None:
        yield "the calls are the same"
        return
    yield f"call {at + 1} of {len(before)} before, of {len(now)} now:"
    yield from (f"  {line}" for line in before[max(0, at - _CONTEXT) : at])
    for sign, calls in (("-", before), ("+", now)):
        yield from (f"{sign} {line}" for line in calls[at : at + _CONTEXT] or ["(no more calls)"])


def calls_at(commit: str, seed: int) -> list[str]:
    """Return a seed's calls at a commit, run from a worktree that exists no longer than that. Raises CalledProcessError."""
    with tempfile.TemporaryDirectory() as folder:
        there = f"{folder}/tree"
        _git("worktree", "add", "--quiet", "--detach", there, commit)
        try:
            shown = subprocess.run(
                [sys.executable, "-m", "kit.simulator.pins", "--show", str(seed)],
                cwd=there, check=True, capture_output=True, text=True,
                env={**os.environ, "PYTHONPATH": "tests:."},  # noqa: TID251 - of a child
            )  # fmt: skip
        finally:
            _git("worktree", "remove", "--force", there)
    return shown.stdout.splitlines()


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def compare(seeds: Iterable[int], against: str | None) -> int:
    """Compare with the file, say how it went, show the first difference. Returns the exit status."""
    before = {seed: pin for seed, pin in read_pins().items() if seed in set(seeds)}
    now = pins_of(sorted(before))
    differ = [seed for seed in before if before[seed] != now[seed]]
    sys.stdout.write(f"{len(before) - len(differ)} of {len(before)} seeds make the pinned calls\n")
    if not differ:
        return 0
    seed = differ[0]
    commit = against or _git("log", "-1", "--format=%H", "--", str(FILE.relative_to(ROOT)))
    sys.stdout.write(f"other calls: seeds {' '.join(map(str, differ))}\nseed {seed}, before at {commit[:12]}:\n")
    sys.stdout.write("".join(f"{line}\n" for line in first_difference(calls_at(commit, seed), calls_of(seed))))
    return 1


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="./tests/run.sh --pinned", description="Compare the product's calls with the pinned ones."
    )
    parser.add_argument(
        "--renew", action="store_true", help="pin the calls as they are now: only with a change of behaviour"
    )
    parser.add_argument("--against", metavar="COMMIT", help="show a difference to this commit, not to that of the pins")
    parser.add_argument("--show", metavar="SEED", type=int, help="write this seed's calls")
    args = parser.parse_args()
    if args.show is not None:
        sys.stdout.write("".join(f"{line}\n" for line in calls_of(args.show)))
        return 0
    if args.renew:
        write_pins(pins_of(SEEDS))
        return 0
    return compare(SEEDS, args.against)


if __name__ == "__main__":
    sys.exit(main())
