"""The signed header of Identity-Aware Proxy, read by Google's own verifier."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import requests
from google.auth import jwt
from google.auth.crypt import es256
from google.oauth2 import id_token
from werkzeug.test import Client

from emulator.app import EmbeddedCloud
from emulator.clock import VirtualClock, wall_now
from emulator.errors import ApiError
from emulator.iap.signing import KEYS_PATH, TESTS, claims_of, new_key, wrong_assertion

AUDIENCE = "/projects/100000000001/locations/europe-west1/services/benchkeeper-hub"
EMAIL = "ana.silva@example.com"


@pytest.fixture(scope="module")
def cloud() -> EmbeddedCloud:
    # Google's own verifier reads the machine's clock, so this cloud keeps that time.
    return EmbeddedCloud.build()


def keys(cloud: EmbeddedCloud) -> dict[str, str]:
    return dict(Client(cloud.wsgi).get(KEYS_PATH).json)


def verified(cloud: EmbeddedCloud, token: str, audience: str = AUDIENCE) -> dict[str, object]:
    return dict(jwt.decode(token, certs=keys(cloud), audience=audience))


def test_googles_verifier_takes_it_over_http() -> None:
    with EmbeddedCloud.build() as cloud, requests.Session() as session:
        session.trust_env = False
        token = cloud.iap.signer.assertion(EMAIL, AUDIENCE)
        from google.auth.transport.requests import Request  # noqa: PLC0415 - costs a while to import

        claims = id_token.verify_token(token, Request(session), AUDIENCE, certs_url=f"{cloud.url}{KEYS_PATH}")
        assert claims["email"] == EMAIL


def test_what_it_says(cloud: EmbeddedCloud) -> None:
    token, now = cloud.iap.signer.assertion(EMAIL, AUDIENCE), wall_now()
    head, claims = jwt.decode_header(token), verified(cloud, token)
    assert head == {"alg": "ES256", "typ": "JWT", "kid": next(iter(keys(cloud)))}
    assert set(claims) == {"iss", "sub", "email", "aud", "iat", "exp", "hd"}
    assert (claims["iss"], claims["hd"]) == ("https://cloud.google.com/iap", "example.com")
    provider, _, number = str(claims["sub"]).partition(":")
    assert provider == "accounts.google.com"
    assert number.isdecimal()
    assert len(number) == 21
    assert abs(int(str(claims["iat"])) - now) <= 2
    assert int(str(claims["exp"])) == int(str(claims["iat"])) + 600
    again = verified(cloud, cloud.iap.signer.assertion(EMAIL, AUDIENCE))
    other = verified(cloud, cloud.iap.signer.assertion("ben@example.com", AUDIENCE))
    assert again["sub"] == claims["sub"] != other["sub"]


@pytest.mark.parametrize(("speed", "lifetime_s"), [(0, 600), (1, 600), (60, 36_000)])
def test_its_times_are_those_of_the_cloud_and_its_ten_minutes_real_ones(speed: float, lifetime_s: int) -> None:
    start = datetime(2031, 1, 1, tzinfo=UTC)
    cloud = EmbeddedCloud.build(clock=VirtualClock(speed=speed, start=start))
    claims = jwt.decode(cloud.iap.signer.assertion(EMAIL, AUDIENCE), verify=False)
    assert claims["iat"] >= start.timestamp()
    assert claims["exp"] - claims["iat"] == lifetime_s


def test_the_signature_has_the_form_of_a_jwt_and_not_of_der(cloud: EmbeddedCloud) -> None:
    for _ in range(40):  # a DER signature is 70 to 72 bytes; r or s may begin with zeros
        signature = cloud.iap.signer.assertion(EMAIL, AUDIENCE).rpartition(".")[2]
        assert len(signature) == 86  # 64 bytes without padding
        assert "=" not in signature


@pytest.mark.parametrize("kind", [kind for kind in TESTS if kind != "NOT_SET"])
def test_what_iap_sends_to_test_an_application_is_refused(cloud: EmbeddedCloud, kind: str) -> None:
    token = wrong_assertion(cloud.iap.signer, EMAIL, AUDIENCE, kind)
    if kind == "ISSUER":
        assert verified(cloud, token)["iss"] != "https://cloud.google.com/iap"
    else:
        with pytest.raises((ValueError, jwt.exceptions.GoogleAuthError)):
            verified(cloud, token)


def test_an_unknown_kind_of_test_is_named(cloud: EmbeddedCloud) -> None:
    assert verified(cloud, wrong_assertion(cloud.iap.signer, EMAIL, AUDIENCE, "NOT_SET"))["email"] == EMAIL
    with pytest.raises(ApiError, match=r"one of NOT_SET, .*, not 'MOON'"):
        wrong_assertion(cloud.iap.signer, EMAIL, AUDIENCE, "MOON")


def test_a_test_signs_any_claims_with_any_key_and_key_id(cloud: EmbeddedCloud) -> None:
    key = new_key()
    claims = {**claims_of(EMAIL, AUDIENCE, issued=wall_now()), "extra": 1}
    token = cloud.iap.signer.sign(claims, key=key, kid="mine")
    assert jwt.decode_header(token)["kid"] == "mine"
    with pytest.raises(ValueError, match="mine"):
        verified(cloud, token)
    signed, _, signature = token.rpartition(".")
    raw = jwt._helpers.padded_urlsafe_b64decode(signature)
    assert es256.ES256Verifier(key.public_key()).verify(signed.encode(), raw)


def test_two_processes_have_different_keys() -> None:
    first, second = EmbeddedCloud.build(), EmbeddedCloud.build()
    assert keys(first).keys().isdisjoint(keys(second))
    token = first.iap.signer.sign(claims_of(EMAIL, AUDIENCE, issued=wall_now()), kid=next(iter(keys(second))))
    with pytest.raises(ValueError, match="signature"):
        verified(second, token)


def test_an_expired_token_was_good_before(cloud: EmbeddedCloud) -> None:
    token = cloud.iap.signer.sign(
        claims_of(EMAIL, AUDIENCE, issued=wall_now() - int(timedelta(hours=1).total_seconds()))
    )
    with pytest.raises(ValueError, match="expired"):
        verified(cloud, token)
