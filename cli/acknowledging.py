"""The command `acknowledge`: it marks the leave of an unknown user, or undelivered messages, as noticed by an operator."""

from __future__ import annotations

import click

from cli.context import App, guarded, output_option, pass_app
from cli.output import print_json, say
from cli.users import say_unknown, user_key
from shared.engine.news.dead_letters import acknowledge as acknowledged
from shared.engine.news.dead_letters import take_note


@click.command()
@click.argument("user")
@output_option()
@pass_app
@guarded
def acknowledge(app: App, user: str, output: str) -> None:
    """Acknowledge USER: the leave of an unknown user, or messages to USER that were not delivered.

    The user is no longer listed under "needs attention". A deletion that waited for such a message continues.
    """
    accepted = acknowledged(user_key(app, user), app.deps, by="the command line")
    if accepted is None:
        say_unknown(app, user, announce=False)
    noted = take_note(accepted.stored.record.user_key, app.deps, by="the command line") or 0
    if output == "json":
        print_json({"user": accepted.stored.record.email, "changed": accepted.changed or noted > 0, "messages": noted})
    elif noted:
        say(
            f"Noted: {noted} message{'s' if noted != 1 else ''} that {'were' if noted != 1 else 'was'} not delivered. A deletion that waited for one continues."
        )
    elif accepted.changed:
        say(f"{user} is no longer shown. If this person joins later, the joiner is processed as usual.")
    else:
        say(
            f"Nothing to acknowledge: {user} is not an unknown leaver, or was acknowledged before, and no message is undelivered."
        )
