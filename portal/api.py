"""The routes for scripts: `/api/me` returns the page's content as JSON, `/openapi.json` the description of every route."""

from __future__ import annotations

from typing import Any

import flask

from portal import pages
from portal.mine import Mine, is_entitled, mine, my_page
from portal.openapi import describe
from portal.problems import NotEntitledError
from portal.routes import JSON, Access, Route
from shared.domain.things.money import rounded
from shared.domain.things.structs import to_dict
from shared.engine.views.person import plain

blueprint = flask.Blueprint("api", __name__)


@blueprint.get("/api/me")
def me() -> flask.Response:
    """Return the content of the user's page as JSON. Raise `NotEntitledError` for a user without an environment."""
    record, waiting = my_page()
    if record is None or not is_entitled(record):
        raise NotEntitledError
    return pages.json_answer(me_view(mine(record, waiting)))


@blueprint.get("/openapi.json")
def openapi() -> flask.Response:
    """Return the description of every route."""
    return pages.json_answer(describe(flask.current_app.config["ROUTES"]))


_ON_THE_PAGE_ONLY = (
    "machine",
    "size",
    "disk_gb",
    "next_machine",
    "stop_note",
    "is_open_later",
    "can_extend",
    "comes_back",
)


def me_view(found: Mine) -> dict[str, Any]:
    """Return the page as JSON: times as RFC 3339, durations in seconds, money in the currency of the field `currency`."""
    notebook = to_dict(found.notebook)
    for name in _ON_THE_PAGE_ONLY:
        del notebook[name]
    notebook["machine_type"] = found.profile.machine_type if found.profile is not None else ""
    cost = found.cost
    return {
        "user_key": found.record.user_key,
        "profile": found.record.spec.profile,
        "notebook": plain(notebook),
        "files": plain(to_dict(found.files)),
        "spark": [plain(to_dict(spark)) for spark in found.sparks],
        "sessions": [session.title for session in found.sessions],
        "waiting": [{"at": plain(click.at), "text": click.text} for click in found.waits.all],
        "cost": {
            "month": f"{cost.month:%Y-%m}",
            "currency": cost.currency,
            "billed": cost.billed,
            "billed_at": plain(cost.billed_at),
            "estimate": None if cost.estimate is None else float(rounded(cost.estimate, 4)),
            "environments": [
                {"name": line.name, "ran": line.ran.total_seconds(), "hourly_cost": line.hourly_cost}
                for line in cost.lines
            ],
        },
    }


_TIME = {"type": ["string", "null"], "format": "date-time"}
_TEXT, _MONEY, _FLAG = {"type": "string"}, {"type": ["number", "null"]}, {"type": "boolean"}
_SECONDS = {"type": ["number", "null"]}


def _object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _array(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


ME = _object(
    user_key=_TEXT,
    profile={"type": ["string", "null"]},
    notebook=_object(
        phase=_TEXT,
        word=_TEXT,
        headline=_TEXT,
        why=_TEXT,
        poll_s={"type": ["integer", "null"]},
        since=_TIME,
        open_url=_TEXT,
        can_start=_FLAG,
        can_stop=_FLAG,
        can_restart=_FLAG,
        idle_timeout=_SECONDS,
        stops_at=_TIME,
        last_used=_TIME,
        warned_at=_TIME,
        warns=_FLAG,
        title=_TEXT,
        keep_on_until=_TIME,
        keep_choices=_array(_object(code=_TEXT, text=_TEXT, until=_TIME)),
        stages=_array(_object(text=_TEXT, state=_TEXT)),
        machine_type=_TEXT,
        hours=_TEXT,
        report={
            "anyOf": [
                {"type": "null"},
                _object(
                    at=_TIME,
                    work=_TEXT,
                    keeps_since=_TIME,
                    keeps_until=_TIME,
                    killed_at=_TIME,
                    memory_gb={"type": ["integer", "null"]},
                    disk={"type": ["integer", "null"]},
                ),
            ]
        },
    ),
    files=_object(
        copies=_array(_object(name=_TEXT, saved_at=_TIME, is_before=_FLAG)),
        saved_at=_TIME,
        kept={"type": "integer"},
        keep={"type": "integer"},
        is_restoring=_FLAG,
        trouble=_TEXT,
        undo=_TEXT,
        undo_until=_TIME,
        restored_of=_TIME,
        could_undo_until=_TEXT,
        what_stays=_TEXT,
    ),
    spark=_array(
        _object(
            template=_TEXT,
            title=_TEXT,
            description=_TEXT,
            size_text=_TEXT,
            price_class=_TEXT,
            hourly_cost=_MONEY,
            phase=_TEXT,
            word=_TEXT,
            why=_TEXT,
            since=_TIME,
            unused_for=_SECONDS,
            ends_at=_TIME,
            open_url=_TEXT,
            cluster_name=_TEXT,
            diagnosis=_TEXT,
            offered=_FLAG,
            can_start=_FLAG,
            can_delete=_FLAG,
            poll_s={"type": ["integer", "null"]},
            personal_auth=_FLAG,
        )
    ),
    sessions=_array(_TEXT),
    waiting=_array(_object(at=_TIME, text=_TEXT)),
    cost=_object(
        month=_TEXT,
        currency=_TEXT,
        billed=_MONEY,
        billed_at=_TIME,
        estimate=_MONEY,
        environments=_array(_object(name=_TEXT, ran={"type": "number"}, hourly_cost=_MONEY)),
    ),
)
ROUTES = (
    Route(
        method="GET",
        rule="/api/me",
        name="api.me",
        access=Access.SIGNED_IN,
        summary="My page as JSON: times in UTC, durations in seconds.",
        media=JSON,
        schema=ME,
        answers={200: "The content of the page.", 403: "The person has no environment."},
    ),
    Route(
        method="GET",
        rule="/openapi.json",
        name="api.openapi",
        access=Access.SIGNED_IN,
        summary="The description of every route.",
        media=JSON,
        schema={"type": "object"},
        answers={200: "OpenAPI 3.1."},
    ),
)
