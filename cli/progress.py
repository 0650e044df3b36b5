"""The progress of work that takes longer than a second. The progress goes to stderr, so that scripts can read stdout."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.status import Status

from cli.output import console, say
from shared.engine.ports.deps import Clock

_QUIET_S = 1.0  # shorter work shows no progress
_EVERY_S = 5.0  # between two lines if there is no terminal


class Progress:
    """A counter of finished items: a spinner on a terminal, else a line every few seconds."""

    def __init__(self, clock: Clock, what: str, *, total: int | None = None) -> None:
        self._clock, self._what, self._total = clock, what, total
        self._began = self._said = clock.monotonic_s()
        self._done = 0
        self._status: Status | None = None

    def __enter__(self) -> Self:
        """Return the counter itself. The time is measured from its creation."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the spinner."""
        if self._status is not None:
            self._status.stop()

    def advance(self) -> None:
        """Count one more item, and show the progress if it is due."""
        self._done += 1
        now = self._clock.monotonic_s()
        if now - self._began < _QUIET_S:
            return
        out = console(stderr=True)
        if out.is_terminal:
            if self._status is None:
                self._status = out.status(self._text())
                self._status.start()
            elif now - self._said > 0.1:  # noqa: PLR2004 - ten times a second is smooth
                self._status.update(self._text())
                self._said = now
        elif now - self._said >= (_EVERY_S if self._said != self._began else _QUIET_S):
            say(self._text(), err=True)
            self._said = now

    def _text(self) -> str:
        of = f" of {self._total:,}" if self._total is not None else ""
        return f"{self._what}: {self._done:,}{of}"
