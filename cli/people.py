"""The commands `show`, `list`, `plan`, `reconcile` and `activity`, for one user or all."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import click
from rich.padding import Padding
from rich.text import Text

from cli.asking import length
from cli.context import FAILED, App, guarded, output_option, pass_app, stop
from cli.output import (
    Terminal,
    coloured,
    complain,
    console,
    print_csv,
    print_fleet,
    print_json,
    said_size,
    say,
    table,
)
from cli.users import no_state, say_unknown, user_key
from shared.domain.policy.policy_codec import policy_digest
from shared.domain.record.record import Presence
from shared.domain.record.status import ConditionType
from shared.domain.things.errors import Reason
from shared.engine.reconcile.reconciler import preview, reconcile
from shared.engine.sweeps.idle import examine
from shared.engine.views import person as views
from shared.engine.views import words
from shared.engine.views.idle_words import VERDICTS, verdict_words
from shared.engine.views.notices import to_know
from shared.faults import nearest

_COLUMNS = (
    "email", "user_key", "profile", "presence", "power", "state", "instance_id", "zone", "url", "cost_center",
    "next_attempt_at", "last_used", "summary",
)  # fmt: skip


@click.command()
@click.argument("user", required=False)
@output_option()
@pass_app
@guarded
def show(app: App, user: str | None, output: str) -> None:
    """Show USER's access, notebook, Spark and next step. Without USER, list everybody."""
    if user is None:
        _print_fleet(list(views.fleet(app.deps)), "json" if output == "json" else "table", nothing=_NO_ONE)
        return
    seen = views.show(user_key(app, user), app.deps)
    if seen is None:
        say_unknown(app, user)
    if output == "json":
        print_json(seen)
    else:
        print_person(seen, console())


@click.command(name="list")
@click.option("--profile", help="Only people with this profile.")
@click.option("--state", help="Only this state, as shown or by its value: running, 'waiting for quota', Stockout.")
@click.option("--access", type=click.Choice(["yes", "no"]), help="Only people with access (yes) or without it (no).")
@click.option("--presence", type=click.Choice(["PRESENT", "ABSENT"]), hidden=True)  # the earlier --access
@click.option(
    "--unused",
    callback=length,
    metavar="TIME",
    help="Only people with access who have not used their notebook for TIME: 60d.",
)
@click.option("--match", metavar="TEXT", help="Only addresses and instances that contain TEXT.")
@output_option("table", "json", "csv")
@pass_app
@guarded
def list_people(
    app: App,
    profile: str | None,
    state: str | None,
    access: str | None,
    presence: str | None,
    unused: timedelta | None,
    match: str | None,
    output: str,
) -> None:
    """List all people: profile, state, instance and address."""
    since = app.deps.clock.now() - unused if unused is not None else None
    presence = {"yes": "PRESENT", "no": "ABSENT"}[access] if access is not None else presence
    states = words.states_named(state) if state is not None else None

    def wanted(row: dict[str, Any]) -> bool:
        return (
            (profile is None or row["profile"] == profile)
            and (states is None or row["state"] in states)
            and (presence is None or row["presence"] == presence)
            and (since is None or is_unused(row, since))
            and (match is None or match.lower() in f"{row['email']} {row['instance_id']}".lower())
        )

    rows = list(views.fleet(app.deps))
    if profile is not None:
        _check("profile", profile, {*app.settings.catalog.profiles, *(row["profile"] or "" for row in rows)})
    if state is not None and not states:
        raise click.UsageError(no_state(state, _STATES))
    _print_fleet([row for row in rows if wanted(row)], output, nothing="No one matches." if rows else _NO_ONE)
    unseen = sum(row["presence"] == "PRESENT" and row["last_used"] is None for row in rows)
    if since is not None and unseen and output == "table":
        say(f"{unseen} more: unknown, because no sweep has seen their notebook run.")


_FACTS = [
    ("FACT", "fold"), ("SAYS", "fold"), ("SAID (UTC)", ""), ("FROM (UTC)", ""), ("BY", "fold"), ("EVENT", "fold"),
]  # fmt: skip


def is_unused(row: dict[str, Any], since: datetime) -> bool:
    """Return True if the user has access, and the last sign of use is known and older than `since`."""
    if row["presence"] != "PRESENT" or row["last_used"] is None:
        return False
    return datetime.fromisoformat(row["last_used"]) < since


# The usual states of a notebook; any reason of a condition is possible.
_STATES = (
    Reason.READY, Reason.CREATING, Reason.STARTING, Reason.STOPPING, Reason.STOPPED, Reason.IDLE, Reason.RETAINED,
    Reason.REMOVED, Reason.NOT_ENTITLED, Reason.PENDING, Reason.STOCKOUT,
)  # fmt: skip


