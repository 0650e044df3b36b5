"""The gateway to the JupyterLabs: one host name for each environment, all on one loopback port. Only the owner may pass.

It takes the place of the Notebooks proxy and of Component Gateway. A user arrives with a one-time ticket from the
sign-in of Identity-Aware Proxy, and is then known by a cookie of that host alone. JupyterLab trusts the gateway. So the
gateway also checks that WebSockets, and requests that change something, come from the environment's own pages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from werkzeug.utils import redirect
from werkzeug.wrappers import Request, Response

from emulator.iap.pages import notice_page
from emulator.iap.sessions import SESSION_S
from emulator.jupyter.labs import Labs, Options
from emulator.jupyter.places import CLUSTERS, NOTEBOOKS, Place, cluster_label
from emulator.wire.http import Call, Route, route
from emulator.wire.proxy import UpstreamError, forward, is_upgrade, target_of
from emulator.wire.streaming import StreamingServer, Tunnel

if TYPE_CHECKING:
    from emulator.iap.front import IapFront
    from emulator.iap.sessions import Session
    from emulator.services import Services

_SAFE = frozenset(["GET", "HEAD", "OPTIONS"])
_COOKIE = "emulated_gateway"
_SOON_S = 3
_SWITCHED = 101  # the status of a WebSocket that opens


class Gateway:
    """The gateway to the JupyterLabs of an embedded cloud, between `start` and `stop`. Without `open_at`, no JupyterLab runs.

    After `open_at`, the APIs report the URLs of this gateway instead of Google's. A request for a page of a JupyterLab
    that is starting waits until it answers, at most `patience_s` real seconds.
    """

    def __init__(self, services: Services, front: IapFront) -> None:
        self.patience_s = 20.0
        self._services = services
        self._front = front
        self._labs: Labs | None = None
        self._server: StreamingServer | None = None

    @property
    def labs(self) -> Labs:
        """The JupyterLabs. Raise `RuntimeError` before `open_at`."""
        if self._labs is None:
            raise RuntimeError("the gateway is not open")
        return self._labs

    @property
    def port(self) -> int:
        """The port of the gateway; 0 while it is not open."""
        return self._server.port if self._server is not None else 0

    def open_at(self, port: int, options: Options) -> None:
        """Bind the port (0 = a free one) and let the APIs report it. Raise `PortInUseError` if the port is taken."""
        self._server = StreamingServer(self.respond, port=port)
        self._labs = Labs(self._services, options)
        opened = self._server.port
        sign_in = self._front.sign_in
        sign_in.may_open = self._knows
        sign_in.other_origins = f"http://*{NOTEBOOKS}:{opened} http://*{CLUSTERS}:{opened}"
        with self._services.world.lock:
            self._services.notebooks.fleet.gateway = f"{NOTEBOOKS}:{opened}"
            self._services.dataproc.gateway = lambda name, uuid: (
                f"http://{cluster_label(name, uuid)}{CLUSTERS}:{opened}"
            )

    def start(self) -> None:
        """Start to serve requests and to run the JupyterLabs, if a port was bound."""
        if self._server is not None:
            self.labs.start()
            self._server.start()

    def stop(self) -> None:
        """Close the port and stop every JupyterLab; safe to call twice."""
        if self._server is not None:
            self._server.stop()
            self._server = None
        if self._labs is not None:
            self._labs.stop()

    def routes(self) -> list[Route]:
        """Return the route `GET /_emulator/jupyter`, which lists the running JupyterLabs."""
        return [route("GET", "/_emulator/jupyter", None, self._listing)]

    def _listing(self, _call: Call) -> dict[str, Any]:
        return {"port": self.port, "labs": self._labs.listing() if self._labs is not None else []}

    def _knows(self, netloc: str) -> bool:
        host, _, port = netloc.rpartition(":")
        return port == str(self.port) and self.labs.place(host) is not None

    # --- a request

    def respond(self, request: Request) -> Response | Tunnel:
        """Return the response to a request at an environment's host."""
        host, _, port = request.host.rpartition(":")
        if port != str(self.port) or not host.endswith((NOTEBOOKS, CLUSTERS)):
            return _plain(
                421, "This is the gateway to the JupyterLabs of the embedded cloud; it serves only their hosts."
            )
        ticket = request.args.get("ticket", "")
        if ticket and request.method == "GET":
            return self._let_in(request, host, ticket)
        session = self._front.sessions.read(request.cookies.get(self._cookie, ""), place=request.host)
        if session is None:
            return self._ask(request)
        place = self.labs.place(host)
        if place is None:
            return self._notice(
                "This page does not exist", "There is no such environment, or it was deleted.", status=404
            )
        if session.email not in place.owners:
            return self._not_yours(request)
        if not self._from_own_page(request):
            return _plain(403, "Refused: the request was made by a page of another site.")
        return self._open(request, place)

    @property
    def _cookie(self) -> str:
        return f"{_COOKIE}_{self.port}"

    def _let_in(self, request: Request, host: str, ticket: str) -> Response:
        """Redirect to the URL without the ticket, and store the ticket's session in a cookie.

        An invalid ticket, or one for an unknown host, sets no cookie.
        """
        parts = urlsplit(target_of(request))
        query = urlencode([pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] != "ticket"])
        path = f"/{parts.path.lstrip('/')}"  # two slashes would mean another host
        made = redirect(path + (f"?{query}" if query else ""), 303)
        made.headers["Referrer-Policy"], made.headers["Cache-Control"] = "no-referrer", "no-store"
        session = self._front.sessions.redeem(ticket, host=request.host)
        if session is not None and self.labs.place(host) is not None:
            self._remember(made, session, request.host)
        return made

    def _remember(self, made: Response, session: Session, place: str) -> None:
        value = self._front.sessions.cookie(session, place=place)
        made.set_cookie(self._cookie, value, max_age=SESSION_S, httponly=True, samesite="Lax")

    def _ask(self, request: Request) -> Response:
        if not _is_visit(request):
            return _plain(401, "Sign in first.")
        return redirect(f"{self._front.url}/_sign_in?{urlencode({'continue': self._address(request)})}", 302)

    def _address(self, request: Request) -> str:
        return f"http://{request.host}{target_of(request)}"

    @staticmethod
    def _from_own_page(request: Request) -> bool:
        if request.method in _SAFE and not is_upgrade(request):
            return True
        site = request.headers.get("Sec-Fetch-Site", "same-origin")
        origin = request.headers.get("Origin", f"http://{request.host}")
        return origin == f"http://{request.host}" and site in {"same-origin", "none"}

    def _open(self, request: Request, place: Place) -> Response | Tunnel:
        lab = self.labs.lab(place.host, wait_s=self.patience_s if _is_visit(request) else 0)
        if lab is None:
            return self._not_up(request, self.labs.place(place.host) or place)
        if not request.path.startswith(place.base):
            if request.path == "/":
                return redirect(f"{place.base}lab/", 302)
            return self._notice(
                "Only JupyterLab is here", "The embedded cloud runs no Hadoop and no Spark.", status=404
            )
        try:
            answer = forward(request, lab.dial, set_headers=self._headers(request, lab.authorization), drop=_is_ours)
        except UpstreamError:
            return self._not_up(request, place)
        self.labs.count(place.host, answer.status_code if isinstance(answer, Response) else _SWITCHED)
        return answer

    def _headers(self, request: Request, authorization: str) -> dict[str, str]:
        parts = [part.strip() for part in request.headers.get("Cookie", "").split(";")]
        cookies = "; ".join(part for part in parts if part and not part.startswith(_COOKIE))
        return {"Authorization": authorization, "Cookie": cookies}

    # --- pages

    def _notice(self, title: str, text: str, *, status: int, again: str = "") -> Response:
        """Return a notice page. `again` is a URL that the user may soon try again."""
        links = [("Look again", again)] if again else []
        links.append(("Go to the hub page", f"{self._front.url}/"))
        return notice_page(title, text, status=status, links=links, again_in=_SOON_S if again else 0)

    def _not_yours(self, request: Request) -> Response:
        back = urlencode({"continue": self._address(request)})
        links = [
            ("Sign in as somebody else", f"{self._front.url}/_sign_out?{back}"),
            ("Go to the hub page", f"{self._front.url}/"),
        ]
        text = "This environment belongs to another person, and only that person can open the environment."
        return notice_page("This environment is not yours", text, status=403, links=links)

    def _not_up(self, request: Request, place: Place) -> Response:
        again = self._address(request) if _is_visit(request) else ""
        if place.runs and self.labs.is_full and not self.labs.holds(place.host):
            text = (
                "This machine already runs the largest allowed number of JupyterLabs. Stop another environment first."
            )
            return self._notice("No room for JupyterLab", text, status=503)
        if place.runs:
            return self._notice("JupyterLab is starting", "The start takes some seconds.", status=503, again=again)
        if place.coming:
            text = "The start takes some minutes of the embedded cloud's time."
            return self._notice("Your environment is starting", text, status=503, again=again)
        text = f"Your environment does not run now (state {place.state}). Start the environment on the hub page; your files are kept."
        return self._notice("Your environment is stopped", text, status=503)


def _is_visit(request: Request) -> bool:
    """Return True if a user opens a page, False for a page's script."""
    return request.method == "GET" and "text/html" in request.headers.get("Accept", "") and not is_upgrade(request)


def _is_ours(name: str) -> bool:
    """Return True for headers (in lower case) that are only meant for this gateway."""
    return name in {"authorization", "forwarded"} or name.startswith(("x-forwarded-", "x-goog-"))


def _plain(status: int, text: str) -> Response:
    return Response(f"{text}\n", status, content_type="text/plain; charset=utf-8")
