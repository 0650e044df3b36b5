"""The sign-in of a page's user by the header that Identity-Aware Proxy signs. No other header is trusted.

https://cloud.google.com/iap/docs/signed-headers-howto: `x-goog-iap-jwt-assertion` is a JSON Web Token, ES256, of the issuer
https://cloud.google.com/iap, for one audience, valid for ten minutes. The embedded cloud signs in the same way with keys of its
own, so there is no second, unchecked way in for a developer's machine.
"""

from __future__ import annotations

import base64
import json
import math
import re
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NoReturn

from msgspec import Struct

from shared.cloud.http.clients import Clients
from shared.cloud.http.transport import Answer, NoAnswerError
from shared.domain.things.errors import CloudUnavailableError, InvalidMessageError, InvalidSpecError, NotSignedInError
from shared.domain.things.identity import UserEmail, parse_email
from shared.engine.ports.deps import Clock, Log

HEADER = "x-goog-iap-jwt-assertion"
ISSUER = "https://cloud.google.com/iap"
KEYS_URL = "https://www.gstatic.com/iap/verify/public_key"
LOCAL_KEYS_PATH = "/_emulator/iap/public_key"
SKEW_S = 30
_ALGORITHM = "ES256"
_MAX_TOKEN = 8_192  # the usual limit of proxies for one header; a signed one has about 700 characters
_DAY_S, _HOUR_S, _AGAIN_S = 86_400.0, 3_600.0, 60.0
_MAX_AGE = re.compile(r"max-age=(\d{1,9})")


class _Keys(Struct, frozen=True):
    """The public keys in PEM by key id, and the time (real, monotonic seconds) until which they are fresh."""

    by_id: Mapping[str, str]
    fresh_until_s: float


class IapSignIn:
    """The adapter of the port `SignIn`. Keys are fetched when first needed and fetched again when their answer's lifetime is over, a day at most.

    If that fails, the old keys stay in use.
    `audience` identifies this service; with "" no user can sign in. `canonical` turns a signed address into the form in
    the records, and raises `InvalidMessageError`. Thread-safe.
    """

    def __init__(
        self,
        clients: Clients,
        *,
        audience: str,
        clock: Clock,
        log: Log,
        canonical: Callable[[object], UserEmail] = parse_email,
    ) -> None:
        self._audience = audience
        self._canonical = canonical
        self._clock = clock
        self._log = log
        self._source = _KeySource(clients, clock, log)

    def identify(self, headers: Mapping[str, str]) -> UserEmail:
        """Return the user for whom Identity-Aware Proxy signed. Raise `NotSignedInError` if there is no valid signed header or no audience.

        Raise `CloudUnavailableError` if no keys could be fetched.
        """
        token = self.assertion(headers)
        if not self._audience:
            self._log.error("Sign-in was refused: no audience is configured")
            _refuse("no audience is configured (BENCHKEEPER_IAP_AUDIENCE)")
        return self.subject_of(token, self._clock.now())

    def assertion(self, headers: Mapping[str, str]) -> str:
        """Return the signed header's value, not yet verified. Raise `NotSignedInError` unless there is exactly one such header."""
        return _token_of(headers)

    def subject_of(self, assertion: str, at: datetime) -> UserEmail:
        """Return the user for whom Identity-Aware Proxy signed an assertion that was used at `at`.

        The page passes the present time. For a stored request, the caller passes the time at which Cloud Storage created its object: an
        assertion that expired later was valid then. Times are those of the cloud's clock, which the signer uses, too.
        Raise `NotSignedInError` for an invalid assertion, and `CloudUnavailableError` if no keys could be fetched. Raise
        `InvalidSpecError` if no audience is configured: then the signer is unknown, which differs from an invalid signature.
        """
        if not self._audience:
            raise InvalidSpecError(
                user_message="The user of a request cannot be verified here: set BENCHKEEPER_IAP_AUDIENCE.",
                detail="no audience is configured (BENCHKEEPER_IAP_AUDIENCE)",
            )
        if len(assertion) > _MAX_TOKEN or not assertion.isascii():
            _refuse("the signed header is not a token")
        claims = self._verified(assertion, at.timestamp())
        if claims.get("iss") != ISSUER:
            _refuse("another issuer")
        if "gcip" in claims:
            _refuse("an identity of Identity Platform, which is not supported")
        try:
            return self._canonical(claims.get("email"))
        except InvalidMessageError as error:
            raise _not_signed_in(f"email claim: {error.detail}") from error

    def _verified(self, token: str, at_s: float) -> Mapping[str, Any]:
        """Return the claims after checking algorithm, key, signature, times and audience.

        google-auth judges times by the machine's clock alone, so the times and the audience are checked here.
        """
        from google.auth import exceptions, jwt
        from google.auth.crypt import es

        wrong = (exceptions.GoogleAuthError, ValueError, TypeError, AttributeError, KeyError, OverflowError)
        try:
            header = jwt.decode_header(token)
            algorithm, key_id = header.get("alg"), header.get("kid")
        except wrong as error:
            raise _not_signed_in(f"no token: {type(error).__name__}") from error
        if algorithm != _ALGORITHM or not isinstance(key_id, str):
            _refuse("signed in another way than ES256 with a named key")
        key = self._source.key(key_id)
        if key is None:
            _refuse("signed with an unknown key")
        signed, _, signature = token.rpartition(".")
        try:
            is_genuine = es.EsVerifier.from_string(key).verify(signed.encode(), _from_base64url(signature))
            claims = jwt.decode(token, verify=False)
        except wrong as error:
            raise _not_signed_in(f"not valid: {type(error).__name__}") from error
        if not is_genuine:
            _refuse("the signature is wrong")
        if not isinstance(claims, Mapping):
            _refuse("claims are no object")
        issued_s, expires_s = _seconds(claims.get("iat")), _seconds(claims.get("exp"))
        if at_s < issued_s - SKEW_S:
            _refuse("issued in the future")
        if at_s > expires_s + SKEW_S:
            _refuse("expired")
        if claims.get("aud") != self._audience:
            _refuse("for another audience")
        return claims


