"""The sign-in sessions: sealed cookies, one-time tickets for other hosts, and form tokens.

Nothing is stored on disk: after a restart all users sign in again. All times are real.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass

from emulator.clock import wall_now

SESSION_S = 8 * 3600
TICKET_S = 60


@dataclass(frozen=True, slots=True)
class Session:
    """The session of a signed-in user. `ident` is the same on every host that the user reaches from this sign-in."""

    email: str
    ident: str
    ends: int


class Sessions:
    """An issuer and verifier of session cookies, tickets and form tokens. Thread-safe.

    A cookie consists of its content and a keyed digest over the content and its host.
    """

    def __init__(self, *, now: Callable[[], int] = wall_now) -> None:
        self._key = secrets.token_bytes(32)
        self._now = now
        self._lock = threading.Lock()
        self._ended: dict[str, int] = {}  # sessions that were ended early, until their normal end
        self._tickets: dict[str, tuple[str, Session, int]] = {}

    def begin(self, email: str) -> Session:
        """Return a new session."""
        return Session(email, secrets.token_hex(16), self._now() + SESSION_S)

    def end(self, session: Session) -> None:
        """End the session on every host."""
        with self._lock:
            self._ended = {ident: ends for ident, ends in self._ended.items() if ends > self._now()}
            self._ended[session.ident] = session.ends

    def cookie(self, session: Session, *, place: str) -> str:
        """Return the cookie's value, which is valid only at `place`: `hub`, or an environment's host."""
        raw = json.dumps([session.email, session.ident, session.ends], separators=(",", ":")).encode()
        body = base64.urlsafe_b64encode(raw).decode()
        return f"{body}.{self._digest('session', place, body)}"

    def read(self, cookie: str, *, place: str) -> Session | None:
        """Return the session of a cookie; None if the cookie is forged or of another place, or its session is over."""
        body, _, mark = cookie.partition(".")
        if not same(mark, self._digest("session", place, body)):
            return None
        email, ident, ends = json.loads(base64.urlsafe_b64decode(body))
        session = Session(str(email), str(ident), int(ends))
        return session if self.lasts(session) else None

    def lasts(self, session: Session) -> bool:
        """Return True while the session was not ended and is less than eight hours old."""
        with self._lock:
            return session.ends > self._now() and session.ident not in self._ended

    def form_mark(self, nonce: str) -> str:
        """Return the token that a form must send together with the cookie `nonce`, to prove that the form comes from this sign-in."""
        return self._digest("form", nonce)

    def ticket(self, session: Session, *, host: str) -> str:
        """Return a ticket that is valid once, for a minute, at that host."""
        now, made = self._now(), secrets.token_urlsafe(24)
        with self._lock:
            self._tickets = {key: held for key, held in self._tickets.items() if held[2] > now}
            self._tickets[made] = (host, session, now + TICKET_S)
        return made

    def redeem(self, ticket: str, *, host: str) -> Session | None:
        """Return the session of a ticket; None if the ticket was used, is too old, or is for another host, or its session is over."""
        with self._lock:
            found = self._tickets.pop(ticket, None)
        if found is None or found[0] != host or found[2] <= self._now() or not self.lasts(found[1]):
            return None
        return found[1]

    def _digest(self, *parts: str) -> str:
        return hmac.new(self._key, "\0".join(parts).encode(), hashlib.sha256).hexdigest()


def same(given: str, right: str) -> bool:
    """Return True if both texts are equal, compared in constant time."""
    return hmac.compare_digest(given.encode(), right.encode())
