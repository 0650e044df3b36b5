"""The signed identity tokens (RS256) that Google puts on pushes, and the certificates that verify them.

`google.oauth2.id_token.verify_token(token, request, audience, certs_url=".../_emulator/oidc/certs")` accepts them.
Tokens carry real time, not virtual time, because verifiers read the machine's clock.
"""

from __future__ import annotations

import base64
import json
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from emulator.clock import wall_now
from emulator.wire.http import Call, Route, route

ISSUER = "https://accounts.google.com"
CERTS_PATH = "/_emulator/oidc/certs"
_LIFETIME_S = 3600
_RENEW_BEFORE_S = 600


class TokenIssuer:
    """The issuer of tokens, with one signing key for the life of the process, made on first use. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._key: rsa.RSAPrivateKey | None = None
        self._certificate = ""
        self._key_id = ""
        self._tokens: dict[tuple[str, str], tuple[int, str]] = {}

    def token(self, email: str, audience: str) -> str:
        """Return a token of the account `email` for `audience`, valid for at least ten real minutes."""
        with self._lock:
            now = wall_now()
            expires, token = self._tokens.get((email, audience), (0, ""))
            if expires - now < _RENEW_BEFORE_S:
                expires = now + _LIFETIME_S
                token = self._sign(email, audience, now, expires)
                self._tokens[email, audience] = (expires, token)
            return token

    def sign(self, email: str, audience: str, *, issued: int, expires: int) -> str:
        """Return a token with the given real Unix times, for tests of tokens that a verifier must refuse."""
        with self._lock:
            return self._sign(email, audience, issued, expires)

    def certificates(self) -> dict[str, str]:
        """Return a mapping from key id to X.509 certificate in PEM, the form of Google's v1 certificates."""
        with self._lock:
            self._ensure_key()
            return {self._key_id: self._certificate}

    def routes(self) -> list[Route]:
        """Return the route `GET /_emulator/oidc/certs`."""
        return [route("GET", CERTS_PATH, None, self._certificates_call)]

    def _certificates_call(self, _call: Call) -> dict[str, str]:
        return self.certificates()

    def _sign(self, email: str, audience: str, issued: int, expires: int) -> str:
        key = self._ensure_key()
        claims = {
            "iss": ISSUER,
            "aud": audience,
            "azp": _account_number(email),
            "sub": _account_number(email),
            "email": email,
            "email_verified": True,
            "iat": issued,
            "exp": expires,
        }
        head = _segment({"alg": "RS256", "kid": self._key_id, "typ": "JWT"})
        signed = f"{head}.{_segment(claims)}"
        signature = key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_base64url(signature)}"

    def _ensure_key(self) -> rsa.RSAPrivateKey:
        if self._key is None:
            key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            now = datetime.fromtimestamp(wall_now(), UTC)
            name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "federated-signon.system.gserviceaccount.com")])
            certificate = (
                x509.CertificateBuilder()
                .subject_name(name)
                .issuer_name(name)
                .public_key(key.public_key())
                .serial_number(x509.random_serial_number())
                .not_valid_before(now - timedelta(hours=1))
                .not_valid_after(now + timedelta(days=365))
                .sign(key, hashes.SHA256())
            )
            self._certificate = certificate.public_bytes(serialization.Encoding.PEM).decode()
            self._key_id = certificate.fingerprint(hashes.SHA1()).hex()  # noqa: S303 - only an identifier, like Google's
            self._key = key
        return self._key


def _account_number(email: str) -> str:
    """Return a stable number of 21 digits for an account, the shape of Google's."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(email.encode())
    return str(10**20 + int.from_bytes(digest.finalize()[:8]))


def _segment(value: dict[str, Any]) -> str:
    return _base64url(json.dumps(value, separators=(",", ":")).encode())


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
