"""The acts of an administrator for a user. A page shows the plan before and after the act; a POST then requests the act.

An act is stored as a request with the name of the administrator. The function that carries the request out checks again
that this user is an administrator.
"""

from __future__ import annotations

from enum import StrEnum

import flask
from msgspec import Struct
from werkzeug.exceptions import NotFound

from portal import pages
from portal.deps import current
from portal.manage import changes, releases
from portal.manage.base import USER_KEY, asked, blueprint, one_line
from portal.manage.person import Said
from portal.manage.person_tables import record_of
from portal.routes import Access, Param, Place, Route
from portal.visit import require, signed_in, visit
from shared.domain.intent.asking import with_asked
from shared.domain.intent.roles import needed_for
from shared.domain.intent.wish import MAX_REASON, NEVER_OWN, Asked, WishKind
from shared.domain.record.copies import copies_of
from shared.domain.record.record import UserRecord
from shared.domain.things.errors import RefusedError
from shared.domain.things.identity import without_addresses
from shared.domain.things.snapshots import Snapshot
from shared.engine.news.requests import ask, is_about
from shared.engine.reconcile.changing import is_decided
from shared.engine.views.person import plan_view
from shared.engine.views.preview import preview_after


class Act(StrEnum):
    """The acts that a person with a role can do on the page of another person. The value is the last part of the URL."""

    START = "start"
    RESTART = "restart"
    RESTORE = "restore"
    UNDO_RESTORE = "undo-restore"
    STOP = "stop"
    HOLD = "hold"
    RELEASE = "release"
    RECONCILE = "reconcile"
    DELETE_CLUSTER = "delete-cluster"
    BLOCK = "block"
    LIFT = "lift"


_FORESEEN = "foreseen"
_OF_FILES = frozenset({Act.RESTORE, Act.UNDO_RESTORE})
_OF_RELEASE = {
    changes.Said.APPROVED: Said.RELEASE_ASKED,
    changes.Said.ALREADY: Said.ALREADY,
    changes.Said.OVER: Said.ALREADY,
    changes.Said.BUSY: Said.BUSY,
}
_KINDS = {
    Act.START: WishKind.START,
    Act.STOP: WishKind.STOP,
    Act.RESTART: WishKind.RESTART,
    Act.RESTORE: WishKind.RESTORE,
    Act.UNDO_RESTORE: WishKind.UNDO_RESTORE,
    Act.HOLD: WishKind.HOLD,
    Act.RELEASE: WishKind.RELEASE,
    Act.RECONCILE: WishKind.LOOK_AGAIN,
    Act.DELETE_CLUSTER: WishKind.DELETE_CLUSTER,
    Act.BLOCK: WishKind.BLOCK,
    Act.LIFT: WishKind.LIFT,
}
WITH_REASON = frozenset({Act.HOLD, Act.BLOCK, Act.LIFT})
DANGEROUS = frozenset(Act) - {Act.START, Act.HOLD, Act.RECONCILE, Act.RESTART}


class Words(Struct, frozen=True, kw_only=True):
    """The texts on an act's page: the heading, the explanation, the button."""

    title: str
    text: str
    button: str


