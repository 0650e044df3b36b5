"""What a started function has imported when its first event is done: a cold start pays for each module."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests

import main
from emulator.app import EmbeddedCloud
from emulator.clock import VirtualClock
from shared.domain.things.times import rfc3339
from shared.settings import checked, load_settings
from tests.functions.conftest import TOPIC_OF, TOPICS, TYPE, envelope

ROOT = Path(__file__).resolve().parents[2]
# Google's clients (`google.cloud` itself is a folder that a .pth file names) and what they bring, the checker and the parser of settings, what only a proxy needs.
HEAVY = (
    "google.",
    "grpc",
    "requests",
    "yaml",
    "urllib3",
    "urllib.request",
    "cryptography",
    "smtplib",
    "shared.cloud.mail.smtp",
)
# What `shared.late_adapters` imports at its first use, and what only these bring.
SELDOM = {
    "shared.cloud.costs",
    "shared.cloud.identity.iap",
    "shared.cloud.mail.chat",
    "shared.cloud.storage.fleet_index",
    "shared.domain.fleet.report",
    "shared.domain.template.sessions",
}
JOINER, LEAVER = (
    json.loads((ROOT / f"tests/events/hr-{kind}.json").read_text(encoding="utf-8")) for kind in ("joiner", "leaver")
)
DUE = {
    "type": "benchkeeper.notification.v1",
    "data": {"user_key": "ana-0123456789ab", "stage": "ready", "episode": "first"},
}
LIGHT = ("google.cloud.functions", "google.cloud.functions_v1")  # functions-framework's own
ONE_EVENT = """
import json, sys
from functions_framework import create_app
target, headers, body = json.load(sys.stdin)
answer = create_app(target, "main.py", "cloudevent").test_client().post("/", headers=headers, data=body)
print(json.dumps([answer.status_code, sorted(sys.modules)]))
"""
AFTER_BOTH = datetime(2027, 2, 1, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A configuration that was checked when it was deployed."""
    copy = shutil.copytree(ROOT / "config", tmp_path / "config", ignore=shutil.ignore_patterns("checked.*"))
    checked.write(load_settings(env="local", config_dir=copy, environ={}, trust_checked=False))
    return copy


@pytest.fixture
def cloud() -> Iterator[EmbeddedCloud]:
    settings = load_settings(env="local", environ={})
    with EmbeddedCloud.build(clock=VirtualClock(start=AFTER_BOTH, speed=0)) as made:
        for bucket in settings.all_buckets:
            asked = requests.post(
                f"{made.url}/storage/v1/b?project={settings.project}", json={"name": bucket}, timeout=60
            )
            asked.raise_for_status()
        yield made


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("lifecycle", envelope(LEAVER, published=rfc3339(AFTER_BOTH))),
        ("lifecycle", envelope(JOINER)),
        ("tick", envelope({"sweep": "due"})),
        ("dead_letter", envelope({"n": 1}, attributes={"reason": "InvalidMessage", "detail": "not JSON"})),
        ("notify", envelope(DUE)),
    ],
    ids=["leaver", "joiner", "tick", "dead letter", "notify"],
)
def test_after_its_first_event_a_function_has_imported_nothing_heavy(target, message, folder, cloud):
    headers = {
        "ce-id": "1",
        "ce-source": f"{TOPICS}{TOPIC_OF[target]}",
        "ce-specversion": "1.0",
        "ce-type": TYPE,
        "content-type": "application/json",
    }
    done = subprocess.run(
        [sys.executable, "-c", ONE_EVENT],
        cwd=ROOT,
        env={"BENCHKEEPER_ENV": "local", "BENCHKEEPER_CONFIG_DIR": str(folder), "BENCHKEEPER_API_ENDPOINT": cloud.url},
        input=json.dumps([target, headers, json.dumps(message)]),
        capture_output=True,
        text=True,
        check=True,
    )
    status, modules = json.loads(done.stdout.splitlines()[-1])
    assert status == 200, done.stdout[:2000]
    heavy = [name for name in modules if name.startswith(HEAVY) and not name.startswith(LIGHT)]
    assert set(heavy) <= {"google.cloud"}
    assert not {f"functions.{name}" for name in main.__all__ if name != target} & set(modules)
    assert target != "lifecycle" or SELDOM & set(modules) == set()
    assert target == "tick" or not [name for name in modules if name.startswith("shared.engine.sweeps")]


def test_a_name_that_is_no_function_is_said_as_ever():
    with pytest.raises(AttributeError, match="module 'main' has no attribute 'lifecicle'"):
        _ = main.lifecicle
    assert [getattr(main, name).__name__ for name in main.__all__] == main.__all__
