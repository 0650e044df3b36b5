"""The common parts of all sweeps: the summary, and a loop over many users that isolates each failure and ends in time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial

from msgspec import Struct, field

from shared.domain.fleet.drift import Stray
from shared.domain.things.errors import BenchkeeperError, Reason
from shared.domain.things.identity import UserKey
from shared.domain.things.sweep import Sweep
from shared.engine.ports.deps import Deps
from shared.engine.sweeps.clock_check import ClockWatch
from shared.engine.sweeps.session_templates import SessionsSynced

_CLOCK_JUMPED = "left out: the clock jumped"
DEADLINE = timedelta(seconds=420)  # an event function lives 540 s


class Summary(Struct):
    """The result of a sweep. `acted` = users whose plan had actions; `failed` = users whose pass raised, by reason.

    `measures` are numbers for the dashboard that the sweep has computed; they depend on its kind. `sessions` is the
    result of a drift sweep's sync of session templates. `unread` are the lists of jobs elsewhere that an idle sweep
    could not read, with the reason. `clock` watches the clock while the sweep acts. `began_s` is on the monotonic
    clock: the deadline counts from it, reading included.
    """

    kind: Sweep
    began_s: float
    looked_at: int = 0
    acted: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    left_over: int = 0
    unreachable: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    strays: list[Stray] = field(default_factory=list)
    decisions: list[tuple[UserKey, str]] = field(default_factory=list)
    measures: dict[str, float] = field(default_factory=dict)
    sessions: SessionsSynced | None = None
    clock: ClockWatch | None = None

    def as_facts(self) -> dict[str, object]:
        """Return the facts for the sweep's one log line."""
        return {
            "kind": self.kind,
            "looked_at": self.looked_at,
            "acted": self.acted,
            "failed": dict(self.failed),
            "found": dict(self.found),
            "left_over": self.left_over,
            "unreachable": list(self.unreachable),
            **({"unread": list(self.unread)} if self.unread else {}),
            "strays": [f"{s.zone}/{s.name}: {s.why}" for s in self.strays[:20]],
            "strays_total": len(self.strays),
            **({"sessions": self.sessions.as_facts()} if self.sessions is not None else {}),
            **self.measures,
        }


def for_each(
    keys: Iterable[UserKey],
    work: Callable[[UserKey], bool],
    summary: Summary,
    deps: Deps,
    *,
    until_s: float | None = None,
) -> None:
    """Run `work` for each key on a few threads; one user's failure is counted and does not stop the others.

    No work is begun after the sweep's deadline or after `until_s` of the monotonic clock; the remaining users are counted.
    """
    end = summary.began_s + DEADLINE.total_seconds()
    end = end if until_s is None else min(end, until_s)

    def guarded(key: UserKey) -> tuple[bool, str]:
        if deps.clock.monotonic_s() >= end or _jumped(summary, deps):
            return False, "left over"
        try:
            return work(key), ""
        except BenchkeeperError as error:
            deps.log.warning("Pass failed", user=key, reason=error.reason.value, detail=error.detail)
            return False, error.reason.value
        except Exception as error:  # noqa: BLE001 - per-user isolation: counted, logged, and the user stays due
            deps.log.error("Pass failed unexpectedly", user=key, reason="Unexpected", detail=repr(error))
            return False, "Unexpected"

    for acted, failure in deps.workers.run([partial(guarded, key) for key in keys]):
        if failure == "left over":
            summary.left_over += 1
        elif failure:
            summary.failed[failure] += 1
        else:
            summary.acted += int(acted)


def _jumped(summary: Summary, deps: Deps) -> bool:
    """Return True if the clock jumped during the sweep: actions judged by the wrong `now` must not be carried out."""
    jump = summary.clock.jumped(deps.clock) if summary.clock is not None else None
    if jump is None:
        return False
    if not summary.found[_CLOCK_JUMPED]:
        deps.log.error(
            "Skipped a sweep", kind=summary.kind, reason=Reason.CLOCK_DIFFERS.value, ahead_s=round(jump.total_seconds())
        )
    summary.found[_CLOCK_JUMPED] += 1
    return True


def finish(summary: Summary, deps: Deps) -> Summary:
    """Log the sweep's result in its one line, and return the summary."""
    deps.log.info("Swept", **summary.as_facts())
    return summary
