"""The HTTP front of the embedded cloud: one WSGI application made of routes.

A service registers `Route`s. A handler gets a `Call` and returns a `Response` or JSON-able data. The application finds the
route, runs the handler through `World.perform` and turns `ApiError` into Google's error body.
"""

from __future__ import annotations

import base64
import functools
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from werkzeug.exceptions import ClientDisconnected
from werkzeug.wrappers import Request, Response

from emulator.clock import rfc3339
from emulator.errors import ApiError
from emulator.wire.origin import refuse_page
from emulator.world import Judged

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from emulator.world import CallSpec, World


@dataclass(slots=True)
class Call:
    """A request: `params` are the route's named groups (percent-decoded), `principal` is the caller."""

    request: Request
    params: dict[str, str]
    principal: str
    args: Mapping[str, str] | None = None  # read once, at the first `query`

    def query(self, name: str, default: str = "") -> str:
        """Return a query parameter; if it is given more than once, its first value."""
        if self.args is None:
            self.args = _args(self.request.query_string)
        return self.args.get(name, default)

    def json(self) -> dict[str, Any]:
        """Return the body as a JSON object, `{}` if the body is empty. Raise `ApiError` (400), with the reason, for any other body."""
        if not self.request.get_data().strip():
            return {}
        body = json_body(self.request)
        if not isinstance(body, dict):
            raise ApiError("INVALID_ARGUMENT", "Invalid JSON payload received. Expected an object.")
        return body


@functools.lru_cache(1024)  # most calls repeat an earlier query
def _args(query: bytes) -> Mapping[str, str]:
    return MappingProxyType(Request({"QUERY_STRING": query.decode("latin-1")}).args.to_dict())


TIME_HEADER = "X-Emulator-Time"  # tells callers the virtual time, so that they need not ask for it
Handler = Callable[[Call], Any]
JUDGED_TOKEN = "as:"  # noqa: S105 - no secret: it reduces rights
_OWN_DOOR = "/_emulator"
# The control API's paths that programs of the product may read; the others are for users of this machine, not for accounts of the cloud.
_OPEN = frozenset({f"{_OWN_DOOR}/clock", f"{_OWN_DOOR}/iap/public_key"})
_AS_JSON = json.JSONEncoder(separators=(",", ":")).encode  # `json.dumps` makes an encoder at each call


@dataclass(frozen=True, slots=True)
class Route:
    """A route. `pattern` is a regular expression for the raw (still percent-encoded) path, with named groups.

    `resource` is a format over the groups for the journal, for example `{bucket}/{object}`, or a function of the call
    if only the body names the resource. With `spec` None, the handler runs without `World.perform`. This is for the
    control API, and for handlers that call `World.perform` themselves.
    """

    method: str
    pattern: re.Pattern[str]
    spec: CallSpec | None
    handler: Handler
    resource: str | Callable[[Call], str] = ""


def route(
    method: str,
    pattern: str,
    spec: CallSpec | None,
    handler: Handler,
    *,
    resource: str | Callable[[Call], str] = "",
) -> Route:
    """Return a `Route` from text; in `pattern`, `{name}` stands for one path segment and `{name=**}` for the rest.

    In a pattern that does not end with a name, a segment has no colon. Regular-expression characters in the fixed text
    are literal.
    """
    return Route(method, _compiled(pattern), spec, handler, resource)


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    out = ""
    for part in re.split(r"(\{\w+(?:=\*\*)?\})", pattern):
        if part.startswith("{") and part.endswith("=**}"):
            out += f"(?P<{part[1:-4]}>.+)"
        elif part.startswith("{"):
            out += f"(?P<{part[1:-1]}>[^/:]+)" if pattern.endswith("}") is False else f"(?P<{part[1:-1]}>[^/]+)"
        else:
            out += re.escape(part)
    return re.compile(f"^{out}$")


