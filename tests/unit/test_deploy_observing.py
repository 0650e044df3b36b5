"""What a plan says of sinks, metrics, the dashboard, alerts and the view of costs; and when a body that is there covers the wanted one."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.planning import (
    ABSENT,
    ALERTS,
    CHANNEL,
    CHANNELS,
    DENIED,
    LABEL,
    NUMBER,
    PROJECT,
    Answers,
    World,
    a_sink,
    account,
    as_words,
    body_of,
    changed,
    commands,
    marks,
    policy,
    words_of,
)
from msgspec.structs import replace

from cli.deploy.failures import NotYetError
from cli.deploy.gcloud import Call, Command, FileWord
from cli.deploy.kinds import billing, observing
from cli.deploy.run import Outcome, carry_out
from cli.deploy.step import Mark, Step
from cli.deploy.target import Target

# ---- sinks, metrics, dashboard, alerts


@pytest.mark.parametrize(
    ("more", "mark"),
    [
        ({}, Mark.SAME), ({"createTime": "x", "disabled": False}, Mark.SAME), ({"filter": "x"}, Mark.CHANGE),
        ({"destination": "x"}, Mark.CHANGE), ({"disabled": True}, Mark.CHANGE),
    ],
)  # fmt: skip
def test_a_sink(world, more, mark):
    found = a_sink(world) | more
    publishes = policy(("roles/pubsub.publisher", found["writerIdentity"]))
    world.answers = {
        "logging sinks list --organization=123456789012": [], "logging sinks list": [found],
        "pubsub topics get-iam-policy": publishes, "pubsub topics get-iam-policy workbench-lifecycle": {},
    }  # fmt: skip
    plan = world.plan(observing.sinks)
    assert plan["sink benchkeeper-notebooks"].mark is mark
    assert plan["writer benchkeeper-notebooks"].mark is Mark.SAME
    if mark is Mark.CHANGE:
        assert "--no-disabled" in words_of(plan["sink benchkeeper-notebooks"])
    people = words_of(plan["sink benchkeeper-people"])
    assert people[:4] == ["logging", "sinks", "create", "benchkeeper-people"]
    assert "--organization=123456789012" in people
    assert plan["writer benchkeeper-people"].needs == ("sink benchkeeper-people", "topic workbench-directory")


def test_a_sink_that_went_to_hrs_topic_is_moved_once_something_hears_the_new_one(world):
    """And its identity may speak as HR no longer."""
    found = a_sink(world) | {"destination": f"pubsub.googleapis.com/projects/{PROJECT}/topics/workbench-lifecycle"}
    held = policy(("roles/pubsub.publisher", found["writerIdentity"]))
    world.answers = {
        "logging sinks list --organization=123456789012": [], "logging sinks list": [found],
        "pubsub topics get-iam-policy": {}, "pubsub topics get-iam-policy workbench-lifecycle": held,
    }  # fmt: skip
    plan = world.plan(observing.sinks)
    moved, former = plan["sink benchkeeper-notebooks"], plan["former-writer benchkeeper-notebooks"]
    assert {"topic workbench-wake", "function", "delivery"} <= set(moved.needs)
    assert f"pubsub.googleapis.com/projects/{PROJECT}/topics/workbench-wake" in words_of(moved)
    assert former.needs == ("sink benchkeeper-notebooks",)
    assert commands(former) == [
        f"pubsub topics remove-iam-policy-binding workbench-lifecycle --member={found['writerIdentity']} --role=roles/pubsub.publisher"
    ]
    assert observing.sinks_that_move(world.target()) == ["benchkeeper-notebooks"]


def test_a_sink_of_the_same_name_in_the_other_scope_is_another(world):
    world.answers = {
        "logging sinks list --organization=123456789012": [a_sink(world)], "logging sinks list": [], "pubsub topics": {},
    }  # fmt: skip
    assert world.plan(observing.sinks)["sink benchkeeper-notebooks"].mark is Mark.CREATE


def test_the_writer_of_a_new_sink_is_asked_for_when_it_is_there(world):
    world.answers = {"logging sinks list": [], "logging sinks describe benchkeeper-notebooks": a_sink(world)}
    step = world.plan(observing.sinks)["writer benchkeeper-notebooks"]
    assert commands(step) == [
        ("pubsub topics add-iam-policy-binding workbench-wake "
        "--member=serviceAccount:writer@gcp-sa-logging.iam.gserviceaccount.com --role=roles/pubsub.publisher")
    ]  # fmt: skip


SERVER = {"createTime": "2026-01-01T00:00:00Z", "updateTime": "2026-01-01T00:00:00Z", "etag": "abc", "version": "V2"}


def test_a_metric_that_was_made_is_the_same_until_somebody_edits_it(world):
    world.answers = {"logging metrics list": []}
    made = {key: body_of(step) for key, step in world.plan(observing.metrics).items()}
    there = [{**body, **SERVER, "name": key.removeprefix("metric ")} for key, body in made.items()]
    world.answers = {"logging metrics list": there}
    assert set(marks(world.plan(observing.metrics)).values()) == {Mark.SAME}
    for path, to in [(("filter",), "x"), (("description",), "by hand"), (("metricDescriptor", "valueType"), None)]:
        world.answers = {"logging metrics list": [changed(there[0], *path, to=to), *there[1:]]}
        plan = world.plan(observing.metrics)
        assert [key for key, mark in marks(plan).items() if mark is Mark.CHANGE] == [f"metric {there[0]['name']}"]
        assert commands(plan[f"metric {there[0]['name']}"])[0].startswith("logging metrics update ")


def test_a_dashboard_that_was_made_is_the_same_until_somebody_edits_it(world):
    world.answers = {"monitoring dashboards list": [{"displayName": "Benchkeeper", "name": "somebody's"}]}
    (step,) = world.plan(observing.dashboard).values()
    assert step.mark is Mark.CREATE
    name = f"projects/{NUMBER}/dashboards/1"
    there = {**body_of(step), "name": name, "etag": "e1"}
    world.answers = {"monitoring dashboards list": [there]}
    assert set(marks(world.plan(observing.dashboard)).values()) == {Mark.SAME}
    world.answers = {"monitoring dashboards list": [there | {"displayName": "x"}]}
    (step,) = world.plan(observing.dashboard).values()
    assert commands(step) == [f"monitoring dashboards update {name} --config-from-file=FILE"]
    assert body_of(step)["etag"] == "e1"


def test_an_alert_that_was_made_is_the_same_until_somebody_edits_it(world):
    world.answers = {CHANNELS: {"notificationChannels": [CHANNEL]}, ALERTS: {}}
    plan = world.plan(observing.channels, observing.alerts)
    assert plan["channel data-platform-oncall@example.com"].mark is Mark.SAME
    bodies = {key: body_of(step) for key, step in plan.items() if key.startswith("alert ")}
    assert all(body["notificationChannels"] == [CHANNEL["name"]] for body in bodies.values())
    there = [
        {**body, **SERVER, "name": f"projects/{PROJECT}/alertPolicies/{number}", "enabled": True}
        for number, body in enumerate(bodies.values())
    ]
    world.answers[ALERTS] = {"alertPolicies": there}
    assert set(marks(world.plan(observing.alerts)).values()) == {Mark.SAME}
    for path, to, because in [
        (("displayName",), "x", "it differs"), (("conditions", 0, "conditionThreshold", "duration"), "60s", "it differs"),
        (("notificationChannels",), None, "its notification channels differ"), (("userLabels", "benchkeeper-body"), "0", "it differs"),
    ]:  # fmt: skip
        spoiled = [changed(there[0], *path, to=to), *there[1:]]
        world.answers[ALERTS] = {"alertPolicies": spoiled}
        odd = [step for step in world.plan(observing.alerts).values() if step.mark is not Mark.SAME]
        assert [(step.mark, step.because) for step in odd] == [(Mark.CHANGE, because)]
        assert commands(odd[0]) == [f"PATCH https://monitoring.googleapis.com/v3/{there[0]['name']}"]


def test_pages_are_read_to_the_last(world):
    second = CHANNEL | {"name": "2", "labels": {"email_address": "second@example.com"}}
    world.answers = {
        f"{CHANNELS}?pageSize=100&pageToken=": {"notificationChannels": [CHANNEL], "nextPageToken": "more"},
        f"{CHANNELS}?pageSize=100&pageToken=more": {
            "notificationChannels": [second, {"userLabels": {}, "name": "not ours"}]
        },
    }
    assert [each["name"] for each in observing.listed_by_label(world.target(), "notificationChannels")] == [
        CHANNEL["name"],
        "2",
    ]


def test_a_new_address_gets_the_alerts_in_the_run_that_adds_it(world):
    world.answers = {CHANNELS: {"notificationChannels": [CHANNEL]}, ALERTS: {}}
    bodies = [body_of(step) for step in world.plan(observing.alerts).values()]
    there = [{**body, "name": f"projects/{PROJECT}/alertPolicies/{number}"} for number, body in enumerate(bodies)]
    gone = CHANNEL | {"labels": {"email_address": "who-left@example.com"}}
    world.answers = {CHANNELS: {"notificationChannels": [gone]}, ALERTS: {"alertPolicies": there}}
    plan = world.plan(observing.channels, observing.alerts)
    assert plan["channel data-platform-oncall@example.com"].mark is Mark.CREATE
    assert {step.mark for key, step in plan.items() if key.startswith("alert ")} == {Mark.CHANGE}


class Monitoring(Answers):
    """Keeps what is made, as the service does; with `losing` the first answer to each making never comes."""

    def __init__(
        self, *, channels: Iterable[dict[str, Any]] = (), policies: Iterable[dict[str, Any]] = (), losing: bool = False
    ) -> None:
        self.channels, self.policies, self.dashboards = list(channels), list(policies), list[dict[str, Any]]()
        self.done: list[str] = []
        self.lost: list[str] = []
        self._losing, self._lock = losing, threading.Lock()
        super().__init__()

    def _answer(self, question: str) -> Any:
        lists = {
            CHANNELS: {"notificationChannels": self.channels}, ALERTS: {"alertPolicies": self.policies},
            "monitoring dashboards list": self.dashboards,
        }  # fmt: skip
        self.answers = lists
        return super()._answer(question)

    def do(self, do: Command | Call) -> None:
        line = as_words(do)
        self.done.append(line)
        match do:
            case Call(verb="POST"):
                where = self.channels if do.path.endswith("/notificationChannels") else self.policies
                self._make(where, do.path.removeprefix("v3/"), do.body or {})
            case Call(verb="PATCH"):
                (found,) = [each for each in self.policies if f"v3/{each['name']}" == do.path]
                found.update(do.body or {})
            case Call(verb="DELETE"):
                (gone,) = [each for each in self.channels if f"v3/{each['name']}" == do.path]
                assert all(gone["name"] not in each["notificationChannels"] for each in self.policies), "still in use"
                self.channels.remove(gone)
            case ("monitoring", "dashboards", "create", FileWord(text=text)):
                self._make(self.dashboards, f"projects/{NUMBER}/dashboards", json.loads(text))
            case _:
                raise AssertionError(f"nobody knows: {line}")

    def _make(self, where: list[dict[str, Any]], kind: str, body: Mapping[str, Any]) -> None:
        with self._lock:
            where.append({**body, "name": f"{kind}/{len(where) + 7}"})
            first = body["displayName"] not in self.lost
            self.lost += [body["displayName"]] if self._losing and first else []
        if self._losing and first:
            raise NotYetError("Google Cloud gave an unexpected answer.", "")


class NoWaiting(threading.Event):
    """An event that is not waited for."""

    def wait(self, timeout: float | None = None) -> bool:  # noqa: ARG002 - the signature of an event
        return self.is_set()


def watching(target: Target) -> list[Step]:
    return [*observing.channels(target), *observing.alerts(target), *observing.dashboard(target)]


def deploy(world: World, gcloud: Monitoring) -> Outcome:
    """Plan and carry out who is told of what."""
    steps = watching(replace(world.target(), gcloud=gcloud))
    return carry_out(steps, gcloud, started=lambda _: None, ended=lambda _: None, stop=NoWaiting())


def test_what_has_no_name_of_its_own_is_made_once_though_an_answer_is_lost(world):
    gcloud = Monitoring(losing=True)
    assert not deploy(world, gcloud).failed
    assert [each["labels"]["email_address"] for each in gcloud.channels] == list(world.deployment.options.notify)
    assert sorted(each["userLabels"]["benchkeeper-alert"] for each in gcloud.policies) == sorted(
        world.deployment.alerts
    )
    assert len(gcloud.dashboards) == 1
    assert len(gcloud.lost) == len(gcloud.channels) + len(gcloud.policies) + 1
    assert sum(line.startswith("POST ") for line in gcloud.done) == len(gcloud.channels) + len(gcloud.policies)
    assert {step.mark for step in watching(replace(world.target(), gcloud=gcloud))} == {Mark.SAME}


def test_who_is_named_no_longer_is_forgotten_once_no_alert_tells_them(world):
    left = CHANNEL | {
        "name": f"projects/{PROJECT}/notificationChannels/2",
        "labels": {"email_address": "who-left@example.com"},
    }
    gcloud = Monitoring(channels=[CHANNEL])
    assert not deploy(world, gcloud).failed
    gcloud.channels.append(left)
    for policy_ in gcloud.policies:
        policy_["notificationChannels"] = [CHANNEL["name"], left["name"]]
    plan = {step.key: step for step in watching(replace(world.target(), gcloud=gcloud))}
    gone = plan["former-channel who-left@example.com"]
    assert (gone.mark, gone.because) == (Mark.DELETE, "no longer configured")
    assert {step.because for key, step in plan.items() if key.startswith("alert ")} == {
        "its notification channels differ"
    }
    assert not deploy(world, gcloud).failed  # the service refuses to forget a channel that an alert names
    assert gcloud.channels == [CHANNEL]
    assert all(each["notificationChannels"] == [CHANNEL["name"]] for each in gcloud.policies)


def test_a_channel_of_somebody_elses_is_not_ours_to_forget(world):
    theirs = CHANNEL | {"name": "theirs", "labels": {"email_address": "sre@example.com"}, "userLabels": {}}
    pager = {"name": "pager", "type": "pagerduty", "labels": {"service_key": "x"}, "userLabels": LABEL}
    gcloud = Monitoring(channels=[CHANNEL, theirs, pager])
    assert not deploy(world, gcloud).failed
    assert gcloud.channels == [CHANNEL, theirs, pager]


# ---- what somebody deleted by hand: the plan mends it, and does not end over it


def test_a_topic_that_is_gone_from_under_its_sink_is_made_again(world):
    world.answers = {
        "logging sinks list --organization": [], "logging sinks list": [a_sink(world)], "pubsub topics get-iam-policy": ABSENT,
    }  # fmt: skip
    assert world.plan(observing.sinks)["writer benchkeeper-notebooks"].mark is Mark.CREATE


# ---- covers

LEAVES = st.one_of(st.text(min_size=1, max_size=5), st.integers(1, 10**15), st.just(True))


BODIES = st.dictionaries(
    st.text("abc", min_size=1, max_size=3),
    st.recursive(
        LEAVES,
        lambda inner: st.one_of(
            st.lists(inner, min_size=1, max_size=3), st.dictionaries(st.text("abc", min_size=1, max_size=3), inner, min_size=1, max_size=3)
        ),
        max_leaves=6,
    ),
    min_size=1, max_size=4,
)  # fmt: skip


def as_a_server_says(value: Any) -> Any:
    """Fields of its own beside ours, at every depth; a long whole number as a text, as int64 is in JSON."""
    if isinstance(value, dict):
        return {"serverSays": "x", **{key: as_a_server_says(each) for key, each in value.items()}}
    if isinstance(value, list):
        return [as_a_server_says(each) for each in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    match value:
        case dict():
            return [each for key, inner in value.items() for each in leaves(inner, (*path, key))]
        case list():
            return [each for number, inner in enumerate(value) for each in leaves(inner, (*path, number))]
        case _:
            return [path]


@settings(max_examples=60)
@given(BODIES)
def test_what_a_server_adds_is_no_difference(wanted):
    assert observing.covers(as_a_server_says(wanted), wanted)


@settings(max_examples=60)
@given(BODIES, st.data())
def test_what_was_changed_or_taken_away_is_a_difference(wanted, data):
    path = data.draw(st.sampled_from(leaves(wanted)))
    seen = as_a_server_says(wanted)
    assert not observing.covers(changed(seen, *path, to="something quite else"), wanted)
    assert not observing.covers(changed(seen, *path), wanted)


@pytest.mark.parametrize("nothing", [0, False, "", [], {}, None])
def test_what_is_empty_may_be_left_out_by_a_server(nothing):
    assert observing.covers({"a": 1}, {"a": 1, "b": nothing})


@pytest.mark.parametrize(("seen", "wanted"), [(5, 0), (True, False), ("x", ""), (["x"], [])])
def test_what_should_be_empty_and_is_not_is_a_difference(seen, wanted):
    assert not observing.covers({"b": seen}, {"b": wanted})


# ---- the view of costs


def test_the_view_stands_where_the_export_is(world):
    where = f"GET bigquery/v2/projects/{PROJECT}/datasets/benchkeeper"
    export = "GET bigquery/v2/projects/acme-billing/datasets/billing"
    world.answers = {export: {"location": "EU"}, where: ABSENT}
    plan = world.plan(billing.views)
    assert body_of(plan["dataset benchkeeper"])["location"] == "EU"
    body = body_of(plan["view cost_by_user"])
    assert body["view"] == {"query": world.deployment.cost_view, "useLegacySql": False}
    reader = {"role": "READER", "userByEmail": account("tick")}
    world.answers |= {where: {"location": "EU", "access": [reader]}, f"{where}/tables/cost_by_user": body | SERVER}
    assert set(marks(world.plan(billing.views)).values()) == {Mark.SAME}
    world.answers[f"{where}/tables/cost_by_user"] = changed(body, "view", "query", to="SELECT 1")
    assert world.plan(billing.views)["view cost_by_user"].mark is Mark.CHANGE
    world.answers[export] = DENIED
    assert marks(world.plan(billing.views)) == {"view cost_by_user": Mark.KEEP}
