"""The clients for Google's services, each made once per process on first use, and the access tokens on Google Cloud.

Buckets and plain REST share a transport; calls that must fail quickly have a second one. Official clients are used only for
Dataproc's creates and for Pub/Sub, because their import costs a third of a second.

With `api_endpoint` (the embedded cloud, loopback only: `shared.settings` checks that) all clients are anonymous and call that address.
Without it they use Application Default Credentials, or the configured token, and Google's own addresses.

Tokens come from the metadata server, and are cached until shortly before they expire (Cloud Run documentation, Service identity, Fetch
identity and access tokens). Outside of Google Cloud, `google.auth` finds the credentials, for example those of a user of the command
line. The import of `google.auth` takes a tenth of a second, so functions avoid it.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from msgspec import Struct

from shared.cloud.http.clock import AnsweredTime
from shared.cloud.http.json import JsonSession
from shared.cloud.http.objects import Bucket
from shared.cloud.http.translate import error_of, from_status, translated
from shared.cloud.http.transport import Door, Transport
from shared.cloud.http.words import Service

if TYPE_CHECKING:
    import requests
    from google.auth.credentials import Credentials


# The metadata server returns the same token until five minutes before it expires, and then a new one (same documentation).
_RENEW_BEFORE_S = 240.0
_HOST = "metadata.google.internal"
_PATH = "/computeMetadata/v1/instance/service-accounts/default/token"


def is_on_google_cloud(environ: Mapping[str, str]) -> bool:
    """Return True in a function or a service of Cloud Run, whose container contract sets K_SERVICE.

    Return False if GOOGLE_APPLICATION_CREDENTIALS names other credentials.
    """
    return bool(environ.get("K_SERVICE")) and not environ.get("GOOGLE_APPLICATION_CREDENTIALS")


class MetadataToken:
    """A cache of the access token of the account that the function runs as. One thread fetches a new token while the others wait."""

    def __init__(self, transport: Transport, *, host: str = "") -> None:
        self._transport = transport
        # Google's own libraries read the address of another metadata server from this variable.
        self._url = f"http://{host or os.environ.get('GCE_METADATA_HOST') or _HOST}{_PATH}"  # noqa: TID251 - as google.auth reads it
        self._lock = threading.Lock()
        self._token, self._ends_at_s = "", float("-inf")

    def sign(self, _method: str, _url: str, headers: dict[str, str]) -> None:
        """Add the token to a request's headers."""
        headers["authorization"] = f"Bearer {self._current()}"

    def renew(self) -> None:
        """Discard the token after it was refused."""
        with self._lock:
            self._ends_at_s = float("-inf")

    def _current(self) -> str:
        with self._lock:
            if time.monotonic() >= self._ends_at_s - _RENEW_BEFORE_S:
                self._token, lifetime_s = self._fetched()
                self._ends_at_s = time.monotonic() + lifetime_s
            return self._token

    def _fetched(self) -> tuple[str, float]:
        what = "get a token"
        with translated(what):
            answer = self._transport.send("GET", self._url, headers={"metadata-flavor": "Google"}, again=True)
        if not answer.ok:
            raise error_of(answer, what)
        try:
            said = json.loads(answer.content)
            return str(said["access_token"]), float(said["expires_in"])
        except (ValueError, KeyError, TypeError) as error:
            raise from_status(502, "no token in the answer", what) from error


T = TypeVar("T")
_STORAGE = "https://storage.googleapis.com"
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
# _POOL: more than the threads of a process; otherwise connections are made and discarded.
_PUBLIC_S = 10.0  # the wait for Google's public documents, while a user waits for a page
_SERVICES = {service.value: service for service in Service}
_POOL = 32
_QUICK_S = 8.0  # of a call that may fail without harm, and must not delay other work


class CloudConfig(Struct, frozen=True, kw_only=True):
    """The project, bucket and address of Google Cloud: `api_endpoint` is None for Google's own addresses.

    `token` is an access token that replaces Application Default Credentials. `patience_s` is the time, in seconds, for which a call is
    retried while the failure is temporary.
    """

    project: str
    bucket: str
    api_endpoint: str | None
    patience_s: float = 120.0
    token: str = ""

    def __repr__(self) -> str:
        """Return a text with the project, the bucket and the address. The token is a secret and is left out."""
        return f"CloudConfig(project={self.project!r}, bucket={self.bucket!r}, api_endpoint={self.api_endpoint!r})"


