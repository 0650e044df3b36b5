"""Whatever one hand changes of what is ours is put right or reported: every field, at random, judged by the world.

`MUTATIONS` has one entry for each thing that somebody can change, and says what becomes of it for whom; docs/drift.md is the
same as a table. The last tests hold that the list is complete: a field that the product comes to own needs an entry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from kit.drifting import ENTITLED, LEFT, OWNS, RESTS, RUNS, SETTINGS, WORK, Drifting, another, settled
from kit.inprocess import impatient
from kit.official import storage_bucket

from shared.domain.notebook.differences import STOPPED_ONLY_METADATA, immutables
from shared.domain.record.copies import copies_of
from shared.domain.record.record import Power
from shared.domain.record.status import ConditionType
from shared.domain.things.errors import Reason
from shared.domain.things.identity import parse_email, user_key_for
from shared.domain.things.notebook import LABEL_COST_CENTER, LABEL_MANAGED_BY, LABEL_USER, MANAGED_BY, Patch
from shared.domain.things.notebook import labels_for as _labels_for
from shared.domain.things.notebook import metadata_for as _metadata_for
from shared.domain.things.power import PowerCause
from shared.engine.sweeps.sweeps import sweep

Draw = Callable[[st.SearchStrategy[Any]], Any]
Hand = Callable[[Drifting, str, Draw], None]


class End(StrEnum):
    """What becomes of a change."""

    MENDED = "as before within the hour, and nothing was stopped for it"
    RESTARTED = "as before within the hour: stopped, patched, started"
    WAITS = "the sweep counts it; mended as soon as the instance is stopped"
    MENDED_LATER = "as before after the next pass for this person: listings do not show it"
    SAID = "left, counted by each sweep, and said at the person's condition"
    SAID_LATER = "left, and said at the person's condition after the next pass"


@dataclass(frozen=True)
class Mutation:
    """`field` = what of ours it touches; `ends` = what becomes of it, for whom."""

    name: str
    field: str
    hand: Hand
    ends: dict[str, End]


def all_three(end: End) -> dict[str, End]:
    return dict.fromkeys(ENTITLED, end)


# --- the hands


def label(key: str) -> Mutation:
    def hand(world: Drifting, user: str, draw: Draw) -> None:
        def on(body: dict[str, Any]) -> None:
            value = draw(st.none() | another(body["labels"].get(key)))
            if value is None and key in body["labels"]:
                del body["labels"][key]
            else:
                body["labels"][key] = value or "added"

        world.change(user, on)

    return Mutation(f"label {key}", "labels", hand, all_three(End.MENDED))


def metadata(key: str) -> Mutation:
    def hand(world: Drifting, user: str, draw: Draw) -> None:
        def on(body: dict[str, Any]) -> None:
            value = draw(st.sampled_from([None, ""]) | another(body["gceSetup"]["metadata"].get(key)))
            body["gceSetup"]["metadata"].pop(key, None)
            if value is not None:
                body["gceSetup"]["metadata"][key] = value

        world.change(user, on)

    disturbs = {RUNS: End.WAITS, RESTS: End.MENDED, OWNS: End.RESTARTED}
    ends = disturbs if key in STOPPED_ONLY_METADATA else all_three(End.MENDED)
    having = {user: end for user, end in ends.items() if key in METADATA[user]}
    return Mutation(f"metadata {key}", "metadata", hand, having)


def at_rest(name: str, field: str, hand: Hand) -> Mutation:
    return Mutation(name, field, hand, {RUNS: End.WAITS, RESTS: End.MENDED, OWNS: End.RESTARTED})


def _machine_type(world: Drifting, user: str, draw: Draw) -> None:
    def on(body: dict[str, Any]) -> None:
        url, _, now = body["gceSetup"]["machineType"].rpartition("/")
        sizes = ["n1-standard-1", "n1-standard-2", "n1-standard-16", "n1-highmem-8", "n1-standard-8"]
        body["gceSetup"]["machineType"] = f"{url}/{draw(st.sampled_from([s for s in sizes if s != now]))}"

    world.change(user, on)


def _accelerators(world: Drifting, user: str, draw: Draw) -> None:
    def on(body: dict[str, Any]) -> None:
        now = body["gceSetup"].get("acceleratorConfigs", [])
        one = {"type": "NVIDIA_TESLA_T4", "coreCount": "1"}
        others = [[], [{**one, "coreCount": "2"}], [{**one, "type": "NVIDIA_TESLA_V100"}], [one]]
        body["gceSetup"]["acceleratorConfigs"] = draw(st.sampled_from([each for each in others if each != now]))

    world.change(user, on)


def _shielded(world: Drifting, user: str, draw: Draw) -> None:
    def on(body: dict[str, Any]) -> None:
        held = body["gceSetup"]["shieldedInstanceConfig"]
        names = ["enableSecureBoot", "enableVtpm", "enableIntegrityMonitoring"]
        for name in draw(st.lists(st.sampled_from(names), min_size=1, unique=True)):
            held[name] = not held.get(name, False)

    world.change(user, on)


def _tags(world: Drifting, user: str, draw: Draw) -> None:
    def on(body: dict[str, Any]) -> None:
        ours = set(world.spec(user).tags)
        kept = [tag for tag in body["gceSetup"]["tags"] if tag not in ours]
        body["gceSetup"]["tags"] = kept + draw(st.sampled_from([[], ["somebodys"]]))

    world.change(user, on)


def _public_ip(world: Drifting, user: str, draw: Draw) -> None:
    def on(body: dict[str, Any]) -> None:
        last = draw(st.integers(1, 254))
        body["gceSetup"].pop("disablePublicIp", None)
        body["gceSetup"]["networkInterfaces"][0]["accessConfigs"] = [{"externalIp": f"34.24.11.{last}"}]

    world.change(user, on)


def _owner(world: Drifting, user: str, draw: Draw) -> None:
    mail = f"{draw(another(None))}@example.com"
    world.change(user, lambda body: body["gceSetup"]["metadata"].update({"proxy-user-mail": mail}))


def _identity(world: Drifting, user: str, draw: Draw) -> None:
    def on(body: dict[str, Any]) -> None:
        if user != OWNS:
            body["enableManagedEuc"] = False
        account = f"{draw(another(None))}@developer.gserviceaccount.com"
        body["gceSetup"]["serviceAccounts"] = [{"email": account}]

    world.change(user, on)


def _of_the_network(key: str) -> Hand:
    def hand(world: Drifting, user: str, draw: Draw) -> None:
        def on(body: dict[str, Any]) -> None:
            nic = body["gceSetup"]["networkInterfaces"][0]
            nic[key] = f"{nic[key].rpartition('/')[0]}/{draw(another('inside').filter(lambda name: name != 'benches'))}"

        world.change(user, on)

    return hand


def _image(world: Drifting, user: str, draw: Draw) -> None:
    family = draw(another("workbench-instances-2603"))
    world.change(user, lambda body: body["gceSetup"]["vmImage"].update(family=family))


def _disk(place: Callable[[dict[str, Any]], dict[str, Any]]) -> Hand:
    """Made of another type, or smaller: what somebody gets who builds it anew under the same name."""

    def hand(world: Drifting, user: str, draw: Draw) -> None:
        def on(body: dict[str, Any]) -> None:
            held = place(body["gceSetup"])
            if draw(st.booleans()):
                kinds = ["PD_STANDARD", "PD_BALANCED", "PD_SSD", "PD_EXTREME"]
                held["diskType"] = draw(st.sampled_from([kind for kind in kinds if kind != held["diskType"]]))
            else:
                held["diskSizeGb"] = str(draw(st.integers(10, int(held["diskSizeGb"]) - 1)))

        world.change(user, on)

    return hand


def _template_edited(world: Drifting, user: str, draw: Draw) -> None:
    blob = _some_template(world, user, draw)
    blob.reload()
    told = dict(blob.metadata)
    blob.metadata = told  # the digest stays, as it does with an editor that copies metadata along
    text = blob.download_as_bytes()
    cut = draw(st.integers(0, len(text) - 1))
    changed = text[:cut] + draw(st.binary(min_size=1, max_size=20)) + text[cut:]
    blob.upload_from_string(changed, content_type="application/yaml")


def _template_deleted(world: Drifting, user: str, draw: Draw) -> None:
    _some_template(world, user, draw).delete()


def _template_replaced(world: Drifting, user: str, draw: Draw) -> None:
    name = _some_template(world, user, draw).name
    fresh = storage_bucket(world.bench.clients).blob(name)
    fresh.upload_from_string(draw(st.binary(max_size=50)), content_type="application/yaml")


def _template_added(world: Drifting, user: str, draw: Draw) -> None:
    name = f"templates/{world.life(user).key}/{draw(another('single-node'))}.yaml"
    storage_bucket(world.bench.clients).blob(name).upload_from_string(b"clusterName: mine")


def _some_template(world: Drifting, user: str, draw: Draw) -> Any:
    return storage_bucket(world.bench.clients).blob(draw(st.sampled_from(sorted(world.templates(user)))))


def _account_shared(world: Drifting, user: str, draw: Draw) -> None:
    roles = ["roles/iam.serviceAccountUser", "roles/iam.serviceAccountTokenCreator", "roles/iam.serviceAccountAdmin"]
    strangers = another(None).map(lambda name: f"user:{name}@example.com")
    members = draw(st.lists(strangers, min_size=1, max_size=2, unique=True))
    if draw(st.booleans()):
        members = [*members, f"user:{user}"]
    bindings = [{"role": draw(st.sampled_from(roles)), "members": members}]
    world.iam(user, "setIamPolicy", {"policy": {"bindings": bindings}})


def _account_unshared(world: Drifting, user: str, _draw: Draw) -> None:
    world.iam(user, "setIamPolicy", {"policy": {"bindings": []}})


def _iam(verb: str) -> Hand:
    return lambda world, user, _draw: world.iam(user, verb)


LABELS = sorted(
    {LABEL_COST_CENTER}.union(*(_labels_for(p, user_key_for(RUNS), "") for p in SETTINGS.catalog.profiles.values()))
)
_PROFILES = {RUNS: "analyst", RESTS: "analyst", OWNS: "engineer"}
METADATA = {user: _metadata_for(SETTINGS.catalog.profiles[name]) for user, name in _PROFILES.items()}

MUTATIONS = [
    *(label(key) for key in LABELS),
    *(metadata(key) for key in sorted(set().union(*METADATA.values()))),
    at_rest("machine type", "machine_type", _machine_type),
    at_rest("accelerators", "accelerators", _accelerators),
    at_rest("shielded VM", "shielded", _shielded),
    Mutation("network tags", "tags", _tags, {OWNS: End.MENDED}),
    Mutation("public IP", "disable_public_ip", _public_ip, all_three(End.MENDED)),
    Mutation("owner", "owner", _owner, all_three(End.SAID)),
    Mutation("identity", "identity", _identity, all_three(End.SAID)),
    Mutation("network", "network", _of_the_network("network"), all_three(End.SAID)),
    Mutation("subnetwork", "subnetwork", _of_the_network("subnet"), all_three(End.SAID)),
    Mutation("image", "image", _image, all_three(End.SAID_LATER)),
    Mutation("boot disk", "boot disk", _disk(lambda setup: setup["bootDisk"]), all_three(End.SAID_LATER)),
    Mutation("data disk", "data disk", _disk(lambda setup: setup["dataDisks"][0]), all_three(End.SAID_LATER)),
    Mutation("template edited", "template", _template_edited, all_three(End.MENDED)),
    Mutation("template deleted", "template", _template_deleted, all_three(End.MENDED)),
    Mutation("template written anew", "template", _template_replaced, all_three(End.MENDED)),
    Mutation("template added", "template", _template_added, {**all_three(End.MENDED), LEFT: End.MENDED}),
    Mutation("account disabled", "account", _iam("disable"), {OWNS: End.MENDED_LATER}),
    Mutation("account enabled", "account", _iam("enable"), {LEFT: End.MENDED_LATER}),
    Mutation("account shared", "account", _account_shared, {OWNS: End.MENDED_LATER, LEFT: End.MENDED_LATER}),
    Mutation("account taken from its owner", "account", _account_unshared, {OWNS: End.MENDED_LATER}),
    Mutation("account deleted", "account", _iam("delete"), {OWNS: End.MENDED_LATER}),
    Mutation(
        "account out of its group", "account", lambda world, user, _: world.leave_group(user), {OWNS: End.MENDED_LATER}
    ),
]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
@settings(
    max_examples=6,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
def test_what_one_hand_changes_is_put_right_or_said(mutation, data):
    with impatient():
        world = settled()
        user = data.draw(st.sampled_from(sorted(mutation.ends)))
        end = mutation.ends[user]
        before, others = world.portrait(user), [each for each in WORK if each != user]
        bystanders = [world.portrait(each) for each in others]
        mutation.hand(world, user, data.draw)
        changed = world.portrait(user)
        _CHECKS[end](world, user, before, changed)
        assert [world.portrait(each) for each in others] == bystanders, "somebody else was touched"
        at_rest_again(world, user)


def at_rest_again(world: Drifting, user: str) -> None:
    """A fixed point: no plan, no decision, nothing due."""
    world.hour()
    assert not world.plan(user), f"no fixed point: {world.plan(user)}"
    key = world.life(user).key
    decisions = [why for each, why in world.sweep().decisions if each == key]
    assert not decisions, f"the sweep comes back to it each hour: {decisions}"


def _mended(world: Drifting, user: str, before: Any, changed: Any) -> None:
    uid = world.instance(user).body["id"]
    if user != LEFT:  # whose template it is says a folder; the portrait shows it
        assert changed != before, "the hand changed nothing"
    world.hour()
    assert world.portrait(user) == before
    assert world.instance(user).body["id"] == uid
    assert set(world.methods()) <= {"UpdateInstance"}


def _restarted(world: Drifting, user: str, before: Any, changed: Any) -> None:
    uid = world.instance(user).body["id"]
    assert changed != before
    world.hour()
    assert world.portrait(user) == before
    assert world.instance(user).body["id"] == uid
    assert world.methods() == ["StopInstance", "UpdateInstance", "StartInstance"]


def _waits(world: Drifting, user: str, before: Any, changed: Any) -> None:
    assert changed != before
    assert world.hour().found["waits to be stopped: stop, patch, start"] == 1
    assert world.portrait(user) == changed, "somebody at work was disturbed"
    assert world.methods() == []
    world.look(user)
    ready = world.life(user).condition(ConditionType.NOTEBOOK_READY)
    assert ready is not None
    assert ready.reason is Reason.UPDATE_PENDING
    world.bench.cloud.notebooks.stop_outside(world.instance(user).name)
    world.hour()
    (was,) = before["notebooks"]
    assert world.portrait(user) == {**before, "notebooks": [{**was, "state": "STOPPED"}]}
    assert world.life(user).record.spec.power is Power.STOPPED


def _said(world: Drifting, user: str, before: Any, changed: Any) -> None:
    assert changed != before
    world.hour()
    assert world.sweep().found["differs in properties that cannot be changed"] == 1
    if user == RESTS:  # it is said once somebody looks: nothing is to be done about it before it runs
        world.look(user)
    _said_to_the_person(world, user, changed)


def _said_later(world: Drifting, user: str, before: Any, changed: Any) -> None:
    assert changed != before
    world.look(user)
    _said_to_the_person(world, user, changed)


def _said_to_the_person(world: Drifting, user: str, changed: Any) -> None:
    assert world.portrait(user) == changed
    assert world.methods() == []
    ready = world.life(user).condition(ConditionType.NOTEBOOK_READY)
    assert ready is not None
    assert "differs from its profile in properties that cannot be changed" in ready.message
    assert ready.reason is (Reason.STOPPED if user == RESTS else Reason.DRIFTED)


def _mended_later(world: Drifting, user: str, before: Any, changed: Any) -> None:
    assert changed != before
    world.look(user)
    assert world.portrait(user) == before
    assert world.methods() == []


_CHECKS: dict[End, Callable[[Drifting, str, Any, Any], None]] = {
    End.MENDED: _mended,
    End.RESTARTED: _restarted,
    End.WAITS: _waits,
    End.SAID: _said,
    End.SAID_LATER: _said_later,
    End.MENDED_LATER: _mended_later,
}


# --- instances, power and snapshots: there is no one before to come back to


@pytest.fixture
def world():
    with impatient():
        yield settled()


@pytest.mark.parametrize("user", ENTITLED)
def test_a_deleted_instance_is_made_again_and_a_stopped_one_stays_stopped(world, user):
    """The disk went with it: what was on it is gone, and nobody can bring it back (docs/drift.md)."""
    before = world.instance(user).body["id"]
    world.bench.cloud.notebooks.delete_outside(world.instance(user).name)
    assert world.hour().found["the instance is gone"] == 1
    assert world.instance(user).body["id"] != before
    # Who had a stopped one: the create ends in a running instance, and the wish is as it was.
    assert world.states()[user] == (["STOPPED"] if user == RESTS else ["ACTIVE"])
    assert world.life(user).files() == b""
    at_rest_again(world, user)


@pytest.mark.parametrize("user", [RUNS, OWNS])
def test_what_somebody_stopped_stays_stopped_and_says_so(world, user):
    world.bench.cloud.notebooks.stop_outside(world.instance(user).name)
    world.hour()
    assert world.states()[user] == ["STOPPED"]
    assert world.life(user).record.spec.power_reason.cause is PowerCause.STOPPED_OUTSIDE
    at_rest_again(world, user)


def test_what_somebody_started_runs_on_and_says_so(world):
    world.bench.cloud.notebooks.start(world.instance(RESTS).name)
    world.bench.advance(minutes=5)
    world.hour()
    assert world.states()[RESTS] == ["ACTIVE"]
    assert world.life(RESTS).record.spec.power_reason.cause is PowerCause.STARTED_OUTSIDE
    at_rest_again(world, RESTS)


def test_a_leavers_instance_that_somebody_started_is_stopped_and_saved_again(world):
    world.bench.cloud.notebooks.start(world.instance(LEFT).name)
    world.bench.advance(minutes=5)
    world.life(LEFT).write(b"written after leaving")
    world.hour()
    assert world.states()[LEFT] == ["STOPPED"]
    assert [snapshot.content for snapshot in world.life(LEFT).snapshots().values()] == [b"written after leaving"]
    at_rest_again(world, LEFT)


def test_a_leavers_instance_that_somebody_deleted_leaves_the_snapshot_and_a_return_brings_the_files(world):
    world.bench.cloud.notebooks.delete_outside(world.instance(LEFT).name)
    world.hour()
    assert [snapshot.content for snapshot in world.life(LEFT).snapshots().values()] == [WORK[LEFT]]
    world.life(LEFT).join(minutes=20, profile="engineer")
    assert world.life(LEFT).files() == WORK[LEFT]


def test_a_leavers_snapshot_that_somebody_deleted_is_taken_again_while_the_disk_is_there(world):
    world.drop_snapshots(LEFT)
    assert world.life(LEFT).snapshots() == {}
    assert world.hour().found["a snapshot of a leaver is gone"] == 1
    assert [snapshot.content for snapshot in world.life(LEFT).snapshots().values()] == [WORK[LEFT]]
    at_rest_again(world, LEFT)
    world.bench.advance(days=31)
    world.hour()
    assert [snapshot.content for snapshot in world.life(LEFT).snapshots().values()] == [WORK[LEFT]]
    assert world.states()[LEFT] == []


def test_the_last_snapshot_that_somebody_deleted_is_missed_by_name(world):
    world.bench.advance(days=31)
    world.hour()
    (name,) = world.life(LEFT).snapshots()
    assert world.states()[LEFT] == []
    world.drop_snapshots(LEFT)
    assert world.hour().found["a snapshot of a leaver is gone"] == 1
    saved = world.life(LEFT).condition(ConditionType.DATA_SAVED)
    assert saved is not None
    assert saved.reason is Reason.DATA_MISSING
    assert name in saved.message


def test_a_copy_that_somebody_deleted_is_no_longer_offered(world):
    sweep("idle", world.bench.deps)
    world.life(RUNS).minutes(8)
    assert len(copies_of(world.life(RUNS).record.status)) == 1
    world.drop_snapshots(RUNS)
    assert world.hour().found["a copy of the files is gone"] == 1
    assert copies_of(world.life(RUNS).record.status) == ()
    assert world.methods() == []


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("nobody-000000000000", "carries our labels and has no record"),
        (str(user_key_for(parse_email(RUNS))), "is not where its user's record says"),
    ],
)
def test_an_instance_with_our_labels_that_no_record_names_is_reported_and_left(world, key, why):
    world.make_instance("stray", {LABEL_MANAGED_BY: MANAGED_BY, LABEL_USER: key})
    before = {user: world.instance(user).body["id"] for user in WORK}
    summary = world.hour()
    assert [(stray.name, stray.why) for stray in summary.strays] == [("stray", why)]
    assert world.methods() == ["CreateInstance"]
    assert {user: world.instance(user).body["id"] for user in WORK} == before


def test_somebody_elses_instance_under_our_name_is_reported_and_left(world):
    name = world.instance(RUNS).short
    world.bench.cloud.notebooks.delete_outside(world.instance(RUNS).name)
    world.make_instance(name, {"team": "other"})
    summary = world.hour()
    assert [(stray.name, stray.why) for stray in summary.strays] == [(name, "has our name without our labels")]
    ready = world.life(RUNS).condition(ConditionType.NOTEBOOK_READY)
    assert ready is not None
    assert ready.reason is Reason.NOT_OURS
    assert world.methods() == ["CreateInstance"]
    assert world.instance(RUNS).body["labels"]["team"] == "other"


@pytest.mark.parametrize("key", ["nobody-000000000000", str(user_key_for(parse_email(RUNS)))])
def test_a_snapshot_with_our_labels_that_no_record_names_is_reported_and_left(world, key):
    world.make_snapshot(RUNS, "by-hand", {LABEL_MANAGED_BY: MANAGED_BY, LABEL_USER: key})
    summary = world.hour()
    why = "is a snapshot with our labels that no record names"
    assert [(stray.name, stray.why) for stray in summary.strays] == [("by-hand", why)]
    assert any(path.endswith("/by-hand") for path in world.bench.cloud.compute.disks.snapshots)


# --- the list is complete


def test_every_field_that_a_patch_or_a_replacement_may_change_has_its_entry():
    listed = {mutation.field for mutation in MUTATIONS}
    with impatient():
        never = set().union(*(immutables(settled().spec(user)) for user in ENTITLED))
    assert listed == set(Patch.__struct_fields__) | never | {"template", "account"}


def test_every_label_and_metadata_key_of_ours_has_its_entry():
    names = {mutation.name for mutation in MUTATIONS}
    with impatient():
        world = settled()
        for user in ENTITLED:
            spec = world.spec(user)
            assert {f"label {key}" for key in spec.labels} <= names
            assert {f"metadata {key}" for key in spec.metadata} <= names


def test_an_entry_for_everybody_who_has_the_thing():
    """Who is entitled and not in an entry does not have what it changes."""
    for mutation in MUTATIONS:
        missing = set(ENTITLED) - set(mutation.ends)
        assert not missing or mutation.field in {"account", "tags", "metadata"}, mutation.name
