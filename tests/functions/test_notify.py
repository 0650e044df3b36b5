"""The function that sends mails: what it is told by the topic counts for nothing, what the record says is sent once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator
from kit.inprocess import ROOT, local_settings
from kit.mail import MESSAGES, Queue, mail_host
from msgspec.structs import replace

from shared import wiring
from shared.cloud.mail.smtp import Server, SmtpServer
from shared.domain.people.events import Joined
from shared.domain.record.parts import Stage
from shared.domain.things.identity import parse_email, user_key_for
from shared.engine.news.deliver import deliver
from shared.engine.sweeps.sweeps import sweep
from shared.messages.mail_words import FACTS
from shared.messages.notification import notification
from tests.functions.conftest import TARGETS

ACK = 200
KOFI = parse_email("kofi.mensah@example.org")
KEY = user_key_for(KOFI)
ON = local_settings(messages=MESSAGES)
ASYNC_API = yaml.safe_load((ROOT / "docs" / "asyncapi.yaml").read_text(encoding="utf-8"))


def ready(functions, host) -> dict[str, object]:
    """Kofi's notebook is ready; return the event that says so."""
    server = Server(host="127.0.0.1", port=host.port, security="none", user="", sender=MESSAGES.sender)
    queue = Queue()
    for target in TARGETS:
        settings, deps = wiring._CACHED[target]
        ports = replace(deps.mail, notifications=queue, server=SmtpServer(server, str, timeout_s=5.0))
        wiring._CACHED[target] = (settings, replace(deps, mail=ports))
    deps, now = wiring._CACHED["tick"][1], functions.bench.now
    deliver(Joined(event_id="1", user=KOFI, occurred_at=now, effective_at=now), deps)
    for _ in range(8):
        functions.bench.advance(minutes=1)
        sweep("due", deps)
    record = deps.records.load(KEY).record
    (mail,) = record.status.mail.mails
    assert queue.published
    found: dict[str, object] = json.loads(notification(record, mail, project="benchkeeper-local"))
    return found


@pytest.mark.parametrize("functions", [ON], indirect=True)
def test_a_mail_that_is_due_is_sent_once_whatever_is_delivered(functions):
    with mail_host() as host:
        event = ready(functions, host)
        for _ in range(10):
            assert functions.deliver("notify", event) == ACK
        forged = {**event, "data": {**event["data"], "user": "mallory@example.org", "episode": "another"}}
        assert functions.deliver("notify", forged) == ACK
        assert [mail.recipients for mail in host.accepted] == [[KOFI]]
    told = [line["told"] for line in functions.lines("Handled a delivery")]
    assert told == ["Sent", *["not due: Sent"] * 9, "not due"]


@pytest.mark.parametrize("functions", [ON], indirect=True)
@pytest.mark.parametrize(
    "body",
    [b"{", {"type": "another"}, {"type": "benchkeeper.notification.v1", "data": {"user_key": "x", "stage": "unknown", "episode": ""}},
     {"type": "benchkeeper.notification.v1", "data": {"user_key": "../x", "stage": "ready", "episode": "e"}}],
)  # fmt: skip
def test_what_is_no_notification_is_a_dead_letter(functions, body):
    assert functions.deliver("notify", body) == ACK
    assert len(functions.letters.published) == 1


def test_switched_off_nothing_is_sent(functions):
    event = {"type": "benchkeeper.notification.v1", "data": {"user_key": KEY, "stage": "ready", "episode": "first"}}
    assert functions.deliver("notify", event) == ACK
    (line,) = functions.lines("Handled a delivery")
    assert line["told"] == "messages are switched off"


@pytest.mark.parametrize("functions", [ON], indirect=True)
def test_an_event_is_as_the_document_of_the_topic_says(functions):
    with mail_host() as host:
        event = ready(functions, host)
    schemas = ASYNC_API["components"]["schemas"]
    Draft202012Validator({**schemas["Notification"], "components": ASYNC_API["components"]}).validate(event)


def test_the_document_names_every_stage_and_every_fact_that_a_text_may_name():
    data = ASYNC_API["components"]["schemas"]["Notification"]["properties"]["data"]["properties"]
    assert data["stage"]["enum"] == [stage.value for stage in Stage]
    said = data["facts"]["description"]
    assert [name for names in FACTS.values() for name in names if name not in said] == []


def references(value: object) -> list[str]:
    match value:
        case dict():
            return [found for key, each in value.items() for found in ([each] if key == "$ref" else references(each))]
        case list():
            return [found for each in value for found in references(each)]
        case _:
            return []


def test_the_document_is_whole():
    assert ASYNC_API["asyncapi"] == "3.0.0"
    found = references(ASYNC_API)
    assert found
    for reference in found:
        place: object = ASYNC_API
        for part in reference.removeprefix("#/").split("/"):
            assert isinstance(place, dict)
            place = place[part]
    for schema in ASYNC_API["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize(
    "path",
    [*(ROOT / "config" / "examples").glob("*.json"), *(ROOT / "tests" / "events").glob("hr-*.json")],
    ids=lambda path: path.stem,
)
def test_the_messages_of_hr_are_as_the_document_says(path: Path):
    body = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(body, dict) and body.get("schema") == "workbench.lifecycle/v1":
        Draft202012Validator(ASYNC_API["components"]["schemas"]["Lifecycle"]).validate(body)
