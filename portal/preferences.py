"""The reader's own settings: time zone, language and consent. They work without JavaScript, and only the browser stores them."""

from __future__ import annotations

import flask
from werkzeug.exceptions import HTTPException

from portal import pages
from portal.csrf import is_https
from portal.language import COOKIE as LANGUAGE
from portal.language import LANGUAGES
from portal.mine import my_record
from portal.reader import CONSENT, COOKIE, YEAR_S, consent_for, zone_named
from portal.routes import Access, Param, Place, Route
from portal.visit import visit
from shared.domain.things.errors import RefusedError

blueprint = flask.Blueprint("preferences", __name__)


@blueprint.post("/preferences/time-zone")
def time_zone() -> flask.Response:
    """Store the zone in a cookie, and redirect to the page of the form. For an unknown zone, return the form again with 409."""
    typed, back = flask.request.form.get("zone", ""), _own_path(flask.request.form.get("back", "/"))
    zone = zone_named(typed)
    if zone is None:
        visit().reason, visit().detail = "Refused", "a time zone that is not known"
        return pages.page("time-zone.html", status=409, typed=typed[:64], back=back)
    response = pages.go(back)
    response.set_cookie(COOKIE, zone.key, max_age=YEAR_S, samesite="Lax", path="/")
    return response


@blueprint.post("/preferences/language")
def language() -> flask.Response:
    """Store the language in a cookie, and redirect to the page of the form. Raise `RefusedError` for an unknown language."""
    chosen = flask.request.form.get("language", "")
    if chosen not in LANGUAGES:
        raise RefusedError(
            user_message=f"This page is not available in that language. Choose one of: {', '.join(LANGUAGES.values())}.",
            detail="a language that is not known",
        )
    response = pages.go(_own_path(flask.request.form.get("back", "/")))
    response.set_cookie(LANGUAGE, chosen, max_age=YEAR_S, samesite="Lax", path="/", httponly=True, secure=is_https())
    return response


@blueprint.post("/preferences/consent")
def consent() -> flask.Response:
    """Store in a cookie that Google's consent for the visitor's notebook is given; do nothing if there is no notebook.

    Benchkeeper cannot check the consent, so the cookie only hides the hint.
    """
    record = my_record()
    response = pages.go(flask.url_for("home.index"))
    if record is not None and record.status.notebook.instance_id is not None:
        said = consent_for(record.status.notebook.instance_id)
        response.set_cookie(CONSENT, said, max_age=YEAR_S, samesite="Lax", path="/", httponly=True, secure=is_https())
    return response


def _own_path(asked: str) -> str:
    """Return the path if it is a page of this application, else `/`, so that the redirect never leads to another site."""
    if not asked.startswith("/") or asked.startswith(("//", "/\\")):
        return "/"
    try:
        flask.current_app.url_map.bind("").match(asked, method="GET")
    except HTTPException:
        return "/"
    return flask.url_for("home.index") if asked == "/" else asked


_BACK = Param(
    name="back", place=Place.FORM, text="The page to which the response redirects.", schema={"type": "string"}
)

ROUTES = (
    Route(
        method="POST",
        rule="/preferences/time-zone",
        name="preferences.time_zone",
        access=Access.SIGNED_IN,
        summary="Set the time zone for this browser.",
        params=(
            Param(
                name="zone",
                place=Place.FORM,
                text="An IANA name.",
                schema={"type": "string", "maxLength": 64, "examples": ["Europe/Berlin"]},
                required=True,
            ),
            _BACK,
        ),
        answers={
            303: "Stored. Location is the page.",
            403: "The form is out of date.",
            409: "The text is not a time zone.",
        },
    ),
    Route(
        method="POST",
        rule="/preferences/language",
        name="preferences.language",
        access=Access.SIGNED_IN,
        summary="Set the language for this browser.",
        params=(
            Param(
                name="language",
                place=Place.FORM,
                text="The language's code.",
                schema={"type": "string", "enum": list(LANGUAGES)},
                required=True,
            ),
            _BACK,
        ),
        answers={303: "Stored. Location is the page.", 403: "The form is out of date.", 409: "No such language."},
    ),
    Route(
        method="POST",
        rule="/preferences/consent",
        name="preferences.consent",
        access=Access.SIGNED_IN,
        summary="Store in this browser that Google's consent for my notebook is given.",
        answers={303: "Stored. Location is the page.", 403: "The form is out of date."},
    ),
)
