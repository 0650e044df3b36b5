"""Identity-Aware Proxy's signed header, with real keys and real signatures: what is taken, and what is refused and why."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from kit.inprocess import ListLog

from emulator.clock import wall_now
from emulator.iap.signing import claims_of, new_key, sign_es256
from shared.cloud.http.clients import Clients, CloudConfig
from shared.cloud.http.transport import Answer, NoAnswerError
from shared.cloud.identity.iap import HEADER, KEYS_URL, IapSignIn
from shared.domain.things.errors import CloudUnavailableError, NotSignedInError

AUDIENCE = "/projects/123456789012/locations/europe-west1/services/benchkeeper-hub"
ANA = "ana.silva@example.com"


class KeyServer:
    """Answers for the address of the public keys, counts, and can be down or talk nonsense."""

    def __init__(self) -> None:
        self.keys: dict[str, str] = {}
        self.cache_control = "public, max-age=3600"
        self.down = False
        self.body: bytes | None = None
        self.asked: list[str] = []
        self.sent_authorization = False

    def answer(self, _method, url, headers, _body):
        self.asked.append(url)
        self.sent_authorization |= "authorization" in {name.lower() for name in headers}
        if self.down:
            raise NoAnswerError("no route")
        content = self.body if self.body is not None else json.dumps(self.keys).encode()
        return Answer(status=200, headers={"cache-control": self.cache_control}, content=content)


class HandClock:
    """Moves when a test says so."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def monotonic_s(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return datetime.fromtimestamp(wall_now(), UTC)


class Door:
    """A sign-in, the keys that it trusts, and one that signs."""

    def __init__(self, audience: str = AUDIENCE) -> None:
        self.server, self.clock, self.log = KeyServer(), HandClock(), ListLog()
        self.key = new_key()
        self.server.keys = {"k1": pem(self.key)}
        clients = Clients(CloudConfig(project="p", bucket="b", api_endpoint=None), door=self.server.answer)
        self.sign_in = IapSignIn(clients, audience=audience, clock=self.clock, log=self.log)

    def claims(self, **changes: Any) -> dict[str, Any]:
        made = {**claims_of(ANA, AUDIENCE, issued=wall_now()), **changes}
        return {name: value for name, value in made.items() if value is not None}

    def token(self, *, key: Any = None, kid: str = "k1", **changes: Any) -> str:
        return sign_es256(self.claims(**changes), key=key or self.key, kid=kid)

    def identify(self, token: str) -> str:
        return self.sign_in.identify({HEADER: token})

    def why_not(self, token: str) -> str:
        with pytest.raises(NotSignedInError) as caught:
            self.identify(token)
        assert "example.com" not in caught.value.detail + caught.value.user_message
        return caught.value.detail


def pem(key: ec.EllipticCurvePrivateKey) -> str:
    form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return key.public_key().public_bytes(*form).decode()


def segment(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.fixture
def door() -> Door:
    return Door()


def test_who_was_signed_for_is_let_in_by_the_normal_form_of_the_address(door: Door) -> None:
    assert door.identify(door.token(email="Ana.Silva@Example.COM")) == ANA
    assert door.server.asked == [KEYS_URL]
    assert not door.server.sent_authorization


def test_the_header_is_found_however_it_is_written(door: Door) -> None:
    assert door.sign_in.identify({"X-Goog-Iap-Jwt-Assertion": door.token()}) == ANA


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({}, "no signed header"),
        ({HEADER: ""}, "no signed header"),
        ({"x-goog-authenticated-user-email": f"accounts.google.com:{ANA}"}, "no signed header"),
        ({HEADER: "a.b.c", HEADER.upper(): "a.b.c"}, "several signed headers"),
        ({HEADER: "a.b.c,a.b.c"}, "the signed header is not a token"),
        ({HEADER: "x" * 10_000}, "the signed header is not a token"),
        ({HEADER: "ä.b.c"}, "the signed header is not a token"),
    ],
)
def test_without_one_header_nobody_is_let_in(door: Door, headers: dict[str, str], why: str) -> None:
    with pytest.raises(NotSignedInError) as caught:
        door.sign_in.identify(headers)
    assert caught.value.detail == why
    assert door.server.asked == []


