"""The command `erase`: remove the remaining data of a user whose retention is over."""

from __future__ import annotations

import sys

import click

from cli.context import FAILED, WRONG_USE, App, guarded, output_option, pass_app, stop
from cli.output import agreed, complain, print_json, say
from cli.users import say_unknown, user_key
from shared.domain.intent.lifetimes import Kept
from shared.engine.sweeps.lifetimes import Erasure, erase, look

_WHY = {
    Kept.ENTITLED: "{user} is entitled to an environment. Nothing is erased while a person has access: publish a leaver first.",
    Kept.ANNOUNCED: "A statement about {user} has yet to take effect. Wait for it: benchkeeper show {user} has the details.",
    Kept.ON_HOLD: "{user} is on hold. End the hold first, if you may: benchkeeper release {user}",
    Kept.EXISTS: "Resources of {user} still exist in the cloud: benchkeeper show {user} lists them, with the time until which they are kept.",
    Kept.UNDER_WAY: "An operation is under way for {user}. Try again in a few minutes; benchkeeper show {user} has the details.",
    Kept.UNREADABLE: "Some resources of {user} could not be read, so it is not known if anything still exists. Try again later.",
}


@click.command(name="erase")
@click.argument("user")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Show what would be erased, without changing anything.")
@output_option()
@pass_app
@guarded
def erase_user(app: App, user: str, output: str, *, yes: bool, dry_run: bool) -> None:
    """Erase the remaining data of USER once no resource of USER exists: address, history, manifests, failed messages about USER alone.

    The user key stays, with the facts that ended access, so that a late message cannot restore access. Older versions of erased
    objects stay in the bucket as long as the bucket keeps versions (config/deploy/buckets.yaml).
    """
    key, deps = user_key(app, user), app.deps
    found, stored = look(key, deps)
    if found.kept is not None:
        if output == "json":
            print_json(_view(found, done=False))
        complain(_WHY[found.kept].format(user=user))
        stop(FAILED)
    if stored is None and found.is_empty:
        say_unknown(app, user, announce=False)
    if output != "json":
        for line in _lines(found, user):
            say(line)
    if dry_run or found.is_empty:
        if output == "json":
            print_json(_view(found, done=False))
        return
    if not yes:
        _ask(user)
    done = erase(key, deps)
    if done.kept is not None:  # a message about the user came while the question was open
        complain(_WHY[done.kept].format(user=user))
        stop(FAILED)
    if output == "json":
        print_json(_view(done, done=True))
    else:
        say("Erased.")


def has_somebody() -> bool:
    """Return True if stdin is a terminal, so that a user can answer a question."""
    return sys.stdin.isatty()


def _ask(user: str) -> None:
    if not has_somebody():
        complain(
            "No question was asked, because stdin is not a terminal. Use --yes to erase, or --dry-run to see what would be erased."
        )
        stop(WRONG_USE)
    if not agreed(f"Erase this data of {user}? It cannot be restored."):
        complain("Nothing was erased.")
        stop(FAILED)


def _lines(found: Erasure, user: str) -> list[str]:
    if found.is_empty:
        return [f"Erased. Only the user key of {user} remains, with the facts that ended access."]
    counts = [
        (len(found.letters), "failed message about no one else", "failed messages about no one else"),
        (len(found.manifests), "manifest of a deleted snapshot", "manifests of deleted snapshots"),
        (len(found.templates), "template", "templates"),
        (len(found.hints), "due hint", "due hints"),
    ]
    lines = [f"Of {user}:"]
    if found.record:
        lines.append("  the record's address, history and facts, except those that ended access")
    lines += [f"  {count} {one if count == 1 else many}" for count, one, many in counts if count]
    if found.shared_letters:
        lines.append(f"  kept: {found.shared_letters} dead letters that name others, too")
    return lines


def _view(found: Erasure, *, done: bool) -> dict[str, object]:
    return {
        "user_key": found.user_key,
        "kept": found.kept.value if found.kept is not None else None,
        "erased": done,
        "record": found.record,
        "letters": [row.letter_id for row in found.letters],
        "letters_kept": found.shared_letters,
        "manifests": list(found.manifests),
        "templates": list(found.templates),
        "hints": len(found.hints),
    }