class _KeySource:
    """A cache of Identity-Aware Proxy's public keys, which fetches them when needed."""

    def __init__(self, clients: Clients, clock: Clock, log: Log) -> None:
        self._clients = clients
        self._clock = clock
        self._log = log
        self._lock = threading.Lock()
        self._keys: _Keys | None = None
        self._asked_s: float | None = None

    def key(self, key_id: str) -> str | None:
        """Return the key with that id; None if there is none.

        The keys are fetched again for an unknown id, because Google rotates them. They are fetched at most once a minute,
        because any caller can send an invented id. Raise `CloudUnavailableError` if no keys could be fetched.
        """
        with self._lock:
            now = self._clock.monotonic_s()
            keys = self._keys
            if keys is None or keys.fresh_until_s <= now or key_id not in keys.by_id:
                keys = self._renewed(keys, now)
            return keys.by_id.get(key_id)

    def _renewed(self, kept: _Keys | None, now: float) -> _Keys:
        if kept is not None and self._asked_s is not None and now - self._asked_s < _AGAIN_S:
            return kept
        self._asked_s = now
        try:
            self._keys = self._fetched(now)
        except CloudUnavailableError as error:
            if kept is None:
                raise
            self._log.warning("Keys of Identity-Aware Proxy were not renewed", detail=error.detail)
            return kept
        return self._keys

    def _fetched(self, now: float) -> _Keys:
        endpoint = self._clients.api_endpoint
        url = f"{endpoint}{LOCAL_KEYS_PATH}" if endpoint else KEYS_URL
        try:
            answer = self._clients.without_credentials().send("GET", url)
            if not answer.ok:
                raise ValueError(f"status {answer.status}")
            raw = json.loads(answer.content)
        except (NoAnswerError, ValueError) as error:
            raise _unavailable(f"{type(error).__name__}: {error}"[:300]) from error
        if not isinstance(raw, dict) or not raw:
            raise _unavailable("no keys in the answer")
        return _Keys({str(name): str(pem) for name, pem in raw.items()}, now + _age_s(answer))


def _age_s(answer: Answer) -> float:
    """Return the seconds for which the answer may be cached: an hour if its header says nothing, at least a minute, at most a day."""
    said = answer.headers.get("cache-control", "")
    match = _MAX_AGE.search(said)
    if match is None:
        return _AGAIN_S if "no-" in said else _HOUR_S
    return min(max(float(match[1]), _AGAIN_S), _DAY_S)


def _token_of(headers: Mapping[str, str]) -> str:
    """Return the value of the signed header. Raise `NotSignedInError` if it is missing, given twice, or no token.

    Servers join two headers of the same name with a comma, which no token contains.
    """
    found = [value for name, value in headers.items() if name.lower() == HEADER]
    if len(found) != 1 or not found[0]:
        _refuse("no signed header" if not any(found) else "several signed headers")
    token = found[0]
    if len(token) > _MAX_TOKEN or not token.isascii() or "," in token:
        _refuse("the signed header is not a token")
    return token


def _from_base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _seconds(raw: object) -> float:
    """Return a claim that is a time. Refuse booleans, which Python counts as numbers, and NaN, which no comparison refuses."""
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not math.isfinite(raw):
        _refuse("times are missing or no numbers")
    return float(raw)


def _refuse(detail: str) -> NoReturn:
    raise _not_signed_in(detail)


def _not_signed_in(detail: str) -> NotSignedInError:
    return NotSignedInError(
        user_message="You are not signed in, or your session is over. Load the page again; if that does not help, close all its "
        "tabs and open it again.",
        detail=detail,
    )


def _unavailable(detail: str) -> CloudUnavailableError:
    return CloudUnavailableError(
        user_message="Your sign-in cannot be checked just now. Try again in a minute.",
        detail=f"keys of Identity-Aware Proxy: {detail}",
    )
