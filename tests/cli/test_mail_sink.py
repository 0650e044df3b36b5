"""The mail sink of the local system: real mails by SMTP, a page that shows them, and nobody but this machine."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import requests

from cli.local.mails import MailSink
from shared.cloud.mail.smtp import Server, SmtpServer
from shared.engine.ports.mail import Letter
from shared.settings import ENV_MAIL_SINK, load_settings

LETTER = Letter(
    recipients=("ñandú o'neil+test@sub.example.co",),
    subject="Your notebook is ready <b>",
    text="Plain <text>\n",
    html="<h1>Rich</h1><script>alert(1)</script>",
    language="en",
    message_id="abc",
    at=datetime(2026, 11, 23, 8, 0, tzinfo=UTC),
)


@pytest.fixture
def sink() -> Iterator[MailSink]:
    pytest.importorskip("aiosmtpd", reason="./tests/run.sh installs it")
    made = MailSink(0)
    made.start()
    yield made
    made.stop()
    made.stop()


def asked(sink: MailSink, path: str = "", host: str = "") -> requests.Response:
    return requests.get(f"{sink.url}{path}", headers={"Host": host} if host else {}, timeout=10)


def seen(sink: MailSink, path: str = "") -> str:
    answer = asked(sink, path)
    assert answer.status_code == 200
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    return answer.content.decode()


def test_a_mail_is_shown_as_its_reader_sees_it_and_as_text(sink):
    assert "No mail yet" in seen(sink)
    server = Server(host="127.0.0.1", port=sink.smtp_port, security="none", user="", sender="notebooks@example.com")
    assert SmtpServer(server, str).send(LETTER) == 0
    listed = seen(sink)
    assert "Your notebook is ready &lt;b&gt;" in listed
    one = seen(sink, "1")
    assert "<iframe sandbox" in one
    assert "Plain &lt;text&gt;" in one
    assert "<script>" not in one
    assert "auto-generated" in one


@pytest.mark.parametrize(("path", "host", "status"), [("2", "", 404), ("../x", "", 404), ("", "evil.example", 421)])
def test_nothing_else_is_answered(sink, path, host, status):
    assert asked(sink, path, host).status_code == status


def test_the_sink_switches_messages_on_for_the_embedded_cloud_only():
    on = load_settings(env="local", environ={ENV_MAIL_SINK: "2525 8901"})
    assert on.messages is not None
    assert (on.messages.host, on.messages.port, on.messages.page) == ("127.0.0.1", 2525, "http://127.0.0.1:8901")
    assert load_settings(env="local", environ={ENV_MAIL_SINK: "evil.example 1"}).messages is None
    assert load_settings(env="local", environ={}).messages is None
    assert load_settings(env="example", environ={ENV_MAIL_SINK: "2525 8901"}).messages is None
