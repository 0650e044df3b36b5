"""The sign-in page of the embedded cloud cannot exist outside it: it is not deployed, and what it signs counts for nothing there."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

import pytest
from kit.inprocess import ROOT, ListLog, local_settings
from msgspec.structs import replace

from cli.deploy.archive import stage
from emulator.clock import wall_now
from emulator.iap.signing import claims_of, new_key, sign_es256
from portal.app import ROUTES
from portal.routes import Access
from shared.cloud.identity.iap import HEADER, KEYS_URL
from shared.domain.things.errors import NotSignedInError
from shared.settings import ConfigError, load_settings
from shared.wiring import make_clients, sign_in
from tests.unit.test_iap import HandClock, KeyServer, pem

AUDIENCE = "/projects/1/locations/europe-west1/services/benchkeeper-hub"
ANA = "ana.silva@example.com"


@pytest.fixture(scope="module")
def uploaded(tmp_path_factory) -> dict[str, str]:
    """Every Python file that a deployment uploads."""
    folder = tmp_path_factory.mktemp("upload")
    config = shutil.copytree(ROOT / "config", folder / "mine" / "config", ignore=shutil.ignore_patterns("checked.*"))
    shutil.copyfile(config / "settings.example.yaml", config / "settings.prod.yaml")
    target: Path = folder / "staged"
    target.mkdir()
    stage("prod", config, target)
    return {path.relative_to(target).as_posix(): path.read_text("utf-8") for path in target.rglob("*.py")}


def test_the_embedded_cloud_is_not_uploaded(uploaded):
    assert "portal/app.py" in uploaded
    assert not [name for name in uploaded if name.startswith(("emulator/", "cli/", "tests/"))]
    for name, text in uploaded.items():
        imported = {
            (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name) or ""
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Import | ast.ImportFrom)
        }
        assert not {each for each in imported if each.partition(".")[0] == "emulator"}, name
        assert "_sign_in" not in text, name


def test_no_route_of_the_page_lets_anybody_in():
    open_to_anyone = {route.name for route in ROUTES if route.access is Access.ANYONE}
    assert open_to_anyone == {"static"}


@pytest.mark.parametrize(
    "endpoint", ["http://keys.example.com", "https://127.0.0.1.example.com", "http://10.0.0.1:8900"]
)
def test_keys_from_anywhere_but_this_machine_are_no_setting(endpoint):
    with pytest.raises(ConfigError, match="not http:// on this machine"):
        load_settings(env="example", config_dir=ROOT / "config", environ={"BENCHKEEPER_API_ENDPOINT": endpoint})


def test_what_the_embedded_cloud_signs_is_refused_where_googles_keys_count(monkeypatch):
    settings = replace(local_settings(), api_endpoint=None, iap_audience=AUDIENCE)
    google, embedded = new_key(), new_key()
    server = KeyServer()
    server.keys = {"google": pem(google)}
    clients = make_clients(settings)
    monkeypatch.setattr(clients, "_door", server.answer)
    door = sign_in(settings, clients, clock=HandClock(), log=ListLog())
    claims = claims_of(ANA, AUDIENCE, issued=wall_now())
    assert door.identify({HEADER: sign_es256(claims, key=google, kid="google")}) == ANA
    for kid in ("google", "embedded"):
        with pytest.raises(NotSignedInError):
            door.identify({HEADER: sign_es256(claims, key=embedded, kid=kid)})
    assert set(server.asked) == {KEYS_URL}
