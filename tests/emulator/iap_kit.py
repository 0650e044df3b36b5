"""A running embedded cloud with its Identity-Aware Proxy in front of a real function, and a browser of sorts."""

from __future__ import annotations

import html
import http.client
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from emulator.app import EmbeddedCloud
from emulator.clock import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@contextmanager
def fronted_cloud(**build) -> Iterator[EmbeddedCloud]:
    cloud = EmbeddedCloud.build(clock=VirtualClock(speed=0), **build)
    cloud.iap.open_at(0)
    with cloud:
        yield cloud


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def location(self) -> str:
        return str(self.headers["Location"])


@dataclass
class Browser:
    """Keeps cookies a host, as browsers do (they do not tell ports apart); follows nothing by itself.

    It speaks to 127.0.0.1 and names the host it means, since not every machine resolves names below `localhost`.
    """

    jar: dict[str, dict[str, str]] = field(default_factory=dict)

    def get(
        self, url: str, *, method: str = "GET", body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        parts = urlsplit(url)
        assert parts.hostname is not None
        sent = {"Host": parts.netloc, "Accept": "text/html,*/*;q=0.8"}
        cookies = self.jar.setdefault(parts.hostname, {})
        if cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
        connection = http.client.HTTPConnection("127.0.0.1", parts.port or 80, timeout=60)
        try:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request(method, target, body=body, headers={**sent, **(headers or {})})
            got = connection.getresponse()
            answer = Answer(got.status, got.headers, got.read())
        finally:
            connection.close()
        for line in answer.headers.get_all("Set-Cookie", []):
            for name, morsel in SimpleCookie(line).items():
                cookies.pop(name, None)
                if morsel["max-age"] != "0":
                    cookies[name] = morsel.value
        return answer

    def post(self, url: str, fields: Mapping[str, str], **headers: str) -> Answer:
        sent = {"Content-Type": "application/x-www-form-urlencoded", **headers}
        return self.get(url, method="POST", body=urlencode(fields).encode(), headers=sent)

    def sign_in(self, front: str, email: str, *, back: str = "/") -> Answer:
        """Through the page's own form; the answer to it."""
        page = self.get(f"{front}/_sign_in?{urlencode({'continue': back})}")
        assert page.status == 200, page.text
        return self.post(f"{front}/_sign_in", {**hidden(page.text), "email": email})

    def arrive(self, url: str) -> Answer:
        """Follow redirects to where they end."""
        for _ in range(8):
            answer = self.get(url)
            if answer.status not in {301, 302, 303}:
                return answer
            url = (
                answer.location
                if "://" in answer.location
                else f"{url.partition('://')[0]}://{urlsplit(url).netloc}{answer.location}"
            )
        raise AssertionError(f"no end of redirects at {url}")


def hidden(page: str) -> dict[str, str]:
    """The hidden fields of a page's first form."""
    form = page[page.index("<form") : page.index("</form>")]
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', form)
    return {name: html.unescape(value) for name, value in found}