# The query parameters that every Google API accepts.
SYSTEM_PARAMETERS = frozenset(
    [
        "$alt",
        "alt",
        "$fields",
        "fields",
        "$prettyPrint",
        "prettyPrint",
        "$callback",
        "callback",
        "key",
        "access_token",
        "oauth_token",
        "quotaUser",
        "userProject",
        "uploadType",
        "upload_protocol",
        "$.xgafv",
    ]
)


def read_query(call: Call, known: Iterable[str]) -> dict[str, str]:
    """Return the request's own query parameters under their camelCase names. Raise `ApiError` (400) for unknown parameters."""
    names = {name: name for name in known}
    names |= {"".join("_" + c.lower() if c.isupper() else c for c in name): name for name in known}
    found: dict[str, str] = {}
    for name, value in call.request.args.items():
        if name in names:
            found[names[name]] = str(value)
        elif name not in SYSTEM_PARAMETERS:
            raise ApiError(
                "INVALID_ARGUMENT",
                f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query parameter. '
                f"Field '{name}' could not be found in request message.",
            )
    return found


def wants_numbers(call: Call) -> bool:
    """Return True if the caller asks for enums as numbers, as Google's generated REST clients do."""
    return "enum-encoding=int" in call.query("$alt")


def read_int(query: dict[str, str], name: str) -> int:
    """Return an int32 query parameter; 0 if it is absent. Raise `ApiError` (400) if it is not a number."""
    text = query.get(name, "0") or "0"
    try:
        return int(text)
    except ValueError:
        raise ApiError("INVALID_ARGUMENT", f"Invalid value at '{name}' (TYPE_INT32), \"{text}\"") from None


def read_body(call: Call, known: Iterable[str]) -> dict[str, Any]:
    """Return the JSON body. Raise `ApiError` (400) for fields that are not in `known`."""
    body = call.json()
    for name in body:
        if name not in known:
            raise ApiError(
                "INVALID_ARGUMENT", f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.'
            )
    return body


def with_query(handler: Callable[[Call, dict[str, str]], Any], *known: str) -> Handler:
    """Return a handler that first reads the query parameters. Only those in `known` are allowed."""
    return lambda call: handler(call, read_query(call, known))


def with_body(handler: Callable[[Call, dict[str, Any]], Any], *known: str) -> Handler:
    """Return a handler that first reads the body. Only the fields in `known` and no query parameters are allowed."""

    def handle(call: Call) -> Any:
        read_query(call, ())
        return handler(call, read_body(call, known))

    return handle


def principal_of(request: Request) -> str:
    """Return the caller: the bearer token itself if it is an address, or the `email` of a signed token.

    Any other token gives `bearer`, a request without a token `anonymous`. The token `as:EMAIL` gives a `Judged` caller,
    whose calls are checked by that account's permissions.
    """
    return principal_of_header(request.environ.get("HTTP_AUTHORIZATION", ""))


def principal_of_header(header: str) -> str:
    """Return the caller from the value of an `Authorization` header or of gRPC metadata."""
    if not header.lower().startswith("bearer "):
        return "anonymous"
    token = header[7:].strip()
    if token.startswith(JUDGED_TOKEN):
        return Judged(token.removeprefix(JUDGED_TOKEN))
    if "@" in token:  # an address, with any number of dots; a signed token has no @
        return token
    parts = token.split(".")
    if len(parts) == 3:  # noqa: PLR2004 - header.payload.signature
        try:
            padded = parts[1] + "=" * (-len(parts[1]) % 4)
            return str(json.loads(base64.urlsafe_b64decode(padded)).get("email", "bearer"))
        except ValueError:
            return "bearer"
    return "bearer"


