"""The JSON-over-HTTP session for adapters without a client of their own: authorised, with translated errors, without retries."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import urlencode

from msgspec.json import Decoder

from shared.cloud.http.translate import error_of, from_status, translated
from shared.cloud.http.transport import Answer, Transport
from shared.cloud.http.words import Service

_NOT_FOUND = 404
T = TypeVar("T")


class JsonSession:
    """A session of calls against one base URL. `service` names the service of that URL, for the translation of errors."""

    def __init__(self, base_url: str, transport: Transport, service: Service = Service.OTHER) -> None:
        self._base_url = base_url.rstrip("/")
        self._transport = transport
        self._service = service

    def call(
        self, method: str, path: str, *, params: Mapping[str, Any] | None = None, body: Any = None, what: str = ""
    ) -> dict[str, Any]:
        """Return the answer's JSON object. Raise a `BenchkeeperError` for a failure, a 404 included, and for an answer without a JSON object.

        `what` names the call in an error's detail; the default is the method and the path.
        """
        what = what or f"{method} {path}"
        return self._object(self._found(method, path, params, body, what), what)

    def call_or_none(
        self, method: str, path: str, *, params: Mapping[str, Any] | None = None, body: Any = None, what: str = ""
    ) -> dict[str, Any] | None:
        """Return what `call` returns, but None for a 404."""
        what = what or f"{method} {path}"
        answer = self._sent(method, path, params, body, what)
        return None if answer.status == _NOT_FOUND else self._object(answer, what)

    def page(self, decoder: Decoder[T], path: str, *, params: Mapping[str, Any]) -> T:
        """Return the decoded answer to a GET; the decoder parses only the fields it needs of a large answer. Raise as `call` does."""
        what = f"GET {path}"
        answer = self._found("GET", path, params, None, what)
        try:
            return decoder.decode(answer.content)
        except ValueError as error:
            raise from_status(502, f"no JSON as documented: {error}", what) from error

    @staticmethod
    def _object(answer: Answer, what: str) -> dict[str, Any]:
        try:
            parsed = json.loads(answer.content)
        except ValueError:
            parsed = None
        if not isinstance(parsed, dict):
            raise from_status(502, f"no JSON object: {answer.content[:100].decode(errors='replace')}", what)
        return parsed

    def _found(self, method: str, path: str, params: Mapping[str, Any] | None, body: Any, what: str) -> Answer:
        """Return the answer. Raise a `BenchkeeperError` for every failure, a 404 included."""
        answer = self._sent(method, path, params, body, what)
        if answer.status == _NOT_FOUND:
            raise error_of(answer, what, service=self._service)
        return answer

    def _sent(self, method: str, path: str, params: Mapping[str, Any] | None, body: Any, what: str) -> Answer:
        asked = {name: value for name, value in (params or {}).items() if value is not None}
        query = f"?{urlencode(asked, doseq=True)}" if asked else ""
        sent = None if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"content-type": "application/json"}
        with translated(what):
            answer = self._transport.send(method, f"{self._base_url}{path}{query}", headers=headers, body=sent)
        if not answer.ok and answer.status != _NOT_FOUND:
            raise error_of(answer, what, service=self._service)
        return answer
