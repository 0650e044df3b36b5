"""Which records need a pass, judged from listings; strays are named, never touched."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.making import NOW, ZONES, catalog, notebook, operation, person, policy, profile, saved, seen, snapshot_seen
from msgspec.structs import replace

from shared.domain.fleet.drift import (
    Comparisons,
    Listed,
    StrayCheck,
    _hour_of,
    differences_of,
    notebook_differences,
    why_pass,
    why_waits,
)
from shared.domain.fleet.seen import Instances
from shared.domain.notebook.creation import spec_of
from shared.domain.notebook.differences import Change, compare, digest
from shared.domain.reconcile.planner import make_plan
from shared.domain.record.record import Power, Presence, row_of
from shared.domain.record.status import Verb
from shared.domain.template.wanted import wanted_templates
from shared.domain.things.catalog import Disk, Disruption, Identity, Window
from shared.domain.things.identity import (
    AccountId,
    UserEmail,
    account_email,
    account_id_for,
    instance_id_for,
    user_key_for,
)
from shared.domain.things.notebook import LABEL_MANAGED_BY, LABEL_USER, InstanceRef, NotebookState
from shared.domain.things.snapshots import Former

S = NotebookState


def listed(record, sight, *, unreachable=(), templates=None):
    return Listed(
        notebook=sight,
        templates=wanted_templates(record, policy()) if templates is None else templates,
        unreachable=frozenset(unreachable),
    )


def why(record, sight, *, rules=None, now=NOW, **more):
    return why_pass(row_of(record), listed(record, sight, **more), rules or policy(), now)


def test_a_world_in_line_needs_no_pass():
    assert why(person(), notebook()) is None
    assert why(person(power=Power.STOPPED), notebook(S.STOPPED)) is None
    assert why(person(Presence.ABSENT, Power.STOPPED, **saved()), notebook(S.STOPPED)) is None
    assert why(person(Presence.ABSENT, Power.STOPPED), None) is None


GONE = person(Presence.ABSENT, Power.STOPPED)


@pytest.mark.parametrize(
    ("record", "sight", "more", "expected"),
    [
        (person(observed_generation=2), notebook(), {}, "not checked yet"),
        (person(next_attempt_at=NOW - timedelta(minutes=6)), notebook(), {}, "wake-up was lost"),
        (person(entitling_digest="old"), notebook(), {}, "assignments changed"),
        (person(), notebook(), {"templates": {}}, "template objects differ"),
        (GONE, None, {"templates": {"spark": "x"}}, "template objects differ"),
        (person(), None, {}, "instance is gone"),
        (person(), notebook(S.STOPPED), {}, "wanted running, and the instance is stopped"),
        (person(power=Power.STOPPED), notebook(), {}, "wanted stopped, and the instance is active"),
        (GONE, notebook(), {}, "not entitled, and the instance is active"),
        (person(), notebook(labels={LABEL_USER: "x"}), {}, "out of line: patch in place"),
        (person(power=Power.STOPPED), notebook(S.STOPPED, machine_type="n1"), {}, "out of line: stop, patch, start"),
        (person(), notebook(machine_type="n1-standard-1"), {}, None),  # waits until it is stopped
        (person(), None, {"unreachable": [ZONES[0]]}, None),  # not listed is not absent
        (GONE, notebook(), {"unreachable": [ZONES[0]]}, None),
        (person(operation=operation(Verb.CREATE)), None, {}, None),  # the tick follows it
        (person(next_attempt_at=NOW + timedelta(minutes=1)), None, {}, None),
        (person(next_attempt_at=NOW - timedelta(minutes=4)), None, {}, None),
        (person(next_attempt_at=NOW + timedelta(days=3)), None, {}, "instance is gone"),  # a date, no work under way
    ],
)
def test_why_a_record_needs_a_pass(record, sight, more, expected):
    found = why(record, sight, **more)
    assert found is None if expected is None else expected in found


def test_a_profile_that_is_gone_touches_no_templates():
    rules = policy(catalog=catalog(profiles={}))
    record = person(entitling_digest=rules.catalog.entitling_digest)
    assert why(record, notebook(), rules=rules, templates={"anything": "x"}) is None


def test_a_wake_up_at_the_end_of_time_is_not_late():
    last = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert why(person(next_attempt_at=last), notebook()) is None


@given(
    st.sampled_from([(Presence.PRESENT, Power.RUNNING), (Presence.PRESENT, Power.STOPPED), (GONE.spec.presence, Power.STOPPED)]),
    st.none() | st.sampled_from(S),
    st.sampled_from([notebook().metadata, {}]),
    st.sampled_from(["e2-standard-4", "n1-standard-1"]),
)  # fmt: skip
def test_what_a_plan_would_do_at_once_the_sweep_finds(wanted, state, metadata, machine):
    """The sweep may ask for a pass too many, never for one too few."""
    record = person(*wanted, was_active=state is not None)
    sight = None if state is None else notebook(state, metadata=metadata, machine_type=machine)
    observed = seen(sight, record=record) if sight is not None else None
    if observed is None:
        assert (why(record, None) is not None) == (wanted[0] is Presence.PRESENT)
        return
    if make_plan(record, observed, policy(), NOW).actions:
        assert why(record, sight) is not None


def strays(rows, notebooks, snapshots=()):
    check = StrayCheck(notebooks, snapshots)
    for row in rows.values():
        check.add(row)
    return check.strays()


def test_strays_are_named_with_their_reason():
    record = person()
    rows = {record.user_key: row_of(record)}
    other = UserEmail("else@example.com")
    elsewhere = replace(notebook(), ref=InstanceRef(instance_id=record.status.notebook.instance_id, zone=ZONES[1]))
    recordless = notebook(
        ref=InstanceRef(instance_id=instance_id_for(other), zone=ZONES[0]),
        labels={LABEL_MANAGED_BY: "benchkeeper", LABEL_USER: user_key_for(other)},
    )
    unlabelled = notebook(labels={})
    foreign = notebook(ref=InstanceRef(instance_id="my-own", zone=ZONES[0]), labels={})
    found = strays(rows, (notebook(), elsewhere, recordless, unlabelled, foreign))
    assert {(s.zone, s.name, s.why) for s in found} == {
        (ZONES[1], record.status.notebook.instance_id, "is not where its user's record says"),
        (ZONES[0], instance_id_for(other), "carries our labels and has no record"),
        (ZONES[0], record.status.notebook.instance_id, "has our name without our labels"),
    }


# --- changes that wait for their time


def with_analyst(**changes):
    return policy(catalog=catalog(profiles={"analyst": profile("analyst", **changes)}))


def waits(record, sight, rules):
    return why_waits(row_of(record), listed(record, sight), rules)


def under(rules, **status):
    return person(entitling_digest=rules.catalog.entitling_digest, **status)


OTHER_MACHINE, OTHER_DISK = (
    notebook(machine_type="n1-standard-1"),
    notebook(data_disk=Disk(size_gb=10, type="PD_SSD")),
)
OPEN = Window(days=frozenset(range(7)), start=time(8), length=timedelta(hours=1), zone=UTC)


@pytest.mark.parametrize(("sight", "how"), [(OTHER_MACHINE, "stop, patch, start"), (OTHER_DISK, "replace, files kept")])
@pytest.mark.parametrize(
    ("mode", "now", "acts"),
    [
        (Disruption.WHEN_IDLE, NOW, False),
        (Disruption.NOW, NOW, True),
        (Disruption.WINDOW, NOW - timedelta(seconds=1), False),
        (Disruption.WINDOW, NOW, True),
        (Disruption.WINDOW, NOW + timedelta(hours=1), False),
    ],
)
def test_what_takes_a_stop_waits_for_its_time(sight, how, mode, now, acts):
    rules = with_analyst(disruption=mode, window=OPEN if mode is Disruption.WINDOW else None)
    record = under(rules)
    assert why(record, sight, rules=rules, now=now) == (f"out of line: {how}" if acts else None)
    assert waits(record, sight, rules) == f"waits to be stopped: {how}"


def test_a_disk_that_is_too_small_is_made_larger_at_once_unless_that_was_refused():
    small = notebook(data_disk=Disk(size_gb=10, type="PD_BALANCED"))
    assert why(person(), small) == "out of line: a larger disk"
    assert waits(person(), small, policy()) is None
    spec = spec_of(person(), policy())
    refused = digest(compare(small, spec, {}).of(Change.GROW))
    assert why(person(refused=refused), small) is None


def test_a_replacement_is_named_before_a_restart():
    both = replace(OTHER_DISK, machine_type="n1-standard-1")
    assert waits(person(), both, policy()) == "waits to be stopped: replace, files kept"


@pytest.mark.parametrize(
    ("record", "sight"),
    [
        (person(), notebook()),
        (person(), None),
        (person(), replace(OTHER_MACHINE, state=S.STOPPED)),  # it rests: it is changed, and does not wait
        (person(), notebook(labels={})),  # patched while it runs
        (GONE, OTHER_MACHINE),
    ],
)
def test_what_waits_for_nothing(record, sight):
    assert waits(record, sight, policy()) is None


def test_what_the_cloud_made_otherwise_than_it_was_asked_waits_for_nothing():
    record = person(built_from={"data disk": "PD_BALANCED of 100 GB"})
    assert waits(record, OTHER_DISK, policy()) is None
    assert why(record, OTHER_DISK) is None


@pytest.mark.parametrize("state", [S.STOPPED, S.SUSPENDED])
def test_a_leaver_whose_files_are_not_saved_is_found(state):
    assert why(GONE, notebook(state)) == "the files of a leaver are not saved"
    assert why(person(Presence.ABSENT, Power.STOPPED, **saved()), notebook(state)) is None


def test_an_instance_that_runs_as_its_own_account_is_in_line():
    rules = replace(with_analyst(identity=Identity.PERSONAL_SERVICE_ACCOUNT), project="p")
    account = account_id_for(person().user_key)
    record = under(rules, account_id=account)
    own = notebook(managed_euc=False, service_account=account_email(account, "p"))
    assert differences_of(row_of(record), own, rules).items == ()
    shared = replace(own, service_account="shared@p.iam.gserviceaccount.com")
    assert waits(record, shared, rules) == "waits to be stopped: replace, files kept"


OTHER = "somebody.else@example.com"
IN_LINE = {
    "profile": "analyst", "cost_center": "", "built": {"owner": "own"}, "account": None, "label": "own", "center": None,
    "owners": ("own",), "runs_as": "", "managed_euc": None, "machine_type": "", "disk": None, "public": False,
}  # fmt: skip
# Of a person and their notebook what a comparison may hang on, otherwise than in line.
OTHERWISE = {
    "profile": ["engineer", "lost"],
    "cost_center": ["CC-1"],
    "built": [{}, {"owner": OTHER}, {"image": "p/old"}, {"identity": "x", "owner": "own"}],
    "account": ["own"],
    "label": ["x", None],
    "center": ["cc-1"],
    "owners": [None, ("OWN",), (OTHER,), ()],
    "runs_as": ["agent@p.iam.gserviceaccount.com", "own"],
    "managed_euc": [True, False],
    "machine_type": ["n1"],
    "disk": [Disk(size_gb=10, type="PD_BALANCED")],
    "public": [True],
}
BASES = [
    {},
    {"owners": None},
    {"profile": "engineer"},
    {"profile": "engineer", "account": "own", "runs_as": "own", "managed_euc": False},
]


@pytest.mark.parametrize("what", OTHERWISE)
@pytest.mark.parametrize("base", BASES, ids=["analyst", "owner unknown", "engineer", "with an account"])
def test_what_is_compared_once_for_all_alike_is_what_is_compared_by_itself(base, what):
    """The comparisons of one sweep, in whatever order, are those of everybody alone: people of whom each differs in one thing."""
    engineers = profile("engineer", identity=Identity.PERSONAL_SERVICE_ACCOUNT)
    rules = replace(
        policy(catalog=catalog(profiles={"analyst": profile("analyst"), "engineer": engineers})), project="p"
    )
    like = {**IN_LINE, **base}
    people = [like, *({**like, what: value} for value in OTHERWISE[what] * 2), like]
    for drawn in (people, people[::-1], [*people[1:], people[0]]):
        pairs = [pair(number, each) for number, each in enumerate(drawn)]
        instances, known = Instances([sight for _, sight in pairs], rules), Comparisons()
        for row, sight in pairs:
            kept = instances.get((sight.ref.zone, sight.ref.instance_id))
            assert known.of(row, kept, rules) == notebook_differences(row, sight, rules)


def pair(number, drawn):
    """A row and the instance that it names."""
    email = UserEmail(f"person.{number}@example.com")
    key, account = user_key_for(email), account_id_for(user_key_for(email))
    own = {"own": email, "OWN": email.upper()}
    row = replace(
        row_of(person()),
        user_key=key,
        email=email,
        instance_id=instance_id_for(email),
        profile=drawn["profile"],
        cost_center=drawn["cost_center"],
        account_id=account if drawn["account"] else None,
        built_from={what: own.get(text, text) for what, text in drawn["built"].items()},
    )
    base = notebook()
    labels = {name: text for name, text in base.labels.items() if name != LABEL_USER}
    labels |= {} if drawn["label"] is None else {LABEL_USER: key if drawn["label"] == "own" else drawn["label"]}
    labels |= {} if drawn["center"] is None else {"cost-center": drawn["center"]}
    sight = replace(
        base,
        ref=InstanceRef(instance_id=instance_id_for(email), zone=ZONES[0]),
        labels=labels,
        owners=None if drawn["owners"] is None else tuple(own.get(each, each) for each in drawn["owners"]),
        service_account=account_email(account, "p") if drawn["runs_as"] == "own" else drawn["runs_as"],
        managed_euc=drawn["managed_euc"],
        machine_type=drawn["machine_type"] or base.machine_type,
        data_disk=drawn["disk"],
        has_public_ip=drawn["public"],
    )
    return row, sight


def test_without_a_profile_or_a_name_nothing_is_compared():
    lost = policy(catalog=catalog(profiles={}))
    assert differences_of(row_of(person()), notebook(), lost) is None
    assert differences_of(row_of(person(instance_id=None)), notebook(), policy()) is None
    assert waits(person(), OTHER_MACHINE, lost) is None


def test_no_sweep_comes_for_a_second_replacement_while_the_first_is_not_over():
    record = person(former=Former(instance_id=instance_id_for(UserEmail("x@example.com")), zone=ZONES[1], uid="u"))
    other = notebook(S.STOPPED, owners=("else@example.com",))
    assert "replace" in why(person(power=Power.STOPPED), other)
    assert why(replace(record, spec=replace(record.spec, power=Power.STOPPED)), other) is None


def test_what_a_replacement_takes_the_place_of_is_no_stray():
    old = instance_id_for(UserEmail("ana.silva@example.com"))
    former = Former(instance_id=old, zone=ZONES[1], uid="u")
    record = person(instance_id=f"{old}-2", former=former)
    rows = {record.user_key: row_of(record)}
    fresh = notebook(ref=InstanceRef(instance_id=f"{old}-2", zone=ZONES[0]))
    there = notebook(ref=InstanceRef(instance_id=old, zone=ZONES[1]))
    elsewhere = notebook(ref=InstanceRef(instance_id=old, zone=ZONES[2]))
    third = notebook(ref=InstanceRef(instance_id=f"{old}-3", zone=ZONES[0]))
    assert [s.zone for s in strays(rows, (fresh, there, elsewhere, third))] == [ZONES[2], ZONES[0]]


def test_snapshots_that_no_record_names_are_told():
    record = person(**saved())
    rows = {record.user_key: row_of(record)}
    (known,) = record.status.data.snapshots
    mine = {LABEL_USER: record.user_key}
    listing = [
        replace(snapshot_seen(known.name), labels=mine),
        replace(snapshot_seen("lost-s9"), labels=mine),
        replace(snapshot_seen(f"{known.name}x"), labels={LABEL_USER: "else-000000000000"}),
        replace(snapshot_seen("unlabelled"), labels={}),
    ]
    found = strays(rows, (), listing)
    assert {(s.name, s.zone) for s in found} == {
        ("lost-s9", "global"),
        (f"{known.name}x", "global"),
        ("unlabelled", "global"),
    }


@given(
    st.sampled_from(Disruption),
    st.sampled_from([S.ACTIVE, S.STOPPED]),
    st.sampled_from(["e2-standard-4", "n1-standard-1"]),
    st.sampled_from([100, 10]),
    st.sampled_from([Power.RUNNING, Power.STOPPED]),
    st.timedeltas(timedelta(0), timedelta(days=1)),
)
def test_a_change_that_a_plan_would_make_at_once_the_sweep_finds(mode, state, machine, size_gb, power, later):
    rules = with_analyst(disruption=mode, window=OPEN if mode is Disruption.WINDOW else None)
    record = person(power=power, was_active=True, entitling_digest=rules.catalog.entitling_digest)
    sight = notebook(state, machine_type=machine, data_disk=Disk(size_gb=size_gb, type="PD_BALANCED"))
    plan = make_plan(record, seen(sight, record=record), rules, NOW + later)
    if plan.actions:
        assert why(record, sight, rules=rules, now=NOW + later) is not None


def test_who_has_an_account_is_looked_at_once_a_day_and_nobody_else():
    """No listing shows who may act as a service account."""
    record = person(account_id=AccountId("nb-ana"))
    day = [why(record, notebook(), now=NOW + timedelta(hours=hour)) for hour in range(24)]
    assert sorted({each for each in day if each is not None}) == ["its account is checked once a day"]
    assert day.count(None) == 23
    assert [why(person(), notebook(), now=NOW + timedelta(hours=hour)) for hour in range(24)] == [None] * 24
    keys = [user_key_for(UserEmail(f"p{number}@example.com")) for number in range(500)]
    assert len({_hour_of(key) for key in keys}) == 24  # not all at once


def test_a_snapshot_that_is_gone_is_missed_until_a_pass_has_seen_it():
    gone = person(Presence.ABSENT, Power.STOPPED, **saved())
    listing = replace(listed(gone, None), snapshots=frozenset())
    assert "is gone" in str(why_pass(row_of(gone), listing, policy(), NOW))
    (snapshot,) = gone.status.data.snapshots
    noted = gone.with_status(snapshots=(replace(snapshot, lost=True),))
    assert why_pass(row_of(noted), listing, policy(), NOW) is None
