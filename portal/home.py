"""The analyst's page: notebook, Spark environments and costs of this month. GET shows; POST only stores a request."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from enum import StrEnum

import flask
from msgspec.structs import replace
from werkzeug.exceptions import NotFound

from portal import pages
from portal.deps import current
from portal.mine import Mine, is_entitled, mine, my_page, my_record, stops_at_of
from portal.months import months_of_cost, title_of
from portal.notebook_view import EXTEND, extended_until, keep_choices
from portal.routes import Access, Param, Place, Route
from portal.visit import signed_in, visit
from shared.domain.intent.wish import Asked, WishKind
from shared.domain.record.record import UserRecord
from shared.domain.record.status import Notice
from shared.domain.things.errors import BenchkeeperError, RefusedError
from shared.domain.things.history import StoryKind, StoryLine
from shared.domain.things.identity import is_user_key
from shared.engine.news.requests import ask
from shared.engine.views.words import line_in_words, owner_words

blueprint = flask.Blueprint("home", __name__)
_NOTEBOOK = "notebook"


class Said(StrEnum):
    """The code of the message that the page shows after a click; the URL of the page that follows carries it."""

    START = "start"
    STOP = "stop"
    RESTART = "restart"
    RESTORE = "restore"
    UNDO = "undo"
    KEEP = "keep"
    KEEP_NOT = "keep-not"
    SPARK_START = "spark-start"
    SPARK_DELETE = "spark-delete"
    ALREADY = "already"
    BUSY = "busy"


TEXTS = {
    Said.START: "Starting. This usually takes 3 minutes.",
    Said.STOP: "Stopping. Your files are kept.",
    Said.RESTART: "Restarting. Your files are kept; everything in its memory is lost.",
    Said.RESTORE: "Restoring your files. The present ones are saved first.",
    Said.UNDO: "Undoing the restore. The present files are saved first.",
    Said.KEEP: "Extended.",
    Said.KEEP_NOT: "The extension was removed: the normal idle shutdown applies again.",
    Said.SPARK_START: "Starting the Spark environment.",
    Said.SPARK_DELETE: "Deleting the Spark environment. Files in Cloud Storage stay.",
    Said.ALREADY: "Already requested: nothing was changed.",
    Said.BUSY: "Your last click is still in progress, so this one did nothing.",
}
# The messages about a change that is under way, and the messages about a Spark environment.
_UNDER_WAY = frozenset(
    {Said.START, Said.STOP, Said.RESTART, Said.RESTORE, Said.UNDO, Said.SPARK_START, Said.SPARK_DELETE}
)
_OF_SPARK = frozenset({Said.SPARK_START, Said.SPARK_DELETE})


@blueprint.get("/")
def index() -> flask.Response:
    """Show the whole page. A user without an environment gets 403 with the contact to ask."""
    record, waiting = my_page()
    if record is None or not is_entitled(record):
        return _nothing_here(record)
    found, asked = mine(record, waiting), flask.request.args.get("said", "")
    said = Said(asked) if asked in set(Said) else None
    if said in _UNDER_WAY and not found.moves:  # the change is done, and the page itself shows the result
        said = None
    return _whole(found, said)


@blueprint.get("/parts/notebook")
def notebook_part() -> flask.Response:
    """Show the notebook's part of the page."""
    return _part("home/notebook.html")


@blueprint.get("/parts/spark")
def spark_part() -> flask.Response:
    """Show the Spark part of the page."""
    return _part("home/spark.html")


@blueprint.get("/history")
def history() -> flask.Response:
    """Show the history of the user's own notebook, newest first, without the calls to the cloud."""
    record, _ = my_page()
    if record is None or not is_entitled(record):
        return _nothing_here(record)
    told = [line for line in reversed(record.status.story) if line.kind is not StoryKind.CALL]
    return pages.page("home/history.html", lines=[_for_owner(line, record) for line in told])


@blueprint.get("/costs")
def months() -> flask.Response:
    """Show the costs of the user's own environments by month.

    This needs a read for each month, so it is a separate page.
    """
    record, _ = my_page()
    if record is None or not is_entitled(record):
        return _nothing_here(record)
    return pages.page(
        "home/months.html", months=months_of_cost(record), currency=current().deps.currency, title_of=title_of
    )


def _for_owner(line: StoryLine, record: UserRecord) -> StoryLine:
    """Return the history line for the owner, without other users' keys, which only administrators may see."""
    line = line_in_words(line)
    if line.by == record.user_key or not any(map(is_user_key, line.by.split())):
        return replace(line, because=owner_words(line.because))
    return replace(line, because="by an administrator", by="")


@blueprint.post("/notebook/start")
def start() -> flask.Response:
    """Request that the notebook is started."""
    return _ask(Said.START, Asked(kind=WishKind.START))


@blueprint.post("/notebook/stop")
def stop() -> flask.Response:
    """Request that the notebook is stopped."""
    return _ask(Said.STOP, Asked(kind=WishKind.STOP))


@blueprint.post("/notebook/restart")
def restart() -> flask.Response:
    """Request that the running notebook is restarted."""
    return _ask(Said.RESTART, Asked(kind=WishKind.RESTART))


