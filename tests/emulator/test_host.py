"""The function host with real functions-framework processes: events, crashes, logs, and that nothing is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

from tests.emulator.pubsub_kit import PubSubCloud, endpoint, pubsub_cloud

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emulator.host import FunctionHost

MAIN = """
import base64, json, os, sys, urllib.request
import functions_framework

def tell(what):
    request = urllib.request.Request(os.environ["REPORT_TO"], json.dumps(what).encode(), {"Content-Type": "application/json"})
    urllib.request.urlopen(request).close()

@functions_framework.cloud_event
def on_message(event):
    text = base64.b64decode(event.data["message"].get("data", "")).decode()
    print(json.dumps({"severity": "INFO", "message": "Took a message", "text": text}), flush=True)
    tell({"id": event["id"], "source": event["source"], "type": event["type"], "data": event.data, "text": text,
          "path": sys.path, "service": os.environ["K_SERVICE"]})
    if text == "fail":
        raise ValueError("as asked")

@functions_framework.http
def on_request(request):
    return {"path": request.path, "greeting": os.environ["GREETING"]}
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "main.py").write_text(MAIN)
    return folder


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[PubSubCloud]:
    with pubsub_cloud(log_folder=tmp_path / "logs") as made:
        yield made


def deploy(cloud: PubSubCloud, source: Path, *, status: int = 200, **fields: Any) -> dict[str, Any]:
    body: dict[str, Any] = {"name": "lifecycle", "source": str(source), "entry_point": "on_message"}
    body |= fields.pop("change", fields)
    answer = requests.post(f"{cloud.url}/_emulator/functions", json=body, headers=cloud.cloud.token.headers, timeout=60)
    assert answer.status_code == status, answer.text
    return dict(answer.json())


def key(cloud: PubSubCloud, name: str = "lifecycle") -> dict[str, str]:
    found = cloud.host.destination(name)
    assert found is not None
    return found.headers


def functions(cloud: PubSubCloud) -> list[dict[str, Any]]:
    return list(requests.get(f"{cloud.url}/_emulator/functions", timeout=10).json()["functions"])


