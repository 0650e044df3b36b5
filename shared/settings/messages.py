"""The section `messages` of config/settings.<env>.yaml: the mail server and the chat room for messages to users."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Meta, field

from shared.domain.things.identity import Email
from shared.settings.values import MailSettings, Security, Strict, check, one_of

_BLOCKED = 25
_TLS_PORT = 465
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_Secret = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,255}$", examples=["mail-password"])]


def _open(port: int) -> int:
    if port == _BLOCKED:
        raise ValueError("Google Cloud blocks port 25; use 587 (starttls) or 465 (tls)")
    return port


class SmtpFile(Strict, frozen=True, kw_only=True):
    """The settings of the mail server, of any provider. Without `user` there is no login."""

    host: Annotated[
        str, Meta(pattern=r"^([A-Za-z0-9-]+\.)*[A-Za-z0-9-]+$|^::1$", max_length=253, examples=["smtp-relay.gmail.com"])
    ]
    port: Annotated[int, check(_open, ge=1, le=65_535, description="587 with starttls, or 465 with tls.")] = 587
    security: Annotated[str, one_of("starttls", "tls", "none")] | None = None
    user: Annotated[str, Meta(max_length=320, description="The user name for the login.")] = ""
    secret: Annotated[_Secret, Meta(description="The secret of Secret Manager that has the password of `user`.")] = (
        "mail-password"  # noqa: S105 - a secret's name
    )

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """Yield (field, problem) for mail that would go over the network in clear text."""
        if self.security == "none" and self.host not in _LOOPBACK:
            yield (
                "security",
                "without TLS, mails and the password would cross the network in clear text; use starttls or tls",
            )

    @property
    def how(self) -> Security:
        """Return the security of the connection to the mail server; by default, it follows from the port."""
        return Security(self.security or ("tls" if self.port == _TLS_PORT else "starttls"))


class ChatFile(Strict, frozen=True, kw_only=True):
    """The settings of a chat room with a webhook that takes `{"text": …}` (Google Chat, Slack, Mattermost). The webhook's URL is a secret."""

    secret: Annotated[_Secret, Meta(description="The secret of Secret Manager that has the address of the webhook.")]


def _page(value: str) -> str:
    parts = urlsplit(value)
    is_local = parts.scheme == "http" and parts.hostname in _LOOPBACK
    if (parts.scheme != "https" and not is_local) or not parts.hostname or parts.username or parts.query:
        raise ValueError(f"'{value}' is not the URL of a page; a URL looks like https://notebooks.example.com")
    return value.rstrip("/")


class MessagesFile(Strict, frozen=True, kw_only=True):
    """The settings of messages to users. Without this section, users are informed only on the page."""

    sender: Annotated[Email, Meta(description="The sender's address; your mail server must allow it.")] = field(
        name="from"
    )
    smtp: SmtpFile | None = None
    chat: ChatFile | None = None
    about_leavers: Annotated[
        tuple[Email, ...],
        Meta(
            description="The addresses for mails about a leaver without a known manager, because leavers cannot read mail."
        ),
    ] = ()
    language: Annotated[
        str,
        Meta(
            pattern=r"^[a-z]{2}$", description="The language of people without their own: a folder of config/messages."
        ),
    ] = "en"
    page: Annotated[
        str,
        check(
            _page, description="The URL of the hub page, for links in mails, for example https://notebooks.example.com."
        ),
    ]

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """Yield ("", problem) if neither a mail server nor a chat room is configured."""
        if self.smtp is None and self.chat is None:
            yield "", "names neither smtp nor chat, so no message could be sent"

    def to_values(self) -> MailSettings:
        """Return the settings in the flat form that the functions use."""
        smtp = self.smtp
        return MailSettings(
            sender=self.sender,
            host=smtp.host if smtp is not None else "",
            port=smtp.port if smtp is not None else 0,
            security=smtp.how if smtp is not None else Security.STARTTLS,
            user=smtp.user if smtp is not None else "",
            secret=smtp.secret if smtp is not None and smtp.user else "",
            chat_secret=self.chat.secret if self.chat is not None else "",
            about_leavers=self.about_leavers,
            language=self.language,
            page=self.page,
        )