@blueprint.post("/notebook/restore")
def restore() -> flask.Response:
    """Request that the user's files are replaced by those of a copy."""
    return _ask(Said.RESTORE, Asked(kind=WishKind.RESTORE, snapshot=flask.request.form.get("copy", "")))


@blueprint.post("/notebook/restore/undo")
def restore_undo() -> flask.Response:
    """Request that the last restore is undone."""
    return _ask(Said.UNDO, Asked(kind=WishKind.UNDO_RESTORE, snapshot=flask.request.form.get("copy", "")))


@blueprint.post("/notebook/keep-on")
def keep() -> flask.Response:
    """Request an extension: no idle stop before the time chosen in the form."""
    return _ask(Said.KEEP, _keep_on)


def _keep_on(record: UserRecord) -> Asked:
    """Return the request for an extension until the moment that the form names.

    Raise `RefusedError` if the page does not offer that moment.
    """
    code, present = flask.request.form.get("until", ""), visit()
    profile = current().deps.engine.policy.catalog.profiles.get(record.spec.profile or "")
    longest = profile.idle.max_keep_on if profile is not None else None
    if code == EXTEND and longest is not None:
        return Asked(
            kind=WishKind.KEEP_ON,
            until=extended_until(stops_at_of(record.user_key), record.spec.keep_on_until, longest, present.now()),
        )
    offered = keep_choices(longest, present.now(), present.zone) if longest is not None else ()
    choice = next((choice for choice in offered if choice.code == code), None)
    if choice is None:
        known = ", ".join(f"{each.text}" for each in offered)
        choices = f"You can choose: {known}." if known else "No extension is offered at present."
        raise RefusedError(
            user_message=f"That extension is not offered any more. {choices}", detail="an extension that is not offered"
        )
    return Asked(kind=WishKind.KEEP_ON, until=choice.until)


@blueprint.post("/notebook/keep-on/cancel")
def keep_not() -> flask.Response:
    """Request that the extension is withdrawn, so that the idle shutdown applies again."""
    return _ask(Said.KEEP_NOT, Asked(kind=WishKind.END_KEEP_ON))


@blueprint.post("/spark/<template>/start")
def spark_start(template: str) -> flask.Response:
    """Request the cluster of a template; a cluster that already runs continues to be used."""
    return _ask(Said.SPARK_START, Asked(kind=WishKind.START_CLUSTER, template=template), template)


@blueprint.post("/spark/<template>/delete")
def spark_delete(template: str) -> flask.Response:
    """Request that the cluster of a template is deleted."""
    return _ask(Said.SPARK_DELETE, Asked(kind=WishKind.DELETE_CLUSTER, template=template), template)


def _ask(said: Said, asked: Asked | Callable[[UserRecord], Asked], template: str | None = None) -> flask.Response:
    """Store a request about the user's own environment, and wake the function that carries it out.

    If the click changes nothing, or while an earlier click is handled, the page says so. A template that neither the user's
    profile nor the user's record has gives 404.
    """
    record = my_record()
    if record is None or not is_entitled(record):
        return _nothing_here(record)
    if template is not None and template not in _my_templates(record):
        raise NotFound
    portal, (subject, _) = current(), signed_in()
    with portal.flights.one(record.user_key, _NOTEBOOK if template is None else f"spark:{template}") as first:
        if not first:
            return _after(record, template, Said.BUSY)
        answer = ask(
            record.user_key,
            asked if isinstance(asked, Asked) else asked(record),
            portal.deps.engine,
            subject=subject,
            assertion=visit().assertion,
        )
    if answer is None:
        raise NotFound
    if answer.changed:
        portal.deps.wake(record.user_key)
    return _after(record, template, said if answer.changed else Said.ALREADY)


def _my_templates(record: UserRecord) -> set[str]:
    profile = current().deps.engine.policy.catalog.profiles.get(record.spec.profile or "")
    offered = profile.templates if profile is not None else ()
    return {*offered, *(wish.template for wish in record.spec.clusters), *(c.template for c in record.status.clusters)}


def _after(record: UserRecord, template: str | None, said: Said) -> flask.Response:
    """Return the changed part of the page to the script; redirect a form to the page, so that a reload does not send it again.

    The part shows the newest record, because the request may have been carried out already.
    """
    if pages.is_htmx():
        name = "home/notebook.html" if template is None else "home/spark.html"
        newer, waiting = my_page()
        return pages.page(name, mine=mine(newer or record, waiting), said=TEXTS[said])
    place = _NOTEBOOK if template is None else "spark"
    return pages.go(f"{flask.url_for('home.index', said=said.value)}#{place}")


def _part(template: str) -> flask.Response:
    record, waiting = my_page()
    if record is None or not is_entitled(record):
        return _nothing_here(record)
    return pages.fragment(template, mine=mine(record, waiting), said="")


def _whole(found: Mine, said: Said | None) -> flask.Response:
    """Return the whole page. The message about a click is shown in the part of the page that it concerns, and disappears when the script renews that part."""
    return pages.page("home/index.html", mine=found, said=TEXTS[said] if said else "", is_of_spark=said in _OF_SPARK)


