"""The chat room's web hook over a real connection: what is posted, what each answer means."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from msgspec.structs import replace

from shared.cloud.http.clients import Clients, CloudConfig
from shared.cloud.mail.chat import ChatRoom
from shared.engine.ports.mail import Letter, NotAcceptedError

LETTER = Letter(
    recipients=(), subject="Access of Ana has ended", text="Ana has no access.\n", html="", language="en", message_id="x",
    at=datetime(2026, 11, 23, tzinfo=UTC),
)  # fmt: skip


class Room(BaseHTTPRequestHandler):
    answer: int | None = 200
    posted: list[dict[str, str]]

    def do_POST(self) -> None:
        self.posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        if self.answer is None:
            self.close_connection = True
            return
        self.send_response(self.answer)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def room() -> Iterator[tuple[type[Room], str]]:
    kind = type("OneRoom", (Room,), {"posted": []})
    with HTTPServer(("127.0.0.1", 0), kind) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield kind, f"http://127.0.0.1:{server.server_address[1]}/hook"
        server.shutdown()
        thread.join()


def chat(address: str, endpoint: str | None = "http://127.0.0.1:1") -> ChatRoom:
    return ChatRoom(Clients(CloudConfig(project="p", bucket="b", api_endpoint=endpoint)), lambda: address)


def test_the_subject_and_the_text_are_posted(room):
    kind, address = room
    chat(address).post(LETTER)
    assert kind.posted == [{"text": "Access of Ana has ended\n\nAna has no access.\n"}]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("<!channel>", "\u2039!channel\u203a"),
        ("<users/all>", "\u2039users/all\u203a"),
        ("<https://evil.example|Ana>", "\u2039https://evil.example|Ana\u203a"),
        ("[Ana](https://evil.example)", "(Ana)(https://evil.example)"),
        ("@all (@here)", "@\u200ball (@\u200bhere)"),
        ("Ana (ana+x@example.com)", "Ana (ana+x@example.com)"),
    ],
)
def test_a_name_calls_nobody_and_hides_no_link(room, name, shown):
    kind, address = room
    chat(address).post(replace(LETTER, subject=f"Access of {name} has ended", text=f"{name} has no access.\n"))
    assert kind.posted == [{"text": f"Access of {shown} has ended\n\n{shown} has no access.\n"}]


@pytest.mark.parametrize(("answer", "lasts"), [(404, True), (403, True), (429, False), (503, False)])
def test_a_refusal_is_known(room, answer, lasts):
    kind, address = room
    kind.answer = answer
    with pytest.raises(NotAcceptedError) as refused:
        chat(address).post(LETTER)
    assert (refused.value.lasts, refused.value.is_unsure) == (lasts, False)
    assert address not in refused.value.detail


def test_without_an_answer_it_is_not_known_whether_it_was_posted(room):
    kind, address = room
    kind.answer = None
    with pytest.raises(NotAcceptedError) as lost:
        chat(address).post(LETTER)
    assert lost.value.is_unsure
    assert len(kind.posted) == 1


@pytest.mark.parametrize("address", ["http://chat.example.com/x", "file:///etc/passwd", "", "http://127.0.0.1:1/"])
def test_only_https_is_posted_to(address):
    with pytest.raises(NotAcceptedError) as refused:
        chat(address, endpoint=None).post(LETTER)
    assert "https" in refused.value.detail
