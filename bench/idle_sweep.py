"""An idle sweep over 2,000 running instances: calls and time, in total and for each instance.

Half of the instances are in use (CPU at 60 %), the others have been unused for longer than the timeout and are stopped.
The time of judging is compared with that of reading the same evidence without judging it. The calls for each stopped
instance have a fixed bound.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

from benching import arguments, header, judge, median, say, timed
from cloud_calls import calls, named
from kit.inprocess import Bench
from people import settled_world

from shared.engine.sweeps.sweeps import sweep


def script_activity(bench: Bench) -> int:
    """Script constant use of every second instance. Return the number of these instances."""
    instances = bench.cloud.world.save()["models"]["notebooks"]["instances"]
    busy = instances[::2]
    for instance in busy:
        bench.control("POST", "/_emulator/activity", {"instance": instance["name"], "cpu": 0.6})
    return len(busy)


def main() -> None:
    asked = arguments(__doc__)
    count = 200 if asked.quick else 2_000
    header(f"Idle sweep, {count:,} running instances")
    bench = settled_world(count)
    busy = script_activity(bench)
    bench.advance(hours=5)
    calls(bench)

    judged: list[float] = []
    bare: list[float] = []
    for _ in range(3):
        judged.append(timed(lambda: sweep("idle", bench.deps, dry_run=True)))
        looks = calls(bench)
        bare.append(timed(lambda: bare_read(bench)))
        calls(bench)
    say(
        f"judging: {len(looks)} calls ({named(looks)}), {median(judged):.2f} s, {median(judged) / count * 1e3:.2f} ms an instance"
    )
    say(f"bare read of the same evidence: {median(bare):.2f} s")
    judge("calls per instance that is judged", len(looks) / count, 0.05, unit="")
    judge("RATIO judging / bare read", median(judged) / median(bare), 2.0)

    begun = timed(lambda: bench.log.lines.append(("", "sweep", {"summary": sweep("idle", bench.deps)})))
    summary = bench.log.lines[-1][2]["summary"]
    acted = calls(bench)
    say(f"acting: {dict(summary.found)}, {summary.acted} stopped in {begun:.2f} s, {named(acted)}")
    assert summary.acted == count - busy, f"{summary.acted} were stopped, {count - busy} are idle"
    states = Counter(notebook.state.value for notebook in bench.deps.notebooks.listing().notebooks)
    say(f"instances after it: {dict(states)}")
    judge("calls per instance that is stopped", (len(acted) - len(looks)) / summary.acted, 9, unit="")


def bare_read(bench: Bench) -> None:
    """Read the evidence of an idle sweep without judging it: rows of records, instances, and their activity.

    The activity is that of the idle timeout of the profile `analyst` and half an hour before it.
    """
    for _ in bench.deps.records.rows():
        pass
    window = bench.settings.catalog.profiles["analyst"].idle.timeout + timedelta(minutes=30)
    bench.deps.activity.read(bench.deps.notebooks.listing().notebooks, window, bench.now)


if __name__ == "__main__":
    main()
