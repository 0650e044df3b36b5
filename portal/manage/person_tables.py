"""The tables of a user's page as files, `/manage/people/<user_key>/*.csv` and `.json`, and the functions that page and files share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time

from msgspec import Struct
from werkzeug.exceptions import NotFound

from portal import pages
from portal.cost_view import CostView, cost_view
from portal.deps import current
from portal.manage.base import USER_KEY, asked, blueprint, user_key_of
from portal.manage.export import FLAG, NUMBER, TEXT, TIME, Columns, Sheet, offer
from portal.reading import read_record
from portal.routes import Param, Place, Route
from portal.visit import visit
from shared.domain.record.record import UserRecord
from shared.domain.things.errors import BenchkeeperError
from shared.domain.things.history import StoryKind, StoryLine
from shared.domain.things.money import rounded
from shared.engine.views.audit import history_since
from shared.engine.views.certificate import certificate_of
from shared.sheet import Value


def record_of(user_key: str) -> UserRecord:
    """Return the record of the user key in a URL, by one read; raise 404 if there is none."""
    key = user_key_of(user_key)
    stored = read_record(key) if key is not None else None
    if stored is None:
        raise NotFound
    return stored.record


class ClusterRow(Struct, frozen=True, kw_only=True):
    """A Spark cluster that is wanted or may exist.

    `state` is the last observed state, "wanted" or "not there". `says` explains the state, or gives the reason for the end of
    the last cluster; it may be empty.
    """

    template: str
    title: str
    name: str
    state: str
    says: str
    wanted: bool


def clusters_of(record: UserRecord) -> list[ClusterRow]:
    """Return the user's Spark clusters, sorted by template."""
    catalog = current().deps.engine.policy.catalog
    names = sorted({wish.template for wish in record.spec.clusters} | {c.template for c in record.status.clusters})
    return [_cluster_row(record, name, catalog.environment(name).title) for name in names]


def _cluster_row(record: UserRecord, template: str, title: str) -> ClusterRow:
    known, wanted = record.status.cluster(template), record.spec.wish(template) is not None
    state = known.state.value if known is not None and known.state is not None else "wanted" if wanted else "not there"
    return ClusterRow(
        template=template,
        title=title,
        name=known.name if known is not None else "",
        state=state,
        says=(known.message or known.diagnosis) if known is not None else "",
        wanted=wanted,
    )


def cost_of(record: UserRecord) -> CostView:
    """Return the costs of this month. If the bill cannot be read, the estimate remains."""
    deps, present = current().deps, visit()
    catalog = deps.engine.policy.catalog
    try:
        notes = deps.engine.fleet.notes_about(record.user_key)
    except BenchkeeperError as error:
        present.reason, present.detail = error.reason.value, f"notes: {error.detail}"
        notes = None
    profile = catalog.profiles.get(record.spec.profile or "")
    return cost_view(record, profile, catalog, notes, currency=deps.currency, now=present.now())


def kind_named(text: str) -> StoryKind | None:
    """Return the kind of history line of that name; None, which means all kinds, for any other text."""
    return next((kind for kind in StoryKind if kind.value == text), None)


def told(story: Sequence[StoryLine], kind: StoryKind | None) -> list[StoryLine]:
    """Return the lines of the requested kind (None: of all kinds), in their order."""
    return [line for line in story if kind in {None, line.kind}]


def moment_of(text: str) -> datetime | None:
    """Return the beginning of a day (ISO date) in UTC; None for any other text."""
    try:
        return datetime.combine(date.fromisoformat(text), time.min, UTC)
    except ValueError:
        return None


def value_text(value: object) -> str:
    """Return a stated value as a short text."""
    match value:
        case tuple():
            return ", ".join(map(str, value)) or "none"
        case True:
            return "yes"
        case False:
            return "no"
        case None:
            return "withdrawn"
        case "":
            return "nothing in particular"
        case _:
            return str(value)


@blueprint.app_template_filter("stated")
def _stated(value: object) -> str:
    """Return a stated value for the page: texts as they were stated, all other values in the reader's language."""
    is_text = bool(value) and isinstance(value, str | tuple)
    return value_text(value) if is_text else pages.word(value_text(value))


