"""The mail sink of the local system: a mail server on loopback that stores the latest mails in memory, and a page that shows them.

Nothing leaves this machine. The page shows a mail as its reader would see it (in a frame without scripts) and as plain text.
"""

from __future__ import annotations

import email
import email.policy
import html
import socket
import threading
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from cli.local.ports import HOST

if TYPE_CHECKING:
    from aiosmtpd.smtp import SMTP, Envelope, Session

_MOST = 500  # mails that are stored
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'; base-uri 'none'; form-action 'none'"
_NAMES = {HOST, "localhost"}
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2430}"
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.4rem .6rem;border-bottom:1px solid #dfe3e8;"
    "overflow-wrap:anywhere}iframe{width:100%;height:34rem;border:1px solid #dfe3e8}pre{white-space:pre-wrap;background:#f4f5f7;"
    "padding:1rem;overflow-wrap:anywhere}"
)


class Kept(Struct, frozen=True, kw_only=True):
    """A received mail: the recipients by its envelope, and its bytes."""

    recipients: tuple[str, ...]
    raw: bytes

    @property
    def message(self) -> EmailMessage:
        """The parsed mail."""
        found = email.message_from_bytes(self.raw, policy=email.policy.default)
        if not isinstance(found, EmailMessage):
            raise TypeError("the parser's policy makes other messages")
        return found

    def part(self, kind: str) -> str:
        """Return the text of the part `plain` or `html`; "" for a missing part."""
        found = self.message.get_body((kind,))
        return str(found.get_content()) if found is not None else ""


class MailSink:
    """The mail server and its page, between `start` and `stop`. `mails` are the latest mails, oldest first."""

    def __init__(self, page_port: int) -> None:
        self.mails: list[Kept] = []
        self._lock = threading.Lock()
        self._wanted = page_port
        self._controller: Any = None
        self._page: ThreadingHTTPServer | None = None
        self.smtp_port = 0

    @property
    def url(self) -> str:
        """The URL of the page; "" while it is not served."""
        return f"http://{HOST}:{self._page.server_address[1]}/" if self._page is not None else ""

    def start(self) -> None:
        """Accept mails on a free port, and serve the page on its own port, or on a free port if that port is in use.

        Raise `ImportError` without aiosmtpd.
        """
        from aiosmtpd.controller import Controller  # noqa: PLC0415 - only the local system has a use for it

        with socket.socket() as free:
            free.bind((HOST, 0))
            self.smtp_port = free.getsockname()[1]
        self._controller = Controller(self, hostname=HOST, port=self.smtp_port, enable_SMTPUTF8=True)
        self._controller.start()
        handler = type("Page", (_Page,), {"sink": self})
        try:
            self._page = ThreadingHTTPServer((HOST, self._wanted), handler)
        except OSError:  # the port is in use
            self._page = ThreadingHTTPServer((HOST, 0), handler)
        threading.Thread(target=self._page.serve_forever, name="mails", daemon=True).start()

    def stop(self) -> None:
        """Close both ports; safe to call twice."""
        if self._controller is not None:
            self._controller.stop(no_assert=True)
            self._controller = None
        if self._page is not None:
            self._page.shutdown()
            self._page.server_close()
            self._page = None

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        """Store a mail, remove the oldest mails beyond the limit, and return the SMTP response."""
        raw = envelope.original_content or b""
        with self._lock:
            self.mails.append(Kept(recipients=tuple(map(str, envelope.rcpt_tos)), raw=raw))
            del self.mails[:-_MOST]
        return "250 stored on this machine"


class _Page(BaseHTTPRequestHandler):
    """The HTTP handler of the sink's page: it answers with the list of mails or with one mail, and changes nothing."""

    sink: MailSink

    def do_GET(self) -> None:
        """Answer with the list or one mail; 421 for a host name other than this machine's, 404 for any other path."""
        if self.headers.get("Host", "").rpartition(":")[0] not in _NAMES:
            self._answer(
                421,
                "<p>This page is only for the user of this machine. Open it by the address that Benchkeeper printed.</p>",
            )
            return
        mails, name = list(self.sink.mails), self.path.strip("/")
        if not name:
            self._answer(200, _list_of(mails))
        elif name.isdecimal() and len(name) <= 6 and 1 <= int(name) <= len(mails):  # noqa: PLR2004 - digits
            self._answer(200, _one(mails[int(name) - 1]))
        else:
            self._answer(404, "<p>There is no such mail.</p>")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Write no log."""

    def _answer(self, status: int, body: str) -> None:
        page = f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>Mails</title><style>{_STYLE}</style><body>{body}</body>'
        raw = page.encode("utf-8", "replace")
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(raw)))
        self.send_header("Content-Security-Policy", _POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(raw)


def _list_of(mails: list[Kept]) -> str:
    rows = "".join(
        f'<tr><td>{html.escape(str(mail.message["Date"] or ""))}</td><td dir="auto">{html.escape(", ".join(mail.recipients))}</td>'
        f'<td><a href="/{number}" dir="auto">{html.escape(str(mail.message["Subject"] or ""))}</a></td></tr>'
        for number, mail in reversed(list(enumerate(mails, start=1)))
    )
    if not rows:
        return "<h1>Mails</h1><p>No mail yet. The first comes when a notebook is ready.</p>"
    head = "<tr><th>When</th><th>To</th><th>Subject</th></tr>"
    return f"<h1>Mails</h1><p>The mails that Benchkeeper would have sent. Nothing left this machine.</p><table>{head}{rows}</table>"


def _one(mail: Kept) -> str:
    headers = "".join(
        f"<tr><th>{html.escape(name)}</th><td dir=auto>{html.escape(str(value))}</td></tr>"
        for name, value in mail.message.items()
    )
    return (
        f'<p><a href="/">All mails</a></p><h1 dir="auto">{html.escape(str(mail.message["Subject"] or ""))}</h1>'
        f'<iframe sandbox title="As its reader sees it" srcdoc="{html.escape(mail.part("html"))}"></iframe>'
        f"<h2>Plain</h2><pre>{html.escape(mail.part('plain'))}</pre><h2>Headers</h2><table>{headers}</table>"
    )
