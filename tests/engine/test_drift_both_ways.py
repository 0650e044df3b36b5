"""Drift is found where it is, and nowhere else: real instances, recorded, against what somebody asked for who made them so.

Google writes dozens of labels, metadata keys and tags itself. None of them may ever count; an address that is public does.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.cloud.notebook.instance_json import observed_from
from shared.domain.notebook.differences import Change, compare, immutables
from shared.domain.things.catalog import Disk, Identity, ShieldedVm, VmImage
from shared.domain.things.identity import UserEmail
from shared.domain.things.notebook import (
    IDLE_TIMEOUT_KEY,
    LABEL_COST_CENTER,
    LABEL_MANAGED_BY,
    LABEL_PROFILE,
    LABEL_USER,
    MANAGED_BY,
    Network,
    NotebookSpec,
)

GOLDEN = Path(__file__).parents[2] / ".." / "shared" / "golden" / "notebooks-v2-recorded"
OURS = {LABEL_MANAGED_BY: MANAGED_BY, LABEL_USER: "ann-0123456789ab", LABEL_PROFILE: "analyst", "team": "analytics"}
ASKED = {IDLE_TIMEOUT_KEY: "54000", "notebook-disable-root": "true"}
# The protected keys of Workbench's page "Manage metadata", and those that Terraform's provider leaves alone as well.
GOOGLES_METADATA = [
    "agent-health-check-interval-seconds", "agent-health-check-path", "cos-update-strategy",
    "custom-container-image", "custom-container-payload", "data-disk-uri", "dataproc-allow-custom-clusters",
    "dataproc-cluster-name", "dataproc-configs", "dataproc-default-subnet", "dataproc-locations-list",
    "dataproc-machine-types-list", "dataproc-notebooks-url", "dataproc-region", "dataproc-service-account",
    "disable-check-xsrf", "euc-enabled", "framework", "generate-diagnostics-bucket",
    "generate-diagnostics-file", "generate-diagnostics-options", "google-logging-enabled", "image-url",
    "install-monitoring-agent", "install-nvidia-driver", "installed-extensions", "last_updated_diagnostic",
    "last_updated_diagnostics", "notebooks-api", "notebooks-api-version", "notebooks-examples-location",
    "notebooks-location", "proxy-backend-id", "proxy-byoid-url", "proxy-mode", "proxy-status", "proxy-url",
    "report-container-health", "report-event-url", "report-notebook-metrics", "report-system-health",
    "report-system-status", "resource-url", "restriction", "serial-port-logging-enable", "service-account-mode",
    "shutdown-script", "title", "use-collaborative", "user-data", "version", "container",
    "disable-swap-binaries", "instance-region", "enable-euc", "proxy-registration-url",
]  # fmt: skip
GOOGLES_LABELS = [
    "consumer-project-id", "consumer-project-number", "notebooks-product", "resource-name",
    "notebooks-managed-euc", "goog-terraform-provisioned",
]  # fmt: skip


def recorded() -> list[tuple[str, dict[str, Any]]]:
    """Every instance that was recorded; none where the recordings are not."""
    if not GOLDEN.is_dir():
        return []
    found = []
    for file in ("get-instance.json", "list-instances-all-locations.json", "gcpdiag-workbench-instances.json"):
        body = json.loads((GOLDEN / file).read_text(encoding="utf-8"))
        body = body.get("body", body)
        kind = file.removesuffix(".json")
        found += [(f"{kind}-{raw['name'].rpartition('/')[2]}", raw) for raw in body.get("instances", [body])]
    return found


RECORDED = recorded()
IDS = [name for name, _ in RECORDED]
needs_recordings = pytest.mark.skipif(not RECORDED, reason="the recorded answers (../shared/golden) are not here")
each_recorded = pytest.mark.parametrize("raw", [raw for _, raw in RECORDED], ids=IDS)


def as_ours(raw: dict[str, Any]) -> tuple[dict[str, Any], NotebookSpec]:
    """The instance with what our create adds, and the spec by which it would have been made so.

    Written from the JSON itself, field by field, not from what the product reads of it.
    """
    raw = copy.deepcopy(raw)
    setup = raw["gceSetup"]
    raw["labels"] |= OURS
    setup["metadata"] |= ASKED
    image, shielded, nic = setup.get("vmImage", {}), setup["shieldedInstanceConfig"], setup["networkInterfaces"][0]
    boot, data = setup["bootDisk"], setup["dataDisks"][0]
    spec = NotebookSpec(
        instance_id=raw["name"].split("/")[-1],
        owner=UserEmail("ann@example.com"),
        machine_type=setup["machineType"].split("/")[-1],
        image=VmImage(
            project=image.get("project", "cloud-notebooks-managed"), family=image.get("family", "not-in-a-listing")
        ),
        boot_disk=Disk(size_gb=int(boot["diskSizeGb"]), type=boot.get("diskType", "PD_BALANCED")),
        data_disk=Disk(size_gb=int(data["diskSizeGb"]), type=data.get("diskType", "PD_BALANCED")),
        accelerator=None,
        shielded=ShieldedVm(
            secure_boot=shielded.get("enableSecureBoot", False),
            vtpm=shielded.get("enableVtpm", False),
            integrity_monitoring=shielded.get("enableIntegrityMonitoring", False),
        ),
        identity=Identity.PERSONAL_SERVICE_ACCOUNT,
        network=named_network(nic),
        labels=dict(OURS),
        metadata=dict(ASKED),
        tags=(),
        service_account=setup["serviceAccounts"][0]["email"],
    )
    return raw, spec


def named_network(nic: dict[str, str]) -> Network:
    """Named as configurations name them: without the host."""
    network, subnet = (nic[key].split("/v1/")[1] for key in ("network", "subnet"))
    return Network(network=network, subnet=subnet)


def items(raw: dict[str, Any], spec: NotebookSpec) -> list[str]:
    """What differs, whether the record knows what the instance was made from or not; the two must agree."""
    found = [compare(observed_from(raw), spec, built).items for built in (immutables(spec), {})]
    assert found[0] == found[1]
    return [item.what for item in found[0]]


def without_address(raw: dict[str, Any]) -> dict[str, Any]:
    raw = copy.deepcopy(raw)
    for nic in raw["gceSetup"]["networkInterfaces"]:
        nic.pop("accessConfigs", None)
    return raw


@needs_recordings
def test_all_recordings_are_read():
    assert len(RECORDED) == 1 + 2 + 2
    assert sum("accessConfigs" in str(raw) for _, raw in RECORDED) == 2


@needs_recordings
@each_recorded
def test_a_real_instance_as_it_was_made_does_not_differ(raw):
    ours, spec = as_ours(without_address(raw))
    assert items(ours, spec) == []


@needs_recordings
@each_recorded
def test_a_public_address_is_found_and_nothing_else(raw):
    ours, spec = as_ours(raw)
    public = any(nic.get("accessConfigs") for nic in ours["gceSetup"]["networkInterfaces"])
    assert items(ours, spec) == (["public IP"] if public else [])
    ours["gceSetup"]["networkInterfaces"][0]["accessConfigs"] = [{"externalIp": "34.24.11.45"}]
    assert items(ours, spec) == ["public IP"]
    assert compare(observed_from(ours), spec, {}).patch.disable_public_ip


@needs_recordings
@each_recorded
@given(data=st.data())
def test_what_google_writes_never_counts(raw, data):
    """Any of its labels, metadata keys and tags taken away, changed or added, in any number."""
    ours, spec = as_ours(without_address(raw))
    setup = ours["gceSetup"]
    text = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=30)
    for held, own, known in (
        (ours["labels"], {*OURS, LABEL_COST_CENTER}, GOOGLES_LABELS),
        (setup["metadata"], set(ASKED), GOOGLES_METADATA),
    ):
        theirs = sorted({*held, *known} - own - {"proxy-user-mail"})  # that one tells the owner
        for key in data.draw(st.lists(st.sampled_from(theirs), max_size=8, unique=True)):
            value = data.draw(st.none() | text)
            held.pop(key, None)
            if value is not None:
                held[key] = value
    setup["tags"] = data.draw(st.lists(st.sampled_from([*setup["tags"], "somebodys", "iap"]), unique=True))
    for key in ("minCpuPlatform", "gpuDriverConfig", "reservationAffinity", "disablePublicIp"):
        if data.draw(st.booleans()):
            setup.pop(key, None)
    for key in ("updateTime", "healthState", "healthInfo", "satisfiesPzi", "thirdPartyProxyUrl", "upgradeHistory"):
        if data.draw(st.booleans()):
            ours.pop(key, None)
    assert items(ours, spec) == []


@needs_recordings
@each_recorded
def test_each_thing_that_we_own_counts(raw):
    """The other way: the same instance with one of ours changed differs in that, and in nothing else."""
    ours, spec = as_ours(without_address(raw))
    for key in OURS:
        changed = copy.deepcopy(ours)
        changed["labels"][key] = "else"
        assert items(changed, spec) == [f"label {key}"]
        del changed["labels"][key]
        assert items(changed, spec) == [f"label {key}"]
    for key in ASKED:
        changed = copy.deepcopy(ours)
        del changed["gceSetup"]["metadata"][key]
        assert items(changed, spec) == [f"metadata {key}"]
    changed = copy.deepcopy(ours)
    changed["labels"][LABEL_COST_CENTER] = "nobodys"
    assert items(changed, spec) == [f"label {LABEL_COST_CENTER}"]
    changed = copy.deepcopy(ours)
    changed["gceSetup"]["machineType"] = changed["gceSetup"]["machineType"].replace("e2-standard-4", "e2-standard-8")
    assert items(changed, spec) == ["machine type"]
    changed = copy.deepcopy(ours)
    changed["gceSetup"]["shieldedInstanceConfig"] = {}
    assert items(changed, spec) == ["shielded VM"]
    changed = copy.deepcopy(ours)
    changed["gceSetup"]["networkInterfaces"][0]["subnet"] += "-else"
    assert [d.change for d in compare(observed_from(changed), spec, immutables(spec)).items] == [Change.LEFT]
    assert [d.change for d in compare(observed_from(changed), spec, {}).items] == [Change.REPLACE]


def test_the_keys_that_never_count_are_none_that_we_ask_for():
    assert len(set(GOOGLES_METADATA)) == len(GOOGLES_METADATA)
    assert len(GOOGLES_METADATA) == 56
    assert not set(GOOGLES_METADATA) & set(ASKED)
