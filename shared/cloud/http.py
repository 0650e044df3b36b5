"""JSON over HTTP for what the official clients do not offer: authorised, translated, without retries of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import requests

from shared.cloud.translate import from_status, translated

_TIMEOUT_S = 60


class JsonSession:
    """Calls against one base URL. `make_session` is called once, on first use, from whichever thread comes first."""

    def __init__(self, base_url: str, make_session: Callable[[], requests.Session]) -> None:
        self._base_url = base_url.rstrip("/")
        self._make = make_session
        self._lock = threading.Lock()
        self._session: requests.Session | None = None

    @property
    def session(self) -> requests.Session:
        """The underlying session."""
        with self._lock:
            if self._session is None:
                self._session = self._make()
            return self._session

    def call(
        self, method: str, path: str, *, params: Mapping[str, Any] | None = None, body: Any = None, what: str = ""
    ) -> dict[str, Any]:
        """The answer as JSON. Raises our errors; a 404 is `InvalidSpecError` unless the caller uses `call_or_none`.

        `what` names the call in an error's detail, instead of method and path.
        """
        what = what or f"{method} {path}"
        answer = self.call_or_none(method, path, params=params, body=body, what=what)
        if answer is None:
            raise from_status(404, "not found", what)
        return answer

    def call_or_none(
        self, method: str, path: str, *, params: Mapping[str, Any] | None = None, body: Any = None, what: str = ""
    ) -> dict[str, Any] | None:
        """Like `call`, with None for 404."""
        what = what or f"{method} {path}"
        with translated(what):
            answer = self.session.request(method, self._base_url + path, params=params, json=body, timeout=_TIMEOUT_S)
        if answer.status_code == requests.codes.not_found:
            return None
        if not answer.ok:
            raise from_status(answer.status_code, _message(answer), what, reason=_reason(answer))
        try:
            parsed = answer.json()
        except ValueError:
            parsed = None
        if not isinstance(parsed, dict):
            raise from_status(502, f"no JSON object: {answer.text[:100]}", what)
        return parsed


def _message(answer: requests.Response) -> str:
    try:
        error = answer.json()["error"]
        details = error.get("details", "")
        return f"{error['message']} {details}".strip()
    except (ValueError, KeyError, TypeError):
        return answer.text[:300]


def _reason(answer: requests.Response) -> str:
    """The first `errors[].reason`, which Compute Engine and Cloud Storage give; empty for the APIs that have none."""
    try:
        return str(answer.json()["error"]["errors"][0]["reason"])
    except (ValueError, KeyError, TypeError, IndexError):
        return ""
