"""The command `import seed`: it moves users from Google's Terraform example.

It reads the example's user list and bucket, publishes joiners and writes drafts of templates. It changes nothing of the
example.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from msgspec import Struct, field
from rich.text import Text

from cli.context import FAILED, App, guarded, output_option, pass_app, stop
from cli.output import PlainGroup, complain, console, print_json, say, table
from shared.cloud.dataproc.masters import check_masters
from shared.cloud.publish import publish as publish_message
from shared.cloud.storage.seed_bucket import SeedBucket, SeedObject
from shared.domain.people.domains import People
from shared.domain.things.catalog import MasterTemplate
from shared.domain.things.errors import BenchkeeperError, PoisonError
from shared.domain.things.identity import UserEmail, parse_email, user_key_for
from shared.messages.addresses import parse_person
from shared.messages.hr_strict import SCHEMA
from shared.seed_templates import collisions, draft_of, is_as_made
from shared.seed_users import Listed, read_users
from shared.settings import ConfigError

MASTERS, GENERATED = "dataproc_master_templates", "dataproc_generated_templates"  # the example's defaults


@click.group(name="import", cls=PlainGroup)
def import_group() -> None:
    """Import users and templates from another system."""


class _Joiner(Struct, frozen=True, kw_only=True):
    """A user to announce.

    `since` is the time of the user's template in the example, or of the user list if there is no template.
    """

    user: UserEmail
    since: datetime
    has_template: bool


class _Refused(Struct, frozen=True, kw_only=True):
    """A user on the list whom the intake would refuse, with the reason. The user is not announced."""

    user: UserEmail
    line: int
    why: str


class _Made(Struct, frozen=True, kw_only=True):
    """A template that the example made for one `user` (None if its name contains no address).

    `edited` is True if the template differs from a copy of the masters, `listed` if the user is on the user list.
    """

    name: str
    user: UserEmail | None
    content: bytes
    edited: bool
    listed: bool


class _Report(Struct, kw_only=True):
    """The report of the import: the planned work, then the results.

    `repeated` are users who are on the list more than once, `collided` groups of users whom the example could not tell
    apart. `saved` maps edited templates to the files of their copies, `message_ids` users to their published messages.
    """

    dry_run: bool
    joiners: list[_Joiner]
    repeated: tuple[Listed, ...]
    refused: list[_Refused] = field(default_factory=list)
    drafts: list[dict[str, Any]] = field(default_factory=list)
    made: list[_Made] = field(default_factory=list)
    collided: list[tuple[UserEmail, ...]] = field(default_factory=list)
    saved: dict[str, str] = field(default_factory=dict)
    message_ids: dict[UserEmail, str] = field(default_factory=dict)


@import_group.command()
@click.option("--bucket", required=True, metavar="NAME", help="The example's bucket; it is only read.")
@click.option(
    "--users", "list_file", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The example's user list: .tfvars, .tf, .json, .yaml, .csv, or one address per line.",
)  # fmt: skip
@click.option(
    "--profile", metavar="NAME", help="Request this profile for all. Default: by groups, then the default profile."
)
@click.option(
    "--out", "folder", default=Path("imported"), show_default=True, type=click.Path(file_okay=False, path_type=Path),
    help="The folder for drafts of the templates. Existing files are not overwritten.",
)  # fmt: skip
@click.option(
    "--masters",
    default=MASTERS,
    show_default=True,
    metavar="FOLDER",
    help="The folder of the example's master templates in the bucket.",
)
@click.option(
    "--generated",
    default=GENERATED,
    show_default=True,
    metavar="FOLDER",
    help="The folder of the example's templates by user in the bucket.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be done, without publishing or writing anything.")
@output_option()
@pass_app
@guarded
def seed(
    app: App,
    bucket: str,
    list_file: Path,
    profile: str | None,
    folder: Path,
    masters: str,
    generated: str,
    *,
    dry_run: bool,
    output: str,
) -> None:
    """Move from personal-workbench-notebooks-deployer, Google's Terraform example.

    Announces all users on its list as joiners, turns its cluster templates into drafts for config/templates, and says
    what an operator should review. Safe to repeat: each run uses the same event id for a user. The event has the time
    of the template that the example made for the user (or of the list), so that newer news of a leave stays valid.
    Change a profile later with `publish mover`.
    """
    listed = read_users(list_file.name, list_file.read_bytes())
    if listed.faults:  # a list that is only partly understood would leave out users
        raise ConfigError(list(listed.faults))
    if profile is not None:
        app.settings.catalog.profile(profile)
    elif app.settings.catalog.default_profile is None:
        raise click.UsageError("There is no default profile in config/profiles.yaml: name one with --profile.")
    source = SeedBucket(app.clients, bucket)
    templates = {each.name: each for each in source.templates(masters)}
    copies = list(source.templates(generated))
    report = _Report(dry_run=dry_run, joiners=[], repeated=listed.repeated)
    report.drafts = [_draft(each, bucket, folder) for each in templates.values()]
    report.made = _judge(copies, templates, {person.user for person in listed.people}, bucket)
    written = {
        made.user: copy.written_at for made, copy in zip(report.made, copies, strict=True) if made.user is not None
    }
    accepted = _accepted(listed.people, app.settings.people, report)
    report.joiners = _joiners(accepted, written, list_file, app.deps.clock.now())
    report.collided = collisions([p.user for p in listed.people] + [m.user for m in report.made if m.user is not None])
    if not dry_run:
        _write(report, folder)
        _publish(report, app, profile)
    if output == "json":
        print_json(_as_json(report))
    else:
        _print(report, list_file.name)
    if report.refused:
        stop(FAILED)


def _accepted(listed: tuple[Listed, ...], people: People, report: _Report) -> list[tuple[Listed, UserEmail]]:
    """Return the users whom the intake would accept, with their canonical addresses; add the refused users to the report."""
    accepted: dict[UserEmail, Listed] = {}
    for each in listed:
        try:
            accepted.setdefault(parse_person(each.user, people), each)
        except PoisonError as error:
            report.refused.append(_Refused(user=each.user, line=each.line, why=error.user_message))
    return [(each, user) for user, each in accepted.items()]


def _joiners(
    people: list[tuple[Listed, UserEmail]], written: dict[UserEmail, datetime], list_file: Path, now: datetime
) -> list[_Joiner]:
    listed_at = datetime.fromtimestamp(int(list_file.stat().st_mtime), UTC)
    return [
        _Joiner(user=user, since=min(written.get(p.user, listed_at), now), has_template=p.user in written)
        for p, user in people
    ]


def _judge(
    copies: list[SeedObject], templates: dict[str, SeedObject], listed: set[UserEmail], bucket: str
) -> list[_Made]:
    texts = {name: each.content.decode(errors="replace") for name, each in templates.items()}
    return [
        _Made(
            name=copy.name,
            user=(user := _address(copy.name)),
            content=copy.content,
            edited=not is_as_made(copy.content.decode(errors="replace"), texts, copy.name, bucket),
            listed=user in listed,
        )
        for copy in copies
    ]


def _address(name: str) -> UserEmail | None:
    try:
        return parse_email(name)
    except BenchkeeperError:
        return None


def _draft(master: SeedObject, bucket: str, folder: Path) -> dict[str, Any]:
    """Return the draft of a master template as a mapping: `file` and `text`, the notes, and the faults that the checks found.

    Its `outcome` is "" until the draft is written.
    """
    path = folder / f"{master.name.replace('/', '-')}.yaml"
    draft = draft_of(path.stem, master.content.decode("utf-8-sig", errors="replace"), bucket)
    faults = [draft.fault] if draft.fault else []
    if not draft.fault:
        checked = check_masters({draft.name: MasterTemplate(name=draft.name, text=draft.text)}, str(folder))
        faults = [str(fault) for fault in checked]
    return {
        "template": master.name,
        "file": str(path),
        "text": draft.text,
        "notes": list(draft.notes),
        "faults": faults,
        "outcome": "",
    }


def _write(report: _Report, folder: Path) -> None:
    """Write the drafts, and the edited copies that an operator should review."""
    for draft in report.drafts:
        if draft["text"]:
            draft["outcome"] = _keep(Path(draft["file"]), draft["text"].encode())
    for made in report.made:
        if made.edited:
            name = user_key_for(made.user) if made.user is not None else made.name.replace("/", "-")
            path = folder / "edited" / f"{name}.yaml"
            _keep(path, made.content)
            report.saved[made.name] = str(path)


def _keep(path: Path, content: bytes) -> str:
    """Write the file unless it exists, and return the outcome in words."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError:
        return "there already" if path.read_bytes() == content else "exists and differs: not changed"
    return "written"


