"""The signed headers (ES256) that Identity-Aware Proxy puts on requests, and the public keys that verify them.

https://cloud.google.com/iap/docs/signed-headers-howto describes their content. The headers carry the cloud's own time,
because a program that stores a header in an object compares its time with the object's time of creation in this cloud.
"""

from __future__ import annotations

import base64
import json
import threading
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from emulator.errors import ApiError
from emulator.model.notebooks_fresh import digest
from emulator.wire.http import Call, Route, route

if TYPE_CHECKING:
    from emulator.clock import VirtualClock

ISSUER = "https://cloud.google.com/iap"
KEYS_PATH = "/_emulator/iap/public_key"
LIFETIME_S = 600
_PROVIDER = "accounts.google.com"
_PART_BYTES = 32  # a JWT has r and s of a P-256 signature one after the other (RFC 7518, 3.4)


class IapSigner:
    """A signer of headers, with one key for the life of the process, made on first use. Thread-safe."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._key: ec.EllipticCurvePrivateKey | None = None
        self._key_id = ""

    def assertion(self, email: str, audience: str) -> str:
        """Return the `x-goog-iap-jwt-assertion` of a user, valid for ten minutes from now.

        If the clock runs faster than real time, these are real minutes: a process that takes a real second to start must not
        get an expired assertion.
        """
        claims = claims_of(email, audience, issued=self.now())
        claims["exp"] = claims["iat"] + round(LIFETIME_S * max(1.0, self._clock.speed))
        return self.sign(claims)

    def now(self) -> int:
        """Return the cloud's time in Unix seconds."""
        return int(self._clock.now().timestamp())

    def sign(
        self, claims: dict[str, Any], *, key: ec.EllipticCurvePrivateKey | None = None, kid: str | None = None
    ) -> str:
        """Return a signed token with these claims.

        `key` and `kid` replace the signer's own key and key id, for tests of tokens that a verifier must refuse.
        """
        own, own_id = self._ensure_key()
        return sign_es256(claims, key=key or own, kid=own_id if kid is None else kid)

    def public_keys(self) -> dict[str, str]:
        """Return a mapping from key id to public key in PEM, the form of https://www.gstatic.com/iap/verify/public_key."""
        key, key_id = self._ensure_key()
        form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        return {key_id: key.public_key().public_bytes(*form).decode()}

    def routes(self) -> list[Route]:
        """Return the route `GET /_emulator/iap/public_key`."""
        return [route("GET", KEYS_PATH, None, self._public_keys_call)]

    def _public_keys_call(self, _call: Call) -> dict[str, str]:
        return self.public_keys()

    def _ensure_key(self) -> tuple[ec.EllipticCurvePrivateKey, str]:
        with self._lock:
            if self._key is None:
                self._key = new_key()
                form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
                self._key_id = digest(self._key.public_key().public_bytes(*form).hex())[:6]
            return self._key, self._key_id


def new_key() -> ec.EllipticCurvePrivateKey:
    """Return a key of the kind that IAP signs with."""
    return ec.generate_private_key(ec.SECP256R1())


def subject_of(email: str) -> str:
    """Return the `sub` of an address: `accounts.google.com:` and a stable number of 21 digits, the shape of Google's."""
    return f"{_PROVIDER}:{10**20 + int(digest('iap', email)[:16], 16)}"


def named(email: str) -> str:
    """Return the address in the form of the unsigned header `x-goog-authenticated-user-email`."""
    return f"{_PROVIDER}:{email}"


def claims_of(email: str, audience: str, *, issued: int) -> dict[str, Any]:
    """Return the claims of a token that is `issued` at this time (Unix seconds)."""
    return {
        "iss": ISSUER,
        "sub": subject_of(email),
        "email": email,
        "aud": audience,
        "iat": issued,
        "exp": issued + LIFETIME_S,
        "hd": email.rpartition("@")[2],
    }


# The tokens that IAP sends to test an application: `?gcp-iap-mode=SECURE_TOKEN_TEST&iap-secure-token-test-type=...`
# (https://cloud.google.com/iap/docs/query-parameters-and-headers-howto).
TESTS = ("NOT_SET", "FUTURE_ISSUE", "PAST_EXPIRATION", "ISSUER", "AUDIENCE", "SIGNATURE")


def wrong_assertion(signer: IapSigner, email: str, audience: str, kind: str) -> str:
    """Return a token that an application must refuse because of the fault `kind`; a valid token for NOT_SET.

    Raise 400 for an unknown kind.
    """
    now = signer.now()
    claims = claims_of(email, audience, issued=now)
    match kind:
        case "NOT_SET":
            return signer.sign(claims)
        case "FUTURE_ISSUE":
            return signer.sign(claims_of(email, audience, issued=now + LIFETIME_S))
        case "PAST_EXPIRATION":
            return signer.sign(claims_of(email, audience, issued=now - 2 * LIFETIME_S))
        case "ISSUER":
            return signer.sign({**claims, "iss": "https://not.cloud.google.com/iap"})
        case "AUDIENCE":
            return signer.sign({**claims, "aud": f"{audience}-of-somebody-else"})
        case "SIGNATURE":
            return signer.sign(claims, key=new_key())
        case _:
            raise ApiError(
                "INVALID_ARGUMENT", f"iap-secure-token-test-type is one of {', '.join(TESTS)}, not {kind[:40]!r}"
            )


def sign_es256(claims: dict[str, Any], *, key: ec.EllipticCurvePrivateKey, kid: str) -> str:
    """Return a JSON Web Token with these claims, signed with ES256."""
    signed = f"{_segment({'alg': 'ES256', 'typ': 'JWT', 'kid': kid})}.{_segment(claims)}"
    parts = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{signed}.{_base64url(b''.join(part.to_bytes(_PART_BYTES) for part in parts))}"


def _segment(value: dict[str, Any]) -> str:
    return _base64url(json.dumps(value, separators=(",", ":")).encode())


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
