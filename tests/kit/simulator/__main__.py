"""`./tests/run.sh --simulate [--seed N] [--histories K] [--scene NAME] [--coverage] [--trace FILE] [--replay FILE]`; see docs/testing.md."""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from kit.simulator.history import KEPT, keep, read, run
from kit.simulator.journal import Coverage, Journal


def main() -> int:
    parser = argparse.ArgumentParser(prog="./tests/run.sh --simulate", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="draws the histories; the same seed draws the same ones")
    parser.add_argument("--histories", type=int, default=100, help="how many are drawn")
    parser.add_argument("--coverage", action="store_true", help="name the pairs of calls that did not meet")
    parser.add_argument("--trace", type=Path, help="write the journal's lines there")
    parser.add_argument("--replay", type=Path, help="run this kept history alone")
    parser.add_argument("--scene", default="", help="draw histories of this scene or affair alone")
    parser.add_argument("--no-kept", action="store_true", help="leave the kept histories out")
    args = parser.parse_args()
    began, coverage, failed, days, calls = time.process_time(), Coverage(), 0, 0.0, 0
    with ExitStack() as stack:
        trace = stack.enter_context(args.trace.open("w")) if args.trace else None
        journal = Journal(trace)
        kept = [args.replay] if args.replay else [] if args.no_kept else sorted(KEPT.glob("*.json"))
        drawn = [] if args.replay else range(args.histories)
        for path in kept:
            seed, steps = read(path)
            ran = run(steps, seed=seed, journal=journal, coverage=coverage)
            if ran.failure is not None:
                failed += 1
                sys.stdout.write(f"{path.name} fails: {ran.failure.where}\n{ran.failure.text}\n")
        for number in drawn:
            seed = f"{args.seed}/{number}"
            ran = run(None, seed=seed, journal=journal, coverage=coverage, scene=args.scene)
            days, calls = days + ran.days, calls + ran.calls
            if ran.failure is not None:
                failed += 1
                sys.stdout.write(f"history {seed} fails: {ran.failure.where}\n{ran.failure.text}\n")
                sys.stdout.write(f"shortened and kept: {keep(ran, seed=seed)}\n")
    cpu = time.process_time() - began
    sys.stderr.write(
        f"{len(drawn)} histories, {len(kept)} kept ones, {failed} failed; {calls} calls, {days / 365.25:.1f} virtual years, "
        f"{cpu:.0f} s of CPU, {3600 * len(drawn) / max(cpu, 0.001):.0f} histories a CPU hour\n"
    )
    sys.stdout.write("".join(f"{line}\n" for line in coverage.summary(missing=1000 if args.coverage else 0)))
    sys.stdout.write(f"journal sha256 {journal.hexdigest()}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
