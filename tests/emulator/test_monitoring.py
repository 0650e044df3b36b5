"""Time series of the VMs, from scripted activity, as the REST API of Cloud Monitoring gives them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.emulator.notebooks_cloud import PROJECT, ZONE, NotebooksCloud, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    import requests

CPU = "compute.googleapis.com/instance/cpu/utilization"
COUNT = "notebooks.googleapis.com/instance/proxy_agent/response_count"
CORES = "compute.googleapis.com/instance/cpu/usage_time"
VCPUS = "compute.googleapis.com/instance/cpu/guest_visible_vcpus"
LAG = 240


@pytest.fixture
def cloud() -> Iterator[NotebooksCloud]:
    with running() as started:
        yield started


def rfc(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def ask(
    cloud: NotebooksCloud, metric: str = CPU, *, more: str = "", minutes: float = 60, **params: str
) -> requests.Response:
    now = cloud.world.clock.now()
    asked = {
        "filter": f'metric.type="{metric}"{more}',
        "interval.startTime": rfc(now - timedelta(minutes=minutes)),
        "interval.endTime": rfc(now),
    } | params
    return cloud.call("GET", f"/v3/{PROJECT}/timeSeries", **asked)


def series(cloud: NotebooksCloud, metric: str = CPU, **kwargs: Any) -> list[dict[str, Any]]:
    answer = ask(cloud, metric, **kwargs)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json().get("timeSeries", [])
    return found


def values(found: dict[str, Any]) -> list[float]:
    """Oldest first."""
    return [float(p["value"].get("doubleValue", p["value"].get("int64Value"))) for p in reversed(found["points"])]


def test_an_active_instance_without_a_script_is_nearly_idle(cloud: NotebooksCloud):
    raw = cloud.raw(cloud.active("ann"))
    cloud.wait(600 + LAG)
    (cpu,), (cores,), (vcpus,) = series(cloud), series(cloud, CORES), series(cloud, VCPUS)
    labels = {"project_id": "benchkeeper-local", "instance_id": raw["gceSetup"]["instanceId"], "zone": "us-east1-b"}
    assert cpu["resource"] == {"type": "gce_instance", "labels": labels}
    assert cpu["metric"] == {"type": CPU, "labels": {"instance_name": "ann"}}
    assert (cpu["metricKind"], cpu["valueType"]) == ("GAUGE", "DOUBLE")
    assert (cores["metricKind"], cores["valueType"]) == ("DELTA", "DOUBLE")
    assert set(values(cpu)) == {0.01}
    assert set(values(cores)) == {0.01 * 4 * 60}  # an e2-standard-4
    assert set(values(vcpus)) == {4}
    assert len(cpu["points"]) == len(cores["points"]) == 10
    newest = cpu["points"][0]["interval"]
    assert newest["startTime"] == newest["endTime"] > cpu["points"][1]["interval"]["endTime"]
    delta = cores["points"][0]["interval"]
    assert delta["startTime"] == cores["points"][1]["interval"]["endTime"]


def test_the_proxys_counter_is_silent_in_quiet_minutes_and_has_a_series_for_each_code(cloud: NotebooksCloud):
    assert cloud.call("POST", "/_emulator/monitoring", {"counter": "sparse"}).json()["counter"] == "sparse"
    cloud.active("ann")
    begun = cloud.world.clock.now().replace(second=0, microsecond=0) + timedelta(minutes=1)
    cloud.wait(600 + LAG)
    assert series(cloud, COUNT) == []  # nobody ever opened it
    times = {"from": rfc(begun + timedelta(minutes=2)), "until": rfc(begun + timedelta(minutes=5))}
    assert cloud.say(instance="ann", requests_per_minute={"200": 7, "304": 2, "500": 0}, **times).status_code == 200
    found = {one["metric"]["labels"]["response_code"]: one for one in series(cloud, COUNT)}
    assert {code: values(one) for code, one in found.items()} == {"200": [7, 7, 7], "304": [2, 2, 2]}
    assert found["304"]["metric"]["labels"]["response_code_class"] == "3XX"
    assert (found["200"]["metricKind"], found["200"]["valueType"]) == ("DELTA", "INT64")
    (only,) = series(cloud, COUNT, more=' AND metric.labels.response_code="304"')
    assert values(only) == [2, 2, 2]


def test_the_counter_can_write_zeros_or_be_invisible(cloud: NotebooksCloud):
    cloud.active("ann")
    cloud.wait(600 + LAG)
    assert cloud.call("POST", "/_emulator/monitoring", {"counter": "zeros"}).json()["counter"] == "zeros"
    (count,) = series(cloud, COUNT)
    assert values(count) == [0] * 10
    assert cloud.call("POST", "/_emulator/monitoring", {"counter": "invisible"}).status_code == 200
    assert ask(cloud, COUNT).status_code == 404
    assert ask(cloud, CORES).status_code == 200
    saved = cloud.world.save()
    assert cloud.call("POST", "/_emulator/monitoring", {"counter": "sparse"}).status_code == 200
    cloud.world.load(saved)
    assert cloud.call("GET", "/_emulator/monitoring").json()["counter"] == "invisible"


@pytest.mark.parametrize("body", [{}, {"counter": "loud"}, {"counter": "sparse", "lag": 3}, {"colour": "red"}])
def test_an_unknown_switch_of_monitoring_is_refused(cloud: NotebooksCloud, body):
    assert cloud.call("POST", "/_emulator/monitoring", body).status_code == 400


def test_cores_follow_the_machine_type_of_their_time(cloud: NotebooksCloud):
    name = cloud.active("ann", {"gceSetup": {"machineType": "e2-standard-2"}})
    cloud.wait(300)
    cloud.client.stop_instance(request={"name": name})
    cloud.wait(60)
    body = {"gceSetup": {"machineType": "e2-standard-8"}}
    assert cloud.call("PATCH", f"/v2/{name}", body, updateMask="gce_setup.machine_type").status_code == 200
    cloud.wait(60)
    cloud.client.start_instance(request={"name": name})
    cloud.wait(600 + LAG)
    (vcpus,), (cores,) = series(cloud, VCPUS), series(cloud, CORES)
    assert set(values(vcpus)) == {2, 8}
    assert set(values(cores)) == {0.01 * 2 * 60, 0.01 * 8 * 60}


def test_points_show_after_the_lag_and_only_while_active(cloud: NotebooksCloud):
    name = cloud.active("ann")
    cloud.wait(LAG - 1)
    assert series(cloud) == []
    cloud.wait(121)
    assert len(series(cloud)[0]["points"]) == 2
    cloud.client.stop_instance(request={"name": name})
    cloud.wait(3600)
    before = series(cloud, minutes=600)[0]["points"]
    cloud.wait(3600)
    assert series(cloud, minutes=600)[0]["points"] == before
    cloud.client.delete_instance(name=name)
    cloud.wait(600)
    assert series(cloud, minutes=600)[0]["points"] == before


def test_the_script_sets_the_values_and_the_last_said_wins(cloud: NotebooksCloud):
    cloud.active("ann")
    begun = cloud.world.clock.now()
    assert cloud.say(instance="ann", cpu=0.5, requests_per_minute=7).status_code == 200
    cloud.say(
        instance="ann",
        cpu=0.9,
        **{"from": rfc(begun + timedelta(minutes=4)), "until": rfc(begun + timedelta(minutes=7))},
    )
    cloud.wait(600 + LAG)
    got = values(series(cloud)[0])
    assert set(got) == {0.5, 0.9}
    assert got.count(0.9) == 3
    assert set(values(series(cloud, COUNT)[0])) == {7.0}
    said = cloud.call("GET", "/_emulator/activity").json()["activity"]
    assert [(row["instance"], row["cpu"], row["kernels"]) for row in said] == [
        (f"{ZONE}/instances/ann", 0.5, None),
        (f"{ZONE}/instances/ann", 0.9, None),
    ]


@pytest.mark.parametrize(
    "body",
    [
        {"cpu": 0.5},
        {"instance": "ann", "cpu": 1.5},
        {"instance": "ann", "cpu": True},
        {"instance": "ann", "requests_per_minute": -1},
        {"instance": "ann", "requests_per_minute": {"200": -1}},
        {"instance": "ann", "requests_per_minute": {"2XX": 1}},
        {"instance": "ann", "requests_per_minute": {"200": True}},
        {"instance": "ann", "kernels": "sleepy"},
        {"instance": "ann", "colour": "red"},
        {"instance": "ann", "from": "2026-08-12T10:00:00"},
        {"instance": "ann", "from": "2026-08-12T10:00:00Z", "until": "2026-08-12T09:00:00Z"},
    ],
)
def test_a_bad_script_is_refused(cloud: NotebooksCloud, body):
    cloud.active("ann")
    assert cloud.say(**body).status_code == 400
    assert cloud.call("GET", "/_emulator/activity").json()["activity"] == []


def test_a_script_for_nobody_is_not_found(cloud: NotebooksCloud):
    assert cloud.say(instance="nobody", cpu=0.1).status_code == 404


@pytest.mark.parametrize(
    ("aligner", "metric", "expected", "kind"),
    [
        ("ALIGN_MEAN", CPU, 0.3, ("GAUGE", "DOUBLE")),
        ("ALIGN_MAX", CPU, 0.5, ("GAUGE", "DOUBLE")),
        ("ALIGN_RATE", CORES, 4 * 0.3, ("GAUGE", "DOUBLE")),
        ("ALIGN_SUM", COUNT, 50, ("DELTA", "INT64")),
        ("ALIGN_DELTA", COUNT, 50, ("DELTA", "INT64")),
        ("ALIGN_RATE", COUNT, 50 / 600, ("GAUGE", "DOUBLE")),
    ],
)
def test_aligners(cloud: NotebooksCloud, aligner, metric, expected, kind):
    cloud.active("ann")
    begun = cloud.world.clock.now().replace(second=0, microsecond=0) + timedelta(minutes=1)
    cloud.say(instance="ann", cpu=0.1, requests_per_minute=0)
    cloud.say(
        instance="ann",
        cpu=0.5,
        requests_per_minute=10,
        **{"from": rfc(begun), "until": rfc(begun + timedelta(minutes=5))},
    )
    cloud.wait(600 + LAG + 60)
    interval = {"interval.startTime": rfc(begun), "interval.endTime": rfc(begun + timedelta(minutes=10))}
    (found,) = series(
        cloud, metric, **interval, **{"aggregation.perSeriesAligner": aligner, "aggregation.alignmentPeriod": "600s"}
    )
    assert values(found) == [pytest.approx(expected)]
    assert (found["metricKind"], found["valueType"]) == kind


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (' AND resource.labels.instance_id="{ann}"', ["ann"]),
        (' AND resource.label.instance_id = "{ann}"', ["ann"]),
        (' AND (resource.labels.instance_id="{ann}" OR resource.labels.instance_id="{bob}")', ["ann", "bob"]),
        (' AND resource.labels.instance_id = one_of("{ann}", "{bob}")', ["ann", "bob"]),
        (
            ' AND resource.labels.instance_id = "{ann}" AND resource.labels.instance_id = one_of("{ann}", "{bob}")',
            ["ann"],
        ),
        (' AND resource.labels.instance_id = "{ann}" AND resource.labels.instance_id = "{bob}"', []),
        (' AND resource.labels.instance_id = one_of("{bob}", "7")', ["bob"]),
        (' AND (resource.labels.instance_id = "{ann}" OR metric.labels.instance_name = "bob")', ["ann", "bob"]),
        (' AND NOT resource.labels.instance_id = "{ann}"', ["bob"]),
        (' AND resource.type="gce_instance" AND metric.labels.instance_name = starts_with("b")', ["bob"]),
        (' AND resource.labels.zone != "us-east1-b"', []),
        (' AND NOT metric.labels.instance_name="ann"', ["bob"]),
        (' resource.type = "gce_instance"', ["ann", "bob"]),
    ],
)
def test_filters(cloud: NotebooksCloud, more, expected):
    ids = {who: cloud.raw(cloud.active(who))["gceSetup"]["instanceId"] for who in ("ann", "bob")}
    cloud.wait(600)
    found = series(cloud, more=more.format(**ids))
    assert sorted(one["metric"]["labels"]["instance_name"] for one in found) == expected


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({"filter": ""}, 400),
        ({"filter": 'resource.type="gce_instance"'}, 400),
        ({"filter": f"metric.type={CPU}"}, 400),
        ({"filter": f'metric.type="{CPU}" AND'}, 400),
        ({"filter": f'metric.type="{CPU}" AND colour="red"'}, 400),
        ({"filter": f'metric.type="{CPU}" AND resource.labels.zone like "x"'}, 400),
        ({"filter": 'metric.type="custom.googleapis.com/none"'}, 404),
        ({"interval.endTime": ""}, 400),
        ({"interval.endTime": "yesterday"}, 400),
        ({"interval.startTime": "2030-01-01T00:00:00Z"}, 400),
        ({"view": "SOME"}, 400),
        ({"colour": "red"}, 400),
        ({"pageSize": "-1"}, 400),
        ({"pageToken": "x"}, 400),
        ({"aggregation.perSeriesAligner": "ALIGN_MEAN"}, 400),
        ({"aggregation.perSeriesAligner": "ALIGN_MEAN", "aggregation.alignmentPeriod": "30s"}, 400),
        ({"aggregation.perSeriesAligner": "ALIGN_RATE", "aggregation.alignmentPeriod": "60s"}, 400),
        ({"aggregation.perSeriesAligner": "ALIGN_ODD", "aggregation.alignmentPeriod": "60s"}, 400),
        ({"aggregation.alignmentPeriod": "1m"}, 400),
    ],
)
def test_a_bad_query_is_refused(cloud: NotebooksCloud, params, status):
    assert ask(cloud, **params).status_code == status


def test_another_project_is_forbidden(cloud: NotebooksCloud):
    assert cloud.call("GET", "/v3/projects/other/timeSeries").status_code == 403


def test_headers_have_no_points_and_pages_count_points(cloud: NotebooksCloud):
    for who in ("ann", "bob", "cat"):
        cloud.active(who)
    cloud.wait(600)
    assert all("points" not in one for one in series(cloud, view="HEADERS"))
    whole = {one["metric"]["labels"]["instance_name"]: one["points"] for one in series(cloud)}
    paged: dict[str, list[Any]] = {}
    token = ""
    while True:
        page = ask(cloud, pageSize="4", pageToken=token).json()
        assert sum(len(one["points"]) for one in page["timeSeries"]) <= 4
        for one in page["timeSeries"]:
            paged.setdefault(one["metric"]["labels"]["instance_name"], []).extend(one["points"])
        token = page.get("nextPageToken", "")
        if not token:
            break
    assert paged == whole


def test_a_thousand_instances_in_one_query(cloud: NotebooksCloud):
    for number in range(1000):
        cloud.model.create(ZONE, f"u{number:04}", {})
    cloud.wait(3600 + 600)
    names = set()
    token = ""
    pages = 0
    while True:
        page = ask(cloud, pageToken=token, pageSize="20000").json()
        pages += 1
        names |= {one["metric"]["labels"]["instance_name"] for one in page["timeSeries"]}
        token = page.get("nextPageToken", "")
        if not token:
            break
    assert len(names) == 1000
    assert pages < 20  # full pages, not one for each instance
