"""The dispatcher of the administrative services: it looks up a call in gcloud's own list of methods, checks it, and carries it out.

`serve` is a handler of the embedded cloud's own front. Each call, except an upload, is one row of the world's journal,
and a scripted fault can match it: service `admin`, method `pubsub.write` or `pubsub.read`, resource `VERB path`,
principal the gcloud command.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from werkzeug.wrappers import Request, Response

from emulator.admin import catalog, errors
from emulator.admin.ground import Ask, Ground, Handler
from emulator.errors import ApiError
from emulator.wire.http import Call, Route, raw_path
from emulator.world import CallSpec

if TYPE_CHECKING:
    from emulator.admin.keys import Keys

# The services by the name of the prefix (and of gcloud's override), with the version if the path has none.
SERVICES = {
    "serviceusage": "", "cloudresourcemanager": "", "cloudbilling": "", "iam": "", "cloudfunctions": "", "run": "v1",
    "eventarc": "", "cloudbuild": "", "artifactregistry": "", "logging": "", "monitoring": "", "bigquery": "v2", "cloudkms": "",
    "iap": "", "secretmanager": "", "pubsub": "v1", "cloudscheduler": "v1", "notebooks": "v2",
}  # fmt: skip
# The methods that the embedded cloud itself serves.
_EMBEDDED = re.compile(
    r"(pubsub|cloudscheduler|notebooks)\..*|iam\.projects\.(serviceAccounts|roles)\.\w+|monitoring\.projects\.timeSeries\.\w+"
    r"|cloudresourcemanager\.projects\.[gs]etIamPolicy"
)
_OLD_VERSIONS = {("cloudfunctions", "v1")}
_ALWAYS = {"serviceusage", "cloudresourcemanager", "cloudbilling", "storage"}
_STORAGE = re.compile(r"/(resumable/)?(upload/|download/)?storage/v1(/|$)|/batch(/|$)")
_VERSION = re.compile(r"v\d+(alpha|beta)?\d*")
_SLOW = "cloudfunctions.projects.locations.functions."  # these methods start processes, and take the lock only where they need it
_BUCKET = re.compile(r"^/storage/v1/b(/[^/]+)?$")
_BUCKET_POLICY = re.compile(r"/storage/v1/b/[^/]+/iam$")
# The calls that are no GET but change no visible state.
_READS = re.compile(
    r":(getIamPolicy|testIamPermissions|queryGrantableRoles|queryAuditableServices|queryTestablePermissions|lintPolicy"
    r"|generateUploadUrl|generateDownloadUrl|batchGet|pull|acknowledge|modifyAckDeadline)$|/upload/|/batch$|entries:list$"
)
_COMMAND = re.compile(r"command/(\S+)")


class Door:
    """The HTTP handler of all paths of the port.

    Each call needs the `token`, except a PUT to an upload URL. `uploads` stores the content of such PUTs.
    """

    def __init__(
        self, ground: Ground, *, keys: Keys, handlers: dict[str, Handler], uploads: dict[str, bytes], token: str
    ) -> None:
        self._ground = ground
        self._keys = keys
        self._handlers = handlers
        self._uploads = uploads
        self._token = token

    def routes(self) -> list[Route]:
        """Return the routes of the port."""
        every = [
            Route(verb, re.compile("/"), None, self.serve) for verb in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD")
        ]
        return [Route("PUT", re.compile(r"/_upload/(?P<key>.+)$"), None, self._upload), *every]

    def _upload(self, call: Call) -> Response:
        key = call.params["key"]
        if key not in self._uploads:
            return Response("SignatureDoesNotMatch", status=403)
        self._uploads[key] = call.request.get_data()
        return Response("")

    def serve(self, call: Call) -> Any:
        """Carry out a call and return its response. Raise `ApiError` for a call that is refused."""
        request, path, service = call.request, raw_path(call.request), "storage"
        if not _STORAGE.match(path):
            service, _, path = path.lstrip("/").partition("/")
        command = _COMMAND.search(request.headers.get("User-Agent", ""))
        writes = request.method != "GET" and _READS.search(path) is None
        spec = CallSpec("admin", f"{service}.{'write' if writes else 'read'}", mutates=writes, locks=False)
        who = command[1] if command else call.principal
        return self._ground.embedded.world.perform(
            spec, f"{request.method} {path}", who, lambda: self._answer(call, service, path)
        )

    def _answer(self, call: Call, service: str, path: str) -> Any:
        request, ground = call.request, self._ground
        api = f"{service}.googleapis.com"
        if request.headers.get("Authorization") != f"Bearer {self._token}":
            raise errors.not_logged_in(f"{request.method} {path}", api)
        if service in SERVICES and service not in _ALWAYS:
            ground.check_enabled(api)
        if service == "storage":
            # Only storage accepts content that is no JSON.
            self._check_storage(request.method, path, call.json() if request.mimetype.endswith("json") else {})
            return self._forward(request, path)
        if service not in SERVICES:
            raise ApiError("NOT_FOUND", f"The embedded cloud has no service {service!r}")
        version, found, params = find(service, request.method, path)
        body = call.json()
        checks = catalog.api(service, version)
        if checks is not None:
            checks.check(found, list(request.args), body)
        decoded = {key: ground.canonical(unquote(value)) for key, value in params.items()}
        ask = Ask(found.id, decoded, request.args, body, request.host_url.rstrip("/"))
        if found.id.endswith("etIamPolicy") and "policy" in body:
            self._check_policy(found.id, body["policy"])
        if self._is_embedded(ask):
            return self._forward(request, f"/{path}")
        # Two versions of an API may have a method of the same name: the key of the older one's handler has the version.
        old = (service, version) in _OLD_VERSIONS
        handler = self._handlers.get(f"{version}:{found.id}" if old else found.id)
        if handler is None:
            # 405, because gcloud repeats a 5xx for half a minute before it reports it.
            text = f"The embedded cloud does not serve {found.id} ({request.method} {path})"
            raise ApiError("UNIMPLEMENTED", text, http_status=405)
        if found.id.startswith(_SLOW):
            return handler(ask)
        with ground.lock:
            return handler(ask)

    def _is_embedded(self, ask: Ask) -> bool:
        """Return True if the embedded cloud itself serves the call. Policies of Google's own accounts are served here."""
        agents = ask.method in self._handlers and not self._ground.is_own(ask.params.get("resource", ""))
        return _EMBEDDED.fullmatch(ask.method) is not None and not agents

    def _forward(self, request: Request, path: str) -> Response:
        target = path.replace(f"projects/{self._ground.number}", f"projects/{self._ground.project}")
        query = request.query_string.decode()
        environ = {key: value for key, value in request.environ.items() if not key.startswith("werkzeug.")}
        environ["wsgi.input"] = io.BytesIO(request.get_data())
        environ["PATH_INFO"] = unquote(target, "latin-1")
        environ["RAW_URI"] = environ["REQUEST_URI"] = f"{target}?{query}" if query else target
        return self._ground.embedded.wsgi.dispatch(Request(environ))

    def _check_storage(self, verb: str, path: str, body: Any) -> None:
        if _BUCKET_POLICY.search(path) and verb == "PUT":
            try:
                self._check_policy("storage.setIamPolicy", body)
            except ApiError as error:
                raise ApiError(error.code, error.message, reason="invalid") from error
        key = (body.get("encryption") or {}).get("defaultKmsKeyName") if _BUCKET.search(path) else None
        if key:
            agent = f"service-{self._ground.number}@gs-project-accounts.iam.gserviceaccount.com"
            self._keys.check_use(self._ground.canonical(key), agent)

    def _check_policy(self, method: str, policy: Any) -> None:
        """Raise 400 for a role or an account that does not exist or is not yet known everywhere, and for a project without an owner."""
        bindings = policy.get("bindings", [])
        for binding in bindings:
            role = str(binding.get("role", ""))
            if not self._ground.embedded.access.knows_role(role):
                raise ApiError("INVALID_ARGUMENT", f"Role {role} is not supported for this resource.")
        self._ground.check_members(bindings)
        if method.startswith("cloudresourcemanager.projects.") and all(
            each.get("role") != "roles/owner" for each in bindings
        ):
            raise ApiError("INVALID_ARGUMENT", "Request contains an invalid argument: a project must keep an owner.")


def find(service: str, verb: str, path: str) -> tuple[str, catalog.Method, dict[str, str]]:
    """Return the called version and method, with the path's parameters; raise 404 if the API has no such method."""
    version = SERVICES[service] or next((part for part in path.split("/") if _VERSION.fullmatch(part)), "")
    # BigQuery's client has its version in its base URL, other clients in each path.
    found = catalog.api(service, version)
    match = None if found is None else found.find(verb, path.removeprefix("bigquery/v2/"))
    if match is None:
        raise ApiError("NOT_FOUND", f"{service} has no call {verb} {path}")
    return version, *match
