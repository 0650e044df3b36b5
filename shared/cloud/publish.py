"""The publisher of messages, for example lifecycle messages, wake-ups and ticks, to Pub/Sub topics."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from shared.cloud.http.clients import Clients
from shared.cloud.http.translate import translated

_TIMEOUT_S = 30
_UNDER_WAY = 2_000  # messages awaiting an answer: the client sends them in batches


def publish(
    clients: Clients,
    *,
    project: str,
    topic: str,
    body: bytes,
    attributes: dict[str, str],
    timeout_s: float = _TIMEOUT_S,
) -> str:
    """Publish one message and return the id that Pub/Sub gave it. Raise a `BenchkeeperError` if that fails."""
    with translated(f"publish to {topic}"):
        future = clients.publisher().publish(f"projects/{project}/topics/{topic}", body, **attributes)
        return str(future.result(timeout=timeout_s))


def publish_all(clients: Clients, *, project: str, topic: str, bodies: Iterable[bytes]) -> Iterator[str]:
    """Publish the messages, many at once, and yield their Pub/Sub ids in order. Raise a `BenchkeeperError` if that fails.

    A message whose id was yielded is published. After an error, any of the other messages may have been published or not.
    So the caller sends all of these again with the same event ids.
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
