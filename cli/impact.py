"""The commands `impact` and `policy`: the effect of a change on people before it is made, and the policy in force."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from cli.context import FAILED, WRONG_USE, App, guarded, output_option, pass_app, stop
from cli.output import console, print_csv, print_json, say, table
from cli.publishing_files import read_content, say_faults, source_named
from shared.domain.people.sources import OPERATOR
from shared.domain.plan.plan import Policy
from shared.domain.policy.effect import ASSUMED_HOURS, Basis, Effect, StepKind
from shared.domain.policy.impact import Excess, Impact, Limit
from shared.domain.policy.policy_change import Proposal
from shared.domain.policy.policy_codec import policy_digest
from shared.domain.record.record import Presence
from shared.domain.record.waves import FROM, sizes_for
from shared.domain.things.identity import UserKey
from shared.engine.decisions.policy_change import waiting
from shared.engine.decisions.policy_impact import Judged, impact_of_news, impact_of_policy
from shared.engine.ports.deps import Deps
from shared.engine.views.words import CAUSES, step_words
from shared.settings import Settings
from shared.wiring import checked_settings

_WORDS = {
    StepKind.LOSES_ACCESS: "lose access",
    StepKind.GAINS_ACCESS: "gain access",
    StepKind.CHANGES_PROFILE: "change profile",
    StepKind.REPLACED: "get another instance, files kept",
    StepKind.UPDATED: "are stopped for a change",
    StepKind.PATCHED: "are changed while they run",
    StepKind.DISK: "get another disk",
    StepKind.TEMPLATES: "get other Spark templates",
    StepKind.CLUSTERS_END: "lose Spark clusters that run",
    StepKind.DATA_ROLES: "lose access to the data of a group",
    StepKind.IDLE_SOONER: "are stopped sooner when idle",
    StepKind.DELETED_SOONER: "left, and lose the instance sooner",
    StepKind.DATA_DELETED_SOONER: "left, and lose saved files sooner",
}
_COLUMNS = (
    "user_key", "email", "cause", "parts", "steps", "interrupts", "group_before", "group_after", "profile_before", "profile_after",
    "cost_before", "cost_after", "basis",
)  # fmt: skip


@click.command()
@click.option(
    "--config-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The folder with the files to judge. Default: config/.",
)
@click.option(
    "--file", "paths", multiple=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file of messages to judge instead, in the format of `publish file`; may be repeated.",
)  # fmt: skip
@click.option(
    "--as",
    "source_name",
    default=OPERATOR,
    show_default=True,
    metavar="SOURCE",
    help="The source of the messages in --file.",
)
@click.option(
    "--limit",
    default=40,
    show_default=True,
    type=click.IntRange(min=0),
    help="The largest number of people in the table.",
)
@output_option("table", "json", "csv")
@pass_app
@guarded
def impact(
    app: App, config_dir: Path | None, paths: tuple[Path, ...], source_name: str, limit: int, output: str
) -> None:
    """Show the effect of the configuration's files, or of a file of messages, on each person. Nothing is changed."""
    settings = checked_settings(env=app.env, config_dir=config_dir, trusts_offers=True)
    app = App(env=app.env, _settings=settings)
    deps, refused = app.deps, 0
    if paths:
        source = source_named(app, source_name)
        content = read_content(app, paths, source)
        if content.faults:
            say_faults(content, output)
            stop(WRONG_USE)
        judged, refused = impact_of_news([piece for _, news in content.rows for piece in news], deps)
        what = ", ".join(path.name for path in paths)
    else:
        judged = impact_of_policy(settings.policy(), deps)
        what = str(config_dir) if config_dir is not None else "config/"
    names = _names(deps) if judged.impact.entries else {}
    if output == "json":
        print_json(_view(judged, settings, names) | {"refused": refused})
    elif output == "csv":
        print_csv((_cells(each, names) for each in judged.impact.entries), _COLUMNS)
    else:
        _print(judged, settings, names, what=what, limit=limit, is_news=bool(paths))
        for line in (
            () if paths else (*price_lines(settings.policy(), deps.policy), *limit_lines(settings.policy(), deps))
        ):
            say(line)
    if refused:
        say(f"{refused:,} messages cannot be used; see publish file --dry-run.", err=True)
        stop(FAILED)


def _names(deps: Deps) -> Mapping[UserKey, str]:
    return {row.user_key: row.email for row in deps.records.rows()}


