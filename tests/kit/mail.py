"""A mail server on loopback that fails where a script says, what it accepted, and a queue in place of the topic."""

from __future__ import annotations

import email
import email.policy
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any

from msgspec.structs import replace

from kit.life import Life, life, settings_with
from shared.cloud.mail.smtp import Server, SmtpServer
from shared.domain.record.parts import Mail, Stage
from shared.engine.news.mails import tell
from shared.settings.values import MailSettings, Security

BOSSES = ("bosses@example.com",)
MESSAGES = MailSettings(
    sender="notebooks@example.com",
    host="127.0.0.1",
    port=1,
    security=Security.NONE,
    user="",
    secret="",
    chat_secret="",
    about_leavers=BOSSES,
    language="en",
    page="https://notebooks.example.com",
)


@dataclass
class Accepted:
    """A mail as the server accepted it."""

    sender: str
    recipients: list[str]
    raw: bytes

    @property
    def parsed(self) -> EmailMessage:
        found = email.message_from_bytes(self.raw, policy=email.policy.default)
        assert isinstance(found, EmailMessage)
        return found


@dataclass
class MailHost:
    """The server's script: answers by verb (`None`: hang up), the recipients it refuses, and what it accepted.

    `CONTENT` is the answer to the end of the content. With `hangs_up_after` the content is accepted, and no answer comes.
    """

    port: int = 0
    answers: dict[str, str | None] = field(default_factory=dict)
    refuses: dict[str, str] = field(default_factory=dict)
    hangs_up_after: bool = False
    has_utf8: bool = True
    accepted: list[Accepted] = field(default_factory=list)
    verbs: list[str] = field(default_factory=list)


class _Handler(socketserver.StreamRequestHandler):
    timeout = 10

    def handle(self) -> None:
        host: MailHost = self.server.script  # type: ignore[attr-defined]
        if not self._say(host, "CONNECT", "220 mail.example.com ESMTP"):
            return
        sender, recipients = "", list[str]()
        while line := self.rfile.readline().decode("utf-8").strip():
            verb = line.split(" ")[0].upper()
            host.verbs.append(verb)
            extensions = "250-SMTPUTF8\r\n250-8BITMIME\r\n" if host.has_utf8 else ""
            hello = f"250-mail.example.com\r\n{extensions}250-STARTTLS\r\n250 AUTH PLAIN LOGIN"
            normal = {"EHLO": hello, "DATA": "354 go on", "QUIT": "221 bye", "AUTH": "235 welcome"}.get(
                verb, "250 fine"
            )
            if verb == "MAIL":
                sender = line.partition("<")[2].rpartition(">")[0]
            if verb == "RCPT":
                named = line.partition("<")[2].rpartition(">")[0]
                if named in host.refuses:
                    normal = host.refuses[named]
                else:
                    recipients.append(named)
            if not self._say(host, verb, normal):
                return
            if (
                verb == "DATA"
                and host.answers.get(verb, normal) == normal
                and not self._content(host, sender, recipients)
            ):
                return

    def _content(self, host: MailHost, sender: str, recipients: list[str]) -> bool:
        lines = []
        while (line := self.rfile.readline()) not in {b".\r\n", b""}:
            lines.append(line[1:] if line.startswith(b".") else line)
        answer = host.answers.get("CONTENT", "250 accepted")
        if (answer or "").startswith("2"):
            host.accepted.append(Accepted(sender=sender, recipients=recipients, raw=b"".join(lines)))
        return not host.hangs_up_after and self._say(host, "CONTENT", "250 accepted")

    def _say(self, host: MailHost, verb: str, normal: str) -> bool:
        answer = host.answers.get(verb, normal)
        if answer is None:
            return False
        self.wfile.write(f"{answer}\r\n".encode())
        return True


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


@contextmanager
def mail_host() -> Iterator[MailHost]:
    with _Server(("127.0.0.1", 0), _Handler) as server:
        script = MailHost(port=server.server_address[1])
        server.script = script  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield script
        server.shutdown()
        thread.join()


@dataclass
class Queue:
    """The topic: what was published, in order. `down`: publishing fails."""

    published: list[tuple[str, Stage, str]] = field(default_factory=list)
    down: Exception | None = None

    def publish(self, record: Any, mail: Mail) -> None:
        if self.down is not None:
            raise self.down
        self.published.append((record.user_key, mail.stage, mail.episode))


@dataclass
class Mailed:
    """A life of whom a mail host tells."""

    life: Life
    queue: Queue
    host: MailHost

    @property
    def deps(self) -> Any:
        return self.life.bench.deps

    def deliver(self, *, times: int = 1) -> list[str]:
        """Deliver all that was published, each so many times; return what became of each delivery."""
        waiting, self.queue.published = self.queue.published, []
        return [tell(*named, self.deps) for named in waiting for _ in range(times)]

    def minutes(self, count: int) -> None:
        for _ in range(count):
            self.life.minutes(1)
            self.deliver()

    def days(self, count: float) -> None:
        self.life.bench.advance(days=count)
        self.minutes(14)

    def mails(self) -> list[tuple[str, str]]:
        return [(mail.stage.value, mail.state.value) for mail in self.life.record.status.mail.mails]

    def subjects(self) -> list[str]:
        return [str(mail.parsed["Subject"]) for mail in self.host.accepted]


def mailed(host: MailHost, *, messages: MailSettings = MESSAGES, user: str = "", **more: Any) -> Mailed:
    made = life(settings_with(more.pop("profiles", None), messages=messages, **more))
    queue = Queue()
    server = Server(host="127.0.0.1", port=host.port, security="none", user=user, sender=messages.sender)
    ports = replace(
        made.bench.deps.mail, notifications=queue, server=SmtpServer(server, lambda: "secret", timeout_s=5.0)
    )
    made.bench.deps = replace(made.bench.deps, mail=ports)
    return Mailed(life=made, queue=queue, host=host)
