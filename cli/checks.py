"""The commands `validate-config` and `names`: checks that need no running system."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from msgspec import Struct
from rich.text import Text

from cli.context import WRONG_USE, App, answers, guarded, output_option, pass_app, stop
from cli.deploy.data import load_deployment
from cli.groups import NotSeenError, look_at, warning
from cli.impact import count_lines, limit_lines, price_lines, verdict_lines
from cli.notes import notes, unseen_note
from cli.output import console, print_json, say, table
from cli.users import address_forms
from shared.checking import ask_files, check_all
from shared.domain.people.domains import People
from shared.domain.things.errors import BenchkeeperError, InvalidMessageError
from shared.domain.things.identity import InstanceId, UserEmail, UserKey, instance_id_for, user_key_for
from shared.domain.things.structs import to_dict
from shared.engine.decisions.policy_impact import impact_of_policy
from shared.engine.ports.records import Stored
from shared.faults import ConfigFault
from shared.messages.addresses import parse_person
from shared.settings import ConfigError, Settings
from shared.wiring import make_clients


@click.command(name="validate-config")
@click.option("--config-dir", type=click.Path(file_okay=False, path_type=Path), help="Default: config/.")
@click.option(
    "--directory/--no-directory", default=None,
    help="Look up the assigned groups in Cloud Identity, and report those that give access to no one. Default: only in the embedded cloud.",
)  # fmt: skip
@click.option(
    "--live", is_flag=True,
    help="Ask the project for the zones, machine types, disks, accelerators, images and the network that the files name. "
    "The project's answer takes precedence over the shipped table.",
)  # fmt: skip
@click.option(
    "--impact/--no-impact", default=None,
    help="Count the people whom the files would affect. Default: only in the embedded cloud.",
)  # fmt: skip
@output_option()
@pass_app
@guarded
def validate_config(
    app: App, config_dir: Path | None, output: str, *, live: bool, directory: bool | None, impact: bool | None
) -> None:
    """Check all configuration files; report every fault with file, line and the nearest valid value."""
    found = check_all(env=app.env, config_dir=config_dir, ask=ask_files if live else None)
    faults, deployment = list(found.faults), None
    if found.settings is not None:
        try:
            deployment = load_deployment(found.settings)
        except ConfigError as error:
            faults += error.faults
    settings = found.settings
    if faults or settings is None or deployment is None:
        _say_faults(faults, found.notes, output)
        stop(WRONG_USE)
    if output == "json":
        print_json([_as_json(note) for note in found.notes])
    else:
        catalog = settings.catalog
        say(
            f"The configuration of environment {settings.env} is valid: {len(catalog.profiles)} profiles, "
            f"{len(catalog.assignments)} assignments, {len(catalog.masters)} templates; "
            f"{len(deployment.wanted(deployment.functions))} functions, {len(deployment.wanted(deployment.topics))} topics, {len(deployment.jobs)} jobs to deploy."
        )
        for each in found.notes:
            say(f"Note: {each}")
        for note in filter(None, [*notes(settings), unseen_note(settings)]):
            say(note)
    is_embedded = settings.api_endpoint is not None and answers(settings.api_endpoint)
    if output != "json" and (is_embedded if impact is None else impact):
        _say_impact(settings, app)
    if is_embedded if directory is None else directory:
        _warn_of_groups(settings)


def _say_faults(faults: Sequence[ConfigFault], notes: Sequence[ConfigFault], output: str) -> None:
    if output == "json":
        print_json([_as_json(each) for each in (*faults, *notes)])
        return
    for fault in faults:
        say(str(fault), err=True)
    for note in notes:
        say(f"Note: {note}", err=True)
    say(f"{len(faults)} fault{'s' if len(faults) != 1 else ''}.", err=True)


def _as_json(fault: ConfigFault) -> dict[str, Any]:
    found: dict[str, Any] = to_dict(fault)
    return found


def _say_impact(settings: Settings, app: App) -> None:
    """Print what the files would change once in force, or a warning if that cannot be computed.

    Print nothing if the files are in force already.
    """
    try:
        deps = App(env=app.env, _settings=settings).deps
        if deps.policy == deps.with_book(settings.policy()):
            return
        judged = impact_of_policy(settings.policy(), deps)
    except BenchkeeperError as error:
        say(f"Warning: the effect of the files could not be computed: {error.user_message}", err=True)
        return
    found = judged.impact
    say("The files are not in force yet. They would change:" if found.entries else "The files are not in force yet.")
    verdict = verdict_lines(judged.excesses, empty=not found.entries)
    prices = price_lines(settings.policy(), deps.policy)
    for line in (*count_lines(found), *prices, *limit_lines(settings.policy(), deps), *verdict):
        say(line)
    if found.entries:
        say("To see each person: benchkeeper impact")


def _warn_of_groups(settings: Settings) -> None:
    """Print a warning on stderr for each assigned group that is missing, has no members or could not be looked up.

    Warnings do not change the exit code.
    """
    directory = make_clients(settings).json("cloudidentity")

    def ask(path: str) -> Mapping[str, Any] | None:
        try:
            return directory.call_or_none("GET", path)
        except BenchkeeperError as error:
            raise NotSeenError(error.detail) from error

    for group, fault in look_at([each.group for each in settings.catalog.assignments], ask):
        say(f"Warning: {warning(group, fault)}", err=True)


@click.command()
@click.argument("emails", nargs=-1, required=True)
@output_option("table", "json")
@pass_app
@guarded
def names(app: App, emails: tuple[str, ...], output: str) -> None:
    """Show the names that addresses get: user key and instance id.

    If a record exists, its names are shown. They stay the same when the address changes; a replaced notebook has a new
    instance id.
    """
    found, wrong, book = [], [], _Book(app)
    for raw in emails:
        try:
            found.append(book.names_of(address_forms(raw, book.people)))
        except BenchkeeperError as error:
            wrong.append(f"'{raw}': {error.user_message}")
    if output == "json":
        print_json([to_dict(each) for each in found])
    elif found:
        cells = [(each.email, each.user_key, each.instance_id) for each in found]
        console().print(table([("ADDRESS", "fold"), ("USER KEY", "fold"), ("INSTANCE", "fold")], cells))
        for note in book.notes(found):
            console().print(Text(note, style="dim"))
    for text in wrong:
        say(text, err=True)
    if wrong:
        stop(WRONG_USE)


class _Names(Struct, frozen=True, kw_only=True):
    """The names of an address. `recorded` is True if the names are from a record, not computed from the address."""

    email: UserEmail
    user_key: UserKey
    instance_id: InstanceId
    recorded: bool

    @property
    def is_first(self) -> bool:
        """Return True if the instance id is the one computed from the address; a new address or a replacement makes them differ."""
        return self.instance_id == instance_id_for(self.email)


class _Book(Struct):
    """A reader of the names in the records. Without a readable record, names are computed from the address.

    Computed names are right for new users. `why_not` is the reason why the records cannot be read; "" as long as they
    can.
    """

    app: App
    why_not: str = ""

    @property
    def people(self) -> People:
        """The users' domains and aliases in the settings; the defaults if the configuration has faults."""
        try:
            return self.app.settings.people
        except ConfigError:
            return People()

    def names_of(self, forms: Sequence[UserEmail]) -> _Names:
        email = forms[0]
        stored = next((found for form in forms if (found := self._load(user_key_for(form))) is not None), None)
        if stored is None:
            key = user_key_for(email)
            return _Names(email=email, user_key=key, instance_id=instance_id_for(email), recorded=False)
        record = stored.record
        instance_id = record.status.notebook.instance_id or InstanceId(f"nb-{record.user_key}")
        return _Names(email=email, user_key=record.user_key, instance_id=instance_id, recorded=True)

    def _refused(self, email: UserEmail) -> str:
        """Return the reason why messages about this address are refused; "" if the address is accepted."""
        try:
            parse_person(email, self.people)
        except InvalidMessageError as error:
            return error.user_message
        return ""

    def _load(self, key: UserKey) -> Stored | None:
        if self.why_not:
            return None
        try:
            return self.app.deps.records.load(key)
        except ConfigError as error:
            self.why_not = f"the configuration has {len(error.faults)} faults"
        except BenchkeeperError as error:
            self.why_not = error.user_message.rstrip(".")
        return None

    def notes(self, found: Sequence[_Names]) -> Iterator[str]:
        if self.why_not:
            yield (
                f"The records were not read: {self.why_not}. A person with a changed address keeps the names of the first "
                "address, and a replaced notebook has a number after its name."
            )
        for each in found:
            if not each.recorded and (why := self._refused(each.email)):
                yield f"{each.email}: a joiner with this address is refused. {why}"
            if not each.is_first:
                yield f"{each.email}: these names are from the record; the address alone would give {instance_id_for(each.email)}."
