"""The clock of the embedded cloud: asked for, or told by its answers while one event is handled."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import pytest
from kit.inprocess import START, Bench, make_bench

from shared.cloud.http.clock import EndpointClock
from shared.domain.things.identity import parse_email, user_key_for
from shared.wiring import piece_of_work, wire

HOUR = timedelta(hours=1)
ANYBODY = user_key_for(parse_email("mia.chen@example.com"))


@pytest.fixture
def bench() -> Bench:
    """The kit's clock is the embedded cloud's own; this one asks, as the product does."""
    made = make_bench()
    return replace(made, deps=wire(made.settings, log=made.log, clients=made.clients))


def asked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that are asked for from now on."""
    paths: list[str] = []
    answer = bench.adapter.answer

    def watched(method, url, headers, body):
        paths.append(urlsplit(url).path)
        return answer(method, url, headers, body)

    monkeypatch.setattr(bench.adapter, "answer", watched)
    return paths


def test_while_an_event_is_handled_the_answers_tell_the_time(bench, monkeypatch):
    clock, paths = bench.deps.clock, asked(bench, monkeypatch)
    assert isinstance(clock, EndpointClock)
    with piece_of_work(bench.deps):
        bench.deps.records.load(ANYBODY)
        assert [clock.now() for _ in range(3)] == [START] * 3
        bench.cloud.world.clock.advance(HOUR)
        bench.deps.records.load(ANYBODY)
        assert clock.now() == START + HOUR
    assert "/_emulator/clock" not in paths


def test_before_the_first_answer_and_outside_it_is_asked_for(bench, monkeypatch):
    clock, paths = bench.deps.clock, asked(bench, monkeypatch)
    bench.deps.records.load(ANYBODY)
    bench.cloud.world.clock.advance(HOUR)
    assert clock.now() == START + HOUR  # not what the answer of an hour ago told
    with piece_of_work(bench.deps):
        bench.cloud.world.clock.advance(HOUR)
        assert clock.now() == START + 2 * HOUR
    bench.cloud.world.clock.advance(HOUR)
    assert clock.now() == START + 3 * HOUR
    assert paths.count("/_emulator/clock") == 3


def test_an_error_tells_it_too(bench):
    with piece_of_work(bench.deps):
        bench.deps.records.load(ANYBODY)  # 404
        assert bench.deps.clock.now() == START


def test_the_embedded_cloud_says_it_in_every_answer(bench):
    for path in ("/_emulator/clock", "/storage/v1/b/none", "/no/such/path"):
        said = bench.adapter.answer("GET", f"http://127.0.0.1:1{path}", {}, None).headers["x-emulator-time"]
        assert datetime.fromisoformat(said) == START
