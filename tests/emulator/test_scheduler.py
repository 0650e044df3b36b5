"""Cloud Scheduler: schedules in virtual time, outcomes, strictness, and the real gcloud."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import requests

from emulator.clock import VirtualClock
from emulator.errors import ApiError
from emulator.faults import Fault
from emulator.model.scheduler import next_run
from tests.emulator.pubsub_kit import PROJECT, START, PubSubCloud, Seen, endpoint, pubsub_cloud

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PARENT = f"{PROJECT}/locations/europe-west1"
TICK = base64.b64encode(b'{"type":"tick"}').decode()


@pytest.fixture
def cloud() -> Iterator[PubSubCloud]:
    with pubsub_cloud(VirtualClock(start=START, speed=0)) as made:
        yield made


def call(cloud: PubSubCloud, verb: str, path: str, body: Any = None, *, status: int = 200) -> Any:
    answer = requests.request(verb, f"{cloud.url}/v1/{path}", json=body, timeout=10)
    assert answer.status_code == status, answer.text
    return answer.json()


def tick_job(topic: str, **fields: Any) -> dict[str, Any]:
    return {
        "name": f"{PARENT}/jobs/tick",
        "schedule": "*/10 * * * *",
        "pubsubTarget": {"topicName": topic, "data": TICK},
        **fields,
    }


def test_a_job_publishes_on_the_virtual_clock(cloud: PubSubCloud) -> None:
    topic = cloud.topic("ticks")
    reader = cloud.subscription("reader", topic)
    made = call(cloud, "POST", f"{PARENT}/jobs", tick_job(topic, timeZone="Europe/Berlin"))
    assert (made["state"], made["scheduleTime"]) == ("ENABLED", "2026-03-02T08:10:00.000000Z")
    assert made["timeZone"] == "Europe/Berlin"
    assert "lastAttemptTime" not in made
    cloud.world.clock.advance(timedelta(minutes=10))
    cloud.until(lambda: cloud.backlog(reader) == 1)
    (got,) = cloud.subscriber.pull(subscription=reader, max_messages=5).received_messages
    assert got.message.data == b'{"type":"tick"}'
    cloud.until(lambda: call(cloud, "GET", f"{PARENT}/jobs/tick").get("status") == {})
    job = call(cloud, "GET", f"{PARENT}/jobs/tick")
    assert job["lastAttemptTime"] == "2026-03-02T08:10:00.000000Z"
    assert job["scheduleTime"] == "2026-03-02T08:20:00.000000Z"


def test_runs_that_were_jumped_over_are_one(cloud: PubSubCloud) -> None:
    topic = cloud.topic("ticks")
    reader = cloud.subscription("reader", topic)
    call(cloud, "POST", f"{PARENT}/jobs", tick_job(topic))
    cloud.world.clock.advance(timedelta(hours=3))
    cloud.until(lambda: "status" in call(cloud, "GET", f"{PARENT}/jobs/tick"))
    assert cloud.backlog(reader) == 1
    cloud.world.clock.advance(timedelta(minutes=10))
    cloud.until(lambda: cloud.backlog(reader) == 2)


def test_pause_resume_run_delete(cloud: PubSubCloud) -> None:
    topic = cloud.topic("ticks")
    reader = cloud.subscription("reader", topic)
    name = call(cloud, "POST", f"{PARENT}/jobs", tick_job(topic))["name"]
    assert call(cloud, "POST", f"{name}:pause", {})["state"] == "PAUSED"
    cloud.world.clock.advance(timedelta(hours=1))
    call(cloud, "POST", f"{name}:run", {})
    cloud.until(lambda: cloud.backlog(reader) == 1)
    assert call(cloud, "POST", f"{name}:resume", {})["scheduleTime"] == "2026-03-02T09:10:00.000000Z"
    cloud.world.clock.advance(timedelta(minutes=10))
    cloud.until(lambda: cloud.backlog(reader) == 2)
    call(cloud, "DELETE", name)
    call(cloud, "GET", name, status=404)


def test_a_missing_topic_shows_in_the_status(cloud: PubSubCloud) -> None:
    name = call(cloud, "POST", f"{PARENT}/jobs", tick_job(f"{PROJECT}/topics/nothing"))["name"]
    call(cloud, "POST", f"{name}:run", {})
    cloud.until(lambda: call(cloud, "GET", name).get("status", {}).get("code") == 5)


def test_a_refused_attempt_is_retried_as_configured(cloud: PubSubCloud) -> None:
    topic = cloud.topic("ticks")
    reader = cloud.subscription("reader", topic)
    cloud.world.faults.add(Fault(call="scheduler.Attempt", error={"code": "UNAVAILABLE"}))
    retry = {"retryCount": 2, "minBackoffDuration": "20s"}
    name = call(cloud, "POST", f"{PARENT}/jobs", tick_job(topic, retryConfig=retry))["name"]
    cloud.world.clock.advance(timedelta(minutes=10))
    cloud.until(lambda: call(cloud, "GET", name)["scheduleTime"] == "2026-03-02T08:10:20.000000Z")
    assert call(cloud, "GET", name)["status"]["code"] == 14
    cloud.world.clock.advance(timedelta(seconds=20))
    cloud.until(lambda: cloud.backlog(reader) == 1)
    cloud.until(lambda: call(cloud, "GET", name)["status"] == {})
    assert call(cloud, "GET", name)["scheduleTime"] == "2026-03-02T08:20:00.000000Z"


def test_an_http_target_is_called(cloud: PubSubCloud) -> None:
    def answer(seen: Seen) -> int:
        return 200 if seen.body == b"go" else 500

    with endpoint(answer) as target:
        job = {
            "name": f"{PARENT}/jobs/web",
            "schedule": "0 9 * * mon-fri",
            "httpTarget": {"uri": target.url, "body": base64.b64encode(b"go").decode(), "headers": {"X-Own": "1"}},
        }
        call(cloud, "POST", f"{PARENT}/jobs", job)
        cloud.world.clock.advance(timedelta(hours=1))
        cloud.until(lambda: call(cloud, "GET", f"{PARENT}/jobs/web").get("status") == {})
        (seen,) = target.seen
        assert seen.headers["User-Agent"] == "Google-Cloud-Scheduler"
        assert seen.headers["X-CloudScheduler-JobName"] == "web"
        assert seen.headers["X-Own"] == "1"


def test_a_patch_changes_what_its_mask_names(cloud: PubSubCloud) -> None:
    topic = cloud.topic("ticks")
    name = call(cloud, "POST", f"{PARENT}/jobs", tick_job(topic, description="each ten minutes"))["name"]
    changed = call(cloud, "PATCH", f"{name}?updateMask=schedule", {"schedule": "0 * * * *", "description": "ignored"})
    assert (changed["schedule"], changed["description"]) == ("0 * * * *", "each ten minutes")
    assert changed["scheduleTime"] == "2026-03-02T09:00:00.000000Z"
    call(cloud, "PATCH", f"{name}?updateMask=state", {"state": "PAUSED"}, status=400)
    call(cloud, "PATCH", f"{PARENT}/jobs/none?updateMask=schedule", {"schedule": "0 * * * *"}, status=404)


@pytest.mark.parametrize(
    "change",
    [
        {"schedule": "every day"},
        {"schedule": "* * * * * *"},
        {"schedule": "61 * * * *"},
        {"schedule": "0 0 30 2 *"},
        {"schedule": "0 0 L * *"},
        {"timeZone": "Mars/Olympus"},
        {"name": f"{PROJECT}/locations/elsewhere1/jobs/tick"},
        {"name": f"{PARENT}/jobs/with.dot"},
        {"pubsubTarget": {"topicName": "ticks", "data": TICK}},
        {"pubsubTarget": {"topicName": f"{PROJECT}/topics/ticks"}},
        {"pubsubTarget": {"topicName": f"{PROJECT}/topics/ticks", "data": "%%%"}},
        {"httpTarget": {"uri": "http://127.0.0.1/"}},
        {"retryConfig": {"retryCount": 6}},
        {"bogus": 1},
    ],
)
def test_bad_jobs_are_refused(cloud: PubSubCloud, change: dict[str, Any]) -> None:
    call(cloud, "POST", f"{PARENT}/jobs", tick_job(f"{PROJECT}/topics/ticks", **change), status=400)
    assert call(cloud, "GET", f"{PARENT}/jobs") == {}


def test_lists_come_in_pages_and_a_taken_name_is_409(cloud: PubSubCloud) -> None:
    for number in range(3):
        job = tick_job(f"{PROJECT}/topics/ticks", name=f"{PARENT}/jobs/job-{number}")
        call(cloud, "POST", f"{PARENT}/jobs", job)
    call(cloud, "POST", f"{PARENT}/jobs", job, status=409)
    first = call(cloud, "GET", f"{PARENT}/jobs?pageSize=2")
    second = call(cloud, "GET", f"{PARENT}/jobs?pageSize=2&pageToken={first['nextPageToken']}")
    assert [job["name"][-1] for job in first["jobs"] + second["jobs"]] == ["0", "1", "2"]
    assert "nextPageToken" not in second


def test_a_saved_world_keeps_its_jobs(cloud: PubSubCloud) -> None:
    topic = cloud.topic("ticks")
    reader = cloud.subscription("reader", topic)
    call(cloud, "POST", f"{PARENT}/jobs", tick_job(topic))
    state = json.loads(json.dumps(cloud.world.save()))
    with pubsub_cloud(VirtualClock(start=START, speed=0), state) as again:
        assert call(again, "GET", f"{PARENT}/jobs/tick") == call(cloud, "GET", f"{PARENT}/jobs/tick")
        again.world.clock.advance(timedelta(minutes=10))
        again.until(lambda: again.backlog(reader) == 1)


@pytest.mark.parametrize(
    ("schedule", "zone", "expected"),
    [
        ("0 3 * * *", "Europe/Berlin", "2026-03-03T02:00:00+00:00"),
        ("0 3 * * *", "", "2026-03-03T03:00:00+00:00"),
        ("*/15 8-9 * * *", "", "2026-03-02T08:15:00+00:00"),
        ("0 0 1 jan *", "", "2027-01-01T00:00:00+00:00"),
        ("0 12 * * sun,6", "", "2026-03-07T12:00:00+00:00"),
        ("0 12 13 * 5", "", "2026-03-06T12:00:00+00:00"),  # both restricted: either is enough
        ("0 12 * * 7", "", "2026-03-08T12:00:00+00:00"),
        ("0 0 29 2 *", "", "2028-02-29T00:00:00+00:00"),
    ],
)
def test_schedules_mean_what_unix_cron_says(schedule: str, zone: str, expected: str) -> None:
    assert next_run(schedule, zone, datetime(2026, 3, 2, 8, 0, tzinfo=UTC)) == datetime.fromisoformat(expected)


def test_a_schedule_in_local_time_follows_the_summer() -> None:
    before = datetime(2026, 3, 28, 12, 0, tzinfo=UTC)
    assert next_run("30 6 * * *", "Europe/Berlin", before) == datetime(2026, 3, 29, 4, 30, tzinfo=UTC)


def test_a_wrong_schedule_says_so() -> None:
    with pytest.raises(ApiError, match="Schedule or time zone is invalid"):
        next_run("* * * *", "", START)


@pytest.mark.gcloud
@pytest.mark.slow
def test_gcloud_creates_runs_and_deletes_a_job(cloud: PubSubCloud, tmp_path: Path) -> None:
    topic = cloud.topic("ticks")
    reader = cloud.subscription("reader", topic)

    def gcloud(*arguments: str) -> Any:
        environment = {
            **os.environ,  # noqa: TID251 - gcloud needs PATH and HOME
            "CLOUDSDK_CONFIG": str(tmp_path),
            "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
            "CLOUDSDK_CORE_PROJECT": "benchkeeper-local",
            "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
            "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "true",
            "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "true",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDSCHEDULER": f"{cloud.url}/",
        }
        done = subprocess.run(
            ["gcloud", "scheduler", "jobs", *arguments, "--location=europe-west1", "--format=json"],
            env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout or "null")

    gcloud(
        "create", "pubsub", "tick", "--schedule=*/15 * * * *", "--topic=ticks", "--message-body={}", "--attributes=k=v"
    )
    made = gcloud("describe", "tick")
    assert made["pubsubTarget"] == {"topicName": topic, "data": "e30=", "attributes": {"k": "v"}}
    gcloud("run", "tick")
    cloud.until(lambda: cloud.backlog(reader) == 1)
    assert [job["name"] for job in gcloud("list")] == [f"{PARENT}/jobs/tick"]
    gcloud("delete", "tick")
    assert call(cloud, "GET", f"{PARENT}/jobs") == {}
