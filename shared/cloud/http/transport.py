"""The HTTP transport to Google: requests with credentials over kept connections, with retries where a repeated request is harmless.

The caller decides whether a call may be retried (`again`): never for a POST that would act twice. Calls without an answer
are retried, and the answers 408, 429, 500, 502, 503 and 504, with growing pauses (Cloud Storage, Retry strategy). Redirects
are not followed.

Connections are kept between calls, over `http.client`; through a proxy over urllib3, which is imported only then. A kept connection is
checked before use: a connection that was closed while a function was frozen is discarded. Answers are limited in size, compressed or
not.
"""

from __future__ import annotations

import http.client
import os
import random
import select
import ssl
import sys
import threading
import time
import weakref
import zlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, quote, urlsplit

from msgspec import Struct

if TYPE_CHECKING:
    import urllib3

    from shared.cloud.http.trust import Trust


Headers = Mapping[str, str]
MOST_BYTES = 512 * 1024 * 1024  # of one answer: the largest is a listing, or the index of a hundred thousand users
TIMEOUT_S = 60.0  # for each wait for a server
_POOL = 32  # more than the threads of a process; otherwise connections are made and discarded
_CONNECT_S = 20.0
_AS_IT_IS = "%/:?#[]@!$&'()*+,;=~"  # kept besides letters, digits and "_.-", so that a complete URL is not changed


class Answer(Struct, frozen=True, kw_only=True):
    """The answer of a server. `headers` has names in lower case."""

    status: int
    headers: Headers
    content: bytes

    @property
    def ok(self) -> bool:
        """Return True if the status is 2xx."""
        return 200 <= self.status < 300  # noqa: PLR2004 - HTTP


class NoAnswerError(OSError):
    """The error for a missing or unusable answer: a lost connection, a timeout, or an answer above the size limit."""


# A function that sends one request once: (method, url, headers, body) -> the answer. Raises `NoAnswerError` if there is none.
Door = Callable[[str, str, dict[str, str], bytes | None], Answer]


class Connections:
    """A pool of kept connections by host; a connection is used by one thread at a time.

    With `trust_env`, the proxy from the environment variables is used.
    """

    def __init__(self, *, trust_env: bool, timeout_s: float) -> None:
        self._trust_env = trust_env
        self._timeout_s = timeout_s
        self._kept: dict[tuple[str, str], list[http.client.HTTPConnection]] = {}
        self._proxies: dict[str, urllib3.ProxyManager] = {}
        self._lock = threading.Lock()
        self._trust: Trust | None = None
        weakref.finalize(self, _close, self._kept)  # closes the connections when the object is garbage-collected

    def __call__(self, method: str, url: str, headers: dict[str, str], body: bytes | None) -> Answer:
        """Send one request without retries, and return the answer. Raise `NoAnswerError` if there is none."""
        parts = urlsplit(url)
        proxy = self._proxy(parts)
        if proxy:
            return self._through(proxy, method, url, headers, body)
        try:
            return self._directly(parts, method, headers, body)
        except NoAnswerError:
            raise
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswerError(f"{type(error).__name__}: {error}") from error

    def trust(self) -> Trust:
        """Return the TLS contexts of all secure connections, with the certificates that the system trusts."""
        from shared.cloud.http.trust import Trust

        with self._lock:
            self._trust = self._trust or Trust()
        return self._trust

    def close(self) -> None:
        """Close the kept connections; the next call opens a new one."""
        _close(self._kept)
        for proxy in self._proxies.values():
            proxy.clear()

    def _directly(self, parts: SplitResult, method: str, headers: dict[str, str], body: bytes | None) -> Answer:
        kept = self._kept.setdefault((parts.scheme, parts.netloc), [])
        connection = _alive(kept) or self._opened(parts)
        try:
            connection.request(method, _target(parts), body, headers)
            with connection.getresponse() as response:
                said = {name.lower(): value for name, value in response.getheaders()}
                content = _unpacked(_read(response), said)
        except BaseException:
            connection.close()  # unread bytes must not be taken for the next answer
            raise
        if connection.sock is not None and len(kept) < _POOL:
            kept.append(connection)
        else:
            connection.close()
        return Answer(status=response.status, headers=said, content=content)

    def _opened(self, parts: SplitResult) -> http.client.HTTPConnection:
        if parts.scheme != "https":
            return self._connected(http.client.HTTPConnection(parts.netloc))
        context = self.trust().first()
        try:
            return self._connected(http.client.HTTPSConnection(parts.netloc, context=context))
        except ssl.SSLCertVerificationError:  # nothing was sent yet
            other = self.trust().instead_of(context)
            if other is None:
                raise
            return self._connected(http.client.HTTPSConnection(parts.netloc, context=other))

    def _connected(self, made: http.client.HTTPConnection) -> http.client.HTTPConnection:
        made.timeout = min(self._timeout_s, _CONNECT_S)
        made.connect()
        made.sock.settimeout(self._timeout_s)
        return made

    def _proxy(self, parts: SplitResult) -> str:
        if not self._trust_env or not _may_name_a_proxy():
            return ""
        from urllib.request import getproxies, proxy_bypass

        proxy = getproxies().get(parts.scheme, "")
        if not proxy or proxy_bypass(parts.hostname or ""):
            return ""
        return proxy if "://" in proxy else f"http://{proxy}"

    def _through(self, proxy: str, method: str, url: str, headers: dict[str, str], body: bytes | None) -> Answer:
        import urllib3

        with self._lock:
            if proxy not in self._proxies:
                timeout = urllib3.Timeout(connect=min(self._timeout_s, _CONNECT_S), read=self._timeout_s)
                self._proxies[proxy] = urllib3.ProxyManager(proxy, maxsize=_POOL, timeout=timeout, retries=False)
        try:
            found = self._proxies[proxy].request(
                method, url, headers=headers, body=body, redirect=False, preload_content=False, decode_content=False
            )
            said = {name.lower(): value for name, value in found.headers.items()}
            try:
                content = _unpacked(found.read(MOST_BYTES + 1), said)
            except BaseException:
                found.close()
                raise
            found.release_conn()
        except urllib3.exceptions.HTTPError as error:
            raise NoAnswerError(f"{type(error).__name__}: {error}") from error
        return Answer(status=found.status, headers=said, content=content)


