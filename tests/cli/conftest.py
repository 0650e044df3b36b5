"""The command line over an embedded cloud on a real port: same settings, same clients, real HTTP and gRPC."""

from __future__ import annotations

import base64
import shutil
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner
from kit.inprocess import ROOT, START
from kit.kept_letters import keeper_of_letters
from kit.wording import faults_of_output

from cli.main import main
from emulator.app import EmbeddedCloud
from emulator.clock import VirtualClock
from shared.domain.people.sources import HR, OPERATOR
from shared.domain.things.times import parse_time
from shared.engine.news.deliver import deliver
from shared.messages.message import Message, Rules
from shared.messages.parse import parse_message
from shared.settings import load_settings
from shared.telemetry import SilentLog
from shared.wiring import wire


@dataclass
class Terminal:
    """Runs commands as a person types them."""

    cloud: EmbeddedCloud
    environ: dict[str, str]

    def run(self, *words: str, code: int = 0):
        result = CliRunner().invoke(main, list(words), env=self.environ)
        said = f"{result.output}\n{result.stderr}"
        if not {"json", "csv"} & {word.rpartition("=")[2] for word in words}:
            assert faults_of_output(said, words) == []
        assert result.exit_code == code, f"exit {result.exit_code}: {said}"
        assert not (result.exception and not isinstance(result.exception, SystemExit)), said
        return result

    def deliver_file_as_hr(self, path: Path) -> None:
        """Hand a file's content to the product as the word of HR."""
        settings = load_settings(environ=self.environ)
        deps = wire(settings, log=SilentLog())
        message = Message(
            data=path.read_bytes(), attributes={}, message_id=path.name, publish_time=self.cloud.world.clock.now()
        )
        rules = Rules(source=settings.sources[HR], people=settings.people, max_bytes=settings.max_message_bytes)
        for news in parse_message(message, rules).news:
            deliver(news, deps)

    def deliver(self) -> int:
        """Take what was published and hand it to the product, as the function does; how many messages there were."""
        settings = load_settings(environ=self.environ)
        deps = wire(settings, log=SilentLog())
        pull = f"{self.cloud.url}/v1/projects/benchkeeper-local/subscriptions/lifecycle-pull"
        answer = requests.post(f"{pull}:pull", json={"maxMessages": 50, "returnImmediately": True}, timeout=10).json()
        received = answer.get("receivedMessages", [])
        for item in received:
            raw = item["message"]
            message = Message(
                data=base64.b64decode(raw["data"]),
                attributes={},
                message_id=raw["messageId"],
                publish_time=parse_time(raw["publishTime"]),
            )
            rules = Rules(
                source=settings.sources[OPERATOR], people=settings.people, max_bytes=settings.max_message_bytes
            )
            for news in parse_message(message, rules).news:
                deliver(news, deps)
        if received:
            ids = [item["ackId"] for item in received]
            requests.post(f"{pull}:acknowledge", json={"ackIds": ids}, timeout=10).raise_for_status()
        return len(received)

    def advance(self, **by: float) -> None:
        self.cloud.world.clock.advance(timedelta(**by))


@pytest.fixture
def terminal(tmp_path):
    config = tmp_path / "config"
    shutil.copytree(ROOT / "config", config)
    with EmbeddedCloud.build(clock=VirtualClock(start=START, speed=0)) as cloud:
        for bucket in (
            "benchkeeper-local",
            "benchkeeper-local-inbox",
            "benchkeeper-local-letters",
            "benchkeeper-local-audit",
        ):
            cloud.storage.buckets.create({"name": bucket}, project="benchkeeper-local")
        for topic in ("workbench-lifecycle", "workbench-directory", "workbench-operator", "workbench-dead-letter"):
            requests.put(
                f"{cloud.url}/v1/projects/benchkeeper-local/topics/{topic}", json={}, timeout=10
            ).raise_for_status()
        requests.put(
            f"{cloud.url}/v1/projects/benchkeeper-local/subscriptions/lifecycle-pull",
            json={"topic": "projects/benchkeeper-local/topics/workbench-operator"},
            timeout=10,
        ).raise_for_status()
        environ = {
            "BENCHKEEPER_ENV": "local",
            "BENCHKEEPER_CONFIG_DIR": str(config),
            "BENCHKEEPER_API_ENDPOINT": cloud.url,
            "COLUMNS": "100",
        }
        yield Terminal(cloud, environ)


@pytest.fixture
def letters(terminal):
    """Keeps letters in the terminal's cloud, as the function does."""
    return keeper_of_letters(terminal.environ)