def _publish(report: _Report, app: App, profile: str | None) -> None:
    for joiner in report.joiners:
        body = {
            "schema": SCHEMA,
            "event_id": f"seed-import-{user_key_for(joiner.user)}",
            "type": "joiner",
            "user": joiner.user,
            "occurred_at": joiner.since.isoformat(),
            "reason": "imported from personal-workbench-notebooks-deployer",
            "attributes": {"profile": profile} if profile is not None else {},
        }
        report.message_ids[joiner.user] = publish_message(
            app.clients,
            project=app.settings.project,
            topic=app.settings.topic_operator,
            body=json.dumps(body, ensure_ascii=False).encode(),
            attributes={},
        )


def _as_json(report: _Report) -> dict[str, Any]:
    return {
        "dry_run": report.dry_run,
        "people": [
            {
                "user": j.user,
                "occurred_at": j.since.isoformat(),
                "dated_by": "template" if j.has_template else "list",
                "message_id": report.message_ids.get(j.user),
            }
            for j in report.joiners
        ],
        "refused": [{"user": each.user, "line": each.line, "why": each.why} for each in report.refused],
        "repeated": [{"user": each.user, "line": each.line} for each in report.repeated],
        "templates": report.drafts,
        "generated": [
            {
                "name": m.name,
                "user": m.user,
                "listed": m.listed,
                "edited": m.edited,
                "saved": report.saved.get(m.name),
            }
            for m in report.made
        ],
        "collisions": [list(same) for same in report.collided],
    }


