"""What differs and what it takes: every field, what we do not own, what cannot be told, and that a replacement ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.making import ANA, UID, ZONES, notebook, profile
from msgspec.structs import replace

from shared.domain.notebook.differences import STOPPED_ONLY_METADATA, Change, compare, immutables, say
from shared.domain.things.catalog import Accelerator, Disk, Identity, ShieldedVm, VmImage
from shared.domain.things.identity import account_email, account_id_for, instance_id_for, user_key_for
from shared.domain.things.notebook import InstanceRef, Network, NotebookState, ObservedNotebook, Patch, spec_for

KEY = user_key_for(ANA)
VPC = Network(network="projects/p/global/networks/v", subnet="projects/p/regions/r/subnetworks/s")
GPU = Accelerator(type="NVIDIA_TESLA_T4", count=1)
ACCOUNT = account_email(account_id_for(KEY), "p")


def wanted(name="analyst", *, cost_center="", network=VPC, service_account="", **changes):
    return spec_for(
        owner=ANA,
        user_key=KEY,
        instance_id=instance_id_for(ANA),
        profile=profile(name, **changes),
        cost_center=cost_center,
        network=network,
        service_account=service_account,
    )


def built(spec, **changes) -> ObservedNotebook:
    """An instance that is just what `spec` says, as a read gives it, with what Google adds."""
    euc = spec.identity is Identity.END_USER_CREDENTIALS
    made = ObservedNotebook(
        ref=InstanceRef(instance_id=spec.instance_id, zone=ZONES[0]),
        state=NotebookState.ACTIVE,
        machine_type=spec.machine_type,
        labels={**spec.labels, "goog-notebooks": "true"},
        metadata={**spec.metadata, "framework": "PyTorch"},
        uid=UID,
        owners=(spec.owner,),
        service_account="agent@gcp-sa-notebooks-vm.iam.gserviceaccount.com" if euc else spec.service_account,
        managed_euc=euc,
        network=spec.network,
        image=spec.image,
        boot_disk=spec.boot_disk,
        data_disk=spec.data_disk,
        accelerators=(spec.accelerator,) if spec.accelerator is not None else (),
        shielded=spec.shielded,
        tags=("google-tag", *spec.tags),
    )
    return replace(made, **changes)


def found(sight, spec, built_from=None):
    """(what, change) of every difference."""
    return [(item.what, item.change) for item in compare(sight, spec, built_from or {}).items]


SPEC = wanted(tags=("notebooks",), shielded=ShieldedVm(secure_boot=True), accelerator=GPU)


def test_what_is_as_wanted_differs_in_nothing():
    result = compare(built(SPEC), SPEC, immutables(SPEC))
    assert (result.items, result.patch, result.patch_at_rest) == ((), Patch(), Patch())
    assert result.disruptive == ()


PATCHES = [
    ({"labels": {}}, Patch(labels=dict(SPEC.labels))),
    ({"labels": {**SPEC.labels, "cost-center": "old"}}, Patch(labels={"cost-center": ""})),
    ({"metadata": {**SPEC.metadata, "idle-timeout-seconds": "1"}}, Patch(metadata={"idle-timeout-seconds": "54000"})),
    ({"tags": ("theirs",)}, Patch(tags=("theirs", "notebooks"))),
    ({"has_public_ip": True}, Patch(disable_public_ip=True)),
]


@pytest.mark.parametrize(("seen", "patch"), PATCHES)
def test_what_is_patched_while_it_runs(seen, patch):
    result = compare(built(SPEC, **seen), SPEC, {})
    assert (result.patch, result.patch_at_rest) == (patch, Patch())
    assert {item.change for item in result.items} == {Change.PATCH}
    assert result.disruptive == ()


AT_REST = [
    ({"machine_type": "n1-standard-1"}, Patch(machine_type="e2-standard-4"), "machine type"),
    ({"accelerators": ()}, Patch(accelerators=(GPU,)), "accelerators"),
    ({"accelerators": (replace(GPU, count=2),)}, Patch(accelerators=(GPU,)), "accelerators"),
    ({"shielded": ShieldedVm()}, Patch(shielded=SPEC.shielded), "shielded VM"),
    (
        {"metadata": {**SPEC.metadata, "notebook-disable-root": "false"}},
        Patch(metadata={"notebook-disable-root": "true"}),
        "metadata notebook-disable-root",
    ),
]


@pytest.mark.parametrize(("seen", "patch", "what"), AT_REST)
def test_what_is_patched_only_while_it_rests(seen, patch, what):
    result = compare(built(SPEC, **seen), SPEC, {})
    assert (result.patch, result.patch_at_rest) == (Patch(), patch)
    assert [(item.what, item.change) for item in result.disruptive] == [(what, Change.RESTART)]


@pytest.mark.parametrize("key", sorted(STOPPED_ONLY_METADATA))
def test_metadata_that_the_api_takes_at_rest_only_is_never_sent_to_one_that_runs(key):
    spec = wanted(metadata={key: "true", "free": "x"})
    result = compare(built(spec, metadata={}), spec, {})
    assert key not in result.patch.metadata
    assert result.patch_at_rest.metadata == {key: "true"}
    assert result.patch.metadata["free"] == "x"


def test_accelerators_that_nobody_wants_go():
    plain = wanted()
    result = compare(built(plain, accelerators=(GPU,)), plain, {})
    assert result.patch_at_rest == Patch(accelerators=())
    assert str(result.items[0]) == "accelerators 1 x NVIDIA_TESLA_T4 to nothing (stop, patch, start)"


def test_what_others_wrote_and_what_could_not_be_read_is_no_difference():
    blind = built(
        SPEC,
        shielded=None,
        owners=None,
        network=Network(),
        image=None,
        boot_disk=None,
        data_disk=None,
        managed_euc=None,
        service_account="",
    )
    assert found(blind, SPEC) == []
    assert (
        found(built(SPEC, labels={**SPEC.labels, "theirs": "x"}, metadata={**SPEC.metadata, "theirs": "x"}), SPEC) == []
    )


IMMUTABLE = [
    ("owner", {"owners": ("ben@example.com",)}),
    ("owner", {"owners": (ANA, "ben@example.com")}),
    ("identity", {"managed_euc": False, "service_account": ACCOUNT}),
    ("network", {"network": replace(VPC, network="projects/p/global/networks/other")}),
    ("subnetwork", {"network": replace(VPC, subnet="projects/p/regions/r/subnetworks/other")}),
    ("image", {"image": VmImage(project="mine", family="workbench-instances-2603")}),
    ("image", {"image": VmImage(project="cloud-notebooks-managed", family="older")}),
    ("boot disk", {"boot_disk": Disk(size_gb=100, type="PD_SSD")}),
    ("data disk", {"data_disk": Disk(size_gb=99, type="PD_SSD")}),
    ("data disk", {"data_disk": Disk(size_gb=100, type="PD_SSD")}),
]


@pytest.mark.parametrize(("what", "seen"), IMMUTABLE)
def test_what_can_never_be_changed_takes_a_replacement(what, seen):
    result = compare(built(SPEC, **seen), SPEC, {})
    assert [(item.what, item.change) for item in result.disruptive] == [(what, Change.REPLACE)]
    assert (result.patch, result.patch_at_rest) == (Patch(), Patch())


@pytest.mark.parametrize(("what", "seen"), IMMUTABLE)
def test_an_instance_that_was_made_so_is_left_however_it_reads(what, seen):
    result = compare(built(SPEC, **seen), SPEC, immutables(SPEC))
    assert [(item.what, item.change) for item in result.items] == [(what, Change.LEFT)]
    assert result.disruptive == ()


def test_a_disk_that_is_larger_is_as_good():
    grown = built(
        SPEC, data_disk=Disk(size_gb=500, type="PD_BALANCED"), boot_disk=Disk(size_gb=151, type="PD_BALANCED")
    )
    assert found(grown, SPEC, immutables(SPEC)) == []
    smaller = immutables(wanted(data_disk=Disk(size_gb=50, type="PD_BALANCED")))
    assert found(grown, SPEC, smaller) == []  # what was seen counts, not what it was built from


@pytest.mark.parametrize("what", ["boot disk", "data disk"])
def test_a_disk_of_the_same_type_that_is_too_small_is_made_larger_and_nothing_is_stopped(what):
    small = {what.replace(" ", "_"): Disk(size_gb=50, type="PD_BALANCED")}
    result = compare(built(SPEC, **small), SPEC, immutables(wanted(**small)))
    assert [(item.what, item.change) for item in result.items] == [(what, Change.GROW)]
    assert (result.disruptive, result.patch, result.patch_at_rest) == ((), Patch(), Patch())


def test_what_cannot_be_read_is_known_from_what_it_was_built_from():
    before = immutables(wanted(data_disk=Disk(size_gb=50, type="PD_BALANCED")))
    assert found(built(SPEC, data_disk=None), SPEC, before) == [("data disk", Change.GROW)]
    other = immutables(wanted(data_disk=Disk(size_gb=50, type="PD_SSD")))
    assert found(built(SPEC, data_disk=None), SPEC, other) == [("data disk", Change.REPLACE)]
    assert found(built(SPEC, data_disk=None), SPEC, immutables(SPEC)) == []


def test_an_image_by_name_and_one_by_family_cannot_be_compared_by_looking():
    by_name = wanted(image=VmImage(project="cloud-notebooks-managed", name="workbench-2603-v1"))
    seen = built(SPEC)
    assert ("image", Change.REPLACE) not in found(seen, by_name)
    assert ("image", Change.REPLACE) in found(seen, by_name, immutables(SPEC))


def test_without_a_network_of_ones_own_any_is_right():
    anywhere = wanted(network=Network())
    assert found(built(SPEC, network=VPC, accelerators=(), shielded=ShieldedVm()), anywhere) == []


PERSONAL = {"identity": Identity.PERSONAL_SERVICE_ACCOUNT, "service_account": ACCOUNT}


@pytest.mark.parametrize(
    ("spec", "managed", "runs_as", "differs"),
    [
        (wanted(), True, "agent@x", False),
        (wanted(), False, "agent@x", True),
        (wanted(), None, "agent@x", False),  # an older answer without the field: the agent's account is no evidence
        (wanted(**PERSONAL), False, ACCOUNT, False),
        (wanted(**PERSONAL), None, ACCOUNT, False),
        (wanted(**PERSONAL), None, "shared@x", True),
        (wanted(**PERSONAL), True, ACCOUNT, True),
    ],
)
def test_as_whom_it_runs(spec, managed, runs_as, differs):
    sight = built(spec, managed_euc=managed, service_account=runs_as)
    assert found(sight, spec) == ([("identity", Change.REPLACE)] if differs else [])


def test_differences_are_said_with_what_it_takes():
    result = compare(built(SPEC, machine_type="n1", tags=()), SPEC, {})
    assert say(result.items) == (
        "network tags nothing to notebooks (patch in place); machine type n1 to e2-standard-4 (stop, patch, start)"
    )
    assert say(()) == ""


def test_the_kits_own_instance_is_in_line():
    assert found(notebook(), wanted(network=Network())) == []


disks = st.builds(Disk, size_gb=st.integers(10, 1000), type=st.sampled_from(["PD_BALANCED", "PD_SSD"]))
images = st.builds(VmImage, project=st.sampled_from(["a", "b"]), family=st.sampled_from(["f", "g"])) | st.builds(
    VmImage, project=st.sampled_from(["a", "b"]), name=st.sampled_from(["n", "m"])
)
networks = st.builds(Network, network=st.sampled_from(["", "v", "w"]), subnet=st.sampled_from(["", "s", "t"]))
specs = st.builds(
    lambda identity, boot, data, image, network, machine, gpu: wanted(
        network=network,
        identity=identity,
        boot_disk=boot,
        data_disk=data,
        image=image,
        machine_type=machine,
        accelerator=gpu,
        service_account="" if identity is Identity.END_USER_CREDENTIALS else ACCOUNT,
    ),
    st.sampled_from(Identity),
    disks,
    disks,
    images,
    networks,
    st.sampled_from(["e2-standard-4", "n2-standard-8"]),
    st.none() | st.just(GPU),
)
readings = st.fixed_dictionaries(
    {},
    optional={
        "owners": st.none() | st.just(()) | st.just(("someone@example.com",)),
        "managed_euc": st.none() | st.booleans(),
        "service_account": st.sampled_from(["", "agent@x", ACCOUNT]),
        "network": networks,
        "image": st.none() | images,
        "boot_disk": st.none() | disks,
        "data_disk": st.none() | disks,
        "machine_type": st.just("else"),
        "shielded": st.none() | st.just(ShieldedVm(secure_boot=True)),
    },
)


@given(specs, readings)
def test_an_instance_that_was_built_from_what_is_wanted_is_never_replaced(spec, reading):
    """However it reads: a replacement that reads the same again would never end."""
    assert compare(built(spec, **reading), spec, immutables(spec)).of(Change.REPLACE) == ()


def stays(have: Disk, want: Disk) -> bool:
    """A disk of the same type is large enough, or is made larger where it is."""
    return have.type == want.type


@given(specs, specs)
def test_exactly_what_was_built_otherwise_is_replaced(before, after):
    replaced = {item.what for item in compare(built(before), after, immutables(before)).of(Change.REPLACE)}
    then, now = immutables(before), immutables(after)
    other = {what for what, want in now.items() if want and want != then[what]}
    good = {
        what
        for what, have, want in (
            ("boot disk", before.boot_disk, after.boot_disk),
            ("data disk", before.data_disk, after.data_disk),
        )
        if stays(have, want)
    }
    assert replaced == other - good
    assert compare(built(after), after, immutables(after)).items == ()  # and the new one is in line


@given(specs, readings)
def test_every_difference_but_one_that_is_left_has_its_remedy(spec, reading):
    result = compare(built(spec, **reading), spec, {})
    assert (result.patch != Patch()) == bool(result.of(Change.PATCH))
    assert (result.patch_at_rest != Patch()) == bool(result.of(Change.RESTART))
    assert result.of(Change.LEFT) == ()  # nothing was built from what is wanted, as far as is known
