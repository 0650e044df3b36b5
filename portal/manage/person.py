"""`/manage/people/<user_key>`: one person, live: how it stands and why, what was stated, what is seen, the whole story."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum

import flask
from werkzeug.exceptions import NotFound

from portal import pages
from portal.cost_view import CostView, cost_view
from portal.deps import current
from portal.manage.base import USER_KEY, asked, blueprint, user_key_of
from portal.manage.export import TEXT, TIME, Columns, Sheet, Value, offer
from portal.routes import Access, Param, Place, Route
from portal.visit import visit
from shared.domain.entitlement import judge_entitlement
from shared.domain.errors import BenchkeeperError
from shared.domain.fleet import standing
from shared.domain.record import UserRecord, row_of
from shared.domain.story import StoryKind, StoryLine
from shared.engine.reconciler import Preview, preview
from shared.engine.views import observed_view, plan_view, url_of


class Said(StrEnum):
    """What the page says after an act; the code stands in the address of the page that follows."""

    START = "start"
    STOP = "stop"
    HOLD = "hold"
    HOLD_LATE = "hold-late"
    RELEASE = "release"
    RECONCILE = "reconcile"
    DELETE_CLUSTER = "delete-cluster"
    ALREADY = "already"
    BUSY = "busy"


TEXTS = {
    Said.START: "The notebook was asked to start.",
    Said.STOP: "The notebook was asked to stop. The files are kept.",
    Said.HOLD: "The person's data is on hold: nothing that may hold it is deleted until you release it.",
    Said.HOLD_LATE: "The person's data is on hold, but a deletion had been decided already and may not be called back. Look in a few "
    "minutes whether everything is there.",
    Said.RELEASE: "The hold has ended. What the retention has long let go is deleted soon.",
    Said.RECONCILE: "A pass was asked for. Its outcome is in the story within a minute.",
    Said.DELETE_CLUSTER: "The Spark cluster is going to be deleted.",
    Said.ALREADY: "That was so already, or asked for already; nothing was changed.",
    Said.BUSY: "Another click for this person is still being worked on, so this one did nothing.",
}
KINDS = {
    StoryKind.NEWS: "news",
    StoryKind.WISH: "somebody asked",
    StoryKind.DECISION: "decision",
    StoryKind.CALL: "call to the cloud",
}


def record_of(user_key: str) -> UserRecord:
    """The record that a user key in an address leads to; 404 when there is none. One read."""
    key = user_key_of(user_key)
    stored = current().deps.engine.records.load(key) if key is not None else None
    if stored is None:
        raise NotFound
    return stored.record


@blueprint.get("/manage/people/<user_key>")
def person(user_key: str) -> flask.Response:
    """Read live: the record, and everything that a pass would look at; the plan is what a pass would do now."""
    key = user_key_of(user_key)
    found = preview(key, current().deps.engine) if key is not None else None
    if found is None:
        raise NotFound
    record = found.record
    if record.user_key != user_key:  # the key of an address that the person has taken on since
        return pages.go(flask.url_for("manage.person", user_key=record.user_key))
    said, kind = asked("said"), _kind(asked("kind"))
    engine, now = current().deps.engine, visit().now()
    row = row_of(record)
    return pages.page(
        "manage/person.html",
        now=now,
        record=record,
        row=row,
        standing=standing(row),
        entitlement=judge_entitlement(record.facts, engine.policy.catalog, now),
        groups=sorted(record.facts.groups(now)),
        observed=observed_view(found),
        plan=plan_view(found.plan),
        address=url_of(record.status.proxy_uri),
        clusters=_clusters(record),
        cost=_cost(found),
        story=_told(record.status.story, kind),
        kinds=KINDS,
        kind=kind,
        said=TEXTS[Said(said)] if said in set(Said) else "",
    )


def _clusters(record: UserRecord) -> list[dict[str, object]]:
    """Those that are wanted or may be there, by template; and why the last one is not."""
    catalog = current().deps.engine.policy.catalog
    names = sorted({wish.template for wish in record.spec.clusters} | {c.template for c in record.status.clusters})
    return [
        {
            "template": name,
            "title": catalog.environment(name).title,
            "wish": record.spec.wish(name),
            "known": record.status.cluster(name),
        }
        for name in names
    ]


def _cost(found: Preview) -> CostView:
    """This month. A bill that cannot be read leaves the estimate."""
    deps, present = current().deps, visit()
    catalog = deps.engine.policy.catalog
    try:
        notes = deps.engine.fleet.notes()
    except BenchkeeperError as error:
        present.reason, present.detail = error.reason.value, f"notes: {error.detail}"
        notes = None
    profile = catalog.profiles.get(found.record.spec.profile or "")
    return cost_view(found.record, profile, catalog, notes, currency=deps.currency, now=present.now())


def _kind(text: str) -> StoryKind | None:
    return next((kind for kind in StoryKind if kind.value == text), None)


def _told(story: Sequence[StoryLine], kind: StoryKind | None) -> list[StoryLine]:
    return [line for line in story if kind in {None, line.kind}]


STORY: Columns = {"at": TIME, "kind": TEXT, "text": TEXT, "because": TEXT, "ref": TEXT}
FACTS: Columns = {"fact": TEXT, "says": TEXT, "said_at": TIME, "from": TIME, "event_id": TEXT}


def _story_sheet(user_key: str) -> Sheet:
    record = record_of(user_key)
    lines = _told(record.status.story, _kind(asked("kind")))
    return Sheet(name=f"story-{record.user_key}", columns=STORY, rows=_story_values(lines), taken_at=visit().now())


def _story_values(lines: Iterable[StoryLine]) -> Iterator[Sequence[Value]]:
    for line in lines:
        yield line.at, line.kind.value, line.text, line.because, line.ref


def _facts_sheet(user_key: str) -> Sheet:
    record = record_of(user_key)
    return Sheet(name=f"facts-{record.user_key}", columns=FACTS, rows=_fact_values(record), taken_at=visit().now())


def _fact_values(record: UserRecord) -> Iterator[Sequence[Value]]:
    for name, timeline in sorted(record.facts.timelines.items()):
        for said in timeline:
            yield name, value_text(said.value), said.occurred_at, said.effective_at, said.event_id


def value_text(value: object) -> str:
    """What somebody stated, in a word."""
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


blueprint.add_app_template_filter(value_text, "stated")
_KIND = Param(
    name="kind",
    place=Place.QUERY,
    text="Only this sort of line.",
    schema={"type": "string", "enum": [kind.value for kind in StoryKind]},
)
_SAID = Param(
    name="said",
    place=Place.QUERY,
    text="What the page says on top, after an act.",
    schema={"type": "string", "enum": [said.value for said in Said]},
)
_NOBODY = {404: "Nothing is known of such a person."}
ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        rule="/manage/people/<user_key>",
        name="manage.person",
        summary="One person: how it stands, and the whole story.",
        access=Access.ADMIN,
        params=(USER_KEY, _KIND, _SAID),
        answers={200: "The page.", 303: "The person's own key is another one; the page is at Location.", **_NOBODY},
    ),
    *offer(
        "/manage/people/<user_key>/story",
        "story",
        "One person's story.",
        STORY,
        _story_sheet,
        params=(USER_KEY, _KIND),
    ),
    *offer(
        "/manage/people/<user_key>/facts",
        "facts",
        "What was stated about one person.",
        FACTS,
        _facts_sheet,
        params=(USER_KEY,),
    ),
)
