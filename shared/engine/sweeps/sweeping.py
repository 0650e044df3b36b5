"""The common parts of all sweeps: the summary, a check of the clock, and a loop over many users.

The loop isolates each failure, and begins no work after the sweep's deadline. Deletions and ends of access depend on the
time, so a sweep must not act on a wrong clock. The clock is compared with the publish time of the tick, which Pub/Sub
sets. A tick that was delivered late looks like a clock that is ahead; the sweep skips that tick, and the
next tick does its work.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from functools import partial

from msgspec import Struct, field

from shared.domain.fleet.drift import Stray
from shared.domain.things.errors import BenchkeeperError, Reason
from shared.domain.things.identity import UserKey
from shared.domain.things.sweep import Sweep
from shared.engine.ports.deps import Clock, Deps
from shared.engine.sweeps.session_templates import SessionsSynced

TOLERANCE = timedelta(minutes=5)


def clock_differs(published_at: datetime, clock: Clock) -> timedelta | None:
    """Return the difference between the clock and a tick's publish time if the difference is too large, else None.

    The difference is negative if the clock is behind.
    """
    ahead = clock.now() - published_at
    return ahead if abs(ahead) > TOLERANCE and abs(ahead) > _tolerance(clock) else None


class ClockWatch(Struct, frozen=True):
    """A moment by the clock and by the machine's own counter of seconds, taken when a sweep begins."""

    started_at: datetime
    started_s: float

    @classmethod
    def begin(cls, clock: Clock) -> ClockWatch:
        """Return a watch that begins now."""
        return cls(clock.now(), clock.monotonic_s())

    def jumped(self, clock: Clock) -> timedelta | None:
        """Return the length of the clock's jump since the start, negative for a jump back; None if there was none.

        A difference within the tolerance, between the clock's advance and the time that really passed, is no jump.
        """
        moved = clock.now() - self.started_at
        passed = clock.monotonic_s() - self.started_s
        if abs(moved - timedelta(seconds=passed)) <= TOLERANCE:
            return None
        jump = moved - timedelta(seconds=passed * clock.speed())
        return jump if abs(jump) > _tolerance(clock) else None


def _tolerance(clock: Clock) -> timedelta:
    """Return the largest accepted difference of clocks.

    The embedded cloud's clock runs faster than the functions: a real second may be a minute there.
    """
    return TOLERANCE * max(1.0, clock.speed())


_CLOCK_JUMPED = "left out: the clock jumped"
DEADLINE = timedelta(seconds=420)  # an event function lives 540 s


class Summary(Struct):
    """The result of a sweep. `acted` counts users whose plan had actions, `failed` users whose pass raised an error, by reason.

    `left_over` counts users whom the sweep did not reach in time, `unreachable` are zones that did not answer.

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

    No work is begun after the sweep's deadline, after `until_s` of the monotonic clock, or once the clock has jumped; the
    remaining users are counted.
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
            "Ended a sweep early",
            kind=summary.kind,
            reason=Reason.CLOCK_DIFFERS.value,
            ahead_s=round(jump.total_seconds()),
        )
    summary.found[_CLOCK_JUMPED] += 1
    return True


def finish(summary: Summary, deps: Deps) -> Summary:
    """Log the sweep's result in its one line, and return the summary."""
    deps.log.info("Finished a sweep", **summary.as_facts())
    return summary
