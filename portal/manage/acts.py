"""What an administrator may do for a person. Each act has a page before it that shows the plan now and the plan after; a POST does it.

The acts are the engine's own, as on the command line: they write what is wanted, and a pass makes it so.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import assert_never

import flask
from werkzeug.exceptions import NotFound

from portal import pages
from portal.deps import current
from portal.manage.base import USER_KEY, asked, blueprint, one_line
from portal.manage.person import Said
from portal.manage.person_tables import record_of
from portal.routes import Access, Param, Place, Route
from portal.visit import signed_in, visit
from shared.domain.errors import RefusedError
from shared.domain.identity import UserKey, without_addresses
from shared.domain.record import Hold, Power, UserRecord
from shared.domain.wanted import with_hold
from shared.domain.wishes import with_asked_power, without_wish
from shared.engine.foresight import Change, look_again, preview_after
from shared.engine.intake import Accepted, is_decided, want_hold
from shared.engine.ports import Deps
from shared.engine.views import plan_view
from shared.engine.wishes import ask_power, drop_cluster

_LONGEST_REASON = 200


class Act(StrEnum):
    """What can be done for a person; the name stands in the address of its page."""

    START = "start"
    STOP = "stop"
    HOLD = "hold"
    RELEASE = "release"
    RECONCILE = "reconcile"
    DELETE_CLUSTER = "delete-cluster"


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """How an act is put on its page: the heading, what it means, the button."""

    title: str
    text: str
    button: str


WORDS = {
    Act.START: Words(
        title="Start the notebook", text="It is started as if the person had asked for it.", button="Start it"
    ),
    Act.STOP: Words(
        title="Stop the notebook",
        text="What runs in it ends at once. Files are kept, and the person may start it again.",
        button="Stop it",
    ),
    Act.HOLD: Words(
        title="Put the data on hold",
        text="Nothing that may hold this person's data is deleted until somebody releases it, whatever the retention says. "
        "Access begins and ends as before.",
        button="Put on hold",
    ),
    Act.RELEASE: Words(
        title="Release the hold",
        text="What the retention has long let go is deleted soon after.",
        button="Release the hold",
    ),
    Act.RECONCILE: Words(
        title="Look again now",
        text="A pass looks at everything of this person now, and does what the plan says, instead of at its own time.",
        button="Look again now",
    ),
    Act.DELETE_CLUSTER: Words(
        title="Delete a Spark cluster",
        text="What is on its disks is lost; what was saved in Cloud Storage stays. The person may start another one.",
        button="Delete it",
    ),
}


@blueprint.get("/manage/people/<user_key>/acts/<act>")
def confirm(user_key: str, act: str) -> flask.Response:
    """The plan as it is, the plan after the act, and the button. Nothing is changed."""
    record, chosen = record_of(user_key), _act(act)
    template = _template(record, chosen, asked("template"))
    deps = current().deps.engine
    foreseen = preview_after(record.user_key, _change(chosen, template, deps, visit().now()), deps)
    if foreseen is None:
        raise NotFound
    return pages.page(
        "manage/confirm.html",
        record=record,
        act=chosen,
        words=WORDS[chosen],
        spark=template,
        title=deps.policy.catalog.environment(template).title if template else "",
        before=plan_view(foreseen.found.plan),
        after=plan_view(foreseen.after) if foreseen.after is not None else None,
        foreseen=foreseen,
        longest=_LONGEST_REASON,
    )


@blueprint.post("/manage/people/<user_key>/acts/<act>")
def perform(user_key: str, act: str) -> flask.Response:
    """Do it, and go back to the person's page."""
    record, chosen = record_of(user_key), _act(act)
    template = _template(record, chosen, one_line(flask.request.form.get("template", "")))
    portal, (_, by) = current(), signed_in()
    environment = f"spark:{template}" if template else "notebook"
    with portal.flights.one(record.user_key, environment) as first:
        said = _done(chosen, record, template, by) if first else Said.BUSY
    if said not in {Said.BUSY, Said.ALREADY}:
        portal.deps.wake(record.user_key)
    return pages.go(flask.url_for("manage.person", user_key=record.user_key, said=said.value))


