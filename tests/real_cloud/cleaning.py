"""The end of a run, whatever happened before: what the ledger names is deleted, then what carries the run's prefix beside it.

A deletion that is refused is said with the command that does it by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

from real_cloud.asking import PREFIX, Clock, Cloud
from real_cloud.ledger import ASKED, GONE, REFUSED, Ledger, Resource

from shared.domain.things.errors import BenchkeeperError, RetryableError

_PATIENCE = timedelta(minutes=15)  # an operation under way refuses a deletion until it ends
_EVERY_S = 15.0


def clean_up(ledger: Ledger, cloud: Cloud, clock: Clock, say: Callable[[str], None]) -> list[Resource]:
    """Delete what is left of the run, and return what could not be deleted. Safe to call again."""
    run = ledger.run()
    try:
        for resource in ledger.left():
            _remove(resource, ledger, cloud, clock, say)
        for resource in _found(run, ledger.left(), cloud, say):
            if resource not in ledger.left():
                say(f"! Found beside the ledger: {resource.name}")
                ledger.note(resource, ASKED)
                _remove(resource, ledger, cloud, clock, say)
    except BaseException:  # Ctrl-C, too: whoever reads this must know what is left
        say("! The clean-up did not come to its end.")
        _say_left(ledger.left(), run["ident"], say)
        raise
    left = ledger.left()
    if left:
        _say_left(left, run["ident"], say)
    else:
        say("Everything that the run made is removed.")
    return left


def _say_left(left: list[Resource], ident: str, say: Callable[[str], None]) -> None:
    say("!" * 72)
    say("! NOT REMOVED, AND IT COSTS MONEY:")
    for resource in left:
        say(f"!   {resource.by_hand}")
    say(f"! Or again: ./tests/run.sh --real-cloud --clean-up {ident}")
    say("!" * 72)


def _remove(resource: Resource, ledger: Ledger, cloud: Cloud, clock: Clock, say: Callable[[str], None]) -> None:
    """Delete the resource and wait until it is gone; retry while the failure is temporary."""
    say(f"Removing {resource.kind} {resource.name.rpartition('/')[2]}")
    end = clock.now() + _PATIENCE
    is_asked = False
    while True:
        why = "it is still there"
        try:
            is_asked = is_asked or cloud.ask_or_none(resource.service, "DELETE", resource.path) is not None
            if not is_asked or cloud.ask_or_none(resource.service, "GET", resource.path) is None:
                ledger.note(resource, GONE)
                return
        except RetryableError as error:
            why = error.detail
        except BenchkeeperError as error:
            say(f"! Refused: {error.detail}")
            break
        if clock.now() >= end:
            say(f"! Given up after {_PATIENCE // timedelta(minutes=1)} minutes: {why}")
            break
        clock.wait(_EVERY_S)
    ledger.note(resource, REFUSED)


def _found(run: dict[str, str], left: list[Resource], cloud: Cloud, say: Callable[[str], None]) -> Iterator[Resource]:
    """Yield what the project has with the run's prefix, as far as it can be listed; not the disks of instances that are left."""
    owners = [f"{resource.name.rpartition('/')[2]}-" for resource in left if resource.kind == "instance"]
    project, zone, prefix = run["project"], run["zone"], f"{PREFIX}{run['ident']}"
    lists = (
        ("instance", "notebooks", f"/v2/projects/{project}/locations/{zone}/instances", "instances"),
        ("disk", "compute", f"/compute/v1/projects/{project}/zones/{zone}/disks", "items"),
        ("snapshot", "compute", f"/compute/v1/projects/{project}/global/snapshots", "items"),
        ("session", "dataproc", f"/v1/projects/{project}/locations/{zone.rpartition('-')[0]}/sessions", "sessions"),
    )
    for kind, service, path, items in lists:
        token = ""
        while True:
            try:
                page = cloud.ask_or_none(service, "GET", path, pageToken=token or None) or {}
            except BenchkeeperError as error:
                say(f"! Whether there is another {kind} of this run was not found out: {error.detail}")
                break
            for raw in page.get(items, []):
                name = str(raw["name"])
                short = name.rpartition("/")[2]
                if short.startswith(prefix) and not (kind == "disk" and any(short.startswith(each) for each in owners)):
                    yield Resource(kind, name if "/" in name else f"{path.removeprefix('/compute/v1/')}/{name}")
            token = str(page.get("nextPageToken", ""))
            if not token:
                break
