"""The routes `/api/changes` for scripts: the lists that wait for administrators, a decision about a list, and an announcement."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

import flask

from portal import pages
from portal.deps import current
from portal.manage.base import blueprint
from portal.manage.changes import (
    DECIDE,
    DIGEST_PARAM,
    NO_SUCH_LIST,
    REFUSED,
    TEXTS,
    VERDICT_PARAM,
    VERDICTS,
    act_of,
    change_of,
    changes_now,
    decided,
    guard_settings,
    objection,
    rows_of,
)
from portal.manage.changes_meaning import Change
from portal.manage.export import FLAG, NUMBER, TEXT, TIME
from portal.routes import JSON, Access, Route
from portal.visit import signed_in, visit
from shared.domain.intent.batches import announced
from shared.domain.intent.batches import to_json as batch_to_json
from shared.domain.intent.decision import About, Decision, Verdict
from shared.domain.things.errors import InvalidMessageError, RefusedError
from shared.domain.things.identity import UserKey, parse_user_key
from shared.domain.things.times import parse_time, rfc3339

LONGEST = timedelta(days=31)  # the longest time that an announcement may cover
_MOST_ANNOUNCED = 4_000_000  # bytes: enough for about 100,000 users
_MOST_ROWS = 1_000  # the most rows of a list in a response of the API; the file export has all rows


@blueprint.get("/api/changes")
def api_changes() -> flask.Response:
    """Return all waiting changes as JSON, as the page shows them."""
    waiting, found = changes_now()
    return pages.json_answer(
        {
            "taken_at": rfc3339(visit().now()),
            "approvers": guard_settings().approvers,
            "unread": [each.value for each in found.unread],
            "changes": [_view(each) for each in waiting],
        }
    )


@blueprint.get("/api/changes/<digest>")
def api_change(digest: str) -> flask.Response:
    """Return one list as JSON, with at most `_MOST_ROWS` users."""
    found, seen = change_of(digest)
    rows = [
        {"user_key": key, "address": address, "steps": str(steps).split(), "waits": waits}
        for key, address, _, _, steps, waits in islice(rows_of(found, seen), _MOST_ROWS)
    ]
    return pages.json_answer({**_view(found), "why_not": objection(found), "rows": rows})


@blueprint.post("/api/changes/<digest>/<verdict>")
def api_decide(digest: str, verdict: str) -> flask.Response:
    """Store a decision about a list; the tick carries it out. The script sends JSON with the header of our own (`portal.csrf.check_script`)."""
    wanted = VERDICTS[act_of(verdict)]
    said = decided(digest, wanted)
    return pages.json_answer({"digest": digest, "verdict": wanted.value, "outcome": said.value, "says": TEXTS[said]})


@blueprint.post("/api/announcements")
def api_announce() -> flask.Response:
    """Announce which users are going to lose access, and until when. Another administrator must approve the list."""
    flask.request.max_content_length = _MOST_ANNOUNCED
    keys, until = _announced(flask.request.get_json(silent=True))
    digest = announce(keys, until)
    return pages.json_answer({"digest": digest, "people": len(keys), "until": rfc3339(until)})


def announce(keys: Sequence[UserKey], until: datetime | None) -> str:
    """Store the list with the reader's approval, and return its digest. Raise `RefusedError` for a moment that is not valid."""
    until = _valid(until)
    _, key = signed_in()
    deps, present = current().deps.engine, visit()
    digest = deps.decisions.put_list(batch_to_json(announced(keys, until)))
    deps.decisions.put(
        Decision(
            decision_id=secrets.token_hex(8),
            about=About.CUTS,
            verdict=Verdict.APPROVE,
            digest=digest,
            asked_at=present.now(),
            assertion=present.assertion,
        ),
        by=key,
    )
    deps.log.info("Stored an announcement from the page", digest=digest, people=len(keys), by=key)
    return digest


def _announced(sent: object) -> tuple[list[UserKey], datetime]:
    """Return the user keys and the moment of an announcement. Raise `RefusedError`, which says what is valid."""
    try:
        if not isinstance(sent, dict) or not isinstance(sent["people"], list) or not sent["people"]:
            raise ValueError("no list of people")
        keys = [parse_user_key(str(each)) for each in sent["people"]]
        until = parse_time(str(sent["until"]))
    except (KeyError, ValueError, InvalidMessageError) as error:
        raise RefusedError(
            user_message='Send {"people": [user keys], "until": a time such as 2026-12-01T18:00:00Z}. Nothing was announced.',
            detail=f"no announcement: {type(error).__name__}",
        ) from error
    return sorted(set(keys)), _valid(until)


