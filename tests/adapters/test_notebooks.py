"""Workbench instances through the official client and plain REST: ensure, absence, busy, each refusal in its class."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from kit.making import ANA, ZONES, profile

from shared.cloud.notebooks import observed_from
from shared.domain.catalog import Accelerator, Disk, Identity, ShieldedVm, VmImage
from shared.domain.errors import (
    AccessDeniedError,
    BusyError,
    CloudUnavailableError,
    ConflictError,
    InvalidSpecError,
    NotOursError,
    OperationFailedError,
    QuotaExhaustedError,
    RateLimitedError,
    StockoutError,
)
from shared.domain.identity import instance_id_for, user_key_for
from shared.domain.notebook import Absent, InstanceRef, Network, NotebookState, is_ours, spec_for
from shared.domain.record import OperationRef, Verb

ZONE = ZONES[0]
KEY = user_key_for(ANA)
REF = InstanceRef(instance_id=instance_id_for(ANA), zone=ZONE)
REQUEST = "5c0a6a5e-3a86-4c0e-8b0e-1f4f0a3d9b01"
OTHER_REQUEST = "5c0a6a5e-3a86-4c0e-8b0e-1f4f0a3d9b02"
STOCKOUT = (
    "The zone 'projects/benchkeeper-local/zones/europe-west1-b' does not have enough resources available to fulfill "
    "the request.  Try a different zone, or try again later."
)
QUOTA = "Quota 'CPUS' exceeded.  Limit: 24.0 in region europe-west1."


def spec(**changes):
    made = spec_for(
        owner=ANA,
        user_key=KEY,
        instance_id=REF.instance_id,
        profile=profile("analyst"),
        cost_center="CC-1",
        network=Network(),
    )
    return replace(made, **changes)


@pytest.fixture
def notebooks(bench):
    return bench.deps.notebooks


def made(bench, notebooks, ref=REF):
    """An instance that is ACTIVE and that listings show."""
    operation = notebooks.create(spec(instance_id=ref.instance_id), ref.zone, REQUEST)
    bench.advance(minutes=5)
    assert notebooks.get(ref).state is NotebookState.ACTIVE
    return operation


def stopped(bench, notebooks):
    made(bench, notebooks)
    notebooks.stop(REF)
    bench.advance(minutes=2)
    assert notebooks.get(REF).state is NotebookState.STOPPED


def raw(bench, ref=REF):
    name = f"/v2/projects/{bench.settings.project}/locations/{ref.zone}/instances/{ref.instance_id}"
    return bench.control("GET", name)


def instances(bench):
    found = bench.control("GET", f"/v2/projects/{bench.settings.project}/locations/-/instances")
    return sorted(i["name"].rpartition("/")[2] for i in found.get("instances", []))


def patch(bench, body, mask):
    name = f"/v2/projects/{bench.settings.project}/locations/{ZONE}/instances/{REF.instance_id}"
    bench.clients.json("notebooks").call("PATCH", name, params={"updateMask": mask}, body=body)
    bench.advance(minutes=1)


# --- create ---


def test_a_created_instance_is_what_was_asked_for_and_never_the_apis_defaults(bench, notebooks):
    operation = notebooks.create(spec(), ZONE, REQUEST)
    assert (operation.verb, operation.started_at) == (Verb.CREATE, bench.now)
    assert notebooks.get(REF).state is NotebookState.INITIALIZING
    bench.advance(minutes=5)
    seen, body = notebooks.get(REF), raw(bench)
    assert seen.state is NotebookState.ACTIVE
    assert is_ours(seen, KEY, "")
    assert not seen.has_public_ip
    assert seen.proxy_uri
    assert seen.gce_instance_id.isdigit()
    assert seen.machine_type == "e2-standard-4"
    assert seen.labels["cost-center"] == "cc-1"
    assert seen.metadata["idle-timeout-seconds"] == "10800"
    # The owner is given and never read back; what the VM's proxy is told shows it.
    assert (seen.metadata["proxy-mode"], seen.metadata["proxy-user-mail"]) == ("mail", ANA)
    assert body["enableManagedEuc"] is True
    assert body["gceSetup"]["disablePublicIp"] is True
    assert not [value for value in seen.labels.values() if "@" in value]


def test_everything_a_profile_may_say_reaches_the_instance(bench, notebooks):
    rich = spec(
        accelerator=Accelerator(type="NVIDIA_TESLA_T4", count=2),
        machine_type="n1-standard-8",
        image=VmImage(project="my-images", name="bench-7"),
        boot_disk=Disk(size_gb=200, type="PD_SSD"),
        data_disk=Disk(size_gb=300, type="PD_BALANCED"),
        shielded=ShieldedVm(secure_boot=True),
        tags=("no-egress",),
        network=Network(network="projects/p/global/networks/n", subnet="projects/p/regions/europe-west1/subnetworks/s"),
    )
    notebooks.create(rich, ZONE, REQUEST)
    setup = raw(bench)["gceSetup"]
    assert setup["acceleratorConfigs"] == [{"type": "NVIDIA_TESLA_T4", "coreCount": "2"}]
    assert setup["gpuDriverConfig"]["enableGpuDriver"] is True
    assert setup["vmImage"] == {"project": "my-images", "name": "bench-7"}
    assert (setup["bootDisk"]["diskSizeGb"], setup["bootDisk"]["diskType"]) == ("200", "PD_SSD")
    assert setup["dataDisks"][0]["diskSizeGb"] == "300"
    assert setup["shieldedInstanceConfig"]["enableSecureBoot"] is True
    assert "no-egress" in setup["tags"]
    assert setup["networkInterfaces"][0]["subnet"].endswith("/subnetworks/s")


def test_an_identity_that_is_not_built_is_refused_before_anything_is_asked(bench, notebooks):
    with pytest.raises(NotOursError, match="personal-service-account"):
        notebooks.create(spec(identity=Identity.PERSONAL_SERVICE_ACCOUNT), ZONE, REQUEST)
    assert bench.calls() == []


def test_the_same_request_again_makes_no_second_instance(bench, notebooks):
    first = notebooks.create(spec(), ZONE, REQUEST)
    again = notebooks.create(spec(), ZONE, REQUEST)
    assert again.name == first.name
    bench.advance(minutes=5)
    assert instances(bench) == [REF.instance_id]


def test_an_instance_that_is_there_already_and_ours_is_success(bench, notebooks):
    made(bench, notebooks)
    uid = raw(bench)["id"]
    assert notebooks.create(spec(), ZONE, OTHER_REQUEST) is None
    assert raw(bench)["id"] == uid


@pytest.mark.parametrize(
    "labels", [{}, {"managed-by": "terraform"}, {"managed-by": "benchkeeper", "benchkeeper-user": "else-0123456789ab"}]
)
def test_an_instance_that_is_there_already_and_not_ours_is_left_alone(bench, notebooks, labels):
    bench.clients.json("notebooks").call(
        "POST",
        f"/v2/projects/{bench.settings.project}/locations/{ZONE}/instances",
        params={"instanceId": REF.instance_id},
        body={"labels": labels},
    )
    bench.advance(minutes=5)
    before = raw(bench)
    with pytest.raises(NotOursError) as caught:
        notebooks.create(spec(), ZONE, REQUEST)
    assert "administrator" in caught.value.user_message
    assert (raw(bench)["id"], raw(bench)["labels"]) == (before["id"], before["labels"])


def test_a_create_that_collides_with_one_that_goes_away_is_tried_again_later(bench, notebooks):
    bench.fault(call="notebooks.CreateInstance", error={"code": "ALREADY_EXISTS", "message": "Resource already exists"})
    with pytest.raises(ConflictError):
        notebooks.create(spec(), ZONE, REQUEST)


REFUSALS = [
    ({"code": "INVALID_ARGUMENT", "message": "no such image"}, InvalidSpecError),
    ({"code": "PERMISSION_DENIED", "message": "Permission 'notebooks.instances.create' denied"}, AccessDeniedError),
    ({"code": "UNAUTHENTICATED", "message": "who?"}, AccessDeniedError),
    ({"code": "RESOURCE_EXHAUSTED", "message": "Too many requests"}, RateLimitedError),
    ({"code": "RESOURCE_EXHAUSTED", "message": QUOTA}, QuotaExhaustedError),
    ({"code": "PERMISSION_DENIED", "message": QUOTA}, QuotaExhaustedError),
    ({"code": "RESOURCE_EXHAUSTED", "message": STOCKOUT}, StockoutError),
    ({"code": "ABORTED", "message": "unable to queue the operation: x"}, BusyError),
    ({"code": "UNAVAILABLE", "message": "down"}, CloudUnavailableError),
    ({"code": "INTERNAL", "message": "oops"}, CloudUnavailableError),
]


@pytest.mark.parametrize(("error", "kind"), REFUSALS)
def test_a_refused_create_is_in_its_class_and_leaves_nothing(bench, notebooks, error, kind):
    bench.fault(call="notebooks.CreateInstance", error=error)
    with pytest.raises(kind) as caught:
        notebooks.create(spec(), ZONE, REQUEST)
    assert type(caught.value) is kind
    assert isinstance(notebooks.get(REF), Absent)


@pytest.mark.parametrize("verb", ["start", "stop", "delete", "update"])
@pytest.mark.parametrize(("error", "kind"), [r for r in REFUSALS if r[1] is not CloudUnavailableError])
def test_a_refusal_of_the_official_client_is_in_the_same_class(bench, notebooks, verb, error, kind):
    stopped(bench, notebooks)
    bench.fault(call=f"notebooks.{verb.title()}Instance", error=error)
    with pytest.raises(kind) as caught:
        act(notebooks, verb)
    assert type(caught.value) is kind
    assert notebooks.get(REF).state is NotebookState.STOPPED


def act(notebooks, verb):
    match verb:
        case "start":
            return notebooks.start(REF)
        case "stop":
            return notebooks.stop(REF)
        case "delete":
            return notebooks.delete(REF, REQUEST)
        case _:
            return notebooks.update(REF, labels={"a": "b"}, metadata={}, machine_type=None, request_id=REQUEST)


def test_a_create_whose_answer_is_lost_is_found_by_the_next(bench, notebooks):
    bench.fault(call="notebooks.CreateInstance", phase="after", error={"code": "UNAVAILABLE", "message": "lost"})
    with pytest.raises(CloudUnavailableError):
        notebooks.create(spec(), ZONE, REQUEST)
    again = notebooks.create(spec(), ZONE, REQUEST)
    assert again is None or again.verb is Verb.CREATE
    bench.advance(minutes=5)
    assert instances(bench) == [REF.instance_id]


# --- start, stop, delete, update ---


def test_stop_start_and_delete_are_started_and_not_waited_for(bench, notebooks):
    made(bench, notebooks)
    before = bench.now
    stop = notebooks.stop(REF)
    assert (stop.verb, stop.started_at) == (Verb.STOP, before)
    assert notebooks.get(REF).state is NotebookState.STOPPING
    bench.advance(minutes=2)
    assert notebooks.get(REF).state is NotebookState.STOPPED
    assert notebooks.start(REF).verb is Verb.START
    bench.advance(minutes=5)
    assert notebooks.get(REF).state is NotebookState.ACTIVE
    delete = notebooks.delete(REF, OTHER_REQUEST)
    assert delete.verb is Verb.DELETE
    bench.advance(minutes=5)
    assert isinstance(notebooks.get(REF), Absent)
    assert notebooks.operation(delete).done


def test_what_is_gone_is_stopped_and_deleted(notebooks):
    assert notebooks.stop(REF) is None
    assert notebooks.delete(REF, REQUEST) is None


def test_what_is_gone_cannot_be_started_or_changed(notebooks):
    with pytest.raises(InvalidSpecError):
        notebooks.start(REF)
    with pytest.raises(InvalidSpecError):
        act(notebooks, "update")


@pytest.mark.parametrize("verb", ["start", "stop", "delete", "update"])
def test_an_instance_that_is_busy_takes_nothing_else(bench, notebooks, verb):
    notebooks.create(spec(), ZONE, REQUEST)
    with pytest.raises(BusyError):
        act(notebooks, verb)
    bench.advance(minutes=5)
    assert notebooks.get(REF).state is NotebookState.ACTIVE


def test_an_update_merges_and_an_empty_text_removes(bench, notebooks):
    stopped(bench, notebooks)
    patch(bench, {"labels": {"theirs": "kept", "cost-center": "cc-1"}}, "labels")
    before = notebooks.get(REF)
    operation = notebooks.update(
        REF,
        labels={"benchkeeper-profile": "engineer", "cost-center": ""},
        metadata={"idle-timeout-seconds": "600"},
        machine_type="n2-standard-8",
        request_id=REQUEST,
    )
    assert operation.verb is Verb.UPDATE
    bench.advance(minutes=2)
    after = notebooks.get(REF)
    assert after.labels["theirs"] == "kept"
    assert after.labels["benchkeeper-profile"] == "engineer"
    assert not after.labels.get("cost-center")
    assert after.metadata == {**before.metadata, "idle-timeout-seconds": "600"}
    assert after.machine_type == "n2-standard-8"
    assert after.uid == before.uid


def test_an_update_of_labels_alone_touches_nothing_else(bench, notebooks):
    made(bench, notebooks)
    before = notebooks.get(REF)
    notebooks.update(REF, labels={"cost-center": "cc-2"}, metadata={}, machine_type=None, request_id=REQUEST)
    bench.advance(minutes=2)
    after = notebooks.get(REF)
    assert after.labels == {**before.labels, "cost-center": "cc-2"}
    assert (after.metadata, after.machine_type, after.state) == (before.metadata, before.machine_type, before.state)


# --- reading ---


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": "PERMISSION_DENIED", "message": "denied"}, AccessDeniedError),
        ({"code": "UNAVAILABLE", "message": "down"}, CloudUnavailableError),
        ({"code": "RESOURCE_EXHAUSTED", "message": "slow down"}, RateLimitedError),
    ],
)
@pytest.mark.parametrize("call", ["GetInstance", "ListInstances"])
def test_what_cannot_be_read_is_an_error_and_not_an_absence(bench, notebooks, call, error, kind):
    bench.fault(call=f"notebooks.{call}", error=error)
    with pytest.raises(kind):
        notebooks.get(REF) if call == "GetInstance" else notebooks.listing()


def test_a_listing_tells_of_all_zones_and_pages(bench, notebooks, monkeypatch):
    monkeypatch.setattr("shared.cloud.notebooks._PAGE", 2)
    refs = [InstanceRef(instance_id=f"nb-p{n}-0123456789a{n}", zone=ZONES[n % 2]) for n in range(5)]
    for ref in refs:
        notebooks.create(spec(instance_id=ref.instance_id), ref.zone, "")
    bench.advance(minutes=5)
    listing = notebooks.listing()
    assert {n.ref for n in listing.notebooks} == set(refs)
    assert {n.ref: n for n in listing.notebooks} == {ref: notebooks.get(ref) for ref in refs}
    assert listing.unreachable == frozenset()


def test_a_zone_that_does_not_answer_is_named(bench, notebooks):
    made(bench, notebooks)
    bench.fault(call="notebooks.ListInstances", resource=f"*{ZONE}*", unreachable=True)
    listing = notebooks.listing()
    assert listing.unreachable == {ZONE}
    assert listing.notebooks == ()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": "RESOURCE_EXHAUSTED", "message": STOCKOUT}, StockoutError),
        ({"code": "RESOURCE_EXHAUSTED", "message": QUOTA}, QuotaExhaustedError),
        ({"code": "INVALID_ARGUMENT", "message": "no such image"}, InvalidSpecError),
        ({"code": "PERMISSION_DENIED", "message": "denied"}, AccessDeniedError),
        ({"code": "INTERNAL", "message": "oops"}, OperationFailedError),
    ],
)
def test_an_operation_that_failed_says_why_in_its_class(bench, notebooks, error, kind):
    bench.fault(call="notebooks.CreateInstance", operation_error=error)
    ref = notebooks.create(spec(), ZONE, REQUEST)
    assert notebooks.operation(ref).done is False
    bench.advance(hours=1)
    seen = notebooks.operation(ref)
    assert seen.done
    assert type(seen.error) is kind


def test_an_operation_that_ended_well_has_no_error(bench, notebooks):
    seen = notebooks.operation(made(bench, notebooks))
    assert (seen.done, seen.error) == (True, None)


def test_an_operation_that_google_forgot_is_absent(bench, notebooks):
    name = f"projects/{bench.settings.project}/locations/{ZONE}/operations/operation-1-gone"
    assert isinstance(notebooks.operation(OperationRef(name=name, verb=Verb.STOP, started_at=bench.now)), Absent)


def test_the_latest_operation_of_an_instance_is_found_without_its_name(bench, notebooks, monkeypatch):
    monkeypatch.setattr("shared.cloud.notebooks._PAGE", 1)
    assert notebooks.latest_operation(REF) is None
    create = made(bench, notebooks)
    other = InstanceRef(instance_id="nb-other-0123456789ab", zone=ZONE)
    notebooks.create(spec(instance_id=other.instance_id), ZONE, OTHER_REQUEST)
    found = notebooks.latest_operation(REF)
    assert (found.name, found.verb) == (create.name, Verb.CREATE)
    bench.advance(minutes=1)
    stop = notebooks.stop(REF)
    assert notebooks.latest_operation(REF).name == stop.name
    assert notebooks.latest_operation(REF).verb is Verb.STOP


def test_an_operation_of_somebody_elses_is_waited_for_like_an_update(bench, notebooks):
    made(bench, notebooks)
    bench.control(
        "POST", f"/v2/projects/{bench.settings.project}/locations/{ZONE}/instances/{REF.instance_id}:reset", {}
    )
    assert notebooks.latest_operation(REF).verb is Verb.UPDATE


def test_a_state_newer_than_this_product_is_unspecified():
    name = f"projects/p/locations/{ZONE}/instances/x"
    seen = observed_from({"name": name, "state": "HIBERNATING"})
    assert seen.state is NotebookState.UNSPECIFIED
    assert (seen.ref, seen.labels, seen.create_time) == (InstanceRef(instance_id="x", zone=ZONE), {}, None)


def test_a_public_address_is_seen():
    body = {
        "name": "projects/p/locations/z/instances/x",
        "gceSetup": {"networkInterfaces": [{"accessConfigs": [{"externalIp": "1.2.3.4"}]}]},
    }
    assert observed_from(body).has_public_ip


def test_the_clock_of_the_embedded_cloud_is_the_engines(bench):
    assert bench.deps.clock.now() == bench.now
    bench.advance(days=3)
    assert bench.deps.clock.now() == bench.now
    assert bench.deps.clock.now().utcoffset() == timedelta(0)
