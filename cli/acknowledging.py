"""The command `acknowledge`: an operator has noticed the leave of an unknown user."""

from __future__ import annotations

import click

from cli.context import App, guarded, output_option, pass_app
from cli.output import print_json, say
from cli.users import say_unknown, user_key
from shared.engine.news.acknowledging import acknowledge as acknowledged


@click.command()
@click.argument("user")
@output_option()
@pass_app
@guarded
def acknowledge(app: App, user: str, output: str) -> None:
    """Take USER, an unknown leaver, off the list of users who need attention. The record stays."""
    accepted = acknowledged(user_key(app, user), app.deps, by="the command line")
    if accepted is None:
        say_unknown(app, user, announce=False)
    if output == "json":
        print_json({"user": accepted.stored.record.email, "changed": accepted.changed})
    elif accepted.changed:
        say(f"{user} is not shown any more. If they come, they are a joiner like any other.")
    else:
        say(f"Nothing to acknowledge: {user} is no leaver of whom nobody knows, or was acknowledged before.")
