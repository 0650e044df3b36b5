"""The command group `benchkeeper`."""

from __future__ import annotations

import click

from cli import (
    acknowledging,
    asking,
    audit,
    checks,
    costs,
    demo,
    doctor,
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
    restoring,
    rosters,
    sweeping,
    waves,
)
from cli.context import App
from cli.output import PlainGroup

_HELP = """One personal Jupyter environment for every entitled person, and none for anybody else.

\b
USER is an address (ana.silva@example.com) or a user key
(ana-silva-3f0c9a1b2c3d).
Exit codes: 0 success, 1 failure, 2 wrong use or bad configuration.
"""


OPERATIONS = frozenset({"names", "sweep", "reconcile", "import"})  # for the engineer, now and then
EARLIER_NAMES = {"keep-on": "extend", "dead-letter": "messages"}


class Main(PlainGroup):
    """The command `benchkeeper`: `--env` may appear anywhere, and earlier names of commands still work."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments after `--env NAME` was moved to the front, from any place before a `--`."""
        own, rest = _env_first(args)
        return super().parse_args(ctx, [*own, *rest])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command with this present or earlier name; None for an unknown name."""
        return super().get_command(ctx, EARLIER_NAMES.get(cmd_name, cmd_name))

    def heading_of(self, name: str) -> str:
        """Return the heading of a command in the help.

        `Operations` is for commands that an engineer needs only occasionally.
        """
        return "Operations" if name in OPERATIONS else super().heading_of(name)


def _env_first(args: list[str]) -> tuple[list[str], list[str]]:
    """Return the last `--env` option with its value, and all other arguments. Raise `BadOptionUsage` if its value is missing."""
    own: list[str] = []
    rest: list[str] = []
    words = iter(args)
    for word in words:
        if word == "--":
            rest += [word, *words]
        elif word == "--env":
            name = next(words, None)
            own = [word] if name is None else [word, name]
        elif word.startswith("--env="):
            own = [word]
        else:
            rest.append(word)
    if own == ["--env"]:
        raise click.BadOptionUsage("--env", "Option '--env' requires an argument.")
    return own, rest


@click.group(cls=Main, help=_HELP, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--env", metavar="NAME", default=None,
    help="Read config/settings.NAME.yaml. Default: $BENCHKEEPER_ENV, else local.",
)  # fmt: skip
@click.version_option(package_name="benchkeeper", prog_name="benchkeeper")
@click.pass_context
def main(context: click.Context, env: str | None) -> None:
    """Store the `App` for the subcommand in the context; the help text is `_HELP`."""
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
    audit.certificate,
    evidence.evidence,
    evidence.as_of_day,
    asking.start,
    asking.stop_notebook,
    asking.restart,
    asking.extend,
    restoring.restore,
    asking.spark_group,
    holding.hold,
    holding.release,
    holding.repair,
    acknowledging.acknowledge,
    guard.guard,
    guard.approve,
    guard.reject,
    erasing.erase_user,
    sweeping.sweep_group,
    rosters.roster,
    letters.messages_group,
    importing.import_group,
    doctor.doctor,
    checks.validate_config,
    checks.names,
    impact.impact,
    impact.show_policy,
    waves.waves,
):
    main.add_command(command)
