"""The life of an instance through the official client: states, operations, what is visible when, faults."""

from __future__ import annotations

import functools
import json
import operator
import uuid
from typing import TYPE_CHECKING

import pytest
from google.api_core import exceptions
from google.cloud import notebooks_v2
from google.protobuf import json_format

from emulator.app import EmbeddedCloud
from emulator.clock import VirtualClock
from tests.emulator.notebooks_cloud import OTHER_ZONE, PROJECT, START, ZONE, NotebooksCloud, running

if TYPE_CHECKING:
    from collections.abc import Iterator

ANYWHERE = f"{PROJECT}/locations/-"


@pytest.fixture
def cloud() -> Iterator[NotebooksCloud]:
    with running() as started:
        yield started


def test_a_create_passes_through_all_states_and_its_operation_is_done_before_it_is_active(cloud: NotebooksCloud):
    future = cloud.client.create_instance(parent=ZONE, instance_id="ann", instance=notebooks_v2.Instance())
    name, operation = f"{ZONE}/instances/ann", future.operation.name

    seen = []
    for wait in (0, 10, 50, 90, 90):
        cloud.wait(wait)
        seen.append((cloud.client.get_instance(name=name).state.name, cloud.raw(operation)["done"]))

    assert seen == [
        ("INITIALIZING", False),
        ("STARTING", False),
        ("PROVISIONING", False),
        ("PROVISIONING", True),
        ("ACTIVE", True),
    ]
    assert operation.startswith(f"{ZONE}/operations/operation-")
    assert future.metadata.verb == "create"
    assert future.metadata.target == name


def test_the_officials_clients_rest_reader_of_operations_cannot_read_the_real_answer(cloud: NotebooksCloud):
    """A trap that the real API has, too: api_core's REST reader refuses fields that the client's types lack.

    The result of a done operation carries `accessConfigs`, `instanceId`... (golden get-instance.json), so a done operation is
    read as plain JSON, or with `ignore_unknown_fields`. When this test fails the trap is gone.
    """
    future = cloud.client.create_instance(parent=ZONE, instance_id="ann", instance=notebooks_v2.Instance())
    assert future.done() is False
    cloud.wait(150)
    with pytest.raises(json_format.ParseError):
        future.done()
    done = cloud.raw(future.operation.name)
    assert done["response"]["@type"] == "type.googleapis.com/google.cloud.notebooks.v2.Instance"
    assert done["response"]["state"] == "PROVISIONING"


def test_a_new_instance_is_got_at_once_and_listed_a_little_later(cloud: NotebooksCloud):
    cloud.create("ann")
    assert cloud.client.get_instance(name=f"{ZONE}/instances/ann").state.name == "INITIALIZING"
    assert list(cloud.client.list_instances(parent=ZONE)) == []
    cloud.wait(5)
    assert [i.name for i in cloud.client.list_instances(parent=ZONE)] == [f"{ZONE}/instances/ann"]


def test_the_same_request_again_gives_the_same_operation_and_another_one_a_conflict(cloud: NotebooksCloud):
    request = str(uuid.uuid4())
    first = cloud.create("ann", requestId=request).json()
    cloud.wait(300)
    again = cloud.create("ann", requestId=request).json()
    assert again["name"] == first["name"]
    assert again["done"] is True
    with pytest.raises(exceptions.Conflict, match="already exists"):
        cloud.client.create_instance(parent=ZONE, instance_id="ann", instance=notebooks_v2.Instance())


def test_only_one_operation_at_a_time(cloud: NotebooksCloud):
    cloud.create("ann")
    for change in ("stop", "start", "reset"):
        answer = cloud.call("POST", f"/v2/{ZONE}/instances/ann:{change}", {})
        assert answer.status_code == 409
        assert answer.json()["error"]["status"] == "ABORTED"
        assert "unable to queue the operation" in answer.json()["error"]["message"]
    with pytest.raises(exceptions.Conflict, match="unable to queue the operation"):
        cloud.client.delete_instance(name=f"{ZONE}/instances/ann")


