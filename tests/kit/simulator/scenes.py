"""A scene: a part of the deployment that a history switches on with its first step, with its own entries, steps and judge.

A history without the step knows nothing of it, so what is kept in tests/histories means what it meant.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kit.simulator.baton import Task
    from kit.simulator.history import Draw
    from kit.simulator.world import Simulation
    from shared.engine.ports.deps import Deps


class Scene:
    """What a scene may bring. `options` are settings; `processes` maps the kinds of its entries to the process that runs them."""

    name = ""
    is_alone = False  # nothing else is drawn beside its own entries
    processes: dict[str, str] = {}  # noqa: RUF012 - a constant of each scene
    options: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation

    # --- the deployment

    def begin(self) -> None:
        """Set up what the cloud needs; the processes are started anew after this."""

    def wired(self, deps: Deps) -> Deps:
        """Return what a process works with."""
        return deps

    # --- a history

    def draw(self, draw: Draw) -> None:
        """Draw how the history begins."""

    def entry(self, draw: Draw) -> dict[str, Any] | None:
        """Perhaps draw the next entry, and steps before it."""

    def work(self, name: str, entry: dict[str, Any]) -> Callable[[], object] | None:
        """Return what an entry of this scene does; None if what it is about is not there."""
        raise ValueError(f"no such entry: {name} {entry}")

    def step(self, step: dict[str, Any]) -> None:
        """Do a step of this scene."""
        raise ValueError(f"no such step: {step}")

    # --- the judge

    def ended(self, task: Task) -> None:
        """An entry came to its end."""

    def check(self) -> None:
        """Hold what always holds."""

    def quiet(self) -> None:
        """End what disturbs; nothing is at work, and no call fails any more."""

    def hour(self, name: str) -> None:
        """Begin an hour of the quiet time."""

    def minute(self, name: str) -> None:
        """End a minute of the quiet time."""

    def settled(self) -> None:
        """Hold what holds in a world at rest, and tell the judge what the oracle does not know yet."""

    def close(self) -> None:
        """Let go of what the scene holds."""
