"""What goes on on the instances of the embedded cloud, as its control API is told."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from kit.inprocess import Bench
from kit.oracle import instances


def say(bench: Bench, instance: str, **what: Any) -> None:
    """Script the activity on an instance: `cpu`, `requests_per_minute`, `bytes_per_second`, `kernels`, `from`, `until`."""
    bench.control("POST", "/_emulator/activity", {"instance": instance, **what})


def visit(bench: Bench, *, minutes: int = 2) -> None:
    """Let the owner of each running instance look at JupyterLab for some minutes from now on.

    Without any visit the proxy's counter has never had a point, and the idle rule does not take its silence for an answer.
    """
    until = (bench.now + timedelta(minutes=minutes)).isoformat()
    for name, instance in instances(bench.cloud).items():
        if instance.state == "ACTIVE":
            say(bench, name, requests_per_minute=4, until=until)