def test_stop_start_reset_and_delete(cloud: NotebooksCloud):
    name = cloud.active("ann")
    seen = []
    for verb, waits in (("stop", (0, 60)), ("start", (0, 40, 80)), ("reset", (0, 60))):
        cloud.call("POST", f"/v2/{name}:{verb}", {}).raise_for_status()
        for wait in waits:
            cloud.wait(wait)
            seen.append(cloud.state(name))
    assert seen == ["STOPPING", "STOPPED", "STARTING", "PROVISIONING", "ACTIVE", "STARTING", "ACTIVE"]

    operation = cloud.client.delete_instance(name=name).operation.name
    assert [i.name for i in cloud.client.list_instances(parent=ZONE)] == [name]
    cloud.wait(60)
    assert cloud.raw(operation)["response"] == {"@type": "type.googleapis.com/google.protobuf.Empty"}
    assert list(cloud.client.list_instances(parent=ZONE)) == []
    with pytest.raises(exceptions.NotFound):
        cloud.client.get_instance(name=name)


def test_health_is_told_only_while_active_and_moves_the_update_time(cloud: NotebooksCloud):
    name = cloud.active("ann")
    before = cloud.raw(name)
    cloud.wait(60)
    after = cloud.raw(name)
    assert before["healthState"] == "HEALTHY"
    assert after["updateTime"] > before["updateTime"]
    assert after["healthInfo"]["last_updated"] > before["healthInfo"]["last_updated"]
    cloud.client.stop_instance(request={"name": name})
    cloud.wait(60)
    stopped = cloud.raw(name)
    assert "healthState" not in stopped
    cloud.wait(600)
    assert cloud.raw(name)["updateTime"] == stopped["updateTime"]


@pytest.mark.parametrize(("verb", "state"), [("stop", "STOPPED"), ("start", "ACTIVE")])
def test_stop_of_a_stopped_and_start_of_an_active_one_change_nothing(cloud: NotebooksCloud, verb, state):
    name = cloud.stopped("ann") if state == "STOPPED" else cloud.active("ann")
    operation = cloud.call("POST", f"/v2/{name}:{verb}", {}).json()["name"]
    assert cloud.state(name) == state
    cloud.wait(2)
    assert cloud.raw(operation)["response"]["state"] == state


def test_a_failed_create_leaves_a_remnant_that_can_be_deleted(cloud: NotebooksCloud):
    text = f"The zone '{ZONE}' does not have enough resources available to fulfill the request.  Try a different zone, or try again later."
    cloud.fault(call="notebooks.CreateInstance", operation_error={"code": "RESOURCE_EXHAUSTED", "message": text})
    operation = cloud.create("ann").json()["name"]
    cloud.wait(3600)
    assert cloud.raw(operation)["error"] == {"code": 8, "message": text}
    assert cloud.state(f"{ZONE}/instances/ann") == "PROVISIONING"
    cloud.client.delete_instance(name=f"{ZONE}/instances/ann")
    cloud.wait(60)
    assert cloud.active("ann")
    assert cloud.world.faults.unfired() == []


def test_a_failed_create_may_leave_nothing(cloud: NotebooksCloud):
    cloud.fault(
        call="notebooks.CreateInstance",
        resource="*/instances/ann",
        operation_error={"code": "ABORTED", "message": "Failed to perform tenant project creation"},
        payload={"remnant": False},
    )
    operation = cloud.create("ann").json()["name"]
    cloud.wait(150)
    assert cloud.raw(operation)["error"]["code"] == 10
    assert cloud.call("GET", f"/v2/{ZONE}/instances/ann").status_code == 404


@pytest.mark.parametrize(
    ("verb", "method", "before"), [("start", "StartInstance", "STOPPED"), ("stop", "StopInstance", "ACTIVE")]
)
def test_a_failed_start_or_stop_falls_back(cloud: NotebooksCloud, verb, method, before):
    name = cloud.stopped("ann") if before == "STOPPED" else cloud.active("ann")
    cloud.fault(call=f"notebooks.{method}", operation_error={"code": "RESOURCE_EXHAUSTED", "message": "stockout"})
    cloud.call("POST", f"/v2/{name}:{verb}", {}).raise_for_status()
    assert cloud.state(name) != before
    cloud.wait(600)
    assert cloud.state(name) == before