_WHAT_IS_RESTORED = (
    "The person's home directory returns to its state at that time. Packages outside of it stay as they are. "
    "The notebook stops for some minutes, and everything that runs in it ends. The present files are saved first. "
    "This can be undone for seven days."
)
WORDS = {
    Act.START: Words(
        title="Start the notebook", text="The notebook starts as if the person had started it.", button="Start"
    ),
    Act.STOP: Words(
        title="Stop the notebook",
        text="Running work ends at once. Files are kept, and the person can start it again.",
        button="Stop",
    ),
    Act.RESTART: Words(
        title="Restart the notebook",
        text="The notebook restarts on its machine. Files are kept, memory is lost.",
        button="Restart",
    ),
    Act.RESTORE: Words(title="Restore files of an earlier day", text=_WHAT_IS_RESTORED, button="Restore"),
    Act.UNDO_RESTORE: Words(title="Undo the last restore of files", text=_WHAT_IS_RESTORED, button="Undo"),
    Act.HOLD: Words(
        title="Put the data on hold",
        text="None of this person's data is deleted until the hold is released. Access begins and ends as before.",
        button="Put on hold",
    ),
    Act.RELEASE: Words(
        title="Release the hold",
        text="Data past its retention is deleted at the next tick.",
        button="Release the hold",
    ),
    Act.RECONCILE: Words(
        title="Check now",
        text="This person's environment is checked now, and the plan below is carried out.",
        button="Check now",
    ),
    Act.DELETE_CLUSTER: Words(
        title="Delete a Spark cluster",
        text="Files on its disks are lost, files in Cloud Storage stay. The person can start another one.",
        button="Delete",
    ),
    Act.BLOCK: Words(
        title="End access now",
        text="The notebook stops and the person's own account is disabled, at once and without an approval. No message or "
        "group can restore access; only an owner can. Files are kept as for a leaver.",
        button="End access now",
    ),
    Act.LIFT: Words(
        title="Lift the block",
        text="Statements of HR, the groups and the directory about this person count again, from now on.",
        button="Lift the block",
    ),
}


RELEASE_OF_TWO = Words(
    title="Request the release of the hold",
    text="Another administrator has to approve it under Changes. Data past its retention is deleted at the next tick after that.",
    button="Request the release",
)


def _words(act: Act) -> Words:
    return RELEASE_OF_TWO if act is Act.RELEASE and releases.needs_another() else WORDS[act]


@blueprint.get("/manage/people/<user_key>/acts/<act>")
def confirm(user_key: str, act: str) -> flask.Response:
    """Show the present plan, the plan after the act, and the button that performs it. Nothing is changed."""
    record, chosen = record_of(user_key), _act(act)
    _check(record, chosen)
    template, copy = _template(record, chosen, asked("template")), _copy(record, chosen, asked("copy"))
    deps = current().deps.engine
    named = copy.name if copy is not None else ""
    asked_for = Asked(kind=_KINDS[chosen], template=template, reason=_FORESEEN, snapshot=named)
    now = visit().now()

    def change(before: UserRecord) -> UserRecord:
        return with_asked(before, asked_for, deps.policy.catalog, now, by_person=False)

    foreseen = preview_after(record.user_key, change, deps)
    if foreseen is None:
        raise NotFound
    return pages.page(
        "manage/confirm.html",
        record=record,
        act=chosen,
        words=_words(chosen),
        spark=template,
        copy=copy,
        title=deps.policy.catalog.environment(template).title if template else "",
        before=plan_view(foreseen.found.plan),
        after=plan_view(foreseen.after) if foreseen.after is not None else None,
        foreseen=foreseen,
        longest=MAX_REASON,
        with_reason=chosen in WITH_REASON,
        is_dangerous=chosen in DANGEROUS,
    )


@blueprint.post("/manage/people/<user_key>/acts/<act>")
def perform(user_key: str, act: str) -> flask.Response:
    """Request the act, and redirect to the user's page. A release that needs a second approval becomes a question."""
    record, chosen = record_of(user_key), _act(act)
    _check(record, chosen)
    template = _template(record, chosen, one_line(flask.request.form.get("template", "")))
    copy = _copy(record, chosen, one_line(flask.request.form.get("copy", "")))
    portal = current()
    environment = f"spark:{template}" if template else "notebook"
    if chosen is Act.RELEASE and releases.needs_another():
        outcome, _ = releases.ask_release(record)
        return pages.go(flask.url_for("manage.person", user_key=record.user_key, said=_OF_RELEASE[outcome].value))
    with portal.flights.one(record.user_key, environment) as first:
        said = _asked(chosen, record, template, copy.name if copy is not None else "") if first else Said.BUSY
    if said not in {Said.BUSY, Said.ALREADY}:
        portal.deps.wake(record.user_key)
    return pages.go(flask.url_for("manage.person", user_key=record.user_key, said=said.value))


def _act(text: str) -> Act:
    found = next((act for act in Act if act.value == text), None)
    if found is None:
        raise NotFound
    return found


