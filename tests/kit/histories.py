"""How many histories the state machines try: BENCHKEEPER_RUNS, as ./tests/run.sh sets it."""

from __future__ import annotations

import os

_DEFAULT, _ALL = 500, 2000
RUNS = int(os.environ.get("BENCHKEEPER_RUNS", str(_DEFAULT)))  # noqa: TID251 - run.sh passes --runs on
# Those of `./tests/run.sh` and of `--all` begin from the same seeds each time: a new history is no reason for an old change to fail.
ARE_THE_SAME = RUNS in {_DEFAULT, _ALL}