def _act(text: str) -> Act:
    found = next((act for act in Act if act.value == text), None)
    if found is None:
        raise NotFound
    return found


def _template(record: UserRecord, act: Act, named: str) -> str:
    """The template whose cluster is meant; 404 for one that the person does not have. Empty for every other act."""
    if act is not Act.DELETE_CLUSTER:
        return ""
    if named not in {wish.template for wish in record.spec.clusters}:
        raise NotFound
    return named


def _change(act: Act, template: str, deps: Deps, now: datetime) -> Change:
    """The act as a pure change of the record, for its plan. It is what the engine's own call makes of it."""
    catalog = deps.policy.catalog
    changes: dict[Act, Change] = {
        Act.START: lambda record: with_asked_power(
            record, Power.RUNNING, catalog, because="started by an administrator"
        ),
        Act.STOP: lambda record: with_asked_power(
            record, Power.STOPPED, catalog, because="stopped by an administrator"
        ),
        Act.HOLD: lambda record: with_hold(record, Hold(reason="foreseen", since=now)),
        Act.RELEASE: lambda record: with_hold(record, None),
        Act.RECONCILE: lambda record: record,
        Act.DELETE_CLUSTER: lambda record: without_wish(record, template),
    }
    return changes[act]


def _done(act: Act, record: UserRecord, template: str, by: UserKey) -> Said:
    key, deps = record.user_key, current().deps.engine
    accepted: Accepted | None
    match act:
        case Act.START | Act.STOP:
            power = Power.RUNNING if act is Act.START else Power.STOPPED
            accepted = ask_power(key, power, deps, by=by)
        case Act.DELETE_CLUSTER:
            accepted = drop_cluster(key, template, deps, by=by)
        case Act.RECONCILE:
            accepted = look_again(key, deps, by=by)
        case Act.HOLD | Act.RELEASE:
            return _held(record, act, by)
        case _:
            assert_never(act)
    if accepted is None:
        raise NotFound
    return Said(act.value) if accepted.changed else Said.ALREADY


def _held(record: UserRecord, act: Act, by: UserKey) -> Said:
    reason = _reason(flask.request.form.get("reason", "")) if act is Act.HOLD else None
    if reason == (record.hold.reason if record.hold is not None else None):
        return Said.ALREADY
    stored = want_hold(record.user_key, reason, current().deps.engine, by=by)
    if stored is None:
        raise NotFound
    if act is Act.HOLD and is_decided(stored.record):
        return Said.HOLD_LATE
    return Said(act.value)


def _reason(typed: str) -> str:
    """Why data is held: one short line without anybody's address, for it goes into the log."""
    text = " ".join(typed.split())
    if not text or len(text) > _LONGEST_REASON or not text.isprintable():
        raise RefusedError(
            user_message=f"Say why in 1 to {_LONGEST_REASON} characters, for example: case 4711.",
            detail="a hold without a usable reason",
        )
    if without_addresses(text) != text:
        raise RefusedError(
            user_message="Leave addresses of people out of the reason: it goes into the log. Name the case instead.",
            detail="a hold whose reason holds an address",
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


_REASON = Param(
    name="reason",
    place=Place.FORM,
    text="For hold: why, without names of people.",
    schema={"type": "string", "maxLength": _LONGEST_REASON},
)
_RULE = "/manage/people/<user_key>/acts/<act>"
ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        rule=_RULE,
        name="manage.confirm",
        summary="The plan before an act.",
        access=Access.ADMIN,
        params=(USER_KEY, _ACT, _template_param(Place.QUERY)),
        answers={200: "The page."},
    ),
    Route(
        method="POST",
        rule=_RULE,
        name="manage.perform",
        summary="Do something for a person.",
        access=Access.ADMIN,
        params=(USER_KEY, _ACT, _template_param(Place.FORM), _REASON),
        answers={
            303: "Done, or so already; the person's page is at Location.",
            403: "Not an administrator, or the form is out of date.",
            409: "The profile, or the moment, does not allow it; the page says what is allowed.",
        },
    ),
)