def test_an_unreachable_location_is_named_and_its_instances_are_left_out(cloud: NotebooksCloud):
    cloud.active("ann")
    cloud.active("bob", zone=OTHER_ZONE)
    cloud.fault(call="notebooks.ListInstances", resource=OTHER_ZONE, unreachable=True)
    pages = list(cloud.client.list_instances(parent=ANYWHERE).pages)
    assert [i.name for i in pages[0].instances] == [f"{ZONE}/instances/ann"]
    assert list(pages[0].unreachable) == [OTHER_ZONE]
    assert len(list(cloud.client.list_instances(parent=ANYWHERE))) == 2


def test_a_lost_answer_has_done_its_work(cloud: NotebooksCloud):
    cloud.fault(call="notebooks.CreateInstance", phase="after", error={"code": "UNAVAILABLE"})
    assert cloud.create("ann").status_code == 503
    assert cloud.state(f"{ZONE}/instances/ann") == "INITIALIZING"


def test_the_journal_names_the_call_its_resource_and_its_permission(cloud: NotebooksCloud):
    operation = cloud.create("ann").json()["name"]
    cloud.raw(operation)
    rows = cloud.world.journal.listing(mutating_only=False)
    assert [(r["service"], r["method"], r["resource"], r["permission"], r["mutates"]) for r in rows] == [
        ("notebooks", "CreateInstance", f"{ZONE}/instances/ann", "notebooks.instances.create", True),
        ("notebooks", "GetOperation", operation, "notebooks.operations.get", False),
    ]


def test_who_gives_an_instance_a_service_account_must_be_allowed_to_act_as_it(cloud: NotebooksCloud):
    cloud.create("ann", {"gceSetup": {"serviceAccounts": [{"email": "robot@p.iam.gserviceaccount.com"}]}})
    (row,) = cloud.world.journal.listing(mutating_only=False)
    assert row["permission"] == "notebooks.instances.create,iam.serviceAccounts.actAs"


@pytest.mark.parametrize("ident", ["ann", f"{ZONE}/instances/ann"])
def test_a_change_from_outside_comes_at_once_and_is_journalled_as_such(cloud: NotebooksCloud, ident):
    name = cloud.active("ann")
    assert cloud.call("POST", f"/_emulator/notebooks/{ident}:stop-outside").status_code == 200
    assert cloud.state(name) == "STOPPED"
    assert cloud.call("POST", f"/_emulator/notebooks/{ident}:delete-outside").status_code == 200
    assert cloud.call("GET", f"/v2/{name}").status_code == 404
    changes = [r for r in cloud.world.journal.listing(mutating_only=True) if r["principal"] == "outside"]
    assert [(r["method"], r["resource"]) for r in changes] == [("StopInstance", name), ("DeleteInstance", name)]


def test_an_operation_on_what_is_deleted_outside_ends_in_not_found(cloud: NotebooksCloud):
    operation = cloud.create("ann").json()["name"]
    cloud.call("POST", "/_emulator/notebooks/ann:delete-outside").raise_for_status()
    cloud.wait(150)
    assert cloud.raw(operation)["error"]["code"] == 5


@pytest.mark.parametrize("busy_with", ["create", "delete"])
def test_a_name_made_anew_is_not_touched_by_what_was_due_for_the_old_one(cloud: NotebooksCloud, busy_with):
    if busy_with == "create":
        cloud.create("ann")
    else:
        cloud.client.delete_instance(name=cloud.active("ann"))
    cloud.wait(55)
    cloud.call("POST", "/_emulator/notebooks/ann:delete-outside").raise_for_status()
    again = cloud.create("ann").json()["name"]
    cloud.wait(9)
    assert cloud.state(f"{ZONE}/instances/ann") == "INITIALIZING"
    assert cloud.raw(again)["done"] is False
    cloud.wait(231)
    assert cloud.state(f"{ZONE}/instances/ann") == "ACTIVE"


