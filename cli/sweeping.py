"""The command `sweep due|idle|drift|roster`: it runs a scheduled sweep by hand."""

from __future__ import annotations

import textwrap

import click

from cli.context import FAILED, App, guarded, output_option, pass_app, stop
from cli.output import console, print_json, say, table
from shared.domain.things.sweep import Sweep
from shared.engine.sweeps.sweeping import Summary
from shared.engine.sweeps.sweeps import sweep
from shared.engine.views.idle_words import decision_words, found_words
from shared.engine.views.words import in_words, status_words


@click.command(name="sweep")
@click.argument("kind", type=click.Choice(Sweep, case_sensitive=False))
@click.option("--dry-run", is_flag=True, help="Show what the sweep would do, without doing it.")
@click.option(
    "--propose", is_flag=True, help="drift: propose these configuration files first, as the deployed function does."
)
@output_option()
@pass_app
@guarded
def sweep_group(app: App, kind: Sweep, *, dry_run: bool, propose: bool, output: str) -> None:
    """Run one sweep now: `due` (users who are due), `idle` (stop unused notebooks), `drift` (correct differences), `roster` (read the rosters).

    `idle` examines each running notebook once an hour, and possibly unused notebooks in every sweep; `benchkeeper
    activity USER` examines one notebook at once. The sweep uses the policy in force, not the files on this machine.
    """
    if propose and (kind is not Sweep.DRIFT or dry_run):
        raise click.UsageError("--propose is only for a drift sweep without --dry-run.")
    summary = sweep(kind, app.deps, dry_run=dry_run, proposes=propose)
    if output == "json":
        facts = summary.as_facts()
        facts["decisions"] = [{"user": user, "why": why} for user, why in summary.decisions]
        print_json({**facts, "dry_run": dry_run})
    else:
        _print(summary, dry_run=dry_run)
    if summary.failed or (summary.sessions is not None and summary.sessions.failed):
        stop(FAILED)


def _print(summary: Summary, *, dry_run: bool) -> None:
    verb = "would act on" if dry_run else "acted on"
    count = len(summary.decisions) if dry_run else summary.acted
    if summary.kind is Sweep.IDLE:
        running = summary.measures.get("running", 0)
        say(f"Sweep idle: examined {summary.looked_at} of {running} running, those that are due, and {verb} {count}.")
    else:
        say(f"Sweep {summary.kind}: examined {summary.looked_at}, {verb} {count}.")
    for what, number in summary.found.most_common():
        say(f"  {number:>6}  {found_words(what)}")
    if summary.decisions:
        rows = [(user, decision_words(why)) for user, why in summary.decisions]
        console().print(table([("USER", "fold"), ("WHY", "fold")], rows))
    for reason, number in summary.failed.items():
        say(f"Failed: {number} ({status_words(reason)}). They are tried again by the next sweep.", err=True)
    for zone in summary.unreachable:
        say(f"Zone {zone} did not answer. Its notebooks were not examined.", err=True)
    for listing in summary.unread:
        say(f"Jobs elsewhere are unknown, so notebooks are kept running: {in_words(listing)}.", err=True)
    for line in summary.sessions.lines if summary.sessions is not None else ():
        for part in textwrap.wrap(f"Session template {in_words(line)}.", console().width, subsequent_indent="  "):
            say(part)
    for stray in summary.strays:
        say(f"Orphan {stray.zone}/{stray.name}: {stray.why}. Nothing was done to it.", err=True)
    if summary.left_over:
        say(
            f"{summary.left_over} people were not reached before the deadline; they come first in the next sweep.",
            err=True,
        )
