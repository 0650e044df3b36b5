"""Five thousand users due at once, and a second tick eight seconds after the first: the calls, and the work that two sweeps do twice.

Each user has a running notebook and is due for a pass. The embedded cloud and each sweep run in processes of their own. The
baselines are the same two sweeps without claims, and a single sweep. `due.py [--quick] [PEOPLE]`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from datetime import timedelta
from typing import Any

from benching import ROOT, header, judge, say  # puts the tree on sys.path
from fleet import filled

GAP_S = 8.0


def swept(kinds: list[str], count: int, gap_s: float) -> tuple[int, float, list[dict[str, Any]]]:
    """Run these sweeps over a new world of `count` due users. Return the number of calls, the seconds and each sweep's facts.

    Each sweep is a process of its own and starts `gap_s` seconds after the one before. The seconds are those from the
    first start to the last end.
    """
    bench = filled(count, due_in=timedelta(minutes=1))
    with bench.cloud:
        begun, running = time.monotonic(), []
        for number, kind in enumerate(kinds):
            time.sleep(max(0.0, begun + number * gap_s - time.monotonic()))
            words = [sys.executable, str(ROOT / "bench" / "one_sweep.py"), kind, bench.cloud.url, bench.now.isoformat()]
            running.append(subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE))
        found = [json.loads(process.communicate()[0].splitlines()[-1])["facts"] for process in running]
        took = time.monotonic() - begun
    return bench.cloud.world.journal.count, took, found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--quick",
        action="store_true",
        help="measure 1,000 people, sweeps a second apart, for a quick check; do not quote the figures",
    )
    parser.add_argument("people", nargs="?", type=int)
    asked = parser.parse_args()
    count, gap_s = (asked.people or 1_000, 1.0) if asked.quick else (asked.people or 5_000, GAP_S)
    header(f"{count:,} people due at once")
    calls = {}
    for name, kinds in {"alone": ["due"], "apart": ["due-apart"] * 2, "shared": ["due"] * 2}.items():
        calls[name], took, found = swept(kinds, count, gap_s)
        done = [(facts["looked_at"], facts["found"], facts["failed"]) for facts in found]
        say(f"  {name:7} {calls[name]:8,} calls, {calls[name] / count:.2f} a person, {took:6.1f} s: {done}")
        assert all(not facts["failed"] and not facts["left_over"] for facts in found), found
        judge(f"time, {name}", took, 420, unit=" s")
    judge("RATIO calls of two sweeps / one alone", calls["shared"] / calls["alone"], 1.05)


if __name__ == "__main__":
    main()
