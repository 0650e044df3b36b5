"""The command group `benchkeeper`."""

from __future__ import annotations

import click

from cli import (
    acknowledging,
    asking,
    audit,
    certificate,
    checks,
    costs,
    demo,
    erasing,
    evidence,
    guard,
    history,
    holding,
    impact,
    importing,
    letters,
    messages,
    people,
    repairing,
    restoring,
    rosters,
    sweeping,
    waves,
)
from cli.context import App
from cli.output import PlainGroup

_HELP = """One personal Jupyter environment for every entitled person, and none for anybody else.

\b
USER is an address (ana.silva@example.com) or a user key (ana-silva-3f0c9a1b2c3d).
Exit codes: 0 done, 1 it failed, 2 wrong use or bad configuration.
"""


@click.group(
    cls=PlainGroup, help=_HELP, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option(
    "--env", metavar="NAME", default=None,
    help="Read config/settings.NAME.yaml. Default: $BENCHKEEPER_ENV, else local.",
)  # fmt: skip
@click.version_option(package_name="benchkeeper", prog_name="benchkeeper")
@click.pass_context
def main(context: click.Context, env: str | None) -> None:
    """Build the app for the subcommand; the help text is `_HELP`."""
    context.obj = App(env=env)


for command in (
    demo.demo,
    messages.publish,
    messages.state,
    people.show,
    people.list_people,
    people.plan,
    people.reconcile_user,
    people.activity,
    costs.costs,
    history.history,
    audit.audit_group,
    certificate.certificate,
    evidence.evidence,
    evidence.as_of_day,
    asking.start,
    asking.stop_notebook,
    asking.restart,
    asking.keep_on,
    restoring.restore,
    asking.spark_group,
    holding.hold,
    holding.release,
    repairing.repair,
    acknowledging.acknowledge,
    guard.guard,
    guard.approve,
    guard.reject,
    erasing.erase_user,
    sweeping.sweep_group,
    rosters.roster,
    letters.dead_letter,
    importing.import_group,
    checks.validate_config,
    checks.names,
    impact.impact,
    impact.show_policy,
    waves.waves,
):
    main.add_command(command)
