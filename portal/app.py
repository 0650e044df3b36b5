"""The builder of the page's Flask application from its dependencies. Several applications can live in one process and share nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flask
from jinja2 import Undefined
from jinja2.exceptions import TemplateRuntimeError, UndefinedError
from jinja2.utils import missing
from msgspec import Struct

from portal import api, guard, home, manage, pages, preferences
from portal.assets import Assets
from portal.deps import Portal, PortalDeps, attach
from portal.limits import Buckets, Flights
from portal.roles import RolesSeen
from portal.routes import Access, Param, Place, Route

# For each user: sixty changes a minute, twenty at once. The limit for reads allows pages that poll every few seconds in several tabs.
CHANGES_PER_MINUTE, CHANGES_AT_ONCE = 60, 20
READS_PER_MINUTE, READS_AT_ONCE = 600, 200
MAX_BODY_BYTES = 64 * 1024  # the largest form has a handful of short fields

_PARTS = (home, api, preferences, manage)
_STATIC = Route(
    method="GET",
    rule="/assets/<path:filename>",
    name="static",
    summary="The style sheet, script and images of the page.",
    access=Access.ANYONE,
    media="*/*",
    params=(Param(name="filename", place=Place.PATH, text="The file.", required=True),),
    answers={200: "The file.", 304: "Unchanged since the browser got it."},
)
ROUTES: tuple[Route, ...] = (_STATIC, *(route for part in _PARTS for route in part.ROUTES))


def portal_of(deps: PortalDeps) -> Portal:
    """Return the application's shared state, as it is before the first request."""
    clock = deps.engine.clock
    return Portal(
        deps=deps,
        roles=RolesSeen(deps.engine),
        changes=Buckets(clock, per_minute=CHANGES_PER_MINUTE, burst=CHANGES_AT_ONCE),
        reads=Buckets(clock, per_minute=READS_PER_MINUTE, burst=READS_AT_ONCE),
        flights=Flights(),
        assets=Assets(),
    )


class NoSuchField(Undefined):
    """The value of a name that a template uses but that does not exist. It is empty, as Jinja's own.

    For a missing field of one of our own types, raise an error: no other tool checks templates, so a renamed field would
    leave a blank on the page.
    """

    def __init__(
        self,
        hint: str | None = None,
        obj: Any = missing,
        name: str | None = None,
        exc: type[TemplateRuntimeError] = UndefinedError,
    ) -> None:
        super().__init__(hint, obj, name, exc)
        if isinstance(obj, Struct):
            self._fail_with_undefined_error()


def create_app(deps: PortalDeps) -> flask.Flask:
    """Return the application. No call is made yet: each client is created with the first request that needs it."""
    # Not /static: functions-framework's own application has a route of that name before ours, and answers 404 (docs/traps.md).
    app = flask.Flask("portal", root_path=str(Path(__file__).parent), static_url_path="/assets")
    # HEAD comes with GET. OPTIONS has no use here, so it is not offered and needs no check.
    app.config.update(
        MAX_CONTENT_LENGTH=MAX_BODY_BYTES,
        MAX_FORM_MEMORY_SIZE=MAX_BODY_BYTES,
        MAX_FORM_PARTS=50,
        PROVIDE_AUTOMATIC_OPTIONS=False,
        ROUTES=ROUTES,
    )
    app.jinja_env.undefined = NoSuchField
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    attach(app, portal_of(deps))
    pages.install(app)
    for part in _PARTS:
        app.register_blueprint(part.blueprint)
    guard.install(app)
    return app
