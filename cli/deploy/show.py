"""The display of a deployment: the plan, the progress with elapsed time, the failures and their remedies."""

from __future__ import annotations

import textwrap
import time
from collections import Counter
from collections.abc import Sequence

from rich.status import Status
from rich.text import Text

from cli.deploy.failures import DeployError
from cli.deploy.gcloud import shown
from cli.deploy.run import Done, Outcome
from cli.deploy.step import Mark, Step
from cli.output import Terminal

_STYLE = {Mark.CREATE: "green", Mark.CHANGE: "yellow", Mark.SAME: "dim", Mark.DELETE: "red", Mark.KEEP: "cyan"}
_WORD = {
    Mark.CREATE: "to create",
    Mark.CHANGE: "to change",
    Mark.SAME: "as it should be",
    Mark.DELETE: "to delete",
    Mark.KEEP: "left alone",
}


class Screen:
    """A printer to a terminal or a log. Only a terminal gets spinners and the progress line."""

    def __init__(self, out: Terminal, *, verbose: bool) -> None:
        self._out, self._verbose = out, verbose
        self._status: Status | None = None
        self._busy: dict[str, float] = {}
        self._began = time.perf_counter()
        self._total = self._count = 0

    def say(self, text: str, *, style: str = "") -> None:
        """Print one line, never wrapped or cut, so that it can be copied."""
        self._out.print(Text(text, style=style), soft_wrap=True)

    def quote(self, said: str) -> None:
        """Print another program's output line by line, with a mark on each line."""
        for line in said.strip().splitlines():
            self.say(f"    | {line}", style="dim")

    def working(self, text: str) -> Status:
        """Return a spinner with the text. If the output is not a terminal, print the text once."""
        if not self._out.is_terminal:
            self.say(f"{text} …", style="dim")
        return self._out.status(f"{text} …")

    def plan(self, steps: Sequence[Step], *, everything: bool) -> None:
        """Print the steps, then their counts. Unchanged steps are only listed with `everything` or in verbose mode."""
        for step in steps:
            if step.mark is Mark.SAME and not (everything or self._verbose):
                continue
            self._line(step)
        counts = Counter(step.mark for step in steps)
        parts = [f"{counts[mark]} {_WORD[mark]}" for mark in Mark if counts[mark]]
        self.say(f"Plan: {', '.join(parts) or 'nothing'}.", style="bold")

    def _line(self, step: Step) -> None:
        """Print step and reason on one line if they fit, else the reason below, indented. A log is never wrapped."""
        style = _STYLE[step.mark]
        head, reason = Text(f"{step.mark.value} {step.key}", style=style), step.because
        if not self._out.is_terminal or len(head) + len(reason) + 2 <= self._out.width:
            self._out.print(Text.assemble(head, ("  " + reason if reason else "", "dim")), soft_wrap=True)
        else:
            self._out.print(head, soft_wrap=True)
            for line in textwrap.wrap(reason, max(self._out.width - 4, 20)):
                self._out.print(Text("    " + line, style="dim"), soft_wrap=True)
        if self._verbose and step.acts:
            for do in step.work:
                self.say(f"    {shown(do)}", style="dim")

    def begin(self, steps: Sequence[Step]) -> None:
        """Set the counters for a run of these steps."""
        self._total = sum(step.acts for step in steps)
        self._count = 0

    def started(self, step: Step) -> None:
        """Show on the progress line of a terminal that a step has begun; a log gets no line."""
        self._busy[step.key] = time.perf_counter()
        if self._out.is_terminal:
            if self._status is None:
                self._status = self._out.status("")
                self._status.start()
            self._update()

    def _update(self) -> None:
        """Update the progress line: elapsed time, number of finished steps, and running steps."""
        if self._status is None:
            return
        line = f"{self._elapsed()}  {self._count}/{self._total}  {', '.join(self._busy)}"
        room = self._out.width - 4
        self._status.update(Text(line if len(line) <= room else f"{line[: room - 1]}…"))

    def ended(self, done: Done) -> None:
        """Print the result of a step: its time, or the cause and remedy of its failure, or why it was left."""
        self._busy.pop(done.step.key, None)
        self._count += 1
        self._update()
        if done.error is not None:
            self.say(f"✗ {done.step.key}  {done.error.cause}", style="red")
            self.say(f"    {done.error.remedy}", style="red")
            if self._verbose and done.error.said:
                self.quote(done.error.said)
        elif done.blocked_by:
            self.say(f"- {done.step.key}  left for the next run: it needs {done.blocked_by}", style="yellow")
        else:
            self.say(
                f"✔ {done.step.mark.value} {done.step.key}  ({done.took_s:.1f} s)  {done.note}".rstrip(), style="green"
            )

    def outcome(self, outcome: Outcome, *, verb: str) -> None:
        """End the progress line, and print one line: the numbers of steps that are done, failed and left. `verb` begins the line."""
        if self._status is not None:
            self._status.stop()
            self._status = None
        good = len(outcome.done) - len(outcome.failed) - len(outcome.left)
        text = f"{verb}: {good} done in {self._elapsed()}"
        if outcome.failed or outcome.left:
            text += (
                f", {len(outcome.failed)} failed, {len(outcome.left)} left. Run it again: it continues where it stopped"
            )
        self.say(f"{text}.", style="red" if outcome.failed else "bold")

    def _elapsed(self) -> str:
        seconds = int(time.perf_counter() - self._began)
        return f"{seconds // 60}m{seconds % 60:02d}s"


def complain(error: DeployError, screen: Screen) -> None:
    """Print a cause and its remedy, one line each."""
    screen.say(f"✗ {error.cause}", style="red")
    screen.say(f"  {error.remedy}", style="red")
