"""The bridge of Eventarc: a Pub/Sub push becomes a binary CloudEvent for a function, with the body unchanged.

The push endpoint of a function's subscription is `http://<this cloud>/_emulator/eventarc/<function>`. Pushes of our own
Pub/Sub are converted in place and go straight to the function's process (`Bridge.rewrite`). The same path, served over
HTTP (`Bridge.routes`), accepts pushes of any other Pub/Sub. Pushes are not authenticated; an Authorization header is
passed on.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from werkzeug.wrappers import Response

from emulator.errors import ApiError
from emulator.wire.http import Call, Route, route
from emulator.wire.push import PushRequest, with_headers

PATH = "/_emulator/eventarc/"
EVENT_TYPE = "google.cloud.pubsub.topic.v1.messagePublished"
_UNAVAILABLE = 503
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_LONGEST_S = 600
_PASSED_ON = ("Authorization", "User-Agent")


@dataclass(frozen=True, slots=True)
class Destination:
    """The address of a function. `url` is None while its process does not listen. If `retry` is False, failures are not retried.

    `headers` are the headers that the port of the function requires.
    """

    url: str | None
    topic: str
    retry: bool
    headers: dict[str, str]


Lookup = Callable[[str], Destination | None]


def event_headers(envelope: dict[str, Any], topic: str) -> dict[str, str]:
    """Return Eventarc's `ce-` headers for a push envelope. Raise `KeyError` or `TypeError` if `envelope` is not a push envelope."""
    message = envelope["message"]
    return {
        "ce-id": str(message["messageId"]),
        "ce-source": f"//pubsub.googleapis.com/{topic}",
        "ce-specversion": "1.0",
        "ce-type": EVENT_TYPE,
        "ce-time": str(message["publishTime"]),
        "Content-Type": "application/json",
    }


class Bridge:
    """The converter of pushes to events. `lookup` gives a function's destination, None if there is no such function."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup

    def rewrite(self, request: PushRequest) -> PushRequest | int | None:
        """Return the event for a push to this bridge, 503 while the function does not listen, or 404 if there is no function.

        Return None for a push to another address.
        """
        url = urlsplit(request.url)
        if not url.path.startswith(PATH) or url.hostname not in _LOOPBACK:
            return None
        destination = self._lookup(url.path.removeprefix(PATH))
        if destination is None:
            return 404
        if destination.url is None:
            return _UNAVAILABLE
        headers = event_headers(json.loads(request.body), destination.topic) | destination.headers
        return with_headers(request, url=destination.url, headers=headers, forgive=not destination.retry)

    def routes(self) -> list[Route]:
        """Return the route `POST /_emulator/eventarc/{function}`."""
        return [route("POST", PATH + "{function}", None, self._forward)]

    def _forward(self, call: Call) -> Response:
        destination = self._lookup(call.params["function"])
        if destination is None:
            raise ApiError("NOT_FOUND", f"There is no function {call.params['function']}")
        try:
            headers = event_headers(call.json(), destination.topic)
        except (KeyError, TypeError) as error:
            raise ApiError("INVALID_ARGUMENT", "The body is no Pub/Sub push envelope.") from error
        headers |= destination.headers
        headers |= {name: call.request.headers[name] for name in _PASSED_ON if name in call.request.headers}
        if destination.url is None:
            return Response("The function does not listen yet", status=_UNAVAILABLE)
        url = urlsplit(destination.url)
        connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=_LONGEST_S)
        try:
            connection.request("POST", "/", body=call.request.get_data(), headers={**headers, "Connection": "close"})
            answer = connection.getresponse()
            status = answer.status if destination.retry else min(answer.status, 204)
            return Response(answer.read() if status == answer.status else b"", status=status)
        except OSError:
            return Response("The function does not answer", status=_UNAVAILABLE)
        finally:
            connection.close()