def group_is_gone(group: int) -> bool:
    """True when nothing of the group runs; one that has ended stays in it until whoever inherited it takes notice."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    states = list(states_of(group))
    return bool(states) and set(states) == {"Z"}


def states_of(group: int) -> Iterator[str]:
    """The state of each process of a group, as Linux tells it; nothing elsewhere."""
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group, *_ = file.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except (OSError, ValueError):
            continue
        if int(its_group) == group:
            yield state


def test_a_message_reaches_the_function_as_eventarc_sends_it(cloud: PubSubCloud, source: Path, tmp_path: Path) -> None:
    topic, dead = cloud.topic("lifecycle"), cloud.topic("dead")
    with endpoint() as report:
        made = deploy(
            cloud, source, topic=topic, dead_letter_topic=dead, max_delivery_attempts=7, environment={"REPORT_TO": report.url}
        )  # fmt: skip
        assert (made["state"], made["restarts"]) == ("running", 0)
        message_id = cloud.publisher.publish(topic, b"hello", kind="hr").result()
        name = "projects/benchkeeper-local/subscriptions/eventarc-lifecycle"
        cloud.until(lambda: bool(report.seen) and cloud.backlog(name) == 0)
        got = report.seen[0].json
    assert got["id"] == message_id
    assert got["source"] == f"//pubsub.googleapis.com/{topic}"
    assert got["type"] == "google.cloud.pubsub.topic.v1.messagePublished"
    assert got["data"]["subscription"] == name
    assert got["data"]["deliveryAttempt"] == 1
    assert got["data"]["message"]["attributes"] == {"kind": "hr"}
    assert got["service"] == "lifecycle"
    assert got["path"][-1] == str(source)
    assert "" not in got["path"]
    kept = cloud.subscriber.get_subscription(subscription=name)
    assert kept.ack_deadline_seconds == 600
    assert kept.retry_policy.minimum_backoff.total_seconds() == 10
    assert kept.dead_letter_policy.max_delivery_attempts == 7
    lines = (tmp_path / "logs" / "lifecycle.log").read_text().splitlines()
    assert {"severity": "INFO", "message": "Took a message", "text": "hello"} in map(json.loads, lines)
    requests.delete(
        f"{cloud.url}/_emulator/functions/lifecycle", headers=cloud.cloud.token.headers, timeout=30
    ).raise_for_status()
    assert functions(cloud) == []
    assert group_is_gone(made["pid"])
    assert list(cloud.subscriber.list_subscriptions(project="projects/benchkeeper-local")) == []


def test_a_failure_is_retried_only_when_asked_for(cloud: PubSubCloud, source: Path) -> None:
    topic = cloud.topic("lifecycle")
    name = "projects/benchkeeper-local/subscriptions/eventarc-lifecycle"
    with endpoint() as report:
        environment = {"REPORT_TO": report.url}
        quick = {"minimum_backoff": "0s", "maximum_backoff": "0.2s"}
        deploy(cloud, source, topic=topic, environment=environment, **quick)
        cloud.publisher.publish(topic, b"fail").result()
        cloud.until(lambda: len(report.seen) >= 2)
        deploy(cloud, source, topic=topic, environment=environment, retry=False, **quick)
        cloud.until(lambda: cloud.backlog(name) == 0)


@pytest.mark.waits("for a redelivery")
def test_a_function_that_dies_is_started_again_and_gets_its_message_again(cloud: PubSubCloud, source: Path) -> None:
    topic = cloud.topic("lifecycle")
    with endpoint() as report:
        made = deploy(cloud, source, topic=topic, environment={"REPORT_TO": report.url}, minimum_backoff="0s")
        os.kill(made["pid"], signal.SIGKILL)
        cloud.until(lambda: functions(cloud)[0]["restarts"] == 1 and functions(cloud)[0]["state"] == "running")
        cloud.until(lambda: group_is_gone(made["pid"]))
        cloud.publisher.publish(topic, b"hello").result()
        cloud.until(lambda: bool(report.seen))
        assert functions(cloud)[0]["pid"] != made["pid"]


def test_an_http_function_and_the_bridge_over_http(cloud: PubSubCloud, source: Path) -> None:
    made = deploy(cloud, source, entry_point="on_request", signature="http", environment={"GREETING": "hi"})
    assert requests.get(f"{made['url']}there", headers=key(cloud), timeout=10).json() == {
        "path": "/there",
        "greeting": "hi",
    }
    envelope = {"message": {"messageId": "1", "publishTime": "2026-03-02T08:00:00Z"}, "subscription": "s"}
    bridge = f"{cloud.url}/_emulator/eventarc"
    assert requests.post(f"{bridge}/lifecycle", json=envelope, timeout=10).json()["greeting"] == "hi"
    assert requests.post(f"{bridge}/lifecycle", json={"no": "envelope"}, timeout=10).status_code == 400
    assert requests.post(f"{bridge}/other", json=envelope, timeout=10).status_code == 404


def test_a_function_finds_its_own_modules_before_those_of_a_tree_that_is_installed_in_place(
    cloud: PubSubCloud, source: Path, tmp_path: Path
) -> None:
    """`PYTHONPATH` is as such an installation is: a folder on the path that has a module of the same name."""
    for folder, whose in ((source, "its own"), (tmp_path / "tree", "the tree's")):
        folder.mkdir(exist_ok=True)
        (folder / "same_name.py").write_text(f"WHOSE = {whose!r}\n")
    (source / "main.py").write_text(
        "import functions_framework, same_name\n\n@functions_framework.http\ndef whose(request):\n    return same_name.WHOSE\n"
    )
    environment = {"PYTHONPATH": str(tmp_path / "tree")}
    made = deploy(cloud, source, entry_point="whose", signature="http", environment=environment)
    assert requests.get(made["url"], headers=key(cloud), timeout=10).text == "its own"


def test_a_function_that_cannot_start_says_why(cloud: PubSubCloud, source: Path) -> None:
    (source / "main.py").write_text("import no_such_module\n")
    answer = deploy(cloud, source, topic=cloud.topic("lifecycle"), status=400)
    assert "No module named 'no_such_module'" in answer["error"]["message"]
    assert functions(cloud) == []
    assert list(cloud.subscriber.list_subscriptions(project="projects/benchkeeper-local")) == []


def test_a_refused_redeploy_leaves_the_old_function(cloud: PubSubCloud, source: Path) -> None:
    made = deploy(cloud, source, entry_point="on_request", signature="http", environment={"GREETING": "hi"})
    deploy(cloud, source, topic="projects/benchkeeper-local/topics/nothing", status=404)
    assert [function["pid"] for function in functions(cloud)] == [made["pid"]]
    assert requests.get(f"{made['url']}x", headers=key(cloud), timeout=10).json()["greeting"] == "hi"


def test_a_redeploy_changes_of_the_subscription_only_what_it_names(cloud: PubSubCloud, source: Path) -> None:
    topic, dead = cloud.topic("lifecycle"), cloud.topic("dead")
    name = "projects/benchkeeper-local/subscriptions/eventarc-lifecycle"
    environment = {"REPORT_TO": ""}
    deploy(cloud, source, topic=topic, environment=environment, minimum_backoff="15s", retention="172800s")
    first = cloud.subscriber.get_subscription(subscription=name)
    assert first.message_retention_duration.total_seconds() == 172800
    assert (first.retry_policy.minimum_backoff.seconds, first.retry_policy.maximum_backoff.seconds) == (15, 600)
    edited = {
        "name": name, "ackDeadlineSeconds": 77, "deadLetterPolicy": {"deadLetterTopic": dead, "maxDeliveryAttempts": 9},
        "retryPolicy": {"minimumBackoff": "33s", "maximumBackoff": "44s"}, "messageRetentionDuration": "3600s",
    }  # fmt: skip
    paths = ["ack_deadline_seconds", "dead_letter_policy", "retry_policy", "message_retention_duration"]
    with cloud.world.lock:
        cloud.model.update_subscription(edited, paths)
    before = cloud.subscriber.get_subscription(subscription=name)
    deploy(cloud, source, topic=topic, environment=environment)
    assert cloud.subscriber.get_subscription(subscription=name) == before
    deploy(
        cloud,
        source,
        topic=topic,
        environment=environment,
        dead_letter_topic="",
        maximum_backoff="55s",
        ack_deadline=88,
    )
    after = cloud.subscriber.get_subscription(subscription=name)
    assert not after.dead_letter_policy.dead_letter_topic
    assert (after.ack_deadline_seconds, after.message_retention_duration.seconds) == (88, 3600)
    assert (after.retry_policy.minimum_backoff.seconds, after.retry_policy.maximum_backoff.seconds) == (33, 55)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Upper"}, {"source": "/nowhere"}, {"entry_point": "a.b"}, {"signature": "event"}, {"threads": 0},
        {"threads": True}, {"bogus": 1}, {"environment": {"A": 1}}, {"topic": "short"},
    ],
)  # fmt: skip
def test_bad_deployments_are_refused(cloud: PubSubCloud, source: Path, change: dict[str, Any]) -> None:
    deploy(cloud, source, status=400, change=change)
    assert functions(cloud) == []


def test_stop_leaves_no_process(cloud: PubSubCloud, source: Path) -> None:
    made = deploy(cloud, source, environment={})
    host: FunctionHost = cloud.host
    host.stop()
    assert group_is_gone(made["pid"])
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith(("keep-", "log-"))] == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_the_emulator(source: Path, number: signal.Signals, cloud: PubSubCloud) -> None:
    program = f"""
        import sys, threading
        from pathlib import Path
        from emulator.host_process import FunctionProcess, Launch
        launch = Launch("f", {str(source)!r}, "on_message", "cloudevent", {{}})
        process = FunctionProcess(launch, log_folder=Path({str(source)!r}))
        process.start()
        print(process.describe()["pid"], flush=True)
        threading.Event().wait()
    """
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], cwd=root, stdout=subprocess.PIPE, text=True
    ) as emulator:
        assert emulator.stdout is not None
        group = int(emulator.stdout.readline())
        assert not group_is_gone(group)
        emulator.send_signal(number)
    cloud.until(lambda: group_is_gone(group))