def _valid(until: datetime | None) -> datetime:
    now = visit().now()
    if until is None or not now < until <= now + LONGEST:
        raise RefusedError(
            user_message=f"until must lie within the next {LONGEST.days} days. Nothing was announced.",
            detail="an announcement for too long, or for the past",
        )
    return until


def _view(change: Change) -> dict[str, Any]:
    return {
        "about": change.about.value,
        "digest": change.digest,
        "title": change.title,
        "cause": change.cause,
        "source": change.source,
        "people": change.people,
        "still": change.still,
        "undone": change.undone,
        "since": _time(change.since),
        "patience_ends": _time(change.patience_ends),
        "takes_effect_at": _time(change.takes_effect_at),
        "is_current": change.is_current,
        "needs_another": change.needs_another,
        "cannot_approve": change.cannot_approve,
        "approving": list(change.approving),
        "rejecting": list(change.rejecting),
        "votes": [
            {"by": vote.by, "verdict": vote.verdict.value, "at": rfc3339(vote.at), "is_own": vote.is_own}
            for vote in (*change.given, *change.votes)
        ],
        "bound_by": [
            {"digest": each.digest, "verdict": each.verdict.value, "at": rfc3339(each.at), "people": each.people}
            for each in change.bound_by
        ],
        "takes_access": change.takes_access,
        "is_outdated": change.is_outdated,
        "is_decided": change.is_decided,
        "present": change.present,
    }


def _time(moment: Any) -> str | None:
    return rfc3339(moment) if moment is not None else None


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _array(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


_PROPERTIES: Mapping[str, Any] = {
    "about": {"type": "string"},
    "digest": {"type": "string"},
    "title": {"type": "string"},
    "cause": {"type": "string"},
    "source": {"type": "string"},
    "people": {"type": "integer"},
    "still": {"type": ["integer", "null"]},
    "undone": {"type": "integer"},
    "since": TIME,
    "patience_ends": TIME,
    "takes_effect_at": TIME,
    "is_current": FLAG,
    "needs_another": FLAG,
    "cannot_approve": TEXT,
    "approving": _array(TEXT),
    "rejecting": _array(TEXT),
    "votes": _array(_object({"by": TEXT, "verdict": TEXT, "at": TIME, "is_own": FLAG})),
    "bound_by": _array(_object({"digest": TEXT, "verdict": TEXT, "at": TIME, "people": NUMBER})),
    "takes_access": FLAG,
    "is_outdated": FLAG,
    "is_decided": FLAG,
    "present": TEXT,
}


_ROW = _object({"user_key": TEXT, "address": TEXT, "steps": _array(TEXT), "waits": FLAG})
_ALL = _object({"taken_at": TIME, "approvers": NUMBER, "unread": _array(TEXT), "changes": _array(_object(_PROPERTIES))})
_ONE = _object({**_PROPERTIES, "why_not": TEXT, "rows": _array(_ROW)})
_ANNOUNCED = _object({"digest": TEXT, "people": NUMBER, "until": TIME})
_DECIDED = _object({"digest": TEXT, "verdict": TEXT, "outcome": TEXT, "says": TEXT})
_API = "/api/changes/<digest>"
ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        rule="/api/changes",
        name="manage.api_changes",
        summary="All changes that wait for a decision, for scripts.",
        access=Access.READ,
        media=JSON,
        schema=_ALL,
        answers={200: "All waiting changes."},
    ),
    Route(
        method="GET",
        rule=_API,
        name="manage.api_change",
        summary=f"One list of waiting people, for scripts; at most the first {_MOST_ROWS:,} people.",
        access=Access.READ,
        params=(DIGEST_PARAM,),
        media=JSON,
        schema=_ONE,
        answers={200: "The list.", **NO_SUCH_LIST},
    ),
    Route(
        method="POST",
        rule="/api/announcements",
        name="manage.api_announce",
        summary="Announce the people who will lose access, by a script.",
        access=Access.ACT,
        media=JSON,
        takes=JSON,
        schema=_ANNOUNCED,
        answers={
            200: "Stored. Another administrator must approve the list.",
            403: "The user's role does not allow it, or the headers of a script are missing.",
            409: "The people or the time are not valid. The response says what is valid.",
        },
    ),
    Route(
        method="POST",
        rule=_API + DECIDE,
        name="manage.api_decide",
        summary="Approve or reject a list of waiting people, by a script.",
        access=Access.DECIDE,
        params=(DIGEST_PARAM, VERDICT_PARAM),
        media=JSON,
        takes=JSON,
        schema=_DECIDED,
        answers={
            200: "Stored, or decided before.",
            403: "The user's role does not allow it, or the headers of a script are missing.",
            **NO_SUCH_LIST,
            **REFUSED,
        },
    ),
)
