"""1,000 leavers within a minute: the virtual time from the news to the verified end of access, without wake-ups and with them.

The clock stands still while the product works, so the load of the machine only changes the duration of the benchmark.
"""

from __future__ import annotations

from benching import arguments, header, judge, percentile, say
from kit.inprocess import impatient
from kit.leaving import gone_after_s

_BOUND_S = {False: 180.0, True: 90.0}


def main() -> None:
    asked = arguments(__doc__)
    count = 100 if asked.quick else 1_000
    header(f"{count:,} leavers, news to verified gone, virtual time")
    for wakes, bound in _BOUND_S.items():
        with impatient():
            took = gone_after_s(count, wakes=wakes)
        assert len(took) == count, f"{count - len(took)} are not verified"
        what = "with wake-ups" if wakes else "by ticks alone"
        say(f"{what}: p50 {percentile(took, 0.5):.1f} s, p99 {percentile(took, 0.99):.1f} s, last {took[-1]:.1f} s")
        judge(f"news to verified gone {what}, p99", percentile(took, 0.99), bound, unit=" s")


if __name__ == "__main__":
    main()