KIND = Param(
    name="kind",
    place=Place.QUERY,
    text="Only lines of this kind.",
    schema={"type": "string", "enum": [kind.value for kind in StoryKind]},
)
SINCE = Param(
    name="since",
    place=Place.QUERY,
    text="All lines since this day (UTC), from the audit. Default, also for an invalid text: the latest lines.",
    schema={"type": "string", "format": "date"},
)
STORY: Columns = {"at": TIME, "kind": TEXT, "text": TEXT, "because": TEXT, "ref": TEXT}
FACTS: Columns = {
    "fact": TEXT,
    "says": TEXT,
    "said_at": TIME,
    "from": TIME,
    "source": TEXT,
    "claims_to_be_by": TEXT,
    "event_id": TEXT,
}
CLUSTERS: Columns = {"template": TEXT, "name": TEXT, "state": TEXT, "wanted": FLAG, "says": TEXT}
HOURS: Columns = {"environment": TEXT, "hours": NUMBER, "hourly_cost": NUMBER, "estimate": NUMBER}
CONDITIONS: Columns = {"condition": TEXT, "holds": TEXT, "reason": TEXT, "says": TEXT, "since": TIME}
SNAPSHOTS: Columns = {
    "name": TEXT,
    "asked_at": TIME,
    "ready_at": TIME,
    "is_lost": FLAG,
    "size_bytes": NUMBER,
    "holds_the_files": FLAG,
    "kind": TEXT,
}
CERTIFICATE: Columns = {
    "path": TEXT,
    "covers": TEXT,
    "result": TEXT,
    "says": TEXT,
    "cut_at": TIME,
    "verified_at": TIME,
}
Rows = Iterator[Sequence[Value]]


def _story(record: UserRecord) -> Rows:
    """Yield the lines in the record; with `since`, all lines since that day, from the audit."""
    since = moment_of(asked("since"))
    story = record.status.story if since is None else history_since(record, current().deps.engine, since)
    for line in told(story, kind_named(asked("kind"))):
        yield line.at, line.kind.value, line.words, line.because, line.ref


def _facts(record: UserRecord) -> Rows:
    for name, timeline in sorted(record.facts.timelines.items()):
        for said in timeline:
            stated = name, value_text(said.value), said.occurred_at, said.effective_at
            yield *stated, said.source, said.says, said.event_id


def _clusters(record: UserRecord) -> Rows:
    for row in clusters_of(record):
        yield row.template, row.name, row.state, row.wanted, row.says


def _hours(record: UserRecord) -> Rows:
    for line in cost_of(record).lines:
        estimate = None if line.estimate is None else float(rounded(line.estimate, 4))
        yield line.name, line.hours, line.hourly_cost, estimate


def _conditions(record: UserRecord) -> Rows:
    for c in record.status.conditions:
        yield c.type.value, c.status.value, c.reason.value, c.message, c.last_transition_time


def _snapshots(record: UserRecord) -> Rows:
    for s in record.status.data.snapshots:
        holds = s.name == record.status.data.saved_in
        yield s.name, s.asked_at, s.ready_at, s.lost, s.size_bytes or None, holds, s.kind.value


def _certificate(record: UserRecord) -> Rows:
    """Yield a row for each access path, such as the virtual machine; no rows if the person has no certificate."""
    found = certificate_of(record)
    for row in found.paths if found is not None else ():
        yield row.path, row.covers, row.result, row.says, row.cut_at, row.verified_at


def _offer(
    name: str, summary: str, columns: Columns, rows: Callable[[UserRecord], Rows], *params: Param
) -> Iterable[Route]:
    """Offer a table of one user as files. Each file costs one read of the record; the table of hours costs one more.

    The history since a day also costs one read for each audit object.
    """

    def sheet(user_key: str) -> Sheet:
        record = record_of(user_key)
        return Sheet(
            name=f"{name}-{record.user_key}", columns=columns, rows=tuple(rows(record)), taken_at=visit().now()
        )

    return offer(f"/manage/people/<user_key>/{name}", name, summary, columns, sheet, params=(USER_KEY, *params))


ROUTES: tuple[Route, ...] = (
    *_offer("story", "One person's history.", STORY, _story, KIND, SINCE),
    *_offer("facts", "All statements about one person.", FACTS, _facts),
    *_offer("clusters", "One person's Spark clusters.", CLUSTERS, _clusters),
    *_offer("hours", "One person's metered hours this month.", HOURS, _hours),
    *_offer("conditions", "One person's conditions.", CONDITIONS, _conditions),
    *_offer(
        "certificate",
        "The certificate of a leaver: for each access path, the time of the cut and of the last check.",
        CERTIFICATE,
        _certificate,
    ),
    *_offer("snapshots", "Snapshots of one person's data disk.", SNAPSHOTS, _snapshots),
)
