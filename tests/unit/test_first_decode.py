"""Two threads that are the first to read a type must not meet: msgspec 0.22 learns a Struct's fields at the first use and shows them half made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from kit.life import life

from shared.domain.record.codec import to_json

ROOT = Path(__file__).resolve().parents[2]
# What msgspec runs of its own Python code, it runs to learn a type. Afterwards decoding is C alone, and no thread takes over in it.
CODE = """
import json, sys
from shared.cloud.notebook import notebooks
from shared.domain.record import codec
record = json.load(sys.stdin)
learnt = set()
def watch(frame, event, _):
    if "msgspec" in frame.f_code.co_filename:
        learnt.add(frame.f_code.co_name)
sys.setprofile(watch)
codec.from_json(record)
notebooks.observed_from({"name": "projects/p/locations/z/instances/i", "gceSetup": {"machineType": "e2"}})
sys.setprofile(None)
print(json.dumps(sorted(learnt)))
"""


def test_the_types_that_threads_decode_are_known_since_the_import():
    ana = life()
    ana.join()
    done = subprocess.run(
        [sys.executable, "-c", CODE], input=json.dumps(to_json(ana.record)), cwd=ROOT,
        env={"PATH": os.defpath, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout) == []
