"""The command `waves`: the progress of a rollout, which changes machines or images of the fleet in waves."""

from __future__ import annotations

from typing import Any

import click

from cli.context import App, guarded, output_option, pass_app
from cli.output import console, print_json, say, table
from shared.domain.record.waves import Counts, Rollout, RolloutState
from shared.engine.decisions.waves import counts_now, facts_of

_STANDS = {
    RolloutState.OPEN: "under way",
    RolloutState.HALTED: "HALTED: too many were not ready within 60 minutes",
    RolloutState.DONE: "done",
}
_COUNTED = (
    ("verified", "ready and verified"),
    ("under_way", "under way"),
    ("failed", "not ready in time"),
    ("waits", "wait until the notebook is stopped"),
    ("sold_out", "wait for a machine that Google does not have"),
)


@click.command()
@output_option()
@pass_app
@guarded
def waves(app: App, output: str) -> None:
    """Show the latest rollout: its waves, and how many notebooks are ready. Until the rollout is done, notebooks are counted now.

    The hourly drift sweep opens the next wave, or halts the change. benchkeeper guard shows a halted change; approve
    continues it, reject takes it back.
    """
    current = app.deps.policies.load()
    rollout = current.rollout if current is not None else None
    if current is None or rollout is None:
        if output == "json":
            print_json({"rollout": None})
        else:
            say("No rollout is under way.")
        return
    counts = rollout.counts if rollout.state is RolloutState.DONE else counts_now(rollout, app.deps)
    if output == "json":
        print_json({"rollout": _view(rollout, counts), "policy": current.digest})
        return
    say(f"Policy {current.digest}, since {rollout.began_at:%Y-%m-%d %H:%M} UTC: {_STANDS[rollout.state]}.")
    rows = [(str(n + 1), f"{size:,}", _stands(rollout, n)) for n, size in enumerate(rollout.sizes)]
    console().print(table([("WAVE", "whole"), ("PEOPLE UP TO IT", "whole"), ("STATUS", "")], rows))
    for name, text in _COUNTED:
        count = getattr(counts, name)
        if count:
            say(f"  {count:>6,}  {text}")
    if rollout.state is RolloutState.HALTED:
        digest = rollout.decided_by[:12]
        say(
            f"No further notebook is changed. Continue: benchkeeper approve {digest}. Roll back: benchkeeper reject {digest}."
        )


def _stands(rollout: Rollout, number: int) -> str:
    if rollout.state is RolloutState.DONE or number < rollout.wave:
        return "done"
    if number > rollout.wave:
        return "not opened yet"
    return f"open since {rollout.opened_at:%Y-%m-%d %H:%M} UTC"


def _view(rollout: Rollout, counts: Counts) -> dict[str, Any]:
    facts = facts_of(rollout)
    return {
        **facts,
        **{name: getattr(counts, name) for name, _ in _COUNTED},
        "sizes": list(rollout.sizes),
        "began_at": rollout.began_at.isoformat(),
        "opened_at": rollout.opened_at.isoformat(),
        "digest": rollout.decided_by if rollout.state is RolloutState.HALTED else None,
    }