def _print(
    judged: Judged, settings: Settings, names: Mapping[UserKey, str], *, what: str, limit: int, is_news: bool
) -> None:
    found = judged.impact
    say(f"Effect of {what}:" if found.entries else f"{what} changes nothing for anyone.")
    for line in count_lines(found):
        say(line)
    if found.entries:
        for label, counts in (("group", found.by_group()), ("profile", found.by_profile())):
            for name, count in counts.items():
                say(f"  {count:>6,}  of {label} {name}")
        for line in _cost_lines(found, settings.currency):
            say(line)
    if limit and found.entries:
        rows = [(names.get(e.user_key) or e.user_key, _steps_text(e), CAUSES[e.cause]) for e in found.entries[:limit]]
        console().print(table([("USER", "fold"), ("WHAT", "fold"), ("CAUSE", "fold")], rows))
        if len(found.entries) > limit:
            say(f"{len(found.entries) - limit:,} more: --limit, or --output csv.")
    for line in verdict_lines(judged.excesses, empty=not found.entries, is_news=is_news):
        say(line)
    say(f"Digest: {found.digest}")


def count_lines(found: Impact) -> Iterable[str]:
    """Yield the number of users for each kind of effect, the most important first, then the totals.

    Add a line about waves if many notebooks are stopped.
    """
    for kind, count in found.counts.items():
        yield f"  {count:>6,}  {_WORDS[kind]}"
    if found.entries:
        people = len(found.entries)
        yield f"{people:,} {'person' if people == 1 else 'people'}; {found.interrupts:,} notebooks run now and are stopped for it."
    stopped = sum(each.stops_notebook for each in found.entries)
    if stopped >= FROM:
        sizes = ", ".join(f"{size:,}" for size in sizes_for(stopped))
        yield f"The {stopped:,} notebooks are changed in waves, up to {sizes}; benchkeeper waves shows the progress."


def price_lines(policy: Policy, now: Policy) -> Iterable[str]:
    """Yield a line for each profile with a price whose machine or disks change, but whose price stays: the computed cost misses the change."""
    for name, profile in policy.catalog.profiles.items():
        before = now.catalog.profiles.get(name)
        if before is None or profile.hourly_cost is None or profile.hourly_cost != before.hourly_cost:
            continue
        parts = [
            f"{word} changes"
            for word, old, new in (
                ("machine_type", before.machine_type, profile.machine_type),
                ("accelerator", before.accelerator, profile.accelerator),
                ("boot_disk", before.boot_disk, profile.boot_disk),
                ("data_disk", before.data_disk, profile.data_disk),
            )
            if old != new
        ]
        if parts:
            yield f"Profile {name}: {', '.join(parts)}, but hourly_cost stays {profile.hourly_cost:g}, so no cost shows it."


def limit_lines(policy: Policy, deps: Deps) -> Iterable[str]:
    """Yield a line for each new or changed limit of notebooks: the new limit, the present number, and the consequence.

    A removed limit has no line. Before the first sweep there are no lines, because the present numbers are not known.
    """
    changed = [
        each
        for each in policy.catalog.limited
        if deps.policy.catalog.room_of(each.group) != policy.catalog.room_of(each.group)
    ]
    fleet = deps.fleet.fleet() if changed else None
    for each in changed if fleet is not None else ():
        group, room = each.group, policy.catalog.room_of(each.group) or 0
        was_limited = deps.policy.catalog.room_of(group) is not None
        count = sum(
            group in row.limits.seats
            or (not was_limited and row.presence is Presence.PRESENT and row.entitled_by == group)
            for row in (fleet.rows if fleet is not None else ())
        )
        then = f"{room - count} more are possible."
        if count >= room:
            leaving = count - room + 1
            members = "one member has left" if leaving == 1 else f"{leaving} members have left"
            then = f"No one loses a notebook. No one else gets one until {members}."
        yield f"{group}: notebooks: {count}; limit: {room}. {then}"


def verdict_lines(above: tuple[Excess, ...], *, empty: bool, is_news: bool = False) -> Iterable[str]:
    """Yield lines that name the exceeded limits and the consequence.

    With `is_news` the effect is that of messages, which are judged for each user separately; a configuration is judged as a
    whole. `empty` is True if no user is affected.
    """
    for each in above:
        yield f"Above the limit: {_limit_text(each)}."
    if above and is_news:
        yield "The cuts within the limits are made at once. The others wait; `benchkeeper guard` shows them."
    elif above:
        yield "It waits for another administrator's approval; until then nothing changes."
    elif not empty:
        yield "Below the limits: the change takes effect without an approval."


def _limit_text(excess: Excess) -> str:
    most = f"{excess.count:,} people, at most {excess.most:,}"
    match excess.limit:
        case Limit.FLEET:
            return f"{most} of all"
        case Limit.GROUP:
            return f"{most} of group {excess.name}"
        case Limit.PROFILE:
            return f"{most} with profile {excess.name}"
        case Limit.LEAVERS:
            return f"{most} of those who left with profile {excess.name}"
        case Limit.CREATIONS:
            return f"{most} who gain access"
        case Limit.GUARD:
            return "the limits under guard become looser"


