"""What goes on on the instances of the embedded cloud, as its control API is told."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from kit.inprocess import Bench
from kit.oracle import instances
from shared.domain.things.notebook import InstanceRef
from shared.domain.things.times import rfc3339


def say(bench: Bench, instance: str, **what: Any) -> None:
    """Script the activity on an instance: `cpu`, `requests_per_minute`, `bytes_per_second`, `kernels`, `from`, `until`."""
    bench.control("POST", "/_emulator/activity", {"instance": instance, **what})


def tell(bench: Bench, ref: InstanceRef, **what: Any) -> None:
    """Let the VM report now, as config/vm/reporter.py does: the script's fields, of which None leaves one out."""
    told = {"v": 1, "at": rfc3339(bench.now), "boot": "0b053e1e-9a01", "kernels": {"busy": 0, "idle": 0}, **what}
    write(bench, ref, json.dumps({name: value for name, value in told.items() if value is not None}))


def write(bench: Bench, ref: InstanceRef, text: str) -> None:
    """Write the guest attribute as any process of the VM may."""
    with bench.cloud.world.lock:
        bench.cloud.guest_attributes.write(
            bench.settings.project, ref.zone, ref.instance_id, "benchkeeper/activity", text
        )
        bench.cloud.world.touch()


def visit(bench: Bench, *, minutes: int = 2) -> None:
    """Let the owner of each running instance look at JupyterLab for some minutes from now on.

    Without any visit the proxy's counter has never had a point, and the idle rule does not take its silence for an answer.
    """
    until = (bench.now + timedelta(minutes=minutes)).isoformat()
    for name, instance in instances(bench.cloud).items():
        if instance.state == "ACTIVE":
            say(bench, name, requests_per_minute=4, until=until)