def _check(what: str, word: str, valid: Iterable[str]) -> None:
    """Raise `UsageError` with the nearest valid word unless the filter's `word` is valid. `what` is the kind of word."""
    names = {name for name in valid if name}
    if word not in names:
        raise click.UsageError(f"there is no {what} '{word}'. {nearest(word, names)}")


_NO_ONE = "No one has access yet. Add a person: benchkeeper publish joiner ADDRESS"


def _print_fleet(rows: list[dict[str, Any]], output: str, *, nothing: str) -> None:
    if output == "json":
        print_json(rows)
    elif output == "csv":
        print_csv(rows, _COLUMNS)
    elif not rows:
        say(nothing)
    else:
        print_fleet(
            [(r["email"] or r["user_key"], r["profile"], r["instance_id"], r["state"], r["url"]) for r in rows],
            console(),
        )
        count = len(rows)
        say(f"{count} {'person' if count == 1 else 'people'}.")


def print_person(seen: dict[str, Any], out: Terminal) -> None:
    """Print the access, environment, plan and facts of one user. `seen` is the view that `show` prints."""
    out.print(Text(seen["user"], style="bold"), Text(f"  {seen['user_key']}", style="dim"))
    if seen["entitled"]:
        access = f"profile {seen['profile']}"
    else:
        access = "stays for now, although" if seen["presence"] == Presence.PRESENT else "none"
    lines: list[tuple[str, Text | str]] = [
        ("Access", f"{access}: {seen['because']}"),
        ("Target", seen["target"]),
        ("Instance", seen["instance"] or "-"),
        ("Now", _said_sight(seen["observed"]["notebook"])),
        *([("Replaces", _said_former(seen))] if seen["former_instance"] else []),
        ("Address", seen["url"] or "-"),
        *([("Account", _said_account(seen))] if seen["account"] else []),
        *_snapshot_lines(seen["snapshots"]),
        ("Templates", ", ".join(seen["observed"]["templates"]) or "-")
        if isinstance(seen["observed"]["templates"], list)
        else ("Templates", "could not be read"),
        ("Cost centre", seen["cost_center"] or "-"),
        *([("Person id", seen["person_id"])] if seen["person_id"] else []),
        *([("On hold", f"{seen['hold']['reason']} (since {seen['hold']['since'][:10]})")] if seen["hold"] else []),
        ("Next check", _said_moment(seen["next_attempt_at"]) or "on the next change"),
    ]
    grid = table([("", ""), ("", "fold")], lines)
    grid.show_header = False
    out.print(grid)
    out.print()
    _print_to_know(to_know(seen), out)
    rows = [
        (
            words.CONDITIONS.get(c["type"], c["type"]),
            Text(words.HOLDS[in_order], style=coloured(in_order.value).style),
            Text(words.reason_words_of(c["type"], c["reason"]), style=coloured(c["reason"]).style),
            c["message"],
        )
        for c in seen["conditions"]
        for in_order in [words.is_in_order(c["status"], c["reason"])]
    ]
    out.print(table([("PART", "whole"), ("OK", ""), ("STATUS", "fold"), ("WHY", "fold")], rows))
    out.print()
    _print_plan(seen["plan"], out)
    facts = [
        (
            words.fact_words(name),
            _say_value(s["value"]),
            _day(s["occurred_at"]),
            _day(s["effective_at"]),
            _said_by(s),
            s["event_id"],
        )
        for name, statements in seen["facts"].items()
        for s in statements
    ]
    out.print()
    out.print(table(_FACTS, facts))


def _print_to_know(sentences: list[str], out: Terminal) -> None:
    if not sentences:
        return
    out.print(Text("To know", style="bold"))
    for sentence in sentences:
        out.print(Padding(Text(sentence), (0, 0, 0, 2)))
    out.print()


def _said_by(statement: dict[str, Any]) -> str:
    """Return the source of a statement, with the author named in the message.

    Records of earlier versions name no source ("-") and no author.
    """
    says = f", says {statement['says']}" if statement.get("says") else ""
    return f"{statement.get('source', '-')}{says}"


def _said_sight(notebook: dict[str, Any]) -> Text:
    state = Text(words.NOTEBOOK.get(notebook["state"], "not known"), style=coloured(notebook["state"]).style)
    return Text.assemble(state, f", {notebook['machine_type']}, {notebook['zone']}" if "zone" in notebook else "")


def _said_former(seen: dict[str, Any]) -> Text:
    """Return the line about the predecessor, which is kept until the files are on the new instance."""
    return Text.assemble(f"{seen['former_instance']}: ", _said_sight(seen["observed"]["former"]))


def _said_account(seen: dict[str, Any]) -> str:
    account = seen["observed"].get("account")
    if account is None:
        return f"{seen['account']} (missing, or not readable)"
    shared = "may be used by its owner" if account["shared"] else "may be used by no one"
    return f"{seen['account']} ({'disabled; ' if account['disabled'] else ''}{shared})"


