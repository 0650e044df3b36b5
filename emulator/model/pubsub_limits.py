"""The limits of Pub/Sub for messages and acknowledgements, with the errors in its words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emulator.model import pubsub_names as names
from emulator.model.pubsub_names import refuse

if TYPE_CHECKING:
    from collections.abc import Iterable

_ACK_ID = re.compile(r"[^:\s]+:\d+")


@dataclass(frozen=True, slots=True)
class Draft:
    """A message as the publisher sends it."""

    data: bytes
    attributes: dict[str, str]
    ordering_key: str = ""


def check_drafts(drafts: list[Draft]) -> None:
    """Raise 400 for a publish request that breaks a limit."""
    if not drafts:
        refuse("The publish request must contain at least one message.")
    if len(drafts) > names.MAX_PUBLISH_MESSAGES:
        refuse(
            f"The value for message_count is too large. You passed {len(drafts)} in the request, "
            f"but the maximum value is {names.MAX_PUBLISH_MESSAGES}."
        )
    size = 0
    for draft in drafts:
        if not draft.data and not draft.attributes:
            refuse(
                "One or more messages in the publish request is empty. "
                "Each message must contain either non-empty data, or at least one attribute."
            )
        size += len(draft.data) + _check_attributes(draft.attributes)
        if len(draft.ordering_key.encode()) > names.MAX_ORDERING_KEY_BYTES:
            refuse(f"The ordering key is longer than {names.MAX_ORDERING_KEY_BYTES} bytes.")
    if size > names.MAX_PUBLISH_BYTES:
        refuse(f"Request payload size exceeds the limit: {names.MAX_PUBLISH_BYTES} bytes.")


def checked_ack_ids(ack_ids: Iterable[str]) -> list[str]:
    """Return the ack ids; raise 400 if there are none, or if any of them is invalid."""
    found = list(ack_ids)
    if not found:
        refuse("The request must contain at least one ack ID.")
    for ack_id in found:
        if not _ACK_ID.fullmatch(ack_id):
            refuse(f"You have passed an invalid ack ID to the service (ack_id={ack_id}).")
    return found


def _check_attributes(attributes: dict[str, str]) -> int:
    """Return the size of the attributes in bytes; raise 400 if they break a limit."""
    if len(attributes) > names.MAX_ATTRIBUTES:
        refuse(f"The number of attributes is too large. You passed {len(attributes)}, but the maximum value is {names.MAX_ATTRIBUTES}.")  # fmt: skip
    size = 0
    for key, value in attributes.items():
        key_size, value_size = len(key.encode()), len(value.encode())
        if not 0 < key_size <= names.MAX_ATTRIBUTE_KEY_BYTES or key.startswith("goog"):
            refuse(f"Invalid attribute key (key={key}): 1 to {names.MAX_ATTRIBUTE_KEY_BYTES} bytes, not beginning with goog.")  # fmt: skip
        if value_size > names.MAX_ATTRIBUTE_VALUE_BYTES:
            refuse(f"The value of attribute {key} is longer than {names.MAX_ATTRIBUTE_VALUE_BYTES} bytes.")
        size += key_size + value_size
    return size
