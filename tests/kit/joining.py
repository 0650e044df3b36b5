"""One person of one deployment, for tests of its functions: given access, and the instance's state."""

from __future__ import annotations

from typing import Any

from kit.making import ANALYSTS
from kit.oracle import instances
from shared.domain.people.events import Joined
from shared.domain.things.identity import UserKey, parse_email
from shared.domain.things.notebook import InstanceRef, NotebookState
from shared.engine.news.deliver import deliver

ACK = 200


def join(functions: Any, address: str = "ana.silva@example.com") -> tuple[UserKey, InstanceRef]:
    """Give an address access. Return the key and the instance that is being made."""
    bench = functions.bench
    key = deliver(
        Joined(
            event_id=f"e-{address}",
            user=parse_email(address),
            occurred_at=bench.now,
            effective_at=bench.now,
            groups=(ANALYSTS,),
        ),
        bench.deps,
    )
    record = bench.deps.records.load(key).record
    return key, InstanceRef(instance_id=record.status.notebook.instance_id, zone=record.status.notebook.zone)


def state(functions: Any, ref: InstanceRef) -> NotebookState:
    """Return the state of an instance as the embedded cloud has it, without a call."""
    (found,) = (each for each in instances(functions.bench.cloud).values() if each.short == ref.instance_id)
    return NotebookState(found.state)
