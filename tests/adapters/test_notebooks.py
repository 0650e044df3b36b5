"""Workbench instances through the official client and plain REST: ensure, absence, busy, each refusal in its class."""

from __future__ import annotations

from datetime import timedelta

import pytest
from kit.making import ANA, ZONES, profile
from msgspec.structs import replace

from shared.cloud.notebook.instance_json import observed_from
from shared.domain.record.status import OperationRef, Verb
from shared.domain.things.catalog import Accelerator, Disk, Identity, ShieldedVm, VmImage
from shared.domain.things.errors import (
    AccessDeniedError,
    BusyError,
    CloudUnavailableError,
    ConflictError,
    InvalidSpecError,
    NotOursError,
    OperationFailedError,
    PermanentError,
    QuotaExhaustedError,
    RateLimitedError,
    Reason,
    StockoutError,
    UnknownAnswerError,
    UnknownRefusalError,
)
from shared.domain.things.identity import account_email, account_id_for, instance_id_for, user_key_for
from shared.domain.things.notebook import Absent, InstanceRef, Network, NotebookState, Patch, is_ours, spec_for
from shared.domain.things.snapshots import data_disk_of

ZONE = ZONES[0]
KEY = user_key_for(ANA)
REF = InstanceRef(instance_id=instance_id_for(ANA), zone=ZONE)
REQUEST = "5c0a6a5e-3a86-4c0e-8b0e-1f4f0a3d9b01"
OTHER_REQUEST = "5c0a6a5e-3a86-4c0e-8b0e-1f4f0a3d9b02"
STOCKOUT = (
    "The zone 'projects/benchkeeper-local/zones/europe-west1-b' does not have enough resources available to fulfill "
    "the request.  Try a different zone, or try again later."
)
NAMELESS = "projects/p/locations/z/instances/x"
QUOTA = "Quota 'CPUS' exceeded.  Limit: 24.0 in region europe-west1."


def at_its_time(seen, other):
    """As if the health was reported when it was for the other: the agent of a running instance reports anew all the time."""
    return replace(seen, health_at=other.health_at, proxy_agent_up=other.proxy_agent_up)


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
    assert seen.metadata["idle-timeout-seconds"] == "54000"
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


def personal(bench):
    account = account_id_for(KEY)
    bench.deps.accounts.create(account, KEY)
    return spec(
        identity=Identity.PERSONAL_SERVICE_ACCOUNT, service_account=account_email(account, bench.settings.project)
    )


def test_a_personal_account_runs_the_instance_in_place_of_managed_credentials(bench, notebooks):
    wanted = personal(bench)
    bench.cloud.world.journal.clear()
    notebooks.create(wanted, ZONE, REQUEST)
    bench.advance(minutes=5)
    body, seen = raw(bench), notebooks.get(REF)
    assert [each["email"] for each in body["gceSetup"]["serviceAccounts"]] == [wanted.service_account]
    assert "enableManagedEuc" not in body
    assert (seen.service_account, seen.managed_euc) == (wanted.service_account, None)
    assert seen.metadata["proxy-user-mail"] == ANA
    assert not seen.has_public_ip
    (create,) = [call for call in bench.calls() if call["method"] == "CreateInstance"]
    assert create["permission"] == "notebooks.instances.create,iam.serviceAccounts.actAs"


@pytest.mark.parametrize("words", ["Service account {} does not exist.", "The service account '{}' was not found."])
def test_an_account_that_is_not_known_everywhere_yet_is_waited_for(bench, notebooks, words):
    wanted = personal(bench)
    text = words.format(wanted.service_account)
    bench.fault(call="notebooks.CreateInstance", error={"code": "INVALID_ARGUMENT", "message": text})
    with pytest.raises(CloudUnavailableError) as caught:
        notebooks.create(wanted, ZONE, REQUEST)
    assert "@" not in caught.value.detail
    assert notebooks.create(wanted, ZONE, REQUEST).verb is Verb.CREATE


