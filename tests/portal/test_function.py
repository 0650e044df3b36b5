"""The function `hub` as the framework runs it: the same page, built once, whatever thread comes first."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import functions_framework
import pytest
from flask.testing import FlaskClient
from kit.hub import ANA, AUDIENCE, Hub, hub_settings, make_hub

from functions import hub as entry
from portal.guard import CSP
from shared import wiring
from shared.cloud.identity.iap import HEADER
from shared.domain.things.identity import user_key_for
from shared.telemetry import JsonLog

MAIN = Path(__file__).resolve().parents[2] / "main.py"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def output() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def page(hub: Hub, output: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> Iterator[FlaskClient]:
    """The framework's own application, with settings and clients of the in-process world."""
    from msgspec.structs import replace  # noqa: PLC0415

    deps = replace(hub.bench.deps, log=JsonLog("hub", stream=output))
    monkeypatch.setattr(wiring, "_CACHED", {"hub": (hub.bench.settings, deps)})
    monkeypatch.setattr(entry, "make_clients", lambda _settings: hub.bench.clients)
    monkeypatch.setattr(entry, "_APPS", [])
    hub.joined()
    app = functions_framework.create_app(target="hub", source=str(MAIN), signature_type="http")
    module = app.view_functions["run"].__closure__
    assert module is not None
    yield app.test_client()
    entry._APPS.clear()


def test_the_page_is_served_with_everything_that_it_carries(page: FlaskClient, hub: Hub, output: io.StringIO) -> None:
    headers = {HEADER: hub.token(ANA), "traceparent": TRACE}
    answer = page.get("/", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["Content-Security-Policy"] == CSP
    assert "Your notebook is running" in answer.get_data(as_text=True)
    lines = [json.loads(line) for line in output.getvalue().splitlines()]
    (line,) = [line for line in lines if line["message"] == "Answered request"]
    assert line["logging.googleapis.com/trace"].endswith("/traces/0af7651916cd43dd8448eb211c80319c")
    assert (line["logging.googleapis.com/labels"], line["status"]) == ({"component": "hub"}, 200)


def test_a_form_works_through_the_framework(page: FlaskClient, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    headers = {HEADER: hub.token(ANA)}
    text = page.get("/", headers=headers).get_data(as_text=True)
    token = text.partition('name="csrf" value="')[2].partition('"')[0]
    answer = page.post("/notebook/keep-on", headers=headers, data={"csrf": token, "until": "1h"})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/?said=keep#notebook")
    assert hub.record().spec.keep_on_until is None
    hub.take_up(user_key_for(ANA))
    assert hub.record().spec.keep_on_until is not None


def test_nobody_gets_in_and_files_come_as_files(page: FlaskClient) -> None:
    assert page.get("/").status_code == 401
    assert page.get("/anything").status_code == 401
    style = page.get("/assets/hub.css", buffered=True)
    assert (style.status_code, style.mimetype) == (200, "text/css")
    assert page.head("/assets/hub.css", buffered=True).status_code == 200
    assert (
        page.get("/assets/hub.css", headers={"If-None-Match": style.headers["ETag"]}, buffered=True).status_code == 304
    )


def test_many_threads_build_one_application(page: FlaskClient, hub: Hub) -> None:
    app = page.application
    headers, statuses = {HEADER: hub.token(ANA)}, []
    threads = [
        threading.Thread(target=lambda: statuses.append(app.test_client().get("/api/me", headers=headers).status_code))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 8
    assert len(entry._APPS) == 1


def test_the_audience_comes_from_the_deployment(tmp_path: Path) -> None:
    from kit.inprocess import ROOT  # noqa: PLC0415

    from shared.settings import load_settings  # noqa: PLC0415

    environ: dict[str, Any] = {"BENCHKEEPER_IAP_AUDIENCE": AUDIENCE}
    assert load_settings(env="local", config_dir=ROOT / "config", environ=environ).iap_audience == AUDIENCE


def test_without_an_audience_the_page_refuses_everybody() -> None:
    hub = make_hub(hub_settings(iap_audience=""))
    hub.joined()
    assert hub.browser(ANA).get("/").status_code == 401
    assert hub.browser(ANA, aud="").get("/").status_code == 401
