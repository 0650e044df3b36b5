"""Mail over TLS, from the first byte or by STARTTLS, to a server with a certificate of its own; a wrong one is refused."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from kit.certificate import authority
from kit.mail import MailHost, mail_host, mailed
from msgspec.structs import replace

from shared.cloud.mail.smtp import Server, SmtpServer
from shared.domain.record.parts import MailState, Trouble
from shared.engine.ports.mail import Letter, NotAcceptedError

LETTER = Letter(
    recipients=("ana.silva@example.com",), subject="Your notebook is ready", text="Open it.", html="<p>Open it.</p>", language="en",
    message_id="m1", at=datetime(2026, 11, 30, tzinfo=UTC),
)  # fmt: skip
WAYS = ["tls", "starttls"]


def is_encrypted(server: Any) -> bool:
    return server.transport.get_extra_info("ssl_object") is not None


class Inbox:
    """What arrived, and whether the connection was encrypted."""

    def __init__(self) -> None:
        self.arrived: list[tuple[list[str], bool]] = []
        self.logins: list[bytes] = []

    async def handle_DATA(self, server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - the name that aiosmtpd calls
        self.arrived.append((list(envelope.rcpt_tos), is_encrypted(server)))
        return "250 accepted"

    def login(self, server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        self.logins.append(data.password)
        return AuthResult(success=data.password == b"secret" and is_encrypted(server), handled=False)


class AnyPort(Controller):
    """A server on a port that the system chose."""

    def _trigger_server(self) -> None:
        assert self.server is not None
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@contextmanager
def serving(folder: Path, way: str, host: str = "127.0.0.1") -> Iterator[tuple[Inbox, int, Path]]:
    certificate, key = authority(folder, host)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    inbox = Inbox()
    how: dict[str, Any] = (
        {"ssl_context": context} if way == "tls" else {"tls_context": context, "require_starttls": True}
    )
    server = AnyPort(inbox, hostname="127.0.0.1", port=0, authenticator=inbox.login, auth_require_tls=False, **how)
    server.start()
    try:
        yield inbox, server.port, certificate
    finally:
        server.stop()


def sender(port: int, way: str, trusted: Path | None, *, user: str = "") -> SmtpServer:
    server = Server(host="127.0.0.1", port=port, security=way, user=user, sender="notebooks@example.com")
    context = (
        partial(ssl.create_default_context, cafile=str(trusted)) if trusted is not None else ssl.create_default_context
    )
    return SmtpServer(server, lambda: "secret", context, timeout_s=10.0)


@pytest.mark.parametrize("way", WAYS)
def test_a_mail_goes_over_tls_and_the_password_with_it(tmp_path: Path, way: str) -> None:
    with serving(tmp_path, way) as (inbox, port, certificate):
        assert sender(port, way, certificate, user="notebooks").send(LETTER) == 0
        assert inbox.arrived == [(["ana.silva@example.com"], True)]
        assert inbox.logins == [b"secret"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("wrong", ["nobody vouches for it", "of another host"])
def test_a_wrong_certificate_is_refused_before_anything_is_said(tmp_path: Path, way: str, wrong: str) -> None:
    host = "127.0.0.1" if wrong == "nobody vouches for it" else "127.0.0.2"
    with serving(tmp_path, way, host) as (inbox, port, certificate):
        trusted = certificate if wrong == "of another host" else None
        with pytest.raises(NotAcceptedError) as raised:
            sender(port, way, trusted, user="notebooks").send(LETTER)
        assert (inbox.arrived, inbox.logins) == ([], [])
    assert raised.value.trouble is (Trouble.CONNECT if way == "tls" else Trouble.STARTTLS)
    assert raised.value.detail.startswith("the mail server's certificate is not trusted: ")
    assert not raised.value.is_unsure


def test_a_server_without_starttls_gets_no_mail_in_the_clear() -> None:
    with mail_host() as host:
        host.answers["STARTTLS"] = "502 not here"
        with pytest.raises(NotAcceptedError) as raised:
            sender(host.port, "starttls", None).send(LETTER)
        assert raised.value.trouble is Trouble.STARTTLS
        assert host.accepted == []


@pytest.fixture
def plain() -> Iterator[MailHost]:
    with mail_host() as made:
        yield made


def test_the_operator_reads_of_a_wrong_certificate_and_the_mail_goes_once_it_is_right(
    plain: MailHost, tmp_path: Path
) -> None:
    """The three texts: the user's record says what waits, the metric's label says where, the log says why."""
    with serving(tmp_path, "starttls") as (inbox, port, certificate):
        made = mailed(plain)

        def sent_by(server: SmtpServer) -> None:
            made.life.bench.deps = replace(made.deps, mail=replace(made.deps.mail, server=server))

        sent_by(sender(port, "starttls", None))
        made.life.join(minutes=0)
        made.minutes(10)
        (mail,) = made.life.record.status.mail.mails
        assert (mail.state, mail.trouble) == (MailState.DUE, Trouble.STARTTLS)
        told = [facts for _, message, facts in made.life.bench.log.lines if message == "Mail was not accepted"]
        assert told
        assert {facts["reason"] for facts in told} == {"StartTls"}
        assert all("certificate is not trusted" in facts["detail"] for facts in told)
        sent_by(sender(port, "starttls", certificate))
        made.minutes(70)
        assert len(inbox.arrived) == 1
        assert [each.state for each in made.life.record.status.mail.mails] == [MailState.SENT]