def test_without_an_account_of_ours_such_a_refusal_is_what_it_says(bench, notebooks):
    text = "Service account robot@x.iam.gserviceaccount.com does not exist."
    bench.fault(call="notebooks.CreateInstance", error={"code": "INVALID_ARGUMENT", "message": text})
    with pytest.raises(InvalidSpecError):
        notebooks.create(spec(), ZONE, REQUEST)


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
            return notebooks.update(REF, Patch(labels={"a": "b"}), REQUEST)


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
        Patch(
            labels={"benchkeeper-profile": "engineer", "cost-center": ""},
            metadata={"idle-timeout-seconds": "600"},
            machine_type="n2-standard-8",
        ),
        REQUEST,
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
    notebooks.update(REF, Patch(labels={"cost-center": "cc-2"}), REQUEST)
    bench.advance(minutes=2)
    assert at_its_time(notebooks.get(REF), before) == replace(before, labels={**before.labels, "cost-center": "cc-2"})


def test_an_update_of_nothing_asks_nothing(bench, notebooks):
    assert notebooks.update(REF, Patch(), REQUEST) is None
    assert bench.calls() == []


def test_the_same_update_again_is_the_same_update(bench, notebooks):
    made(bench, notebooks)
    lost = {"code": "UNAVAILABLE", "message": "lost"}
    bench.fault(call="notebooks.UpdateInstance", phase="after", error=lost)
    with pytest.raises(CloudUnavailableError):
        act(notebooks, "update")
    running = notebooks.latest_operation(REF)
    assert act(notebooks, "update").name == running.name


AT_REST = {
    "machine_type": {"machine_type": "n1-standard-8"},
    "shielded": {"shielded": ShieldedVm(secure_boot=True, integrity_monitoring=False)},
    "accelerators": {
        "machine_type": "n1-standard-8",
        "accelerators": (Accelerator(type="NVIDIA_TESLA_T4", count=2),),
    },
}


@pytest.mark.parametrize("field", sorted(AT_REST))
def test_what_only_a_stopped_instance_takes_is_refused_before_and_done_then(bench, notebooks, field):
    patch_ = Patch(**AT_REST[field])
    made(bench, notebooks)
    before = notebooks.get(REF)
    with pytest.raises(BusyError, match="stopped"):
        notebooks.update(REF, patch_, REQUEST)
    notebooks.stop(REF)
    bench.advance(minutes=2)
    assert notebooks.update(REF, patch_, REQUEST).verb is Verb.UPDATE
    bench.advance(minutes=2)
    assert at_its_time(notebooks.get(REF), before) == replace(
        before, **AT_REST[field], state=NotebookState.STOPPED, health=""
    )


def test_a_gpu_brings_its_driver_along_and_can_be_taken_away(bench, notebooks):
    stopped(bench, notebooks)
    notebooks.update(REF, Patch(**AT_REST["accelerators"]), REQUEST)
    bench.advance(minutes=2)
    assert raw(bench)["gceSetup"]["gpuDriverConfig"] == {"enableGpuDriver": True}
    notebooks.update(REF, Patch(accelerators=()), OTHER_REQUEST)
    bench.advance(minutes=2)
    assert notebooks.get(REF).accelerators == ()


def test_tags_change_while_it_runs_and_googles_own_stay(bench, notebooks):
    made(bench, notebooks)
    before = notebooks.get(REF)
    notebooks.update(REF, Patch(tags=(*before.tags, "no-egress")), REQUEST)
    bench.advance(minutes=2)
    assert at_its_time(notebooks.get(REF), before) == replace(
        before, tags=("deeplearning-vm", "notebook-instance", "no-egress")
    )


def test_a_public_address_is_taken_away_while_it_runs(bench, notebooks):
    made(bench, notebooks)
    (instance,) = bench.cloud.notebooks.fleet.instances.values()
    del instance.body["gceSetup"]["disablePublicIp"]
    instance.body["gceSetup"]["networkInterfaces"][0]["accessConfigs"] = [{"externalIp": "203.0.113.7"}]
    before = notebooks.get(REF)
    assert before.has_public_ip
    notebooks.update(REF, Patch(disable_public_ip=True), REQUEST)
    bench.advance(minutes=2)
    assert at_its_time(notebooks.get(REF), before) == replace(before, has_public_ip=False)


def test_everything_can_be_patched_at_once(bench, notebooks):
    stopped(bench, notebooks)
    before = notebooks.get(REF)
    whole = Patch(
        labels={"a": "b"},
        metadata={"notebook-disable-root": "false"},
        machine_type="n1-standard-8",
        accelerators=(Accelerator(type="NVIDIA_TESLA_T4", count=1),),
        shielded=ShieldedVm(secure_boot=True),
        tags=(*before.tags, "t"),
        disable_public_ip=True,
    )
    notebooks.update(REF, whole, REQUEST)
    bench.advance(minutes=2)
    assert at_its_time(notebooks.get(REF), before) == replace(
        before,
        labels={**before.labels, "a": "b"},
        metadata={**before.metadata, "notebook-disable-root": "false"},
        machine_type="n1-standard-8",
        accelerators=whole.accelerators,
        shielded=whole.shielded,
        tags=whole.tags,
    )


