"""The commands `publish` and `state`: messages about one user at a time. `cli.publishing_files` publishes files."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import click

from cli.context import App, guarded, output_option, pass_app
from cli.output import PlainGroup
from cli.publishing import Consent, Details, draft, publish_by_hand
from cli.publishing_files import publish_file
from shared.domain.things.errors import BenchkeeperError
from shared.domain.things.identity import is_user_key, parse_email
from shared.domain.things.times import parse_time

NEVER = "never"


@click.group(name="publish", cls=PlainGroup)
def publish() -> None:
    """Announce a joiner, a mover, a leaver, a cancelled leave, a changed address, or a file of messages.

    The command looks up the user and shows what would change. It asks before a message in which a typing error would do
    damage; --yes skips the question.
    """


publish.add_command(publish_file)


def _moment(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Return a time as RFC 3339. A date and `NEVER` are returned unchanged: the intake reads a date in the users' time zone.

    Raise `BadParameter` for any other text.
    """
    if value is None or value == NEVER:
        return value
    try:
        return date.fromisoformat(value).isoformat()
    except ValueError:
        pass
    try:
        return parse_time(value).isoformat()
    except ValueError as error:
        raise click.BadParameter(
            "write a date, for example 2026-12-01, or a time with its zone, for example 2026-12-01T08:00:00Z"
        ) from error


