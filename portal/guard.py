"""The checks before every route, except static files, and the work after it.

Before the route: identity, rate limit, forgery check and role. After it: headers, cookies and one log line.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

import flask
from werkzeug.exceptions import HTTPException

from portal import csrf, pages
from portal.csrf import is_https
from portal.deps import Portal, current
from portal.language import language_of
from portal.problems import TooManyError, problem_of
from portal.reader import YEAR_S, zone_of
from portal.roles import NEEDED
from portal.routes import Access
from portal.visit import Visit, begin, may, visit
from shared.domain.intent.roles import Right
from shared.domain.things.identity import user_key_for

# No inline script, no inline style, no resource of another site: under this policy a page cannot be made to run text that a user typed.
CSP = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; font-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_ALWAYS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: with it a browser sends `Origin: null` on our own forms, and the origin check would refuse them.
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=(), browsing-topics=()",
}
_YEAR_S = 31_536_000


def secure(response: flask.Response, portal: Portal) -> None:
    """Set the headers for security and caching. Pages are never cached; static files are cached for ever if their URL carries the current digest."""
    response.headers.update(_ALWAYS)
    if is_https():
        response.headers["Strict-Transport-Security"] = f"max-age={_YEAR_S}"
    if flask.request.endpoint == "static" and response.status_code in {200, 304}:
        name = str((flask.request.view_args or {}).get("filename", ""))
        current = portal.assets.is_current(name, flask.request.args.get("v"))
        response.headers["Cache-Control"] = f"public, max-age={_YEAR_S}, immutable" if current else "no-cache"
        return
    response.headers["Cache-Control"] = "no-store"
    response.headers["Vary"] = "Cookie, HX-Request, Accept-Language"


_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_ACCESS = "benchkeeper.access"
_OPEN_ENDPOINTS = frozenset({"static"})  # these files are public: the same in every copy of this product


def install(app: flask.Flask) -> None:
    """Guard all routes of the application, and also requests for routes that do not exist."""
    app.extensions[_ACCESS] = _described(app)
    app.before_request(_before)
    app.after_request(_after)
    app.register_error_handler(Exception, _failed)


def _described(app: flask.Flask) -> Mapping[tuple[str, str], Access]:
    """Return the access rule of each route by method and endpoint.

    Raise `ValueError` for a route whose description is missing.
    """
    described = {(route.method, route.name): route.access for route in app.config["ROUTES"]}
    rules = [rule for rule in app.url_map.iter_rules() if rule.endpoint not in _OPEN_ENDPOINTS]
    there = {(method, rule.endpoint) for rule in rules for method in rule.methods or ()}
    missing = sorted(f"{method} {endpoint}" for method, endpoint in there - described.keys() if method != "HEAD")
    if missing:
        raise ValueError(f"routes without a description, and so without a role: {', '.join(missing)}")
    return described


def _before() -> None:
    portal = current()
    present = Visit(request_id=secrets.token_hex(6), started_s=portal.deps.engine.clock.monotonic_s())
    present.language = language_of(flask.request.cookies, flask.request.accept_languages)
    begin(present)
    if flask.request.endpoint in _OPEN_ENDPOINTS:
        return
    headers, sign_in = dict(flask.request.headers.items()), portal.deps.sign_in
    present.person = sign_in.identify(headers)
    present.assertion = sign_in.assertion(headers)
    present.user_key = present.log_key = user_key_for(present.person)
    present.zone = zone_of(flask.request.cookies)
    reads = flask.request.method in _READS
    wait_s = (portal.reads if reads else portal.changes).wait_s(present.user_key)
    if wait_s:
        raise TooManyError(wait_s)
    if flask.request.routing_exception is not None:  # an unknown route is 404 for every sender
        return
    if not reads:
        (csrf.check_script if flask.request.path.startswith("/api/") else csrf.check)()
    needed = NEEDED.get(_access())
    if needed is not None:
        portal.roles.require(present.person, needed)


def _access() -> Access:
    """Return the access rule of the present route. `install` makes sure that every route has a rule."""
    method = "GET" if flask.request.method == "HEAD" else flask.request.method
    known: Mapping[tuple[str, str], Access] = flask.current_app.extensions[_ACCESS]
    return known[method, flask.request.endpoint or ""]


def _failed(error: Exception) -> flask.Response:
    """Return any error as a page, a fragment or JSON, according to what the client requested."""
    if isinstance(error, HTTPException) and error.code is not None and error.code < 400:  # noqa: PLR2004 - a redirect of the map
        return flask.Response(error.get_body(), status=error.code, headers=error.get_headers())
    problem = problem_of(error)
    present = visit()
    present.reason, present.detail = problem.reason, problem.detail
    return pages.answer_problem(problem, present)


def _after(response: flask.Response) -> flask.Response:
    portal, present = current(), visit()
    secure(response, portal)
    csrf.set_cookie(response, present)
    _keep_link(response)
    response.headers["X-Request-Id"] = present.request_id
    _log(response, portal, present)
    return response


def _keep_link(response: flask.Response) -> None:
    """Set the cookie by which the browser of a user with a role shows the link to the manager's pages.

    The cookie gives no access.
    """
    if may(Right.FIND) and flask.request.cookies.get(pages.LOOKS_AFTER) != "1":
        response.set_cookie(
            pages.LOOKS_AFTER, "1", max_age=YEAR_S, samesite="Lax", path="/", httponly=True, secure=csrf.is_https()
        )


def _log(response: flask.Response, portal: Portal, present: Visit) -> None:
    """Log this request in one line.

    The line has the route's name, never the URL, which may contain any text that a user typed.
    """
    engine = portal.deps.engine
    rule = flask.request.url_rule
    facts = {
        "route": flask.request.endpoint or "",
        "rule": rule.rule if rule is not None else "",
        "method": flask.request.method if flask.request.method in {*_READS, "POST"} else "other",
        "status": response.status_code,
        "user": present.log_key or "",
        "ms": round((engine.clock.monotonic_s() - present.started_s) * 1000, 1),
        "request": present.request_id,
    }
    if present.reason:
        facts |= {"reason": present.reason, "detail": present.detail}
    tell = engine.log.info
    if response.status_code >= 500:  # noqa: PLR2004 - server errors
        tell = engine.log.error
    elif present.reason:
        tell = engine.log.warning
    tell("Answered request", **facts)
