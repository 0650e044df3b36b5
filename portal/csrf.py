"""The protection against forged requests.

A form is accepted only with a token that is submitted twice. The browser's own headers about the origin of the request
must not contradict.

The token is in a cookie that no other site can set or read (`__Host-`, SameSite=Strict) and in each form; both must be
equal. In addition, `Sec-Fetch-Site` and `Origin` are checked if the browser sends them. Because of SameSite=Strict, a
first request from another site (the redirect after signing in) comes without the cookie and gets a new token. Forms in
other open tabs are then outdated, and their error page says so.

A script has no form and no cookie. Its change goes to `/api/…`, is JSON and carries a header of our own. A browser sends
neither that header nor JSON to another site without asking that site first (CORS), and this page never agrees.
"""

from __future__ import annotations

import hmac
import re
import secrets
from urllib.parse import urlsplit

import flask

from portal.problems import ForgedError
from portal.visit import Visit

FIELD = "csrf"
HEADER = "X-CSRF-Token"
SCRIPT_HEADER, SCRIPT = "X-Benchkeeper", "script"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
_OWN_SITES = frozenset({"same-origin", "none"})  # none: the user caused the request, by a reload or the address bar


def is_https() -> bool:
    """Return True if the reader's browser uses https. Behind Google's front end, a header tells the scheme."""
    return flask.request.headers.get("X-Forwarded-Proto", flask.request.scheme).partition(",")[0].strip() == "https"


def cookie_name() -> str:
    """Return the cookie's name. The prefix `__Host-` needs https, which a local run does not have."""
    return "__Host-hub-csrf" if is_https() else "hub-csrf"


def known_token() -> str:
    """Return the token from the browser's cookie, or "" if there is no valid token."""
    token = flask.request.cookies.get(cookie_name(), "")
    return token if _TOKEN.fullmatch(token) else ""


def give_token(visit: Visit) -> str:
    """Return the token for the forms of this response, a new token if the browser had none."""
    if not visit.csrf:
        visit.csrf = known_token() or secrets.token_urlsafe(32)
    return visit.csrf


def set_cookie(response: flask.Response, visit: Visit) -> None:
    """Set the cookie if this response has a new token in its forms."""
    if visit.csrf and visit.csrf != known_token():
        response.set_cookie(cookie_name(), visit.csrf, secure=is_https(), httponly=True, samesite="Strict", path="/")


def check() -> None:
    """Raise `ForgedError` unless this change came from a form of this page."""
    _check_origin()
    token = known_token()
    sent = flask.request.headers.get(HEADER) or flask.request.form.get(FIELD, "")
    if not token or not hmac.compare_digest(token.encode(), sent.encode("utf-8", "replace")):
        raise ForgedError("no token" if not sent or not token else "the token differs")


def check_script() -> None:
    """Raise `ForgedError` unless this change is JSON with a script's header, and no other site sent it."""
    _check_origin()
    if flask.request.headers.get(SCRIPT_HEADER) != SCRIPT or flask.request.mimetype != "application/json":
        raise ForgedError(
            "not sent as a script sends it",
            user_message=f"Nothing was changed. Send JSON with Content-Type: application/json, and the header {SCRIPT_HEADER}: {SCRIPT}.",
        )


def _check_origin() -> None:
    site = flask.request.headers.get("Sec-Fetch-Site")
    if site is not None and site not in _OWN_SITES:
        raise ForgedError(f"Sec-Fetch-Site is {site[:20]!r}")
    origin = flask.request.headers.get("Origin")
    if origin is not None and not _is_own(origin):
        raise ForgedError("Origin is another site")


def _is_own(origin: str) -> bool:
    """Return True if the origin is our own.

    The front end may call us by another host name than the browser uses, so `X-Forwarded-Host` counts, too. No other site
    can set that header or `Host`.
    """
    hosts = {flask.request.host, flask.request.headers.get("X-Forwarded-Host", flask.request.host)}
    return urlsplit(origin).netloc in hosts