def _print(report: _Report, list_name: str) -> None:
    out = console()
    done = "would be announced" if report.dry_run else "announced"
    say(f"{len(report.joiners)} {'person' if len(report.joiners) == 1 else 'people'} {done} as joiners.")
    rows = [(j.user, f"{j.since:%Y-%m-%d %H:%M}", "template" if j.has_template else "list") for j in report.joiners]
    out.print(table([("USER", "fold"), ("SINCE (UTC)", "whole"), ("DATED BY", "whole")], rows))
    for refused in report.refused:
        complain(f"{list_name}:{refused.line}: {refused.user} is not announced. {refused.why}")
    for each in report.repeated:
        say(f"{list_name}:{each.line}: {each.user} is listed again; the second entry is ignored.")
    for draft in report.drafts:
        _print_draft(draft, dry_run=report.dry_run)
    edited = [m for m in report.made if m.edited]
    strangers = [m for m in report.made if not m.listed]
    if edited or strangers:
        say("")
        say("Templates that the example made for one user, to be reviewed:")
        looks = [(m.name, _what(m)) for m in report.made if m.edited or not m.listed]
        out.print(table([("NAME", "fold"), ("WHAT", "fold")], looks))
    for path in sorted(set(report.saved.values())):
        say(f"Kept for review: {path}")
    for same in report.collided:
        say(
            f"The example gave these people the same name, so that at most one of them had an environment: {', '.join(same)}"
        )


def _what(made: _Made) -> str:
    if made.user is None:
        return "this is not an address; not imported"
    said = []
    if made.edited:
        said.append("differs from a copy of the masters: edited by hand, or made from an older master")
    if not made.listed:
        said.append("not on the list; not imported")
    return "; ".join(said)


def _print_draft(draft: dict[str, Any], *, dry_run: bool) -> None:
    outcome = draft["outcome"] or ("would be written" if dry_run and draft["text"] else "not written")
    say("")
    say(f"Template {draft['template']} -> {draft['file']}: {outcome}.")
    for note in draft["notes"]:
        console().print(Text(f"- {note}"))
    for fault in draft["faults"]:
        complain(f"To be fixed by hand: {fault}")
