"""The content of a user's own page, composed from the record and the sweeps' notes, for the page and for scripts."""

from __future__ import annotations

from datetime import datetime

import flask
from msgspec import Struct

from portal.cost_view import CostView, cost_view
from portal.deps import current
from portal.files_view import FilesView, files_view
from portal.notebook_view import FAST_S, WATCH_S, NotebookView, Phase, notebook_view
from portal.reader import has_consented
from portal.reading import holder_of
from portal.spark_view import SparkView, spark_views
from portal.visit import signed_in, visit
from portal.waits import Waits, waiting_for, waits_of
from shared.domain.fleet.fleet import Notes
from shared.domain.record.record import Presence, UserRecord
from shared.domain.things.catalog import ClusterIdentity, Environment, Profile
from shared.domain.things.errors import BenchkeeperError
from shared.domain.things.identity import UserKey, account_email
from shared.engine.ports.inbox import WaitingWish

_RUNS = "Your notebook is running."


class Mine(Struct, frozen=True, kw_only=True):
    """The page of an entitled user. `profile` is None if the configuration no longer has it, and an administrator must act.

    `account` is the user's own service account if Spark runs as that account. `sessions` are the serverless Spark sessions in the
    notebook's launcher. `has_consented` is True if the owner confirmed in this browser that Google's consent for this
    instance is given.
    """

    record: UserRecord
    profile: Profile | None
    notebook: NotebookView
    files: FilesView
    sparks: tuple[SparkView, ...]
    cost: CostView
    sessions: tuple[Environment, ...]
    account: str
    region: str
    project: str
    is_bill_unreadable: bool
    waits: Waits
    has_consented: bool

    @property
    def sentence(self) -> str:
        """The sentence about the notebook's state. For a running notebook, the sentence begins with the time of the start."""
        view = self.notebook
        rest = view.why.removeprefix(_RUNS).strip() if view.phase is Phase.READY else view.why
        if view.phase is not Phase.READY or view.since is None:
            return rest
        return f"Running since {view.since:%Y-%m-%d %H:%M} UTC. {rest}".strip()

    @property
    def moves(self) -> bool:
        """Return True while a part of the page is expected to change without a click."""
        return min(self.notebook_poll_s or WATCH_S, self.spark_poll_s or WATCH_S) < WATCH_S

    @property
    def notebook_poll_s(self) -> int | None:
        """The seconds between two polls of the notebook's part; None if nothing changes there."""
        return FAST_S if self.waits.notebook else self.notebook.poll_s

    @property
    def spark_poll_s(self) -> int | None:
        """The seconds between two polls of the Spark part; None if nothing changes there."""
        if self.waits.spark:
            return FAST_S
        return min((spark.poll_s for spark in self.sparks if spark.poll_s is not None), default=None)


def my_record() -> UserRecord | None:
    """Return the record of the signed-in user, or None if there is none.

    Return None, too, if the record belongs to a former owner of the address: the address may have another owner by now.
    """
    email, _ = signed_in()
    record = holder_of(email)
    if record is None or record.email != email:
        return None
    visit().log_key = record.user_key
    return record


def my_page() -> tuple[UserRecord | None, tuple[WaitingWish, ...]]:
    """Return `my_record()`, and the requests that waited before the record was read."""
    _, user_key = signed_in()
    waiting = waiting_for(user_key)
    record = my_record()
    if record is not None and record.user_key != user_key:  # the key of an address that the user took on later
        waiting = waiting_for(record.user_key)
        record = my_record()
    return record, waiting


def is_entitled(record: UserRecord | None) -> bool:
    """Return True if the record's user is entitled to an environment."""
    return record is not None and record.spec.presence is Presence.PRESENT


def mine(record: UserRecord, waiting: tuple[WaitingWish, ...]) -> Mine:
    """Return the page of an entitled user. `waiting` must be listed before the record is read (`my_page`)."""
    deps, present = current().deps, visit()
    policy, now = deps.engine.policy, present.now()
    catalog = policy.catalog
    profile = catalog.profiles.get(record.spec.profile or "")
    notes, is_bill_unreadable = notes_of(record.user_key)
    stops_at = notes.idle_stops.get(record.user_key) if notes is not None else None
    last_used = notes.last_used.get(record.user_key) if notes is not None else None
    reported = notes.reports.get(record.user_key) if notes is not None else None
    waits = waits_of(record, waiting)
    own = profile is not None and profile.spark.identity is ClusterIdentity.PERSONAL_SERVICE_ACCOUNT
    account = record.status.account.account_id if own else None
    return Mine(
        record=record,
        profile=profile,
        notebook=notebook_view(
            waits.record, profile, stops_at, last_used=last_used, reported=reported, now=now, zone=present.zone
        ),
        files=files_view(waits.record, profile, now, present.zone),
        sparks=spark_views(waits.record, profile, catalog, deps.sizes, now) if profile is not None else (),
        cost=cost_view(record, profile, catalog, notes, currency=deps.currency, now=now),
        sessions=tuple(catalog.environment(name) for name in profile.session_templates) if profile is not None else (),
        account=account_email(account, policy.project) if account is not None else "",
        region=policy.zones[0].rpartition("-")[0],
        project=policy.project,
        is_bill_unreadable=is_bill_unreadable,
        waits=waits,
        has_consented=has_consented(record.status.notebook.instance_id, flask.request.cookies),
    )


def stops_at_of(user_key: UserKey) -> datetime | None:
    """Return the time at which the user's notebook will be stopped if it stays unused. Return None if no sweep noted a time, or if the notes cannot be read."""
    notes, _ = notes_of(user_key)
    return notes.idle_stops.get(user_key) if notes is not None else None


def notes_of(user_key: UserKey) -> tuple[Notes | None, bool]:
    """Return the sweeps' notes, and False; (None, True) if they could not be read.

    Without notes, the page lacks the forecast, the last use, the machine's report and the bill, and says so.
    """
    try:
        return current().deps.engine.fleet.notes_about(user_key), False
    except BenchkeeperError as error:
        visit().reason, visit().detail = error.reason.value, f"notes: {error.detail}"
        return None, True
