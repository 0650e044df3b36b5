"""The publisher of the topic `workbench-notifications`: each mail that is due, as a CloudEvent."""

from __future__ import annotations

from collections.abc import Callable

from shared.cloud.http.clients import Clients
from shared.cloud.publish import publish
from shared.domain.record.parts import Mail
from shared.domain.record.record import UserRecord

_TIMEOUT_S = 8.0  # a pass waits for this call; a mail that is not published now is published by a later pass
CONTENT_TYPE = "application/cloudevents+json"


class PubSubNotifications:
    """The adapter of the port `Notifications`. `event` returns the message for a record and a mail (`shared.messages.notification`)."""

    def __init__(
        self, clients: Clients, *, project: str, topic: str, event: Callable[[UserRecord, Mail], bytes]
    ) -> None:
        self._clients = clients
        self._project, self._topic, self._event = project, topic, event

    def publish(self, record: UserRecord, mail: Mail) -> None:
        """Publish the mail. Raise a `BenchkeeperError` if that fails."""
        publish(
            self._clients,
            project=self._project,
            topic=self._topic,
            body=self._event(record, mail),
            attributes={"content-type": CONTENT_TYPE},
            timeout_s=_TIMEOUT_S,
        )