@pytest.mark.parametrize(
    "garbage", ["x", "a.b", "a.b.c", "....", "e30.e30.e30", f"{segment([1])}.e30.e30", "e30=.e30.!"]
)
def test_garbage_is_no_token(door: Door, garbage: str) -> None:
    assert door.why_not(garbage)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"aud": AUDIENCE + "2"}, "for another audience"),
        ({"aud": [AUDIENCE]}, "for another audience"),
        ({"aud": None}, "for another audience"),
        ({"iss": "https://cloud.google.com/iap/"}, "another issuer"),
        ({"iss": "https://accounts.google.com"}, "another issuer"),
        ({"iss": None}, "another issuer"),
        ({"gcip": {"auth_time": 1}}, "an identity of Identity Platform, which is not supported"),
        ({"email": None}, "email claim: user address is NoneType, not text"),
        ({"email": "nobody"}, "email claim: user address has no name before an @"),
        ({"exp": None}, "times are missing or no numbers"),
        ({"iat": None}, "times are missing or no numbers"),
        ({"exp": True}, "times are missing or no numbers"),
        ({"exp": float("nan")}, "times are missing or no numbers"),
        ({"iat": float("-inf")}, "times are missing or no numbers"),
        ({"exp": "tomorrow"}, "times are missing or no numbers"),
    ],
)
def test_a_claim_that_does_not_hold_is_refused(door: Door, changes: dict[str, Any], why: str) -> None:
    assert door.why_not(door.token(**changes)) == why


def test_times_hold_within_half_a_minute(door: Door) -> None:
    now = wall_now()
    assert door.identify(door.token(iat=now + 20, exp=now + 600)) == ANA
    assert door.identify(door.token(iat=now - 600, exp=now - 20)) == ANA
    assert door.why_not(door.token(iat=now - 700, exp=now - 40)) == "expired"
    assert door.why_not(door.token(iat=now + 45, exp=now + 600)) == "issued in the future"


def test_an_assertion_that_was_used_then_is_judged_by_that_moment(door: Door) -> None:
    """Whoever takes up a wish later asks about the moment at which the wish was made."""
    issued = wall_now() - 86_400
    token = door.token(iat=issued, exp=issued + 600)
    assert door.why_not(token) == "expired"
    for seconds, refused in ((-31, "issued in the future"), (-29, ""), (0, ""), (629, ""), (631, "expired")):
        at = datetime.fromtimestamp(issued + seconds, UTC)
        if refused:
            with pytest.raises(NotSignedInError) as caught:
                door.sign_in.subject_of(token, at)
            assert caught.value.detail == refused
        else:
            assert door.sign_in.subject_of(token, at) == ANA


def test_a_signature_of_another_key_is_wrong(door: Door) -> None:
    assert door.why_not(door.token(key=new_key())) == "the signature is wrong"


def test_changed_claims_break_the_signature(door: Door) -> None:
    head, _, signature = door.token().split(".")
    assert (
        door.why_not(f"{head}.{segment(door.claims(email='mia.chen@example.com'))}.{signature}")
        == "the signature is wrong"
    )


@pytest.mark.parametrize("algorithm", ["none", "None", "HS256", "RS256", "ES384", "", None, ["ES256"]])
def test_no_other_algorithm_is_taken(door: Door, algorithm: Any) -> None:
    """Each is signed as well as it can be: with nothing, with the public key as a secret, with a key of its own kind."""
    signed = f"{segment({'alg': algorithm, 'kid': 'k1', 'typ': 'JWT'})}.{segment(door.claims())}"
    match algorithm:
        case "HS256":
            raw = hmac.new(pem(door.key).encode(), signed.encode(), hashlib.sha256).digest()
        case "RS256":
            secret = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            raw = secret.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        case _:
            raw = b""
    signature = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    assert door.why_not(f"{signed}.{signature}") == "signed in another way than ES256 with a named key"