def _address(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    try:
        return parse_email(value) if "@" in value or not is_user_key(value) else value
    except BenchkeeperError as error:
        raise click.BadParameter(error.user_message) from error


def _decorated(options: list[Callable[[Any], Any]]) -> Callable[[Any], Any]:
    def decorate(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


_user = click.argument("user", callback=_address)
_effective = click.option(
    "--effective-time", callback=_moment, metavar="TIME",
    help="The time from which the message holds (RFC 3339), or a date (for a leaver: the last day). Default: now.",
)  # fmt: skip
_sending = _decorated(
    [
        click.option(
            "--event-id",
            metavar="ID",
            help="The event id. Default: a new one. Two messages with the same id are one event.",
        ),
        click.option("--yes", is_flag=True, help="Do not ask, and publish even a message that changes nothing."),
        click.option("--new", is_flag=True, help="Confirm that the person or the group is unknown."),
        click.option("--blind", is_flag=True, help="Send the message even if the records cannot be read."),
        output_option(),
        pass_app,
        guarded,
    ]
)
_number = click.option(
    "--person-id", metavar="ID", default="", help="HR's number of the person, which stays when the address changes."
)
_details = _decorated(
    [
        click.option("--profile", metavar="NAME", help="Request this profile by hand."),
        click.option("--cost-center", metavar="CODE", help="The cost centre, shown on the bill."),
        click.option(
            "--access-until", callback=_moment, metavar="DATE",
            help=f"Access ends at the end of this day, or at this time; '{NEVER}' removes the end.",
        ),
        _number,
    ]
)  # fmt: skip


def _consent(options: dict[str, Any]) -> Consent:
    return Consent(yes=options["yes"], new=options["new"], blind=options["blind"])


def _told(options: dict[str, Any], attributes: dict[str, Any] | None = None) -> Details:
    until = options.get("access_until")
    return Details(
        event_id=options["event_id"],
        effective_time=options.get("effective_time"),
        person_id=options.get("person_id", ""),
        reason=options.get("reason", ""),
        new_user=options.get("new_user", ""),
        access_until=None if until == NEVER else until,
        no_end=until == NEVER,
        urgent=options.get("urgent", False),
        attributes=attributes or {},
    )


def _attributes(options: dict[str, Any]) -> dict[str, Any]:
    return {name: options[name] for name in ("profile", "cost_center") if options[name]}


@publish.command()
@click.option("--group", "groups", multiple=True, metavar="ADDRESS", help="A group of the person; may be repeated.")
@_details
@_effective
@_user
@_sending
def joiner(app: App, user: str, groups: tuple[str, ...], output: str, **options: Any) -> None:
    """Announce that USER works here now. Without --profile and --group, USER gets the default profile.

    Asks only if a known address differs by one or two characters.
    """
    attributes = _attributes(options)
    if groups:
        attributes["groups"] = _split(groups)
    publish_by_hand(app, draft("joiner", user, _told(options, attributes)), _consent(options), output, asks=False)


@publish.command()
@click.option("--no-profile", is_flag=True, help="Withdraw the profile that was requested by hand.")
@click.option(
    "--add-group", "added", multiple=True, metavar="ADDRESS", help="A group that the person joins; may be repeated."
)
@click.option(
    "--remove-group",
    "removed",
    multiple=True,
    metavar="ADDRESS",
    help="A group that the person leaves; may be repeated.",
)
@click.option(
    "--groups", multiple=True, metavar="ADDRESSES",
    help="All groups of the person, in place of the present ones; separate them by commas, or repeat the option.",
)  # fmt: skip
@click.option("--group", "group", multiple=True, hidden=True)
@_details
@_effective
@_user
@_sending
def mover(app: App, user: str, output: str, **options: Any) -> None:
    """Change USER's profile, groups or cost centre. Values without an option stay unchanged."""
    if options["group"]:
        raise click.UsageError(
            "--group would replace all groups. Use --add-group or --remove-group for one group, or --groups for all of them."
        )
    if options["no_profile"] and options["profile"]:
        raise click.UsageError("--profile and --no-profile exclude each other.")
    if options["groups"] and (options["added"] or options["removed"]):
        raise click.UsageError("--groups replaces all groups: omit --add-group and --remove-group.")
    added, removed = _split(options["added"]), _split(options["removed"])
    attributes = _attributes(options)
    if options["no_profile"]:
        attributes["profile"] = None
    if options["groups"]:
        attributes["groups"] = _split(options["groups"])
    attributes |= {"add_groups": added} if added else {}
    attributes |= {"remove_groups": removed} if removed else {}
    both = sorted(set(added) & set(removed))
    if both:
        raise click.UsageError(f"{', '.join(both)} is both added and removed.")
    if not attributes and not options["access_until"] and not options["person_id"]:
        raise click.UsageError(
            "Give at least one change: --profile, --no-profile, --add-group, --remove-group, --groups, --cost-center, --access-until or "
            "--person-id."
        )
    publish_by_hand(app, draft("mover", user, _told(options, attributes)), _consent(options), output)


def _split(groups: tuple[str, ...]) -> list[str]:
    """Return the addresses of the options, split at commas.

    `--groups ""` gives an empty list, which removes the user from all groups.
    """
    return [group.strip() for each in groups for group in each.split(",") if group.strip()]


@publish.command()
@click.option("--reason", default="", help="The reason, stored with the event.")
@click.option(
    "--urgent",
    is_flag=True,
    help="Do not wait even if many others leave. guard.urgent limits the number of such leavers in an hour.",
)
@_number
@_effective
@_user
@_sending
def leaver(app: App, user: str, output: str, **options: Any) -> None:
    """Announce that USER no longer works here: the notebook is stopped at once, and deleted after the retention."""
    publish_by_hand(app, draft("leaver", user, _told(options)), _consent(options), output)


@publish.command(name="leave-cancelled")
@click.option("--reason", default="", help="The reason, stored with the event.")
@_user
@_sending
def leave_cancelled(app: App, user: str, output: str, **options: Any) -> None:
    """Announce that USER does not leave after all: the state before the leave is restored."""
    publish_by_hand(app, draft("leave-cancelled", user, _told(options)), _consent(options), output)


@publish.command()
@_number
@_user
@click.argument("new_user", callback=_address)
@_sending
def renamed(app: App, user: str, output: str, **options: Any) -> None:
    """Announce that USER's address is NEW_USER from now on; person, environment and files stay the same.

    Both addresses lead to the same record afterwards. If such a change waits for a decision, this command confirms it.
    """
    publish_by_hand(app, draft("renamed", user, _told(options)), _consent(options), output)


@click.command(name="state")
@_user
@click.argument("what", metavar="account", type=click.Choice(["account"]))
@click.argument("value", metavar="usable", type=click.Choice(["usable"]))
@click.option(
    "--because", required=True, metavar="TEXT", help="The reason for this statement; stored with the message."
)
@_sending
def state(app: App, user: str, output: str, **options: Any) -> None:
    """State that USER's Google account can be used, against earlier statements.

    This ends each state that keeps the user out: suspended, archived, deleted, disabled by Google. A later statement of
    the directory takes precedence.
    """
    if not options["because"].strip():
        raise click.UsageError("--because needs a reason.")
    details = _told({**options, "reason": options["because"]})
    details.account = options["value"]
    publish_by_hand(app, draft("account", user, details), _consent(options), output)
