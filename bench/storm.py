"""100,000 messages with 5 % poison, each published three times, out of order: nothing is lost or done twice, and all poison is listed.

The messages go through the embedded Pub/Sub into the product's functions, while acks get lost, deliveries end too early
and Google's calls fail (tests/kit/storm.py). Afterwards a check without the product's code examines the result.
Meanwhile another process handles the same messages on an empty world, in the order of publishing: both worlds must be
equal.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benching import ROOT, header, judge, say
from kit.inprocess import START
from kit.storm import COPIES, Published, replay_log, survive
from kit.storm_events import make_storm
from kit.storm_judge import canonical, differences, faults_of

_SEED = 20261123
_SHOWN = 10


class Replay:
    """A second process that handles the published messages on an empty world, in the order of publishing."""

    def __init__(self, folder: Path) -> None:
        self._log, self._world = folder / "log", folder / "world"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, log: list[Published]) -> None:
        """Start the process with the published messages."""
        self._log.write_bytes(pickle.dumps(log))
        command = [sys.executable, __file__, "--replay", str(self._log), str(self._world)]
        self._process = subprocess.Popen(command, cwd=ROOT)

    def world(self) -> dict[str, Any]:
        """Wait for the end of the process, and return the resulting world. Raise `RuntimeError` if it failed or was not started."""
        if self._process is None or self._process.wait() != 0:
            raise RuntimeError("the log could not be replayed; see above")
        made: dict[str, Any] = pickle.loads(self._world.read_bytes())  # noqa: S301 - our own process wrote it
        return made

    def stop(self) -> None:
        """Stop the process if it still runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()


def replay(log: Path, world: Path) -> None:
    begun = time.perf_counter()
    entries: list[Published] = pickle.loads(log.read_bytes())  # noqa: S301 - our own process wrote it
    world.write_bytes(pickle.dumps(canonical(replay_log(entries))))
    say(f"the log of {len(entries):,} messages folded on an empty world in {time.perf_counter() - begun:,.0f} s")


def tell(what: str, faults: list[str]) -> None:
    judge(what, len(faults), 0, unit="")
    for fault in faults[:_SHOWN]:
        say(f"  {fault[:400]}")


def storm(events: int, people: int) -> None:
    header(f"Storm of {events:,} messages about {people:,} people, each published {COPIES} times")
    drops = make_storm(events, people, _SEED, START)
    with tempfile.TemporaryDirectory(prefix="benchkeeper-storm-") as folder:
        other = Replay(Path(folder))
        try:
            begun = time.perf_counter()
            evidence = survive(
                drops,
                _SEED,
                on_published=other.start,
                on_tick=lambda handled: say(f"  {handled:,} deliveries after {time.perf_counter() - begun:,.0f} s"),
            )
            took = time.perf_counter() - begun
            handled = sum(number for what, number in evidence.counts.items() if what.startswith("Handled a delivery"))
            say(f"{handled:,} deliveries handled to the end in {took:,.0f} s = {handled / took:,.0f} a second")
            for what, number in sorted(evidence.counts.items()):
                say(f"  {what}: {number:,}")
            faults = faults_of(evidence)
            tell("messages lost", [fault for fault in faults if fault.startswith("lost")])
            tell("effects doubled", [fault for fault in faults if fault.startswith("doubled")])
            tell("other differences from the oracle, dead letters among them", [
                fault for fault in faults if not fault.startswith(("lost", "doubled"))
            ])  # fmt: skip
            say(f"{len(evidence.letters):,} dead letters, one for each poisoned message that was published")
            tell(
                "differences to the log folded on an empty world", differences(canonical(evidence.final), other.world())
            )
        finally:
            other.stop()


def main() -> None:
    match sys.argv[1:]:
        case ["--replay", log, world]:
            replay(Path(log), Path(world))
        case ["--quick"]:
            storm(2_000, 40)
        case ["--events", events]:
            storm(int(events), max(20, int(events) // 100))
        case _:
            storm(100_000, 1_000)


if __name__ == "__main__":
    main()
