"""Put lifecycle messages or a tick on their topic (the CLI's `publish`, tests, benchmarks)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from shared.cloud.http.clients import Clients
from shared.cloud.http.translate import translated

_TIMEOUT_S = 30
_UNDER_WAY = 2_000  # messages that wait for an answer: the client sends them in batches


def publish(
    clients: Clients,
    *,
    project: str,
    topic: str,
    body: bytes,
    attributes: dict[str, str],
    timeout_s: float = _TIMEOUT_S,
) -> str:
    """Return the id that Pub/Sub gave the message. Raises our errors."""
    with translated(f"publish to {topic}"):
        future = clients.publisher().publish(f"projects/{project}/topics/{topic}", body, **attributes)
        return str(future.result(timeout=timeout_s))


def publish_all(clients: Clients, *, project: str, topic: str, bodies: Iterable[bytes]) -> Iterator[str]:
    """Yield the id that Pub/Sub gave each message, in order; the client sends many at once. Raises our errors.

    Whatever was yielded is published. What was not may be published or not: the caller sends it again, under the same event ids.
    """
    under_way: deque[object] = deque()
    with translated(f"publish to {topic}"):
        publisher, name = clients.publisher(), f"projects/{project}/topics/{topic}"
        for body in bodies:
            under_way.append(publisher.publish(name, body))
            if len(under_way) >= _UNDER_WAY:
                yield _published(under_way)
        while under_way:
            yield _published(under_way)


def _published(under_way: deque[object]) -> str:
    first = under_way.popleft()
    return str(first.result(timeout=_TIMEOUT_S))  # type: ignore[attr-defined]  # a future of the client, which has no types
