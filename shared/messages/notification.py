"""The CloudEvents of the topic `workbench-notifications` (docs/asyncapi.yaml): a mail to a user is due.

The function `notify` reads only the identity of the mail from the event. All other data comes from the record, so a forged
message can trigger only a mail that is due. Other subscribers find the times in `facts`.
"""

from __future__ import annotations

import json

from msgspec import Struct

from shared.domain.record.parts import Mail, Stage
from shared.domain.record.record import UserRecord
from shared.domain.things.errors import InvalidMessageError
from shared.domain.things.identity import UserKey, parse_user_key
from shared.domain.things.times import rfc3339
from shared.messages.message import Message, json_object

TYPE = "benchkeeper.notification.v1"
_MAX_BYTES = 16_384
_LONGEST = 200


class DueMail(Struct, frozen=True, kw_only=True):
    """The identity of a mail that is due: its user, stage and episode."""

    user_key: UserKey
    stage: Stage
    episode: str


def notification(record: UserRecord, mail: Mail, *, project: str) -> bytes:
    """Return the CloudEvent for a due mail, as JSON bytes. The event's id is the same each time for the same mail."""
    said = {
        "specversion": "1.0",
        "id": f"{record.user_key}/{mail.stage.value}/{mail.episode}",
        "source": f"//benchkeeper/projects/{project}",
        "type": TYPE,
        "subject": record.user_key,
        "time": rfc3339(mail.decided_at),
        "datacontenttype": "application/json",
        "data": {
            "user_key": record.user_key,
            "user": record.email,
            "stage": mail.stage.value,
            "episode": mail.episode,
            "facts": dict(mail.facts),
        },
    }
    return json.dumps(said, ensure_ascii=False).encode()


def parse_notification(message: Message) -> DueMail:
    """Return the identity of the due mail. Raise `InvalidMessageError` for anything but a CloudEvent of type `TYPE` with it."""
    body = json_object(message, _MAX_BYTES)
    data = body.get("data")
    if body.get("type") != TYPE or not isinstance(data, dict):
        raise _no_notification(f"type {str(body.get('type'))[:60]!r}")
    stage = next((each for each in Stage if each.value == data.get("stage")), None)
    episode, user_key = data.get("episode"), data.get("user_key")
    if stage is None or not isinstance(user_key, str) or not isinstance(episode, str) or len(episode) > _LONGEST:
        raise _no_notification("data without user_key, stage and episode")
    return DueMail(user_key=parse_user_key(user_key), stage=stage, episode=episode)


def _no_notification(detail: str) -> InvalidMessageError:
    return InvalidMessageError(
        user_message=f"The message is not a notification. A notification is a CloudEvent of type {TYPE} with user_key, stage and episode in its data.",
        detail=f"no notification: {detail}",
    )
