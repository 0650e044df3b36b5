"""Put a lifecycle message or a tick on its topic (the CLI's `publish`, tests, benchmarks)."""

from __future__ import annotations

from shared.cloud.clients import Clients
from shared.cloud.translate import translated

_TIMEOUT_S = 30


def publish(
    clients: Clients,
    *,
    project: str,
    topic: str,
    body: bytes,
    attributes: dict[str, str],
    timeout_s: float = _TIMEOUT_S,
) -> str:
    """The id that Pub/Sub gave the message. Raises our errors."""
    with translated(f"publish to {topic}"):
        future = clients.publisher().publish(f"projects/{project}/topics/{topic}", body, **attributes)
        return str(future.result(timeout=timeout_s))
