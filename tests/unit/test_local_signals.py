"""A signal ends what runs in front of a terminal, wherever the main thread is when it comes."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

# The lock is held as it is for a moment inside of each `Event.wait`; the handler runs then and there.
PROGRAM = """
import signal
from {module} import {name}
stop = {name}()
with stop._cond:
    signal.raise_signal({number})
assert stop.wait(60)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("module", "name"), [("cli.local.running", "_stop_on_signals"), ("emulator.__main__", "_ending_by_signals")]
)
def test_a_signal_that_comes_inside_of_a_wait_is_taken(module, name, number):
    program = PROGRAM.format(module=module, name=name, number=int(number))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
