"""The front of Identity-Aware Proxy before the hub page: a port of its own, which only passes signed-in users.

The front works as on Google Cloud, except for access: here every signed-in user may pass, while on Google Cloud a role
decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from werkzeug.wrappers import Request, Response

from emulator.errors import ApiError
from emulator.iap.pages import notice_page
from emulator.iap.sessions import Sessions
from emulator.iap.sign_in import PATHS, SignIn
from emulator.iap.signing import IapSigner, named, subject_of, wrong_assertion
from emulator.wire.http import Call, Route, route
from emulator.wire.origin import comes_from_elsewhere
from emulator.wire.proxy import UpstreamError, forward, target_of, to_port
from emulator.wire.streaming import StreamingServer, Tunnel

if TYPE_CHECKING:
    from emulator.bridge import Destination, Lookup
    from emulator.clock import VirtualClock
    from emulator.iap.sessions import Session

SERVICE = "benchkeeper-hub"
DEFAULT_REGION = "europe-west1"
_MODE, _TEST = "gcp-iap-mode", "iap-secure-token-test-type"


class IapFront:
    """The emulated Identity-Aware Proxy: its signer, its sign-in page and its port. `functions` looks up a function's address.

    Without `open_at` there is only the signer: no port is bound.
    """

    def __init__(self, functions: Lookup, *, project_number: str, clock: VirtualClock) -> None:
        self.signer = IapSigner(clock)
        self.sessions = Sessions()
        self.sign_in = SignIn(self.sessions)
        self._functions = functions
        self._project_number = project_number
        self._region = DEFAULT_REGION
        self._server: StreamingServer | None = None

    @property
    def audience(self) -> str:
        """The audience of signed headers: the Cloud Run service behind the proxy."""
        return f"/projects/{self._project_number}/locations/{self._region}/services/{SERVICE}"

    @property
    def port(self) -> int:
        """The port of the front; 0 while it is not open."""
        return self._server.port if self._server is not None else 0

    @property
    def url(self) -> str:
        """The URL that a user opens."""
        return f"http://localhost:{self.port}"

    def open_at(self, port: int, *, region: str = DEFAULT_REGION) -> None:
        """Bind the port (0 = a free one); `start` serves it. Raise `PortInUseError` if the port is taken."""
        self._region = region
        self._server = StreamingServer(self.respond, port=port)
        self.sign_in.port = self._server.port

    def start(self) -> None:
        """Start to serve, if a port was bound."""
        if self._server is not None:
            self._server.start()

    def stop(self) -> None:
        """Close the port; safe to call twice."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def routes(self) -> list[Route]:
        """Return the routes under `/_emulator/`: the public keys, the people, and a description of this front."""
        return [
            *self.signer.routes(),
            *self.sign_in.routes(),
            route("GET", "/_emulator/iap", None, self._describe),
        ]

    def _describe(self, _call: Call) -> dict[str, Any]:
        return {"audience": self.audience, "url": self.url if self.port else None}

    def respond(self, request: Request) -> Response | Tunnel:
        """Return the response to a request at the front."""
        if request.host not in {f"localhost:{self.port}", f"127.0.0.1:{self.port}"}:
            # No sign-in under a foreign name that resolves to this machine (DNS rebinding).
            return Response(
                f"This host name is not served. Open {self.url} instead.\n",
                421,
                content_type="text/plain; charset=utf-8",
            )
        if comes_from_elsewhere(request):
            return Response(
                "Refused: the request was made by a page of another site.\n",
                403,
                content_type="text/plain; charset=utf-8",
            )
        if request.path in PATHS:
            return self.sign_in.respond(request)
        session = self.sign_in.session_of(request)
        mode = request.args.get(_MODE, "")
        if mode == "CLEAR_LOGIN_COOKIE":
            return self.sign_in.leave(request)
        if session is None:
            return self.sign_in.ask(request)
        if mode == "IDENTITY":
            return self.sign_in.identity(request)
        return self._pass_on(request, session)

    def _pass_on(self, request: Request, session: Session) -> Response | Tunnel:
        try:
            hub = self._hub()
            headers = self._headers(request, session) | hub.headers
            answer = forward(request, to_port(urlsplit(hub.url).port or 0), set_headers=headers, drop=_is_of_the_proxy)
        except UpstreamError:
            text = "The hub page's function is not running. It may be starting, or starting again."
            links = [("Look again", target_of(request))] if request.method == "GET" else []
            return notice_page("The hub page is not running", text, status=503, again_in=3, links=links)
        except ApiError as error:
            return Response(f"{error.message}\n", error.http_status, content_type="text/plain; charset=utf-8")
        if isinstance(answer, Response):
            self._keep_our_cookies(answer)
        return answer

    def _hub(self) -> Destination:
        found = self._functions(SERVICE)
        if found is None or found.url is None:
            raise UpstreamError(f"{SERVICE} is not running")
        return found

    def _headers(self, request: Request, session: Session) -> dict[str, str]:
        """Return the headers that tell the function the user's identity and the request's origin."""
        email = session.email
        if request.args.get(_MODE) == "SECURE_TOKEN_TEST":
            assertion = wrong_assertion(self.signer, email, self.audience, request.args.get(_TEST, "NOT_SET"))
        else:
            assertion = self.signer.assertion(email, self.audience)
        earlier, address = request.headers.get("X-Forwarded-For"), str(request.remote_addr)
        headers = {
            "x-goog-iap-jwt-assertion": assertion,
            "x-goog-authenticated-user-email": named(email),
            "x-goog-authenticated-user-id": subject_of(email),
            # Google's front end appends too: the caller's claim comes first, and cannot be trusted.
            "X-Forwarded-For": f"{earlier}, {address}" if earlier else address,
            "X-Forwarded-Proto": "http",
            "X-Forwarded-Host": request.host,
        }
        cookies = [f"{name}={value}" for name, value in _pairs(request) if not name.startswith(self.sign_in.cookie)]
        return headers | {"Cookie": "; ".join(cookies)}

    def _keep_our_cookies(self, answer: Response) -> None:
        """Drop the proxy's own cookie from a response, because the function must not set it."""
        mine = [value for value in answer.headers.getlist("Set-Cookie") if not value.startswith(self.sign_in.cookie)]
        answer.headers.remove("Set-Cookie")
        for value in mine:
            answer.headers.add("Set-Cookie", value)


def _is_of_the_proxy(name: str) -> bool:
    """Return True for headers (in lower case) that only Google may set. They are removed from a caller's request."""
    return name.startswith("x-goog-") or name in {"x-serverless-authorization", "forwarded"}


def _pairs(request: Request) -> list[tuple[str, str]]:
    raw = request.headers.get("Cookie", "")
    parts = [part.strip().partition("=") for part in raw.split(";")]
    return [(name, value) for name, _, value in parts if name]