def _close(by_host: dict[tuple[str, str], list[http.client.HTTPConnection]]) -> None:
    for kept in by_host.values():
        while kept:
            kept.pop().close()


def _alive(kept: list[http.client.HTTPConnection]) -> http.client.HTTPConnection | None:
    """Return the usable connection that was used last; None if there is none.

    Discard connections with readable data: they are closed or out of sync.
    """
    while kept:
        try:
            connection = kept.pop()
        except IndexError:
            return None  # another thread was faster
        waiting = select.poll()
        waiting.register(connection.sock, select.POLLIN)
        if not waiting.poll(0):
            return connection
        connection.close()
    return None


def _may_name_a_proxy() -> bool:
    """Return False if urllib would find no proxy, so that a cold start need not import urllib.

    On macOS and Windows the system's settings may name a proxy.
    """
    names = os.environ  # noqa: TID251 - as urllib reads it
    return sys.platform != "linux" or any(name.lower().endswith("_proxy") for name in names)


def _target(parts: SplitResult) -> str:
    path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    return quote(path, safe=_AS_IT_IS)


def _read(response: http.client.HTTPResponse) -> bytes:
    if response.length is None:  # in chunks, or until the server closes the connection
        return _bounded(response.read(MOST_BYTES + 1))
    if response.length > MOST_BYTES:
        raise NoAnswerError(f"an answer of more than {MOST_BYTES} bytes")
    return response.read()  # with a size argument, a truncated answer would pass for a whole one


def _unpacked(content: bytes, headers: Headers) -> bytes:
    if headers.get("content-encoding") != "gzip" or not content:
        return _bounded(content)
    packed = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        unpacked = packed.decompress(content, MOST_BYTES + 1)
    except zlib.error as error:
        raise NoAnswerError(f"a packed answer that cannot be unpacked: {error}") from error
    if not packed.eof and len(unpacked) <= MOST_BYTES:
        raise NoAnswerError("a packed answer that breaks off")
    return _bounded(unpacked)


def _bounded(content: bytes) -> bytes:
    if len(content) > MOST_BYTES:
        raise NoAnswerError(f"an answer of more than {MOST_BYTES} bytes")
    return content


_UNAUTHORIZED = 401
_PASSING = frozenset({408, 429, 500, 502, 503, 504})
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0


class Transport:
    """The sender of authorised requests. It retries only calls for which the caller sets `again`.

    `sign(method, url, headers)` adds the credentials. After a 401, `renew` gets new ones, and the refused call is sent
    once more. `patience_s` is the time for which a call is retried, in real seconds. `timeout_s` limits each wait for the server.
    `door` lets tests answer without a socket; `heard` gets the headers of each answer.
    """

    def __init__(
        self,
        *,
        sign: Callable[[str, str, dict[str, str]], None],
        patience_s: float,
        renew: Callable[[], None] | None = None,
        door: Door | None = None,
        trust_env: bool = True,
        timeout_s: float = TIMEOUT_S,
        heard: Callable[[Headers], None] | None = None,
    ) -> None:
        self._sign = sign
        self._renew = renew
        self._patience_s = patience_s
        self._heard = heard
        self._door = door or Connections(trust_env=trust_env, timeout_s=timeout_s)

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Headers | None = None,
        body: bytes | None = None,
        again: bool = False,
    ) -> Answer:
        """Send the request and, with `again`, retry it while the failure is temporary. Return the last answer, whatever its status.

        Raise `NoAnswerError` if there is no answer, and any error of `sign`.
        """
        end = time.monotonic() + self._patience_s
        pause_s = _FIRST_PAUSE_S
        while True:
            answer = self._once(method, url, headers or {}, body)
            if not again or (isinstance(answer, Answer) and answer.status not in _PASSING):
                break
            wait = min(random.uniform(0, 2 * pause_s), _LONGEST_PAUSE_S)  # noqa: S311 - spreads retries, no secret
            if time.monotonic() + wait > end:
                break
            time.sleep(wait)  # noqa: TID251 - between two tries of one call, as Google's own clients wait
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        if isinstance(answer, Answer):
            return answer
        raise answer

    def close(self) -> None:
        """Close the kept connections; the next call opens a new one."""
        if isinstance(self._door, Connections):
            self._door.close()

    def _once(self, method: str, url: str, headers: Headers, body: bytes | None) -> Answer | NoAnswerError:
        answer = self._signed(method, url, headers, body)
        if isinstance(answer, Answer) and answer.status == _UNAUTHORIZED and self._renew is not None:
            self._renew()
            answer = self._signed(method, url, headers, body)
        return answer

    def _signed(self, method: str, url: str, headers: Headers, body: bytes | None) -> Answer | NoAnswerError:
        signed = {"accept-encoding": "gzip", **headers}
        self._sign(method, url, signed)
        try:
            answer = self._door(method, url, signed, body)
        except NoAnswerError as error:
            return error
        if self._heard is not None:
            self._heard(answer.headers)
        return answer