@pytest.mark.parametrize(
    ("metadata", "kernels", "expected"),
    [
        ({"idle-timeout-seconds": "3600"}, "idle", "STOPPED"),
        ({"idle-timeout-seconds": "3600"}, "none", "STOPPED"),
        ({"idle-timeout-seconds": "3600"}, "busy", "ACTIVE"),
        ({"idle-timeout-seconds": "3600"}, None, "ACTIVE"),
        ({"idle-timeout-seconds": "3600", "enable-guest-attributes": "FALSE"}, "idle", "ACTIVE"),
        ({}, "idle", "ACTIVE"),
    ],
)
def test_workbenchs_own_idle_stop_looks_at_scripted_kernels_only(cloud: NotebooksCloud, metadata, kernels, expected):
    name = cloud.active("ann", {"gceSetup": {"metadata": metadata}})
    said = {"cpu": 0.9} | ({"kernels": kernels} if kernels else {})
    assert cloud.say(instance="ann", **said).status_code == 200
    cloud.wait(3599)
    assert cloud.state(name) == "ACTIVE"
    cloud.wait(62)
    assert cloud.state(name) == expected


def test_a_busy_stretch_begins_the_idle_time_anew(cloud: NotebooksCloud):
    name = cloud.active("ann", {"gceSetup": {"metadata": {"idle-timeout-seconds": "600"}}})
    cloud.say(instance="ann", kernels="idle")
    cloud.wait(500)
    cloud.say(instance="ann", kernels="busy")
    cloud.wait(500)
    cloud.say(instance="ann", kernels="idle")
    cloud.wait(599)
    assert cloud.state(name) == "ACTIVE"
    cloud.wait(1)
    assert cloud.state(name) == "STOPPING"


def test_a_world_saved_in_the_middle_of_a_create_goes_on_when_loaded(cloud: NotebooksCloud):
    operation = cloud.create("ann", requestId="5b0a6bb0-64d5-4a44-9d0a-d2ba2a3ea2f6").json()["name"]
    cloud.wait(30)
    saved = json.loads(json.dumps(cloud.world.save()))
    whole = EmbeddedCloud.build(clock=VirtualClock(start=START, speed=0))
    other, model = whole.world, whole.notebooks
    other.load(saved)
    assert model.get(f"{ZONE}/instances/ann")["state"] == "STARTING"
    other.clock.advance(cloud.model.timings.active)
    assert model.get(f"{ZONE}/instances/ann")["state"] == "ACTIVE"
    assert model.create(ZONE, "ann", {}, request_id="5b0a6bb0-64d5-4a44-9d0a-d2ba2a3ea2f6")["name"] == operation


def test_pages_in_each_order(cloud: NotebooksCloud):
    made = ["cat", "ann", "eve", "bob", "dan"]
    for ident in made:
        cloud.create(ident)
    cloud.wait(5)
    for order, expected in (("", made), ("name", sorted(made)), ("name desc", sorted(made, reverse=True))):
        pager = cloud.client.list_instances(request={"parent": ANYWHERE, "page_size": 2, "order_by": order})
        pages = [[i.name.rsplit("/", 1)[1] for i in page.instances] for page in pager.pages]
        assert [len(page) for page in pages] == [2, 2, 1]
        assert functools.reduce(operator.iadd, pages, []) == expected


def test_thousands_of_instances_come_page_by_page_and_each_once(cloud: NotebooksCloud):
    for number in range(2_500):
        cloud.model.create(ZONE, f"u{number:05}", {})
    cloud.wait(600)
    names: list[str] = []
    sizes = []
    token = ""
    while True:
        page = cloud.call("GET", f"/v2/{ANYWHERE}/instances", pageSize="1000", orderBy="name", pageToken=token).json()
        names += [i["name"] for i in page["instances"]]
        sizes.append(len(page["instances"]))
        token = page.get("nextPageToken", "")
        if not token:
            break
    assert sizes == [1000, 1000, 500]
    assert names == sorted(set(names))