def _nothing_here(record: UserRecord | None) -> flask.Response:
    """Return a page that explains that the user has no environment, and names the contact.

    The status is 403, both for a user who left and for a user who never had access.
    """
    retention = current().deps.engine.policy.retention
    since = record.spec.absent_since if record is not None else None
    kept_until = (
        since + retention if record is not None and since is not None and record.status.notebook.was_active else None
    )
    email, _ = signed_in()
    with contextlib.suppress(BenchkeeperError):  # a manager without a notebook is led to the manager's pages
        current().roles.of(email)
    visit().reason = "NotEntitled"
    visit().detail = "no record" if record is None else "not entitled"
    if kept_until is not None and kept_until <= visit().now():
        kept_until = None
    if record is not None and record.hold is not None:
        kept_until = None
    waits = record is not None and Notice.ADDRESS_WAITS in record.status.notices
    waits_until = record.claim.until if record is not None and record.claim is not None and waits else None
    response = pages.page(
        "home/nothing.html", status=403, record=record, kept_until=kept_until, waits_until=waits_until
    )
    if pages.is_htmx():  # a whole page cannot replace a part of a page: the script reloads it
        response.headers["HX-Refresh"] = "true"
    return response


_TEMPLATE = Param(
    name="template",
    place=Place.PATH,
    text="The name of a template in the person's profile.",
    schema={"type": "string", "minLength": 1, "maxLength": 100},
    required=True,
)
_DONE = {
    200: "The changed part of the page, for the page's script.",
    303: "Stored, or requested before. Location is the page.",
}
_NOBODY = {403: "The person has no environment, or the form is out of date."}
_REFUSED = {409: "The profile or the present state does not allow it. The response says what is allowed."}
_GONE = {404: "The person's profile has no such template."}
_PART = {200: "The part of the page.", 304: "Unchanged since the browser got it.", **_NOBODY}
_SAID = Param(
    name="said",
    place=Place.QUERY,
    text="The code of the message at the top of the page, after a click.",
    schema={"type": "string", "enum": [said.value for said in Said]},
)
_UNTIL = Param(
    name="until",
    place=Place.FORM,
    text="One of the times that the page offers.",
    schema={"type": "string", "enum": ["1h", "2h", "4h", "8h", "tonight", "max"]},
    required=True,
)


_COPY = Param(
    name="copy",
    place=Place.FORM,
    text="The name of one of the copies that the page offers.",
    schema={"type": "string", "maxLength": 63},
    required=True,
)


def _post(rule: str, name: str, summary: str, *, params: tuple[Param, ...] = (), more: dict[int, str]) -> Route:
    return Route(
        method="POST",
        rule=rule,
        name=f"home.{name}",
        access=Access.SIGNED_IN,
        summary=summary,
        params=params,
        answers={**_DONE, **_NOBODY, **_REFUSED, **more},
    )


ROUTES = (
    Route(
        method="GET",
        rule="/",
        name="home.index",
        access=Access.SIGNED_IN,
        summary="My page: notebook, Spark environments and this month's costs.",
        params=(_SAID,),
        answers={200: "The page.", **_NOBODY},
    ),
    Route(
        method="GET",
        rule="/history",
        name="home.history",
        access=Access.SIGNED_IN,
        summary="The history of my notebook, with reasons.",
        answers={200: "The page.", **_NOBODY},
    ),
    Route(
        method="GET",
        rule="/costs",
        name="home.months",
        access=Access.SIGNED_IN,
        summary="The costs of my environments, for up to thirteen months.",
        answers={200: "The page.", **_NOBODY},
    ),
    Route(
        method="GET",
        rule="/parts/notebook",
        name="home.notebook_part",
        access=Access.SIGNED_IN,
        summary="My notebook.",
        answers=_PART,
    ),
    Route(
        method="GET",
        rule="/parts/spark",
        name="home.spark_part",
        access=Access.SIGNED_IN,
        summary="My Spark environments.",
        answers=_PART,
    ),
    _post("/notebook/start", "start", "Start my notebook.", more={}),
    _post("/notebook/restart", "restart", "Restart my notebook.", more={}),
    _post("/notebook/restore", "restore", "Restore the files of an earlier day.", params=(_COPY,), more={}),
    _post("/notebook/restore/undo", "restore_undo", "Undo the last restore of files.", params=(_COPY,), more={}),
    _post("/notebook/stop", "stop", "Stop my notebook.", more={}),
    _post("/notebook/keep-on", "keep", "Extend my notebook until a chosen time.", params=(_UNTIL,), more={}),
    _post("/notebook/keep-on/cancel", "keep_not", "Withdraw the extension: resume the normal idle shutdown.", more={}),
    _post("/spark/<template>/start", "spark_start", "Start a Spark cluster.", params=(_TEMPLATE,), more=_GONE),
    _post("/spark/<template>/delete", "spark_delete", "Delete a Spark cluster.", params=(_TEMPLATE,), more=_GONE),
)
