"""The access tokens on Google Cloud: from the metadata server, cached until shortly before they expire.

Source: Cloud Run documentation, Service identity, Fetch identity and access tokens. Elsewhere `google.auth` finds credentials, also
those of a user at a command line; its import would cost a function a tenth of a second.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping

from shared.cloud.http.translate import error_of, from_status, translated
from shared.cloud.http.transport import Transport

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
    """The token of the account that the function runs as. One thread fetches a new token while the others wait."""

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
