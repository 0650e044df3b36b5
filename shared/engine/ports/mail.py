"""Ports of the messages to users: the topic on which due mails are published, the texts, the mail server and the chat.

A method of a port may raise `RetryableError` or `PermanentError` (`shared.domain.things.errors`), and a method that
sends may raise `NotAcceptedError`; any other exception is a bug. Adapters in `shared.cloud` implement the ports.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from shared.domain.things.errors import BenchkeeperError

if TYPE_CHECKING:
    from shared.domain.record.parts import Mail, Trouble
    from shared.domain.record.record import UserRecord


class NotAcceptedError(BenchkeeperError):
    """The error of a mail that was not accepted. `lasts` is True if the same mail would be refused again.

    `is_unsure` is True if the server may have accepted the mail.
    """

    def __init__(self, trouble: Trouble, detail: str, *, lasts: bool = False, is_unsure: bool = False) -> None:
        super().__init__(user_message="The message could not be sent.", detail=detail)
        self.trouble = trouble
        self.lasts = lasts
        self.is_unsure = is_unsure


class Letter(Struct, frozen=True, kw_only=True):
    """A mail as plain text and HTML. `message_id` is the same each time for the same user, stage and episode."""

    recipients: tuple[str, ...]
    subject: str
    text: str
    html: str
    language: str
    message_id: str
    at: datetime


class Notifications(Protocol):
    """The publisher to the topic `workbench-notifications`: each mail that is due is published as a CloudEvent."""

    def publish(self, record: UserRecord, mail: Mail) -> None:
        """Publish the mail. A mail may be published several times, but only one process claims and sends it."""


class Words(Protocol):
    """The writer of mails from the texts of `config/messages/`."""

    def write(self, mail: Mail, record: UserRecord, recipients: Sequence[str], now: datetime) -> Letter:
        """Return the mail in the user's language and time zone. Raise `NotAcceptedError` if a text cannot be rendered."""


class MailServer(Protocol):
    """The mail server of the settings."""

    def send(self, letter: Letter) -> int:
        """Send the mail; return the number of refused recipients if at least one was accepted.

        Raise `NotAcceptedError` otherwise.
        """


class Chat(Protocol):
    """The webhook of the administrators' chat room."""

    def post(self, letter: Letter) -> None:
        """Post the subject and the text. Raise `NotAcceptedError` if the room does not accept it."""


class MailPorts(Struct, frozen=True, kw_only=True):
    """The configured ports for messages to users.

    `about_leavers` are the addresses for mails about a leaver without a known manager.

    `server` or `chat` is None if the settings do not configure it.
    """

    notifications: Notifications
    words: Words
    server: MailServer | None = None
    chat: Chat | None = None
    about_leavers: tuple[str, ...] = ()
