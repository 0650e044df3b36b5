"""The headers that every response carries: page, fragment, file or error."""

from __future__ import annotations

import flask

from portal.csrf import is_https
from portal.deps import Portal

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
    """Set the headers. Pages are never cached; static files are cached for ever if their URL carries the current digest."""
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
