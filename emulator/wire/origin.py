"""The check for requests from web pages that must not use a port of this machine.

A browser lets any page send requests to 127.0.0.1; it only hides the response from the page. Three headers identify
such requests, and pages cannot change them. `Host` is the name in the URL: if an attacker's name resolves to 127.0.0.1
(DNS rebinding), the header still has that name. `Origin` comes with every request that may change something.
`Sec-Fetch-Site` (W3C Fetch Metadata) comes with all others, and is `same-site` for another port of this machine.
Programs other than browsers send neither `Origin` nor `Sec-Fetch-Site`.

`HttpFront` calls `refuse_page` before any route of the API port; the proxies before pages call `comes_from_elsewhere`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from emulator.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Collection

    from werkzeug.wrappers import Request

LOOPBACK_NAMES = frozenset(["127.0.0.1", "localhost", "[::1]"])
_OWN_SITE = frozenset(["same-origin", "none"])  # `none`: the user typed the address
_SAFE = frozenset(["GET", "HEAD", "OPTIONS"])


def refuse_page(request: Request, names: Collection[str]) -> None:
    """Raise `ApiError` for a request of a foreign page. `names` are the host names of the port, in addition to those of loopback."""
    for host in _hosts(request):
        if _name(host) not in LOOPBACK_NAMES and _name(host) not in names:
            raise ApiError(
                "PERMISSION_DENIED",
                f"The embedded cloud does not serve the host {host[:100]!r}. Valid: 127.0.0.1, localhost, [::1] and what"
                " --allow-host names. If a container or another machine calls it by this name, start it with --allow-host NAME.",
            )
    origin = request.environ.get("HTTP_ORIGIN")
    if origin is not None and origin != f"http://{request.headers.get('Host', '')}":
        raise ApiError(
            "PERMISSION_DENIED",
            f"A web page of the origin {origin[:100]!r} may not call the embedded cloud. Valid: no Origin header, or the"
            " embedded cloud's own address. Call it from a program or a terminal.",
        )
    site = request.environ.get("HTTP_SEC_FETCH_SITE")
    if site is not None and site not in _OWN_SITE:
        raise ApiError(
            "PERMISSION_DENIED",
            f"A web page of another site may not call the embedded cloud (Sec-Fetch-Site: {site[:40]!r}; another port of this"
            " machine is another site, too). Valid: same-origin, none, or no such header. Type the address, or call it from a program.",
        )


def comes_from_elsewhere(request: Request) -> bool:
    """Return True if a page of another origin sent the request, except for navigation by a link or a redirect."""
    own, upgrade = f"http://{request.headers.get('Host', '')}", request.headers.get("Upgrade") is not None
    site = request.headers.get("Sec-Fetch-Site", "same-origin")
    if request.method in _SAFE and not upgrade:
        return site not in _OWN_SITE and request.headers.get("Sec-Fetch-Mode") != "navigate"
    return request.headers.get("Origin", own) != own or site not in _OWN_SITE


def is_unasked(request: Request) -> bool:
    """Return True if another site directed a browser here without a click of the user."""
    site = request.headers.get("Sec-Fetch-Site", "same-origin")
    return site not in _OWN_SITE and request.headers.get("Sec-Fetch-User") != "?1"


def _hosts(request: Request) -> list[str]:
    """Return the hosts that the request names: in `Host`, and in an absolute URL (RFC 9112, 3.2.2). A browser sends at least one."""
    target = str(request.environ.get("RAW_URI", ""))
    absolute = [urlsplit(target).netloc] if target.startswith(("http://", "https://")) else []
    host = request.environ.get("HTTP_HOST")
    return [*absolute, *([host] if host is not None else [])]


def _name(host: str) -> str:
    """Return the host in lower case, without its port and a final dot."""
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    return name.lower().removesuffix(".")
