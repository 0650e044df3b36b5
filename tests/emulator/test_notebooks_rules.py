"""What the Notebooks API refuses, with its own words, and what it fills in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from google.api_core import exceptions
from google.cloud import notebooks_v2
from google.protobuf import field_mask_pb2

from tests.emulator.notebooks_cloud import PROJECT, ZONE, NotebooksCloud, running

if TYPE_CHECKING:
    from collections.abc import Iterator

LONG = "a" * 64
KEY = "projects/p/locations/us-east1/keyRings/r/cryptoKeys/k"


@pytest.fixture
def cloud() -> Iterator[NotebooksCloud]:
    with running() as started:
        yield started


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"x": 1}, "Invalid JSON payload received. Unknown name \"x\" at 'instance': Cannot find field."),
        ({"gceSetup": {"zone": "z"}}, "Unknown name \"zone\" at 'instance.gce_setup': Cannot find field."),
        ({"gceSetup": {"dataDisks": [{"size": 1}]}}, "Unknown name \"size\" at 'instance.gce_setup.data_disks[0]'"),
        (
            {"gceSetup": {"disablePublicIp": "yes"}},
            "Invalid value at 'instance.gce_setup.disable_public_ip' (TYPE_BOOL), \"yes\"",
        ),
        (
            {"gceSetup": {"bootDisk": {"diskSizeGb": "big"}}},
            "'instance.gce_setup.boot_disk.disk_size_gb' (TYPE_INT64), \"big\"",
        ),
        (
            {"gceSetup": {"bootDisk": {"diskType": "FLOPPY"}}},
            '(type.googleapis.com/google.cloud.notebooks.v2.DiskType), "FLOPPY"',
        ),
        ({"labels": {"a": 1}}, "Invalid value at 'instance.labels[a]' (TYPE_STRING), 1"),
        (
            {"gceSetup": {"vmImage": {"project": "p", "family": "f"}, "containerImage": {"repository": "r"}}},
            "oneof field 'image' is already set. Cannot set 'containerImage'",
        ),
        ({"gceSetup": {"vmImage": {"project": "p", "family": "f", "name": "n"}}}, "(oneof)"),
        ({"gceSetup": {"vmImage": {"family": "f"}}}, "vm_image needs a project"),
        ({"gceSetup": {"containerImage": {"tag": "t"}}}, "container_image needs a repository"),
        ({"instanceOwners": ["a@example.com", "b@example.com"]}, "At most one element is allowed in instance_owners"),
        ({"instanceOwners": ["group:all"]}, "Invalid instance owner"),
        (
            {
                "gceSetup": {
                    "serviceAccounts": [
                        {"email": "a@p.iam.gserviceaccount.com"},
                        {"email": "b@p.iam.gserviceaccount.com"},
                    ]
                }
            },
            "gce_setup.service_accounts",
        ),
        ({"gceSetup": {"serviceAccounts": [{"email": "nobody"}]}}, "Invalid service account email"),
        ({"gceSetup": {"dataDisks": [{}, {}]}}, "gce_setup.data_disks"),
        ({"gceSetup": {"networkInterfaces": [{}, {}]}}, "gce_setup.network_interfaces"),
        ({"gceSetup": {"acceleratorConfigs": [{"type": "NVIDIA_L4"}]}}, "core_count"),
        ({"gceSetup": {"bootDisk": {"diskSizeGb": "5"}}}, "disk_size_gb: 5"),
        ({"gceSetup": {"bootDisk": {"diskEncryption": "CMEK"}}}, "kms_key must be set"),
        (
            {"gceSetup": {"bootDisk": {"diskEncryption": "CMEK", "kmsKey": "k"}}},
            "Invalid value for gce_setup.boot_disk.kms_key",
        ),
        ({"gceSetup": {"machineType": "zones/us-west1-a/machineTypes/e2-standard-4"}}, "Invalid machine type"),
        ({"gceSetup": {"networkInterfaces": [{"network": "a/b/c"}]}}, "Invalid network"),
        (
            {"gceSetup": {"networkInterfaces": [{"subnet": "projects/p/regions/us-west1/subnetworks/s"}]}},
            "is not in region 'us-east1'",
        ),
        ({"gceSetup": {"tags": ["Bad"]}}, "Invalid tag"),
        ({"gceSetup": {"metadata": {"bad key": "v"}}}, "Invalid metadata key"),
        ({"labels": {"Owner": "x"}}, "Invalid label key"),
        ({"labels": {"owner": "ann@example.com"}}, "Invalid label value"),
        ({"labels": {LONG: "x"}}, "Invalid label key"),
        ({"labels": {"a": LONG}}, "Invalid label value"),
        ({"labels": {f"k{n}": "v" for n in range(65)}}, "Too many labels"),
        (
            {"enableManagedEuc": True, "gceSetup": {"serviceAccounts": [{"email": "a@p.iam.gserviceaccount.com"}]}},
            "service account cannot be specified",
        ),
        ({"enableManagedEuc": True, "enableThirdPartyIdentity": True}, "Third party identity"),
    ],
)
def test_a_bad_create_is_refused_and_leaves_nothing(cloud: NotebooksCloud, body, text):
    answer = cloud.create("ann", body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["status"] == "INVALID_ARGUMENT"
    assert text in answer.json()["error"]["message"]
    assert cloud.call("GET", f"/v2/{ZONE}/instances/ann").status_code == 404


@pytest.mark.parametrize("ident", ["", "Ann", "1ann", "ann-", "ann.b", LONG, "ann@example"])
def test_a_bad_instance_id_is_refused(cloud: NotebooksCloud, ident):
    answer = cloud.create(ident)
    assert answer.status_code == 400
    assert "instance_id" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "params", "status"),
    [
        (f"/v2/{PROJECT}/locations/us-east1-z/instances", {"instanceId": "a"}, 403),
        (f"/v2/{PROJECT}/locations/us-east1/instances", {"instanceId": "a"}, 403),
        (f"/v2/{PROJECT}/locations/-/instances", {"instanceId": "a"}, 403),
        ("/v2/projects/other/locations/us-east1-b/instances", {"instanceId": "a"}, 403),
        (f"/v2/{ZONE}/instances", {"instanceId": "a", "requestId": "once"}, 400),
        (f"/v2/{ZONE}/instances", {"instanceId": "a", "requestId": "00000000-0000-0000-0000-000000000000"}, 400),
        (f"/v2/{ZONE}/instances", {"instanceId": "a", "validateOnly": "true"}, 400),
    ],
)
def test_a_bad_create_request_is_refused(cloud: NotebooksCloud, path, params, status):
    assert cloud.call("POST", path, {}, **params).status_code == status


def test_the_longest_good_id_and_the_rest_only_fields_are_taken(cloud: NotebooksCloud):
    body = {
        "enableDeletionProtection": True,
        "gceSetup": {
            "machineType": "n2d-standard-4",
            "minCpuPlatform": "AMD Milan",
            "reservationAffinity": {"consumeReservationType": "RESERVATION_ANY"},
            "confidentialInstanceConfig": {"confidentialInstanceType": "SEV"},
            "networkInterfaces": [{"accessConfigs": [{"externalIp": "203.0.113.7"}]}],
            "dataDisks": [{"diskType": "HYPERDISK_THROUGHPUT", "resourcePolicies": ["daily"], "diskSizeGb": 200}],
            "bootDisk": {"disk_encryption": "CMEK", "kms_key": KEY},
        },
    }
    ident = "a" * 63
    raw = cloud.raw(cloud.active(ident, body))
    setup = raw["gceSetup"]
    assert raw["enableDeletionProtection"] is True
    assert setup["minCpuPlatform"] == "AMD Milan"
    assert setup["dataDisks"][0] == {
        "diskSizeGb": "200",
        "diskType": "HYPERDISK_THROUGHPUT",
        "diskEncryption": "GMEK",
        "resourcePolicies": ["daily"],
    }
    assert setup["bootDisk"] == {
        "diskSizeGb": "150",
        "diskType": "PD_STANDARD",
        "diskEncryption": "CMEK",
        "kmsKey": KEY,
    }
    assert setup["networkInterfaces"][0]["accessConfigs"] == [{"externalIp": "203.0.113.7"}]
    assert cloud.call("DELETE", f"/v2/{ZONE}/instances/{ident}").json()["error"]["status"] == "FAILED_PRECONDITION"


def test_a_single_user_instance_keeps_its_owner_in_the_metadata_only(cloud: NotebooksCloud):
    raw = cloud.raw(cloud.active("ann", {"instanceOwners": ["ann@example.com"]}))
    metadata = raw["gceSetup"]["metadata"]
    assert (metadata["proxy-mode"], metadata["proxy-user-mail"]) == ("mail", "ann@example.com")
    assert "instanceOwners" not in raw


def test_managed_end_user_credentials_force_googles_account(cloud: NotebooksCloud):
    raw = cloud.raw(cloud.active("ann", {"enableManagedEuc": True, "instanceOwners": ["ann@example.com"]}))
    agent = "service-100000000001@gcp-sa-notebooks-vm.iam.gserviceaccount.com"
    assert raw["gceSetup"]["serviceAccounts"][0]["email"] == agent
    assert raw["gceSetup"]["metadata"]["euc-enabled"] == "true"
    assert raw["labels"]["notebooks-managed-euc"] == "true"


def test_googles_metadata_wins_over_the_callers_and_stray_owners_are_dropped(cloud: NotebooksCloud):
    asked = {"proxy-mode": "mail", "proxy-user-mail": "eve@example.com", "resource-url": "x", "title": "mine"}
    metadata = cloud.raw(cloud.active("ann", {"gceSetup": {"metadata": asked}}))["gceSetup"]["metadata"]
    assert metadata["proxy-mode"] == "service_account"
    assert "proxy-user-mail" not in metadata
    assert metadata["resource-url"].endswith("/instances/ann")
    assert metadata["title"] == "mine"


def test_a_private_instance_has_no_public_address_and_short_names_become_urls(cloud: NotebooksCloud):
    network = {
        "network": "projects/host/global/networks/shared",
        "subnet": "projects/host/regions/us-east1/subnetworks/s",
    }
    known = {"networks": [network["network"]], "subnetworks": [network["subnet"]]}
    assert cloud.call("POST", "/_emulator/surroundings", known).status_code == 200
    asked = {"machineType": "n2-standard-8", "disablePublicIp": True, "networkInterfaces": [network]}
    setup = cloud.raw(cloud.active("ann", {"gceSetup": asked}))["gceSetup"]
    base = "https://www.googleapis.com/compute/v1/"
    assert setup["networkInterfaces"] == [{key: base + value for key, value in network.items()}]
    assert setup["machineType"] == f"{base}{PROJECT}/zones/us-east1-b/machineTypes/n2-standard-8"


# --- patch


def patch(cloud: NotebooksCloud, name: str, mask: str, body: dict) -> tuple[int, str]:
    answer = cloud.call("PATCH", f"/v2/{name}", body, updateMask=mask)
    cloud.wait(10)
    return answer.status_code, answer.json().get("error", {}).get("message", "")


def setup(**fields: object) -> dict:
    return {"gceSetup": fields}


@pytest.mark.parametrize(
    ("mask", "body", "text"),
    [
        ("", {}, "update_mask must be specified"),
        ("gce_setup", setup(machineType="e2-standard-8"), "does not support gce_setup as a valid mask"),
        ("gceSetup", setup(machineType="e2-standard-8"), "does not support gce_setup as a valid mask"),
        ("instance_owners", {"instanceOwners": ["b@example.com"]}, "'instance_owners' is immutable"),
        ("enable_managed_euc", {"enableManagedEuc": True}, "'enable_managed_euc' is immutable"),
        ("gce_setup.service_accounts", {}, "'gce_setup.service_accounts' is immutable"),
        ("gce_setup.boot_disk", {}, "is immutable"),
        ("gce_setup.vm_image", {}, "is immutable"),
        ("gce_setup.network_interfaces", {}, "is immutable"),
        ("nonsense", {}, "'nonsense' is immutable or does not exist"),
        ("labels", {"labels": {"A": "x"}}, "Invalid label key"),
        ("labels", {"lables": {}}, "Unknown name \"lables\" at 'instance'"),
        (
            "gce_setup.metadata",
            setup(metadata={"install-nvidia-driver": "true"}),
            "only be set when the instance is created",
        ),
        ("gce_setup.machine_type", setup(machineType="e2-standard-8"), "must be stopped"),
        ("gceSetup.machineType", setup(machineType="e2-standard-8"), "must be stopped"),
        (
            "gce_setup.accelerator_configs",
            setup(acceleratorConfigs=[{"type": "NVIDIA_L4", "coreCount": 1}]),
            "must be stopped",
        ),
        (
            "gce_setup.shielded_instance_config.enable_secure_boot",
            setup(shieldedInstanceConfig={"enableSecureBoot": True}),
            "must be stopped",
        ),
        ("gce_setup.container_image.tag", setup(containerImage={"tag": "t"}), "must be stopped"),
        ("gce_setup.metadata", setup(metadata={"disable-mixer": "true"}), "must be stopped"),
        ("gce_setup.metadata", setup(metadata={"notebook-disable-terminal": "true"}), "must be stopped"),
        ("gce_setup.metadata", setup(metadata={"geminicli-disabled": "true"}), "must be stopped"),
    ],
)
def test_a_bad_patch_of_an_active_instance_is_refused(cloud: NotebooksCloud, mask, body, text):
    name = cloud.active("ann")
    before = cloud.raw(name)
    status, message = patch(cloud, name, mask, body)
    assert status == 400
    assert text in message
    assert cloud.raw(name)["gceSetup"] == before["gceSetup"]


def test_labels_and_metadata_merge_and_an_empty_text_removes(cloud: NotebooksCloud):
    name = cloud.active(
        "ann", {"labels": {"a": "1", "b": "2"}, "gceSetup": {"metadata": {"k": "1", "idle-timeout-seconds": "600"}}}
    )
    body = {"labels": {"b": "", "c": "3"}, "gceSetup": {"metadata": {"idle-timeout-seconds": "", "l": "2"}}}
    assert patch(cloud, name, "labels,gceSetup.metadata", body)[0] == 200
    raw = cloud.raw(name)
    assert {key: raw["labels"].get(key) for key in "abc"} == {"a": "1", "b": None, "c": "3"}
    assert raw["labels"]["resource-name"] == "ann"
    metadata = raw["gceSetup"]["metadata"]
    assert (metadata["k"], metadata["l"]) == ("1", "2")
    assert "idle-timeout-seconds" not in metadata
    assert metadata["proxy-mode"] == "service_account"


def test_a_patch_through_the_official_client_shows_when_its_operation_is_done(cloud: NotebooksCloud):
    name = cloud.active("ann")
    future = cloud.client.update_instance(
        instance=notebooks_v2.Instance(name=name, labels={"team": "x"}),
        update_mask=field_mask_pb2.FieldMask(paths=["labels"]),
    )
    assert "team" not in cloud.client.get_instance(name=name).labels
    with pytest.raises(exceptions.Conflict, match="unable to queue"):
        cloud.client.stop_instance(request={"name": name})
    cloud.wait(10)
    assert cloud.client.get_instance(name=name).labels["team"] == "x"
    assert cloud.raw(future.operation.name)["metadata"]["endpoint"] == "UpdateInstance"


@pytest.mark.parametrize(
    ("mask", "body", "key", "expected"),
    [
        (
            "gce_setup.machine_type",
            {"machineType": "e2-highmem-8"},
            "machineType",
            f"https://www.googleapis.com/compute/v1/{PROJECT}/zones/us-east1-b/machineTypes/e2-highmem-8",
        ),
        (
            "gceSetup.acceleratorConfigs",
            {"acceleratorConfigs": [{"type": "NVIDIA_TESLA_P100", "coreCount": 1}]},
            "acceleratorConfigs",
            [{"type": "NVIDIA_TESLA_P100", "coreCount": "1"}],
        ),
        (
            "gce_setup.shielded_instance_config.enable_secure_boot",
            {"shieldedInstanceConfig": {"enableSecureBoot": True}},
            "shieldedInstanceConfig",
            {"enableVtpm": True, "enableIntegrityMonitoring": True, "enableSecureBoot": True},
        ),
        ("gce_setup.tags", {"tags": ["web"]}, "tags", ["deeplearning-vm", "notebook-instance", "web"]),
        ("gce_setup.disable_public_ip", {"disablePublicIp": True}, "disablePublicIp", True),
        ("gce_setup.min_cpu_platform", {"minCpuPlatform": "Intel Ice Lake"}, "minCpuPlatform", "Intel Ice Lake"),
        (
            "gce_setup.gpu_driver_config",
            {"gpuDriverConfig": {"enableGpuDriver": True}},
            "gpuDriverConfig",
            {"enableGpuDriver": True},
        ),
    ],
)
def test_a_stopped_instance_takes_the_change(cloud: NotebooksCloud, mask, body, key, expected):
    name = cloud.stopped("ann", {"gceSetup": {"machineType": "n1-standard-4"}})
    assert patch(cloud, name, mask, {"gceSetup": body}) == (200, "")
    assert cloud.raw(name)["gceSetup"][key] == expected


# --- the rest of the surface


def test_an_upgrade_keeps_its_history(cloud: NotebooksCloud):
    name = cloud.active("ann")
    assert cloud.call("POST", f"/v2/{name}:upgrade", {}).status_code == 400
    cloud.model.image = type(cloud.model.image)(version="20261001-2130-rc0", name="workbench-instances-2603-v20261001")
    cloud.client.upgrade_instance(request={"name": name})
    assert cloud.state(name) == "UPGRADING"
    cloud.wait(300)
    history = cloud.client.get_instance(name=name).upgrade_history
    assert (history[0].version, history[0].target_version) == ("20260809-2130-rc0", "20261001-2130-rc0")
    assert cloud.raw(name)["gceSetup"]["metadata"]["version"] == "20261001-2130-rc0"


def test_disks_only_grow(cloud: NotebooksCloud):
    name = cloud.active("ann")
    assert cloud.call("POST", f"/v2/{name}:resizeDisk", {"dataDisk": {"diskSizeGb": "50"}}).status_code == 400
    assert cloud.call("POST", f"/v2/{name}:resizeDisk", {}).status_code == 400
    assert cloud.call("POST", f"/v2/{name}:resizeDisk", {"dataDisk": {"diskSizeGb": "500"}}).status_code == 200
    cloud.wait(10)
    assert cloud.raw(name)["gceSetup"]["dataDisks"][0]["diskSizeGb"] == "500"


def test_operations_are_listed_newest_first(cloud: NotebooksCloud):
    first = cloud.create("ann").json()["name"]
    cloud.wait(1)
    second = cloud.create("bob").json()["name"]
    listed = cloud.call("GET", f"/v2/{ZONE}/operations", pageSize="1").json()
    assert [o["name"] for o in listed["operations"]] == [second]
    rest = cloud.call("GET", f"/v2/{PROJECT}/locations/-/operations", pageToken="").json()
    assert [o["name"] for o in rest["operations"]] == [second, first]
    cloud.wait(300)
    assert "response" in cloud.raw(first)


@pytest.mark.parametrize(
    "params",
    [
        {"pageSize": "-1"},
        {"pageSize": "x"},
        {"pageToken": "nonsense"},
        {"orderBy": "state"},
        {"filter": "a=b"},
        {"page": "1"},
    ],
)
def test_a_bad_list_is_refused(cloud: NotebooksCloud, params):
    assert cloud.call("GET", f"/v2/{ZONE}/instances", **params).status_code == 400


@pytest.mark.parametrize("verb", ["start", "stop", "reset", "restore", "resizeDisk"])
def test_calls_without_a_request_id_refuse_one(cloud: NotebooksCloud, verb):
    name = cloud.active("ann")
    request = "5b0a6bb0-64d5-4a44-9d0a-d2ba2a3ea2f6"
    answer = cloud.call("POST", f"/v2/{name}:{verb}", {}, requestId=request)
    assert answer.status_code == 400
    assert 'Unknown name "requestId"' in answer.json()["error"]["message"]
    assert cloud.call("POST", f"/v2/{name}:{verb}", {"requestId": request}).status_code == 400
    assert cloud.state(name) == "ACTIVE"


def test_the_path_names_the_instance_of_a_patch_not_the_body(cloud: NotebooksCloud):
    name = cloud.active("ann")
    body = {"name": "ann", "labels": {"team": "x"}}
    assert cloud.call("PATCH", f"/v2/{name}", body, updateMask="labels").status_code == 200
    cloud.wait(10)
    assert cloud.raw(name)["labels"]["team"] == "x"


def test_what_was_disabled_is_never_enabled_again(cloud: NotebooksCloud):
    name = cloud.stopped("ann", {"disableProxyAccess": True, "gceSetup": {"disablePublicIp": True}})
    for mask, body in (
        ("disable_proxy_access", {"disableProxyAccess": False}),
        ("gce_setup.disable_public_ip", {"gceSetup": {"disablePublicIp": False}}),
        ("gce_setup.disable_public_ip", {}),
    ):
        assert patch(cloud, name, mask, body)[0] == 400