def _cost_lines(found: Impact, currency: str) -> Iterable[str]:
    before, after, unknown = found.cost()
    yield f"Cost a month: {before:,.2f} before, {after:,.2f} after ({currency}), by hourly_cost of the profiles."
    bases = Counter(each.basis for each in found.entries)
    measured = bases[Basis.MEASURED] + bases[Basis.LAST_MONTH]
    yield f"  Hours: measured for {measured:,}, assumed for {bases[Basis.ASSUMED]:,} ({ASSUMED_HOURS:.0f} a month)."
    if unknown:
        yield f"  Not included, because the price is not known: {unknown:,}."


def _steps_text(effect: Effect) -> str:
    change = ""
    if StepKind.CHANGES_PROFILE in effect.steps:
        change = f" ({effect.profile_before} to {effect.profile_after})"
    return ", ".join(step_words(step.value) for step in effect.steps) + change


def _cells(effect: Effect, names: Mapping[UserKey, str]) -> dict[str, Any]:
    return {
        "user_key": effect.user_key,
        "email": names.get(effect.user_key, ""),
        "cause": effect.cause.value,
        "parts": " ".join(part.value for part in effect.parts),
        "steps": " ".join(step.value for step in effect.steps),
        "interrupts": effect.interrupts,
        "group_before": effect.group_before,
        "group_after": effect.group_after,
        "profile_before": effect.profile_before,
        "profile_after": effect.profile_after,
        "cost_before": effect.cost_before,
        "cost_after": effect.cost_after,
        "basis": effect.basis.value,
    }


def _view(judged: Judged, settings: Settings, names: Mapping[UserKey, str]) -> dict[str, Any]:
    found = judged.impact
    before, after, unknown = found.cost()
    return {
        "digest": found.digest,
        "policy": policy_digest(settings.policy()),
        "people": len(found.entries),
        "counts": {kind.value: count for kind, count in found.counts.items()},
        "interrupts": found.interrupts,
        "by_group": found.by_group(),
        "by_profile": found.by_profile(),
        "cost": {"before": before, "after": after, "unknown": unknown, "currency": settings.currency},
        "above": [above_view(each) for each in judged.excesses],
        "entries": [
            {**_cells(each, names), "parts": list(each.parts), "steps": list(each.steps)} for each in found.entries
        ],
    }


def above_view(excess: Excess) -> dict[str, Any]:
    """Return an exceeded limit as JSON, for scripts."""
    return {"limit": excess.limit.value, "name": excess.name, "count": excess.count, "most": excess.most}


@click.command(name="policy")
@output_option()
@pass_app
@guarded
def show_policy(app: App, output: str) -> None:
    """Show the policy in force with its time and author, and the proposals that wait for approval."""
    deps = app.deps
    current, waits = deps.policies.load(), waiting(deps)
    own = policy_digest(deps.base_policy)
    if output == "json":
        print_json(
            {
                "in_force": None
                if current is None
                else {
                    "digest": current.digest,
                    "since": current.since.isoformat(),
                    "by": current.by,
                    "approved_by": list(current.approved_by),
                },
                "files": own,
                "waiting": [_waiting_view(each) for each in waits],
            }
        )
        return
    if current is None:
        say("No policy is in force yet, so each function uses its own files. The next drift sweep puts them in force.")
    else:
        by = f", deployed by {current.by}" if current.by else ""
        agreed = f", approved by {', '.join(current.approved_by)}" if current.approved_by else ""
        say(f"In force: {current.digest} since {current.since:%Y-%m-%d %H:%M} UTC{by}{agreed}.")
        same = "are in force" if own == current.digest else f"differ: {own}. See benchkeeper impact"
        say(f"The files of {app.settings.config_dir} {same}.")
    if not waits:
        say("No change waits for approval.")
    for each in waits:
        by = f" by {each.author}" if each.author else ""
        say(f"Waits: {each.digest}, proposed {each.at:%Y-%m-%d %H:%M} UTC{by}; list {each.impact.digest}.")
        for line in (*count_lines(each.impact), *verdict_lines(each.excesses, empty=False)):
            say(f"  {line}")


def _waiting_view(proposal: Proposal) -> dict[str, Any]:
    return {
        "digest": proposal.digest,
        "at": proposal.at.isoformat(),
        "author": proposal.author,
        "impact": proposal.impact.digest,
        "counts": {kind.value: count for kind, count in proposal.impact.counts.items()},
        "above": [above_view(each) for each in proposal.excesses],
    }
