"""The admin cloud's one door: finds the call in gcloud's own list of methods, checks it, journals it, carries it out."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from werkzeug.wrappers import Request, Response

from emulator.errors import ApiError
from emulator.wire.http import json_response, raw_path
from tests.kit.gcp import catalog, errors
from tests.kit.gcp.ground import Ask, Ground, Handler
from tests.kit.gcp.journal import Faults, Row, command_of
from tests.kit.gcp.keys import Keys
from tests.kit.gcp.roles import Roles

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

# Served here, by the name of the prefix (and of gcloud's override), with the version where the path has none.
MODELLED = {
    "serviceusage": "", "cloudresourcemanager": "", "cloudbilling": "", "iam": "", "cloudfunctions": "", "run": "v1",
    "eventarc": "", "cloudbuild": "", "artifactregistry": "", "logging": "", "monitoring": "", "bigquery": "v2", "cloudkms": "",
    "iap": "",
}  # fmt: skip
# Served by the embedded cloud.
FORWARDED = {"pubsub": "v1", "cloudscheduler": "v1", "notebooks": "v2"}
OLD_VERSIONS = {("cloudfunctions", "v1")}
_ALWAYS = {"serviceusage", "cloudresourcemanager", "cloudbilling", "storage"}
_STORAGE = re.compile(r"/(resumable/)?(upload/|download/)?storage/v1(/|$)|/batch(/|$)")
_SERIES = re.compile(r"v3/projects/[^/]+/timeSeries$")
_VERSION = re.compile(r"v\d+(alpha|beta)?\d*")
_UPLOAD = "/_upload/"
_SLOW = "cloudfunctions.projects.locations.functions."  # they start processes, and take the lock where they need it
_BUCKET = re.compile(r"^/storage/v1/b(/[^/]+)?$")
_BUCKET_POLICY = re.compile(r"/storage/v1/b/[^/]+/iam$")


class Front:
    """The WSGI application. `journal` grows by a row for every call, uploads of source excepted."""

    def __init__(
        self,
        ground: Ground,
        *,
        roles: Roles,
        keys: Keys,
        handlers: dict[str, Handler],
        uploads: dict[str, bytes],
        token: str,
    ) -> None:
        self._ground = ground
        self._roles = roles
        self._keys = keys
        self._handlers = handlers
        self._uploads = uploads
        self._token = token
        self.faults = Faults()
        self.journal: list[Row] = []

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """WSGI."""
        return self.respond(Request(environ))(environ, start_response)

    def respond(self, request: Request) -> Response:
        """The answer to one request."""
        path = raw_path(request)
        if path.startswith(_UPLOAD):
            return self._upload(request, path.removeprefix(_UPLOAD))
        if _STORAGE.match(path):
            service, rest = "storage", path
        else:
            service, _, rest = path.lstrip("/").partition("/")
        body: Any = None
        try:
            body = _body(request, service)
            response = self._faulty(request, service, rest, body)
        except ApiError as error:
            response = json_response(error.body(), error.http_status)
        agent = request.headers.get("User-Agent", "")
        query = request.query_string.decode()
        self.journal.append(Row(service, request.method, rest, query, body, response.status_code, command_of(agent)))
        return response

    def _upload(self, request: Request, key: str) -> Response:
        if request.method != "PUT" or key not in self._uploads:
            return Response("SignatureDoesNotMatch", status=403)
        self._uploads[key] = request.get_data()
        return Response("")

    def _faulty(self, request: Request, service: str, path: str, body: Any) -> Response:
        fault = self.faults.take(service, request.method, path)
        if fault is not None and not fault[1]:
            raise fault[0]
        response = self._serve(request, service, path, body)
        if fault is not None and response.status_code < 400:
            raise fault[0]
        return response

    def _serve(self, request: Request, service: str, path: str, body: Any) -> Response:
        api = f"{service}.googleapis.com"
        if request.headers.get("Authorization") != f"Bearer {self._token}":
            raise errors.not_logged_in(f"{request.method} {path}", api)
        if service not in _ALWAYS and (service in MODELLED or service in FORWARDED):
            self._ground.check_enabled(api)
        if service == "storage" or service in FORWARDED or (service == "monitoring" and _SERIES.match(path)):
            return self._forward(request, service, path, body)
        if service not in MODELLED:
            raise ApiError("NOT_FOUND", f"The admin cloud has no service {service!r}")
        return json_response(self._call(request, service, path, body or {}))

    # ---- what is modelled here

    def _call(self, request: Request, service: str, path: str, body: Any) -> Any:
        version, found, params = find(service, request.method, path)
        checks = catalog.api(service, version)
        if checks is not None:
            checks.check(found, list(request.args), body)
        # Two versions of an API may have a method of one name: the older one's handler has the version in its key.
        old = (service, version) in OLD_VERSIONS
        handler = self._handlers.get(f"{version}:{found.id}" if old else found.id)
        if handler is None:
            # 405, because gcloud repeats a 5xx for half a minute before it says so.
            text = f"The admin cloud does not serve {found.id} ({request.method} {path})"
            raise ApiError("UNIMPLEMENTED", text, http_status=405)
        decoded = {key: self._ground.canonical(unquote(value)) for key, value in params.items()}
        ask = Ask(found.id, decoded, request.args, body, request.host_url.rstrip("/"))
        if found.id.startswith(_SLOW):
            return handler(ask)
        with self._ground.lock:
            return handler(ask)

    # ---- what the embedded cloud serves

    def _forward(self, request: Request, service: str, path: str, body: Any) -> Response:
        if service == "storage":
            self._check_storage(request.method, path, body or {})
        else:
            found = catalog.api(service, FORWARDED.get(service, "v3"))
            if found is None or found.find(request.method, path) is None:
                raise ApiError("NOT_FOUND", f"{service} has no call {request.method} {path}")
            for project in re.findall(r"projects/([^/:]+)", unquote(path)):
                self._ground.check_project(project)
            if path.endswith(":setIamPolicy"):
                self._check_policy(body.get("policy", {}), reason=None)
        target = path if service == "storage" else f"/{path}"
        target = target.replace(f"projects/{self._ground.number}", f"projects/{self._ground.project}")
        query = request.query_string.decode()
        environ = {key: value for key, value in request.environ.items() if not key.startswith("werkzeug.")}
        environ["wsgi.input"] = io.BytesIO(request.get_data())
        environ["PATH_INFO"] = unquote(target, "latin-1")
        environ["RAW_URI"] = environ["REQUEST_URI"] = f"{target}?{query}" if query else target
        environ["wsgi.input"] = io.BytesIO(request.get_data())
        return self._ground.embedded.wsgi.respond(Request(environ))

    def _check_storage(self, verb: str, path: str, body: Any) -> None:
        if _BUCKET_POLICY.search(path) and verb == "PUT":
            self._check_policy(body, reason="invalid")
        key = (body.get("encryption") or {}).get("defaultKmsKeyName") if _BUCKET.search(path) else None
        if key:
            agent = f"service-{self._ground.number}@gs-project-accounts.iam.gserviceaccount.com"
            self._keys.check_use(self._ground.canonical(key), agent)

    def _check_policy(self, policy: Any, *, reason: str | None) -> None:
        try:
            for binding in policy.get("bindings", []):
                if not self._roles.known(str(binding.get("role", ""))):
                    raise ApiError(
                        "INVALID_ARGUMENT", f"Role {binding.get('role')} is not supported for this resource."
                    )
            self._ground.check_members(policy.get("bindings", []))
        except ApiError as error:
            raise ApiError(error.code, error.message, reason=reason) from error


def _body(request: Request, service: str) -> Any:
    """The JSON that was sent; None for media, which only storage takes."""
    raw = request.get_data()
    if not raw.strip():
        return None
    if not request.mimetype.endswith("json"):
        if service == "storage":
            return None
        raise ApiError("INVALID_ARGUMENT", f"The body is to be JSON, not {request.mimetype or 'nothing'}")
    body = request.get_json(silent=True, force=True)
    if not isinstance(body, dict):
        raise ApiError("INVALID_ARGUMENT", "Invalid JSON payload received. Expected an object.")
    return body


def find(service: str, verb: str, path: str) -> tuple[str, catalog.Method, dict[str, str]]:
    """The version and the method that are called, with the path's parameters; 404 when the API has none such."""
    version = MODELLED[service] or next((part for part in path.split("/") if _VERSION.fullmatch(part)), "")
    # BigQuery's client has its version in its base URL, the others in each path.
    found = catalog.api(service, version)
    match = None if found is None else found.find(verb, path.removeprefix("bigquery/v2/"))
    if match is None:
        raise ApiError("NOT_FOUND", f"{service} has no call {verb} {path}")
    return version, *match