def json_body(request: Request) -> Any:
    """Return the body as JSON. Raise `ApiError` (400) for other content, or without a JSON Content-Type.

    A web page's form can carry JSON, but cannot set that Content-Type.
    """
    kind = request.mimetype
    if kind != "application/json" and not kind.endswith("+json"):
        said = f"not {kind!r}" if kind else "which is missing"
        raise ApiError(
            "INVALID_ARGUMENT",
            f"Invalid Content-Type: a JSON body needs `Content-Type: application/json`, {said}. With curl: --json, or -H"
            " 'Content-Type: application/json'.",
        )
    try:
        return json.loads(request.get_data())
    except ValueError as error:
        raise ApiError("INVALID_ARGUMENT", f"Invalid JSON payload received. {error}") from error


def json_response(body: Any, status: int = 200) -> Response:
    """Return JSON with Google's content type."""
    return Response(_AS_JSON(body), status=status, content_type="application/json; charset=UTF-8")


class HttpFront:
    """The WSGI application. `routes` are tried in order, so the more specific ones must come first.

    `names` are the host names of the port, in addition to those of loopback.
    """

    def __init__(self, world: World, routes: Iterable[Route], *, names: Collection[str] = ()) -> None:
        self.world = world
        self._names = frozenset(name.lower() for name in names)
        self.routes = list(routes)
        self._by_method: dict[str, list[Route]] = {}
        for entry in self.routes:
            self._by_method.setdefault(entry.method, []).append(entry)
        # Clients repeat the same paths: the two hundred patterns are tried once for each path.
        self._found = functools.lru_cache(4096)(self._find)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request, as a WSGI application."""
        return self.respond(Request(environ))(environ, start_response)

    def respond(self, request: Request) -> Response:
        """Return the response to a request, with the virtual time in a header. An `ApiError` becomes a response, too."""
        answer = self._answer(request)
        answer.headers[TIME_HEADER] = rfc3339(self.world.clock.now())
        return answer

    def _answer(self, request: Request) -> Response:
        try:
            refuse_page(request, self._names)
            return self.dispatch(request)
        except ApiError as error:
            return json_response(error.body(), error.http_status)
        except ClientDisconnected:
            return json_response({}, 400)

    def dispatch(self, request: Request) -> Response:
        """Route a request to its handler and return the response. The caller has already refused requests of web pages.

        Raise `ApiError` for a failed call, and if a `Judged` caller uses the control API.
        """
        path = raw_path(request)
        found = self._found(request.method, path)
        if found is None:
            raise ApiError("NOT_FOUND", f"The embedded cloud serves no {request.method} {path}")
        entry, params = found
        call = Call(request, dict(params), principal_of(request))
        is_open = request.method == "GET" and path in _OPEN
        if isinstance(call.principal, Judged) and path.startswith(_OWN_DOOR) and not is_open:
            text = f"{call.principal} is an account of the cloud, not of this machine."
            raise ApiError("PERMISSION_DENIED", text)
        result = self._run(entry, call, path)
        return result if isinstance(result, Response) else json_response(result)

    def _find(self, method: str, path: str) -> tuple[Route, dict[str, str]] | None:
        for entry in self._by_method.get(method, ()):
            match = entry.pattern.match(path)
            if match is not None:
                return entry, {name: unquote(value) for name, value in match.groupdict().items() if value is not None}
        return None

    def _run(self, entry: Route, call: Call, path: str) -> Any:
        if entry.spec is None:
            return entry.handler(call)
        if callable(entry.resource):
            resource = entry.resource(call)
        else:
            resource = entry.resource.format_map(call.params) if entry.resource else path
        return self.world.perform(entry.spec, resource, call.principal, lambda: entry.handler(call))


def raw_path(request: Request) -> str:
    """Return the path as it was sent, still percent-encoded, because an object name may contain an encoded slash."""
    raw = str(request.environ.get("RAW_URI") or request.environ.get("REQUEST_URI") or request.environ["PATH_INFO"])
    path = raw.split("?", 1)[0]
    if path.startswith(("http://", "https://")):
        path = "/" + path.split("/", 3)[3]
    return path
