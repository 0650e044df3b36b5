"""The mail server, over SMTP verb by verb, so that each failure is classified.

After a failure, a mail was certainly not accepted, or its acceptance is unknown. The acceptance is unknown if the
connection breaks between the first byte of the content and the server's answer, and if the answer is not one that SMTP
knows. Google Cloud blocks port 25; 465 and 587 are open (docs/platform-facts.md).
"""

from __future__ import annotations

import re
import smtplib
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email.header import Header
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime

from msgspec import Struct

from shared.domain.record.parts import Trouble
from shared.engine.ports.mail import Letter, NotAcceptedError

TIMEOUT_S = 20.0  # for each answer
_GO_ON = 354
_DONE, _LATER, _NEVER = 2, 4, 5  # the first digit of an answer
_LONGEST_WORD = 60
_DOT = re.compile(rb"(?m)^\.")


class Server(Struct, frozen=True, kw_only=True):
    """The mail server's address. `security` is `starttls`, `tls` or `none`; without `user` there is no login."""

    host: str
    port: int
    security: str
    user: str
    sender: str


class SmtpServer:
    """The adapter of the port `MailServer`.

    `password` reads the secret again for each mail; `context` decides which certificates are trusted.
    """

    def __init__(
        self,
        server: Server,
        password: Callable[[], str],
        context: Callable[[], ssl.SSLContext] = ssl.create_default_context,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._server, self._password, self._context, self._timeout_s = server, password, context, timeout_s

    def send(self, letter: Letter) -> int:
        """Send the mail; return the number of refused recipients if at least one was accepted.

        Raise `NotAcceptedError` otherwise.
        """
        recipients = [_envelope(address) for address in letter.recipients]
        content = as_bytes(letter, self._server.sender)
        with _as(Trouble.CONNECT):
            connection = self._connect()
        try:
            self._greet(connection)
            options = self._options(connection, recipients, content)
            with _as(Trouble.SENDER):
                answer = connection.mail(_envelope(self._server.sender), options)
            _demand(answer, Trouble.SENDER)
            refused = self._name(connection, recipients)
            self._hand_over(connection, content)
        finally:
            with suppress(OSError, smtplib.SMTPException):
                connection.quit()
            connection.close()
        return refused

    def _connect(self) -> smtplib.SMTP:
        at = (self._server.host, self._server.port)
        if self._server.security == "tls":
            return smtplib.SMTP_SSL(*at, timeout=self._timeout_s, context=self._context())
        return smtplib.SMTP(*at, timeout=self._timeout_s)

    def _greet(self, connection: smtplib.SMTP) -> None:
        with _as(Trouble.GREETING):
            code, _ = connection.ehlo()
            if code // 100 == _LATER:
                # After HELO, which `smtplib` tries next, an address outside ASCII would be refused for good.
                raise NotAcceptedError(Trouble.GREETING, f"the mail server said {code}")
            connection.ehlo_or_helo_if_needed()
        if self._server.security == "starttls":
            with _as(Trouble.STARTTLS):
                connection.starttls(context=self._context())
                connection.ehlo_or_helo_if_needed()
        if self._server.user:
            password = self._password()
            with _as(Trouble.LOGIN):
                connection.login(self._server.user, password)

    def _options(self, connection: smtplib.SMTP, recipients: list[str], content: bytes) -> list[str]:
        if all(address.isascii() for address in (*recipients, self._server.sender)):
            return []
        if not connection.has_extn("smtputf8"):
            detail = "the mail server does not take addresses outside ASCII (SMTPUTF8)"
            raise NotAcceptedError(Trouble.RECIPIENT, detail, lasts=True)
        return ["SMTPUTF8", *(["BODY=8BITMIME"] if not content.isascii() else [])]

    def _name(self, connection: smtplib.SMTP, recipients: list[str]) -> int:
        """Send the recipients to the server, and return the number of refused recipients.

        Raise `NotAcceptedError` if the server refused all of them.
        """
        with _as(Trouble.RECIPIENT):
            answers = [connection.rcpt(address)[0] for address in recipients]
        refused = [code for code in answers if code // 100 != _DONE]
        if len(refused) == len(answers):
            lasts = all(code // 100 == _NEVER for code in refused)
            raise NotAcceptedError(Trouble.RECIPIENT, f"the mail server said {max(refused)}", lasts=lasts)
        return len(refused)

    def _hand_over(self, connection: smtplib.SMTP, content: bytes) -> None:
        with _as(Trouble.CONTENT):
            code, _ = connection.docmd("DATA")
        if code != _GO_ON:
            raise NotAcceptedError(Trouble.CONTENT, f"the mail server said {code}", lasts=code // 100 == _NEVER)
        with _as(Trouble.NO_ANSWER, is_unsure=True):
            connection.send(_DOT.sub(b"..", content) + b".\r\n")
            answer = connection.getreply()
        is_clear = answer[0] // 100 in {_DONE, _LATER, _NEVER}
        _demand(answer, Trouble.CONTENT if is_clear else Trouble.NO_ANSWER, is_unsure=not is_clear)


def _demand(answer: tuple[int, bytes], trouble: Trouble, *, is_unsure: bool = False) -> None:
    """Raise `NotAcceptedError` unless the answer's first digit is 2, which means completion (RFC 5321, 4.2.1)."""
    if answer[0] // 100 != _DONE:
        lasts = answer[0] // 100 == _NEVER
        raise NotAcceptedError(trouble, f"the mail server said {answer[0]}", lasts=lasts, is_unsure=is_unsure)


@contextmanager
def _as(trouble: Trouble, *, is_unsure: bool = False) -> Iterator[None]:
    """Turn an error of the server, the connection or TLS in the block into `NotAcceptedError` with this `trouble`.

    The server's text is left out, because it may contain addresses.
    """
    try:
        yield
    except smtplib.SMTPResponseException as error:
        raise NotAcceptedError(trouble, f"the mail server said {error.smtp_code}", is_unsure=is_unsure) from error
    except ssl.SSLCertVerificationError as error:
        detail = f"the mail server's certificate is not trusted: {error.verify_message}"
        raise NotAcceptedError(trouble, detail, is_unsure=is_unsure) from error
    except (OSError, smtplib.SMTPException, ValueError) as error:
        raise NotAcceptedError(trouble, type(error).__name__, is_unsure=is_unsure) from error


def _envelope(address: str) -> str:
    """Return the address as SMTP needs it: the domain in its ASCII form, the name quoted if it has other than atom characters."""
    name, _, domain = address.rpartition("@")
    return f"{Address(username=name, domain='x').addr_spec.rpartition('@')[0]}@{_ascii(domain)}"


def _ascii(domain: str) -> str:
    try:
        return domain.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise NotAcceptedError(Trouble.RECIPIENT, "a domain has no ASCII form", lasts=True) from error


def as_bytes(letter: Letter, sender: str) -> bytes:
    """Return the mail with its headers, lines ended by CRLF. Raise `NotAcceptedError` for a text that would break a header."""
    is_ascii = all(address.rpartition("@")[0].isascii() for address in (*letter.recipients, sender))
    message = EmailMessage(policy=SMTP if is_ascii else SMTPUTF8)
    try:
        message["From"] = Address(display_name="Benchkeeper", **_parts(sender))
        message["To"] = tuple(Address(**_parts(address)) for address in letter.recipients)
        message["Date"] = format_datetime(letter.at)
        message["Message-ID"] = f"<{letter.message_id}@{_ascii(sender.rpartition('@')[2])}>"
        message["Auto-Submitted"] = "auto-generated"
        message["X-Auto-Response-Suppress"] = "OOF, AutoReply"
        message.set_content(letter.text, cte="quoted-printable")
        message.add_alternative(letter.html, subtype="html", cte="quoted-printable")
        message["Content-Language"] = letter.language
        return _subject(letter.subject) + message.as_bytes()
    except (ValueError, TypeError, UnicodeError) as error:
        raise NotAcceptedError(
            Trouble.TEXT, f"the mail cannot be composed: {type(error).__name__}", lasts=True
        ) from error


def _subject(text: str) -> bytes:
    """Return the header Subject, which is built separately.

    `EmailMessage` decodes encoded words in a value: a name `=?utf-8?q?x=0D=0ABcc:…?=` became a separate header. It also
    loses a space when it folds a long subject in another script.
    """
    is_short = max(map(len, text.split()), default=0) < _LONGEST_WORD  # a line can be broken between words
    is_plain = text.isascii() and text.isprintable() and "=?" not in text and is_short
    made = Header(text, "us-ascii" if is_plain else "utf-8", header_name="Subject").encode(linesep="\r\n")
    return f"Subject: {made}\r\n".encode("ascii")


def _parts(address: str) -> dict[str, str]:
    name, _, domain = address.rpartition("@")
    return {"username": name, "domain": _ascii(domain)}