# --- restore ---


def disk_of(bench):
    return f"projects/{bench.settings.project}/zones/{ZONE}/disks/{data_disk_of(REF.instance_id)}"


def saved(bench, content):
    """A READY snapshot of the data disk with this on it."""
    bench.cloud.compute.write(disk_of(bench), content)
    bench.deps.snapshots.create("s1", REF, {})
    bench.advance(minutes=2)


@pytest.mark.parametrize("state", [NotebookState.ACTIVE, NotebookState.STOPPED])
def test_what_a_snapshot_holds_comes_back_onto_the_disk(bench, notebooks, state):
    (made if state is NotebookState.ACTIVE else stopped)(bench, notebooks)
    saved(bench, b"thesis")
    bench.cloud.compute.write(disk_of(bench), b"")
    operation = notebooks.restore(REF, "s1")
    assert (operation.verb, operation.started_at) == (Verb.RESTORE, bench.now)
    assert notebooks.latest_operation(REF) == operation
    bench.advance(minutes=10)
    assert notebooks.operation(operation).done
    assert notebooks.get(REF).state is state
    assert bench.cloud.compute.content(disk_of(bench)) == b"thesis"


@pytest.mark.parametrize("there", ["instance", "nothing"])
def test_what_is_gone_cannot_be_brought_back(bench, notebooks, there):
    if there == "instance":
        made(bench, notebooks)
    with pytest.raises(PermanentError) as caught:
        notebooks.restore(REF, "s1")
    assert caught.value.reason is Reason.DATA_MISSING
    assert "s1" in caught.value.user_message


def test_a_restore_onto_a_busy_instance_comes_later(bench, notebooks):
    made(bench, notebooks)
    saved(bench, b"thesis")
    notebooks.stop(REF)
    with pytest.raises(BusyError):
        notebooks.restore(REF, "s1")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": "PERMISSION_DENIED", "message": "denied"}, AccessDeniedError),
        ({"code": "UNAVAILABLE", "message": "down"}, CloudUnavailableError),
        ({"code": "FAILED_PRECONDITION", "message": "not READY"}, UnknownRefusalError),
    ],
)
def test_a_refused_restore_is_in_its_class_and_keeps_the_disk(bench, notebooks, error, kind):
    stopped(bench, notebooks)
    saved(bench, b"thesis")
    bench.cloud.compute.write(disk_of(bench), b"newer")
    bench.fault(call="notebooks.RestoreInstance", error=error)
    with pytest.raises(kind):
        notebooks.restore(REF, "s1")
    bench.advance(minutes=10)
    assert bench.cloud.compute.content(disk_of(bench)) == b"newer"


def test_a_restore_that_fails_says_so(bench, notebooks):
    stopped(bench, notebooks)
    saved(bench, b"thesis")
    bench.fault(call="notebooks.RestoreInstance", operation_error={"code": "INTERNAL"}, payload={"disk_lost": True})
    operation = notebooks.restore(REF, "s1")
    bench.advance(minutes=10)
    assert isinstance(notebooks.operation(operation).error, UnknownAnswerError)


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
    monkeypatch.setattr("shared.cloud.notebook.notebooks._PAGE", 2)
    refs = [InstanceRef(instance_id=f"nb-p{n}-0123456789a{n}", zone=ZONES[n % 2]) for n in range(5)]
    for ref in refs:
        notebooks.create(spec(instance_id=ref.instance_id), ref.zone, "")
    bench.advance(minutes=5)
    listing = notebooks.listing()
    assert {n.ref for n in listing.notebooks} == set(refs)
    # A listing leaves out the image and the disks' types: unknown there.
    assert {n.ref: n for n in listing.notebooks} == {
        ref: replace(notebooks.get(ref), image=None, boot_disk=None, data_disk=None) for ref in refs
    }
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
        ({"code": "INTERNAL", "message": "Internal error."}, OperationFailedError),
        ({"code": "INTERNAL", "message": "oops"}, UnknownAnswerError),
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
    monkeypatch.setattr("shared.cloud.notebook.notebooks._PAGE", 1)
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