def _check(record: UserRecord, act: Act) -> None:
    """Raise an error if the visitor's role lacks the right, or if the act would end or restore the visitor's own access."""
    kind = _KINDS[act]
    require(needed_for(kind))
    subject, _ = signed_in()
    if kind in NEVER_OWN and is_about(record, subject):
        raise RefusedError(
            user_message="You cannot end or restore your own access here. Ask a colleague with your role.",
            detail="a block of one's own",
        )


def _template(record: UserRecord, act: Act, named: str) -> str:
    """Return the name of the template whose cluster is to be deleted; "" for every other act.

    A template of which the user has requested no cluster gives 404.
    """
    if act is not Act.DELETE_CLUSTER:
        return ""
    if named not in {wish.template for wish in record.spec.clusters}:
        raise NotFound
    return named


def _copy(record: UserRecord, act: Act, named: str) -> Snapshot | None:
    """Return the copy to restore, or None for every other act. A copy that the user does not have gives 404."""
    if act not in _OF_FILES:
        return None
    found = next((copy for copy in copies_of(record.status) if copy.name == named), None)
    if found is None:
        raise NotFound
    return found


def _asked(act: Act, record: UserRecord, template: str, copy: str) -> Said:
    """Store the act as a request, and return the code of the message for the page."""
    reason = _reason(flask.request.form.get("reason", "")) if act in WITH_REASON else ""
    subject, _ = signed_in()
    answer = ask(
        record.user_key,
        Asked(kind=_KINDS[act], template=template, reason=reason, snapshot=copy),
        current().deps.engine,
        subject=subject,
        assertion=visit().assertion,
        as_administrator=True,
    )
    if answer is None:
        raise NotFound
    if not answer.changed:
        return Said.ALREADY
    if act is Act.HOLD and is_decided(answer.record):
        return Said.HOLD_LATE
    return Said(act.value)


def _reason(typed: str) -> str:
    """Return the reason of an act: one short line without addresses, because it is logged. Raise `RefusedError` if it is unusable."""
    text = " ".join(typed.split())
    if not text or len(text) > MAX_REASON or not text.isprintable():
        raise RefusedError(
            user_message=f"Say why in 1 to {MAX_REASON} characters, for example: case 4711.",
            detail="an act without a usable reason",
        )
    if without_addresses(text) != text:
        raise RefusedError(
            user_message="Leave addresses of people out of the reason: it goes into the log. Name the case instead.",
            detail="a reason that holds an address",
        )
    return text


_ACT = Param(
    name="act",
    place=Place.PATH,
    text="What to do.",
    schema={"type": "string", "enum": [act.value for act in Act]},
    required=True,
)


def _template_param(place: Place) -> Param:
    return Param(
        name="template",
        place=place,
        text="For delete-cluster: the template of the cluster.",
        schema={"type": "string", "maxLength": 100},
    )


def _copy_param(place: Place) -> Param:
    return Param(
        name="copy",
        place=place,
        text="For restore and undo-restore: the name of the copy.",
        schema={"type": "string", "maxLength": 63},
    )


_REASON = Param(
    name="reason",
    place=Place.FORM,
    text="The reason of a hold, block or lift, without names of people.",
    schema={"type": "string", "maxLength": MAX_REASON},
)
_RULE = "/manage/people/<user_key>/acts/<act>"
ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        rule=_RULE,
        name="manage.confirm",
        summary="The page of an act: the plan without it and with it.",
        access=Access.HELP,
        params=(USER_KEY, _ACT, _template_param(Place.QUERY), _copy_param(Place.QUERY)),
        answers={200: "The page."},
    ),
    Route(
        method="POST",
        rule=_RULE,
        name="manage.perform",
        summary="Perform an act for a person.",
        access=Access.HELP,
        params=(USER_KEY, _ACT, _template_param(Place.FORM), _copy_param(Place.FORM), _REASON),
        answers={
            303: "Stored, or set before. Location is the person's page.",
            403: "The user's role does not allow it, or the form is out of date.",
            409: "The profile or the present state does not allow it. The response says what is allowed.",
        },
    ),
)
