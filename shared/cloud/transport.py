"""HTTP to Google: one pool of connections for a process, kept between calls, over urllib3.

A kept connection is looked at before it is used: one that died while a function was frozen is thrown away unused. Redirects are not
followed, answers are bounded, and what is tried again is the caller's word (`again`): never a POST that would do something twice.
What Google says is tried again: 408, 429 and 5xx but for 501, with growing pauses (Cloud Storage documentation, Retry strategy).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from msgspec import Struct

Headers = Mapping[str, str]
MOST_BYTES = 512 * 1024 * 1024  # of one answer: the largest is a listing, or the index of a hundred thousand people
_POOL = 32  # more than the threads of a process; else connections are made and thrown away
_TIMEOUT_S, _CONNECT_S = 60.0, 20.0
_UNAUTHORIZED = 401
_PASSING = frozenset({408, 429, 500, 502, 503, 504})
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0


class Answer(Struct, frozen=True, kw_only=True):
    """What a server said. `headers` has names in small letters."""

    status: int
    headers: Headers
    content: bytes

    @property
    def ok(self) -> bool:
        """True for 2xx."""
        return 200 <= self.status < 300  # noqa: PLR2004 - HTTP


# Sends one request once: (method, url, headers, body) -> what came back. Raises `urllib3.exceptions.HTTPError` if nothing did.
Door = Callable[[str, str, dict[str, str], bytes | None], Answer]


class Transport:
    """Sends requests with credentials, again where that is harmless.

    `sign(method, url, headers)` adds the credentials; after a 401 `renew` gets new ones, and the call is sent once more: it did nothing.
    `patience_s` is how long a call is tried again, in real seconds. `timeout_s` bounds each wait for the server. `door` lets tests
    answer without a socket.
    """

    def __init__(
        self,
        *,
        sign: Callable[[str, str, dict[str, str]], None],
        patience_s: float,
        renew: Callable[[], None] | None = None,
        door: Door | None = None,
        trust_env: bool = True,
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        self._sign = sign
        self._renew = renew
        self._patience_s = patience_s
        self._door = door or _Pools(trust_env=trust_env, timeout_s=timeout_s)

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Headers | None = None,
        body: bytes | None = None,
        again: bool = False,
    ) -> Answer:
        """Send it, and while the answer is a passing failure send it again (`again`). Return the last answer; any status is one.

        Raises `urllib3.exceptions.HTTPError` when nobody answered, and what `sign` raises.
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
        """Close the connections that are kept; the next call opens its own."""
        if isinstance(self._door, _Pools):
            self._door.close()

    def _once(
        self, method: str, url: str, headers: Headers, body: bytes | None
    ) -> Answer | urllib3.exceptions.HTTPError:
        answer = self._signed(method, url, headers, body)
        if isinstance(answer, Answer) and answer.status == _UNAUTHORIZED and self._renew is not None:
            self._renew()
            answer = self._signed(method, url, headers, body)
        return answer

    def _signed(
        self, method: str, url: str, headers: Headers, body: bytes | None
    ) -> Answer | urllib3.exceptions.HTTPError:
        signed = {"accept-encoding": "gzip", **headers}
        self._sign(method, url, signed)
        try:
            return self._door(method, url, signed, body)
        except urllib3.exceptions.HTTPError as error:
            return error


class _Pools:
    """The connections of a process, by host; through the proxy that the environment names, if it is to be trusted."""

    def __init__(self, *, trust_env: bool, timeout_s: float) -> None:
        self._trust_env = trust_env
        timeout = urllib3.Timeout(connect=min(timeout_s, _CONNECT_S), read=timeout_s)
        self._options: dict[str, Any] = {"maxsize": _POOL, "timeout": timeout, "retries": False}
        self._direct = urllib3.PoolManager(num_pools=16, **self._options)
        self._by_proxy: dict[str, urllib3.ProxyManager] = {}

    def __call__(self, method: str, url: str, headers: dict[str, str], body: bytes | None) -> Answer:
        found = self._pool(url).request(
            method, url, headers=headers, body=body, redirect=False, preload_content=False, decode_content=True
        )
        try:
            content = found.read(MOST_BYTES + 1)
            if len(content) > MOST_BYTES:
                raise urllib3.exceptions.ResponseError(f"an answer of more than {MOST_BYTES} bytes")
        except BaseException:
            found.close()  # what was not read must not be taken for the next answer
            raise
        found.release_conn()
        return Answer(status=found.status, headers={k.lower(): v for k, v in found.headers.items()}, content=content)

    def close(self) -> None:
        for pool in (self._direct, *self._by_proxy.values()):
            pool.clear()

    def _pool(self, url: str) -> urllib3.PoolManager:
        if not self._trust_env:
            return self._direct
        parts = urlsplit(url)
        proxy = getproxies().get(parts.scheme, "")
        if not proxy or proxy_bypass(parts.hostname or ""):
            return self._direct
        if proxy not in self._by_proxy:
            self._by_proxy[proxy] = urllib3.ProxyManager(
                proxy if "://" in proxy else f"http://{proxy}", **self._options
            )
        return self._by_proxy[proxy]