def test_an_operation_of_somebody_elses_is_waited_for(bench, notebooks):
    made(bench, notebooks)
    bench.control(
        "POST", f"/v2/projects/{bench.settings.project}/locations/{ZONE}/instances/{REF.instance_id}:reset", {}
    )
    assert notebooks.latest_operation(REF).verb is Verb.RESET


def test_a_state_newer_than_this_product_is_unspecified():
    name = f"projects/p/locations/{ZONE}/instances/x"
    seen = observed_from({"name": name, "state": "HIBERNATING"})
    assert seen.state is NotebookState.UNSPECIFIED
    assert (seen.ref, seen.labels, seen.create_time) == (InstanceRef(instance_id="x", zone=ZONE), {}, None)


def test_everything_that_a_read_gives_is_seen(bench, notebooks):
    rich = spec(
        accelerator=Accelerator(type="NVIDIA_TESLA_T4", count=2),
        machine_type="n1-standard-8",
        image=VmImage(project="my-images", name="bench-7"),
        boot_disk=Disk(size_gb=200, type="PD_SSD"),
        data_disk=Disk(size_gb=300, type="PD_BALANCED"),
        shielded=ShieldedVm(secure_boot=True, vtpm=False),
        tags=("no-egress",),
        network=Network(network="projects/p/global/networks/n", subnet="projects/p/regions/europe-west1/subnetworks/s"),
    )
    notebooks.create(rich, ZONE, REQUEST)
    seen = notebooks.get(REF)
    assert seen.accelerators == (rich.accelerator,)
    assert (seen.image, seen.boot_disk, seen.data_disk) == (rich.image, rich.boot_disk, rich.data_disk)
    assert (seen.shielded, seen.network) == (rich.shielded, rich.network)
    assert seen.tags == ("deeplearning-vm", "notebook-instance", "no-egress")
    assert (seen.owners, seen.managed_euc) == ((ANA,), True)  # from the metadata: `instanceOwners` is never read back
    assert seen.service_account.endswith("@gcp-sa-notebooks-vm.iam.gserviceaccount.com")


@pytest.mark.parametrize(
    "host", ["", "https://www.googleapis.com/compute/v1/", "https://compute.googleapis.com/compute/v1/"]
)
def test_names_of_networks_are_seen_without_their_host(host):
    interface = {
        "network": f"{host}projects/p/global/networks/n",
        "subnet": f"{host}projects/p/regions/r/subnetworks/s",
    }
    seen = observed_from({"name": NAMELESS, "gceSetup": {"networkInterfaces": [interface]}})
    assert seen.network == Network(network="projects/p/global/networks/n", subnet="projects/p/regions/r/subnetworks/s")
    assert not seen.has_public_ip


@pytest.mark.parametrize(
    ("body", "field", "value"),
    [
        ({"instanceOwners": [ANA]}, "owners", (ANA,)),
        ({"instanceOwners": []}, "owners", ()),
        ({"enableManagedEuc": False}, "managed_euc", False),
        ({"gceSetup": {"networkInterfaces": [{"accessConfigs": [{"externalIp": "1.2.3.4"}]}]}}, "has_public_ip", True),
        ({"gceSetup": {"shieldedInstanceConfig": {}}}, "shielded", ShieldedVm(vtpm=False, integrity_monitoring=False)),
        ({"gceSetup": {"bootDisk": {"diskSizeGb": "150"}}}, "boot_disk", None),
        ({"gceSetup": {"dataDisks": [{"diskType": "PD_SSD"}]}}, "data_disk", None),
    ],
)
def test_what_a_read_may_say_beyond_that_is_seen(body, field, value):
    unknown = observed_from({"name": NAMELESS})
    assert observed_from({"name": NAMELESS, **body}) == replace(unknown, **{field: value})


def test_what_a_read_does_not_say_is_unknown():
    seen = observed_from({"name": NAMELESS})
    assert (seen.owners, seen.managed_euc, seen.image, seen.boot_disk, seen.data_disk, seen.shielded) == (None,) * 6
    assert (seen.service_account, seen.network, seen.accelerators, seen.tags) == ("", Network(), (), ())


def test_the_clock_of_the_embedded_cloud_is_the_engines(bench):
    assert bench.deps.clock.now() == bench.now
    bench.advance(days=3)
    assert bench.deps.clock.now() == bench.now
    assert bench.deps.clock.now().utcoffset() == timedelta(0)