class Clients:
    """The clients of a process, one object each.

    Tests pass `mount` (a requests adapter) and `door` (a handler of the transport's requests), which answer calls without a
    socket.
    """

    def __init__(
        self, config: CloudConfig, *, mount: requests.adapters.BaseAdapter | None = None, door: Door | None = None
    ) -> None:
        self._config = config
        self._mount = mount
        self._door = door
        self._lock = threading.RLock()
        self._built: dict[str, Any] = {}
        self.answered_time = AnsweredTime()

    def bucket(self, name: str = "") -> Bucket:
        """Return the bucket of that name; without a name, the bucket of records."""
        named = name or self._config.bucket
        base = self._config.api_endpoint or _STORAGE
        return self._once(f"bucket:{named}", lambda: Bucket(self.transport(), base, named))

    def quick_bucket(self, name: str) -> Bucket:
        """Return the bucket of that name, for calls that must fail quickly: timeout and retries are short."""
        base = self._config.api_endpoint or _STORAGE
        transport = self._once("quick", lambda: self._build_transport(timeout_s=_QUICK_S, patience_s=_QUICK_S))
        return self._once(f"quick bucket:{name}", lambda: Bucket(transport, base, name))

    def transport(self) -> Transport:
        """Return the transport that sends requests with credentials."""
        return self._once("transport", self._build_transport)

    def clusters(self, region: str) -> Any:
        """Return the Dataproc cluster client over REST, at the region's own endpoint.

        No other endpoint serves the clusters of the region.
        """
        return self._once(f"clusters:{region}", lambda: self._build_clusters(region))

    def publisher(self) -> Any:
        """Return the Pub/Sub publisher."""
        return self._once("publisher", self._build_publisher)

    def json(self, service: str) -> JsonSession:
        """Return a session for plain authorised REST to a Google service (`notebooks`, `monitoring`) or to the embedded cloud."""
        base = self._config.api_endpoint or f"https://{service}.googleapis.com"
        return self._once(
            f"json:{service}", lambda: JsonSession(base, self.transport(), _SERVICES.get(service, Service.OTHER))
        )

    @property
    def api_endpoint(self) -> str | None:
        """The address of the embedded cloud; None with Google's own addresses."""
        return self._config.api_endpoint

    def without_credentials(self) -> Transport:
        """Return a transport that sends no credentials, for public documents of Google."""
        return self._once("without credentials", lambda: self._transport(lambda *_: None, timeout_s=_PUBLIC_S))

    @property
    def mount(self) -> requests.adapters.BaseAdapter | None:
        """The `requests` adapter with which tests answer calls without a socket; None otherwise."""
        return self._mount

    def close(self) -> None:
        """Close the kept connections."""
        self.transport().close()
        quick = self._built.get("quick")
        if quick is not None:
            quick.close()

    def _once(self, name: str, build: Callable[[], T]) -> T:
        with self._lock:  # functions run several threads, but each client is made once
            if name not in self._built:
                with translated(f"make {name}"):  # a missing login gives its own error, whichever call comes first
                    self._built[name] = build()
            built: T = self._built[name]
            return built

    def _credentials(self) -> Credentials:
        if self._config.api_endpoint:
            from google.auth.credentials import AnonymousCredentials

            return AnonymousCredentials()
        if self._config.token:
            from google.oauth2.credentials import Credentials as TokenCredentials

            return TokenCredentials(token=self._config.token)
        import google.auth

        credentials, _ = google.auth.default(scopes=[_SCOPE])
        return credentials

    def _build_transport(self, *, timeout_s: float = 60.0, patience_s: float | None = None) -> Transport:
        if self._config.api_endpoint:
            return self._transport(lambda *_: None, timeout_s=timeout_s, patience_s=patience_s)
        if not self._config.token and is_on_google_cloud(os.environ):  # noqa: TID251 - the platform's own variable, no setting
            # The metadata server is never behind a proxy.
            token = MetadataToken(
                Transport(sign=lambda *_: None, patience_s=_PUBLIC_S, trust_env=False, door=self._door)
            )
            return self._transport(token.sign, renew=token.renew, timeout_s=timeout_s, patience_s=patience_s)
        renew = None if self._config.token else self._renew
        return self._transport(self._sign, renew=renew, timeout_s=timeout_s, patience_s=patience_s)

    def _transport(
        self,
        sign: Callable[[str, str, dict[str, str]], None],
        *,
        renew: Callable[[], None] | None = None,
        timeout_s: float = 60.0,
        patience_s: float | None = None,
    ) -> Transport:
        return Transport(
            sign=sign,
            renew=renew,
            timeout_s=timeout_s,
            patience_s=self._config.patience_s if patience_s is None else min(patience_s, self._config.patience_s),
            door=self._door,
            heard=self.answered_time.hear if self._config.api_endpoint else None,
            # Calls to this machine's own port must not go through a proxy that the environment names.
            trust_env=not self._config.api_endpoint,
        )

    def _sign(self, method: str, url: str, headers: dict[str, str]) -> None:
        with self._lock:  # only one thread renews an expired token
            self._once("credentials", self._credentials).before_request(self._refreshing(), method, url, headers)

    def _renew(self) -> None:
        with self._lock:
            self._once("credentials", self._credentials).refresh(self._refreshing())

    def _refreshing(self) -> Any:
        from google.auth.transport.requests import Request

        return self._once("refreshing", Request)

    def _mounted(self, session: requests.Session) -> requests.Session:
        import requests

        adapter = self._mount or requests.adapters.HTTPAdapter(pool_connections=_POOL, pool_maxsize=_POOL)
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        if self._config.api_endpoint:
            session.trust_env = False  # calls to this machine's own port must not go through a proxy
        return session

    def _build_clusters(self, region: str) -> Any:
        from google.cloud.dataproc_v1 import ClusterControllerClient

        client = ClusterControllerClient(
            transport="rest",
            credentials=self._once("credentials", self._credentials),
            client_options={"api_endpoint": self._config.api_endpoint or f"{region}-dataproc.googleapis.com"},
        )
        self._mounted(client.transport._session)  # noqa: SLF001 - the client has no public access to its session
        return client

    def _build_publisher(self) -> Any:
        from google.cloud import pubsub_v1

        endpoint = self._config.api_endpoint
        if not endpoint:
            return pubsub_v1.PublisherClient()
        import grpc
        from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport

        channel = grpc.insecure_channel(urlsplit(endpoint).netloc)
        return pubsub_v1.PublisherClient(transport=PublisherGrpcTransport(channel=channel))
