"""What people ask for on the page and the command line: one conditional write each; a pass makes it so afterwards.

`by` is the user key of whoever asks on the page, or the name of another door: it goes into the person's story and the log.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from shared.domain.identity import UserKey
from shared.domain.record import Power, UserRecord
from shared.domain.story import StoryKind, StoryLine, told
from shared.domain.wanted import with_wanted
from shared.domain.wishes import with_asked_power, with_keep_on, with_wish, without_wish
from shared.engine.intake import Accepted, change_record
from shared.engine.ports import Deps


def want_cluster(user_key: UserKey, template: str, deps: Deps, *, by: str) -> Accepted | None:
    """Ask for a Spark cluster of `template`; `RefusedError` says what the profile allows. None: no record."""

    def change(record: UserRecord) -> UserRecord:
        return with_wish(record, template, deps.policy.catalog, deps.clock.now())

    return _asked(user_key, change, f"Start the Spark environment {template}", deps, by=by)


def drop_cluster(user_key: UserKey, template: str, deps: Deps, *, by: str) -> Accepted | None:
    """Ask for no Spark cluster of `template`. None: no record."""

    def change(record: UserRecord) -> UserRecord:
        return without_wish(record, template)

    return _asked(user_key, change, f"Delete the Spark environment {template}", deps, by=by)


def keep_on(user_key: UserKey, until: datetime | None, deps: Deps, *, by: str) -> Accepted | None:
    """Ask not to be stopped for idleness before `until`; None takes that back. `RefusedError` when it is too long."""

    def change(record: UserRecord) -> UserRecord:
        return with_keep_on(record, until, deps.policy.catalog, deps.clock.now())

    text = (
        f"Keep the notebook on until {until:%Y-%m-%d %H:%M} UTC"
        if until is not None
        else "No longer keep the notebook on"
    )
    return _asked(user_key, change, text, deps, by=by)


def ask_power(user_key: UserKey, power: Power, deps: Deps, *, by: str) -> Accepted | None:
    """Ask that the notebook runs or rests; `RefusedError` for somebody who is not to have one. None: no record."""
    verb = "started" if power is Power.RUNNING else "stopped"
    because = f"{verb} by the person" if by == user_key else f"{verb} by an administrator"

    def change(record: UserRecord) -> UserRecord:
        return with_asked_power(record, power, deps.policy.catalog, because=because)

    text = "Start the notebook" if power is Power.RUNNING else "Stop the notebook"
    return _asked(user_key, change, text, deps, by=by)


def _asked(
    user_key: UserKey, change: Callable[[UserRecord], UserRecord], text: str, deps: Deps, *, by: str
) -> Accepted | None:
    """Write it with its line in the story. What is wanted is judged first: assignments may have changed since the last pass."""

    def asked(record: UserRecord) -> UserRecord:
        now = deps.clock.now()
        current = with_wanted(record, deps.policy, now)
        changed = change(current)
        if changed is current:
            return record
        because = "asked for by the person" if by == record.user_key else f"asked for by {by}"
        line = StoryLine(at=now, kind=StoryKind.WISH, text=text, because=because)
        return changed.with_status(story=told(changed.status.story, [line]))

    accepted = change_record(user_key, asked, deps, wakes=True)
    if accepted is not None and accepted.changed:
        deps.log.info("Asked for on the page", user=accepted.stored.record.user_key, wish=text, by=by)
    return accepted