_SAVED = {"daily": ", a copy of that day", "before": ", from before a restore"}


def _snapshot_lines(snapshots: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return the lines about snapshots.

    Each name has a line of its own, so that it can be copied; time and size follow below it.
    """
    lines = []
    for heading, snapshot in zip(["Snapshots", *[""] * len(snapshots)], snapshots, strict=False):
        if snapshot["ready_at"] is None:
            said = f"requested {_said_moment(snapshot['taken_at'])}, not ready yet"
        else:
            said = f"{_said_moment(snapshot['ready_at'])}, {said_size(snapshot['size_bytes'])}"
        said += _SAVED.get(snapshot["kind"], "")
        if snapshot["holds_the_disk"] and snapshot["ready_at"] is not None:
            said += ", holds the files"
        lines += [(heading, snapshot["name"]), ("", f"  {said}")]
    return lines


def _said_moment(moment: str | None) -> str:
    return "" if moment is None else f"{moment[:16].replace('T', ' ')} UTC"


def _say_value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return (
        {True: "yes", False: "no", None: "-"}.get(value, str(value)) if isinstance(value, bool | None) else str(value)
    )


def _day(moment: str) -> str:
    return moment[5:16].replace("T", " ")


def print_plan(plan: dict[str, Any], out: Terminal) -> None:
    """Print the plan with its reasons, and the time of the next pass."""
    _print_plan(plan, out)
    if plan["requeue_at"] is not None:
        out.print(Text(f"Next check: {_said_moment(plan['requeue_at'])}", style="dim"))


def _print_plan(plan: dict[str, Any], out: Terminal) -> None:
    if not plan["actions"]:
        out.print("Plan: nothing to do.")
    for action in plan["actions"]:
        out.print(Text.assemble(("Plan: ", "bold"), action))
    for why in plan["because"]:
        out.print(Padding(Text(why, style="dim"), (0, 0, 0, 6)))


@click.command()
@click.argument("user")
@output_option()
@pass_app
@guarded
def plan(app: App, user: str, output: str) -> None:
    """Show what `reconcile USER` would do now, and why. Nothing is changed."""
    found = preview(user_key(app, user), app.deps)
    if found is None:
        say_unknown(app, user)
    view = views.plan_view(found.plan)
    if output == "json":
        print_json(view)
    else:
        print_plan(view, console())
        current = app.deps.policies.load()
        if current is not None and current.digest != policy_digest(app.deps.base_policy):
            say("The plan follows the policy in force, from which the files differ. Their effect: benchkeeper impact")


@click.command(name="reconcile")
@click.argument("user")
@output_option()
@pass_app
@guarded
def reconcile_user(app: App, user: str, output: str) -> None:
    """Apply the plan for USER now."""
    result = reconcile(user_key(app, user), app.deps)
    if result is None:
        say_unknown(app, user)
    view = views.plan_view(result.plan)
    failed = [
        c
        for c in result.record.status.conditions
        if c.status.value == "False" and c.reason.value in _FAILURES and c.type is not ConditionType.NEWS_UNDERSTOOD
    ]  # a message that was not understood is no failure of this pass
    if output == "json":
        print_json({**view, "conditions": {c.type.value: c.reason.value for c in result.record.status.conditions}})
    else:
        print_plan(view, console())
        for condition in failed:
            complain(condition.message)
    if failed:
        stop(FAILED)


_FAILURES = {
    "CloudUnavailable", "RateLimited", "QuotaExhausted", "Stockout", "Conflict", "Busy", "OperationFailed", "NotOurs",
    "AccessDenied", "InvalidSpec", "UnknownAnswer", "OrganizationPolicy", "Perimeter", "ApiDisabled", "BillingDisabled", "UnknownProfile", "Unexpected", "SnapshotFailed", "DataMissing",
}  # fmt: skip


@click.command()
@click.argument("user")
@output_option()
@pass_app
@guarded
def activity(app: App, user: str, output: str) -> None:
    """Show the activity of USER's notebook, and the verdict of the idle rule."""
    key = user_key(app, user)
    seen = examine(key, app.deps)
    if seen is None:
        if app.deps.records.load(key) is None:
            say_unknown(app, user)
        complain(f"{user} has no running notebook.")
        stop(FAILED)
    if output == "json":
        print_json(seen)
        return
    out = console()
    verdict = Text(VERDICTS.get(seen["verdict"], seen["verdict"]), style=coloured(seen["verdict"]).style)
    out.print(Text.assemble(verdict, f": {verdict_words(seen['because'])}"))
    grid = table(
        [("EVIDENCE", ""), ("", "fold")],
        [(name, words.in_words(str(value))) for name, value in seen["evidence"].items()],
    )
    out.print(grid)
