"""The HTTP transport to Google: requests with credentials, retried if that is harmless.

The caller decides whether a call may be retried (`again`): never for a POST that would act twice. Google's
documentation decides which answers are retried: 408, 429 and 5xx except 501, with growing pauses (Cloud Storage, Retry
strategy). Redirects are not followed.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from shared.cloud.http.connections import TIMEOUT_S, Answer, Connections, Door, Headers, NoAnswerError

_UNAUTHORIZED = 401
_PASSING = frozenset({408, 429, 500, 502, 503, 504})
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0


class Transport:
    """The sender of requests with credentials, with retries if they are harmless.

    `sign(method, url, headers)` adds the credentials. After a 401, `renew` gets new ones, and the refused call is sent once more.
    `patience_s` is how long a call is retried, in real seconds. `timeout_s` bounds each wait for the server. `door` lets tests
    answer without a socket; `heard` gets the headers of each answer.
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