def test_a_key_must_be_named(door: Door) -> None:
    own = sign_es256(door.claims(), key=door.key, kid="k1").split(".")
    unnamed = f"{segment({'alg': 'ES256', 'typ': 'JWT'})}.{own[1]}.{own[2]}"
    assert door.why_not(unnamed) == "signed in another way than ES256 with a named key"


def test_without_an_audience_nobody_is_let_in_and_the_log_says_so() -> None:
    door = Door(audience="")
    assert "BENCHKEEPER_IAP_AUDIENCE" in door.why_not(door.token(aud=""))
    assert [message for _, message, _ in door.log.lines] == ["Sign-in was refused: no audience is configured"]


def test_keys_are_fetched_once_while_they_are_fresh(door: Door) -> None:
    for _ in range(3):
        door.identify(door.token())
    door.clock.seconds += 3_599
    door.identify(door.token())
    assert len(door.server.asked) == 1
    door.clock.seconds += 2
    door.identify(door.token())
    assert len(door.server.asked) == 2


@pytest.mark.parametrize(
    ("cache_control", "age_s"),
    [("max-age=30", 60), ("public, max-age=999999999", 86_400), ("", 3_600), ("no-store", 60), ("max-age=7200", 7_200)],
)
def test_keys_are_kept_as_long_as_their_answer_says_a_day_at_most(door: Door, cache_control: str, age_s: float) -> None:
    door.server.cache_control = cache_control
    door.identify(door.token())
    door.clock.seconds += age_s - 1
    door.identify(door.token())
    assert len(door.server.asked) == 1
    door.clock.seconds += 1
    door.identify(door.token())
    assert len(door.server.asked) == 2


def test_rotated_keys_are_found_and_old_ones_forgotten(door: Door) -> None:
    door.identify(door.token())
    old, door.key = door.key, new_key()
    door.server.keys = {"k2": pem(door.key)}
    door.clock.seconds += 61
    assert door.identify(door.token(kid="k2")) == ANA
    assert door.why_not(door.token(key=old, kid="k1")) == "signed with an unknown key"


def test_made_up_key_ids_ask_once_a_minute_at_most(door: Door) -> None:
    door.identify(door.token())
    for number in range(20):
        assert door.why_not(door.token(kid=f"made-up-{number}")) == "signed with an unknown key"
    assert len(door.server.asked) == 1
    door.clock.seconds += 61
    for number in range(20):
        door.why_not(door.token(kid=f"made-up-{number}"))
    assert len(door.server.asked) == 2


def test_keys_that_cannot_be_renewed_are_used_on(door: Door) -> None:
    door.identify(door.token())
    door.server.down = True
    door.clock.seconds += 7_200
    assert door.identify(door.token()) == ANA
    assert door.identify(door.token()) == ANA
    assert len(door.server.asked) == 2  # not once for each request
    assert [message for _, message, _ in door.log.lines] == ["Keys of Identity-Aware Proxy were not renewed"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"<html>"])
def test_without_keys_it_is_tried_again_later(door: Door, body: bytes) -> None:
    door.server.body = body
    with pytest.raises(CloudUnavailableError):
        door.identify(door.token())
    door.server.body = None
    assert door.identify(door.token()) == ANA


def test_keys_that_are_no_keys_let_nobody_in(door: Door) -> None:
    door.server.keys = {"k1": "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"}
    assert door.why_not(door.token())


def test_many_threads_fetch_the_keys_once(door: Door) -> None:
    found: list[str] = []
    tokens = [door.token() for _ in range(16)]
    threads = [threading.Thread(target=lambda token=token: found.append(door.identify(token))) for token in tokens]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (found, len(door.server.asked)) == ([ANA] * 16, 1)


def test_with_the_embedded_cloud_the_keys_are_its_own() -> None:
    door = Door()
    clients = Clients(CloudConfig(project="p", bucket="b", api_endpoint="http://127.0.0.1:1"), door=door.server.answer)
    local = IapSignIn(clients, audience=AUDIENCE, clock=door.clock, log=door.log)
    assert local.identify({HEADER: door.token()}) == ANA
    assert door.server.asked == ["http://127.0.0.1:1/_emulator/iap/public_key"]
