"""A record survives its JSON; a damaged one is an error, never a guess."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime, timedelta
from typing import get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.making import NOW, account, group, joined, moved, operation, person, with_event
from msgspec.structs import replace

from shared.cloud.storage.record_rows import from_texts, to_texts
from shared.domain.record import codec
from shared.domain.record.cuts import Clearance, CutClass, KeptIn, WaitingCut
from shared.domain.record.parts import (
    Leaving,
    LeavingPath,
    Mail,
    MailState,
    PathCut,
    PathState,
    PlannedChange,
    Stage,
    Trouble,
)
from shared.domain.record.record import Hold, Power, Presence, Spec, row_of
from shared.domain.record.status import (
    PARTS,
    Condition,
    ConditionStatus,
    ConditionType,
    OperationRef,
    Regret,
    RegretKind,
    Status,
    StatusChanges,
    Verb,
    set_condition,
)
from shared.domain.record.waves import Turn
from shared.domain.things.clusters import ClusterState, ClusterStatus, ClusterWish
from shared.domain.things.errors import PermanentError, Reason
from shared.domain.things.history import Call, CallState, StoryKind, StoryLine
from shared.domain.things.identity import AccountId, InstanceId
from shared.domain.things.meter import Line, Meter, Open, What
from shared.domain.things.power import _ONCE_KEPT as _ONCE
from shared.domain.things.power import PowerCause, PowerReason, Usage
from shared.domain.things.snapshots import (
    Dormancy,
    Former,
    Restored,
    RestoreEnd,
    RestoreWish,
    Restoring,
    Rollback,
    Snapshot,
    SnapshotKind,
)

_TIMES = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis takes naive bounds
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_MAYBE_TEXT = st.none() | _TEXT
_VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | _TEXT
    | st.lists(_TEXT, max_size=3).map(tuple)
)

_TURNS = st.none() | st.builds(
    Turn,
    rollout=st.from_regex(r"[0-9a-f]{16}", fullmatch=True),
    began_at=_TIMES,
    ended_at=st.none() | _TIMES,
    refused=st.booleans(),
    sold_out=st.booleans(),
)
_RESTORES = st.builds(RestoreWish, snapshot=_TEXT, asked_at=_TIMES)
_TEXTS = st.dictionaries(_TEXT, _TEXT, max_size=2)
_CALLS = st.builds(
    Call,
    id=_TEXT,
    activity=st.integers(0, 99),
    state=st.sampled_from(CallState),
    policy=_TEXT,
    event=_TEXT,
    done_at=st.none() | _TIMES,
    before=_TEXTS,
)
_STATUS = st.builds(
    Status().changed,
    generation=st.integers(0, 10**6),
    observed_generation=st.integers(0, 10**6),
    instance_id=_MAYBE_TEXT,
    zone=_MAYBE_TEXT,
    instance_uid=_TEXT,
    was_active=st.booleans(),
    power_settled=st.booleans(),
    operation=st.none() | st.builds(OperationRef, name=_TEXT, verb=st.sampled_from(Verb), started_at=_TIMES),
    failed_zones=st.lists(_TEXT, max_size=3).map(tuple),
    attempts=st.integers(0, 99),
    tries=st.integers(0, 99),
    not_before=st.none() | _TIMES,
    next_attempt_at=st.none() | _TIMES,
    proxy_uri=_TEXT,
    idle_warned_at=st.none() | _TIMES,
    entitling_digest=_TEXT,
    last_event_id=_TEXT,
    waiting_since=st.none() | _TIMES,
    last_letter_id=_TEXT,
    last_letter_at=st.none() | _TIMES,
    account_id=_MAYBE_TEXT,
    data_groups=st.lists(_TEXT, max_size=2).map(tuple),
    naming=st.integers(1, 999),
    built_from=st.dictionaries(_TEXT, _TEXT, max_size=3),
    former=st.none()
    | st.builds(Former, instance_id=_TEXT, zone=_TEXT, uid=_TEXT, touched=st.booleans(), is_remnant=st.booleans()),
    snapshots=st.lists(
        st.builds(
            Snapshot,
            name=_TEXT,
            instance_id=_TEXT,
            zone=_TEXT,
            instance_uid=_TEXT,
            asked_at=_TIMES,
            ready_at=st.none() | _TIMES,
            size_bytes=st.integers(0),
            disk_size_gb=st.integers(0),
            snapshot_id=_TEXT,
            spec=st.dictionaries(_TEXT, _TEXT, max_size=2),
            manifest=st.booleans(),
            lost=st.booleans(),
            kind=st.sampled_from(SnapshotKind),
        ),
        max_size=2,
    ).map(tuple),
    snapshots_taken=st.integers(0),
    saved_in=_TEXT,
    restoring=st.none() | st.builds(Restoring, snapshot=_TEXT, instance_uid=_TEXT, asked_at=_TIMES),
    rollback=st.none()
    | st.builds(
        Rollback,
        wish=_RESTORES,
        instance_uid=_TEXT,
        begun_at=_TIMES,
        before=_TEXT,
        failures=st.integers(0),
        is_hurt=st.booleans(),
        goes_back=st.booleans(),
    ),
    restored=st.none()
    | st.builds(
        Restored,
        wish=_RESTORES,
        of=st.none() | _TIMES,
        end=st.sampled_from(RestoreEnd),
        ended_at=_TIMES,
        before=_TEXT,
        undo_until=st.none() | _TIMES,
    ),
    is_copied=st.booleans(),
    copy_failures=st.integers(0),
    copy_after=st.none() | _TIMES,
    refused=_TEXT,
    clusters=st.lists(
        st.builds(
            ClusterStatus,
            template=_TEXT,
            name=_TEXT,
            uuid=_TEXT,
            state=st.none() | st.sampled_from(ClusterState),
            zone=_TEXT,
            operation=_TEXT,
            asked_at=st.none() | _TIMES,
            tries=st.integers(0, 99),
            tried_zones=st.lists(_TEXT, max_size=3).map(tuple),
            not_before=st.none() | _TIMES,
            seen_running_at=st.none() | _TIMES,
            deleting=st.booleans(),
            jupyter_url=_TEXT,
            reason=st.sampled_from(Reason),
            message=_TEXT,
            diagnosis=_TEXT,
        ),
        max_size=2,
    ).map(tuple),
    meter=st.builds(
        Meter,
        began_at=st.none() | _TIMES,
        lines=st.lists(st.builds(Line, what=st.builds(What)), max_size=2).map(tuple),
        open=st.lists(st.builds(Open, what=st.builds(What), since=_TIMES), max_size=2).map(tuple),
        asked_at=st.none() | _TIMES,
    ),
    usage=st.dictionaries(
        _TEXT, st.builds(Usage, month=_TEXT, ran_s=st.integers(0), since=st.none() | _TIMES), max_size=2
    ),
    ready_took_s=st.none() | st.floats(0, 10**6),
    ready_at=st.none() | _TIMES,
    acknowledged_at=st.none() | _TIMES,
    story=st.lists(
        st.builds(
            StoryLine,
            at=_TIMES,
            kind=st.sampled_from(StoryKind),
            text=_TEXT,
            because=_TEXT,
            ref=_TEXT,
            by=_TEXT,
            waits=st.booleans(),
            again=st.booleans(),
            after=_TEXTS,
            call=st.none() | _CALLS,
        ),
        max_size=2,
    ).map(tuple),
    waiting_cut=st.none()
    | st.builds(
        WaitingCut,
        ref=_TEXT,
        cause=st.sampled_from(CutClass),
        source=_TEXT,
        since=_TIMES,
        undoable_at=st.none() | _TIMES,
        urgent=st.booleans(),
    ),
    clearance=st.none() | st.builds(Clearance, ref=_TEXT, by=_TEXT, until=_TIMES),
    kept_in=st.lists(st.builds(KeptIn, ref=_TEXT, by=_TEXT, digest=_TEXT, at=_TIMES), max_size=2).map(tuple),
    waiting_listed=_TEXT,
    turn=_TURNS,
    dormancy=st.none()
    | st.builds(
        Dormancy,
        unused_since=_TIMES,
        warned=st.lists(st.sampled_from([14, 3, 1]), max_size=3).map(tuple),
        promised=st.none() | _TIMES,
        away_since=st.none() | _TIMES,
    ),
    regrets=st.lists(st.builds(Regret, kind=st.sampled_from(RegretKind), at=_TIMES), max_size=2).map(tuple),
    urgent=_TEXT,
    leaving=st.none()
    | st.builds(
        Leaving,
        since=_TIMES,
        complete_at=st.none() | _TIMES,
        paths=st.lists(
            st.builds(
                PathCut,
                path=st.sampled_from(LeavingPath),
                state=st.sampled_from(PathState),
                cut_at=st.none() | _TIMES,
                gone_at=st.none() | _TIMES,
                reason=_TEXT,
            ),
            max_size=2,
        ).map(tuple),
    ),
    alias=_TEXT,
    audited=st.integers(0),
    audit_digest=_TEXT,
    audit_object=_TEXT,
    mails=st.lists(
        st.builds(
            Mail,
            stage=st.sampled_from(Stage),
            episode=_TEXT,
            state=st.sampled_from(MailState),
            at=_TIMES,
            decided_at=_TIMES,
            facts=st.dictionaries(_TEXT, _TEXT, max_size=2),
            tries=st.integers(0),
            not_before=st.none() | _TIMES,
            trouble=st.sampled_from(Trouble),
            refused=st.integers(0),
        ),
        max_size=2,
    ).map(tuple),
    mails_since=st.none() | _TIMES,
    change=st.none() | st.builds(PlannedChange, what=_TEXT, at=st.none() | _TIMES, replaces=st.booleans()),
    conditions=st.lists(
        st.builds(
            Condition,
            type=st.sampled_from(ConditionType),
            status=st.sampled_from(ConditionStatus),
            reason=st.sampled_from(Reason),
            message=_TEXT,
            last_transition_time=_TIMES,
        ),
        max_size=3,
    ).map(tuple),
)
_SPEC = st.builds(
    Spec,
    presence=st.sampled_from(Presence),
    power=st.sampled_from(Power),
    power_reason=st.builds(PowerReason, cause=st.sampled_from(PowerCause), since=st.none() | _TIMES, words=_TEXT),
    profile=_MAYBE_TEXT,
    because=_TEXT,
    absent_since=st.none() | _TIMES,
    keep_on_until=st.none() | _TIMES,
    restart_at=st.none() | _TIMES,
    restore=st.none() | _RESTORES,
    clusters=st.lists(st.builds(ClusterWish, template=_TEXT, since=_TIMES), max_size=2).map(tuple),
)


@given(_STATUS, _SPEC, _TEXT, st.dictionaries(_TEXT, _VALUES, max_size=4), _TIMES)
def test_a_record_survives_its_json(status, spec, cost_center, attributes, created_at):
    record = with_event(person(), moved(attributes=attributes))
    record = replace(record, status=status, spec=spec, cost_center=cost_center, created_at=created_at)
    assert codec.from_json(json.loads(json.dumps(codec.to_json(record)))) == record


@given(_TURNS)
def test_a_row_tells_of_a_turn_what_the_record_says(turn):
    row = row_of(person(turn=turn))
    assert from_texts(row.user_key, to_texts(row)) == row


@given(st.lists(st.tuples(st.sampled_from("db"), st.integers(1, 400)), unique=True), st.booleans())
def test_a_row_names_the_copies_that_the_record_names(numbers, renamed):
    ids = ["nb-x-3f0c9a1b2c3d", "nb-x-3f0c9a1b2c3d-2" if renamed else "nb-x-3f0c9a1b2c3d"]
    names = tuple(f"{ids[number > 200]}-{letter}{number}" for letter, number in numbers)
    row = replace(row_of(person()), copies=names)
    read = from_texts(row.user_key, to_texts(row))
    assert read is not None
    assert sorted(read.copies) == sorted(names)


def test_a_year_of_copies_fits_into_the_metadata_of_an_object():
    names = tuple(f"nb-x-3f0c9a1b2c3d-d{number}" for number in range(1, 400))
    assert len(to_texts(replace(row_of(person()), copies=names))["copies"]) < 100


def full():
    record = person(operation=operation(Verb.STOP), not_before=NOW, next_attempt_at=NOW, failed_zones=("z",))
    for event in (moved(attributes={"a": ["x"], "b": 1}), group("g", "g@x.com", -1, member=True)):
        record = with_event(record, event)
    conditions = set_condition(
        (), ConditionType.NOTEBOOK_READY, ConditionStatus.TRUE, Reason.READY, "Ready.", NOW
    )  # fmt: skip
    return replace(record.with_status(conditions=conditions), hold=Hold(reason="case 1", since=NOW))


def paths(value, at=()):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (*at, key)
            yield from paths(inner, (*at, key))


def damaged(path, change):
    raw = json.loads(json.dumps(codec.to_json(full())))
    target = raw
    for part in path[:-1]:
        target = target[part]
    change(target, path[-1])
    return raw


# Facts may be any names; what counts is that each of the record's own fields is needed. These came after 0.1.0:
LATER = [
    *((name,) for name in ("hold", "email_since", "former_emails", "rename", "claim")),
    *((name,) for name in ("handover", "predecessor", "rejected")),
    *(("status", name) for name in ("waiting_since", "last_letter_id", "last_letter_at", "refused")),
    *(("status", name) for name in ("account_id", "data_groups", "naming", "built_from", "former")),
    *(("status", name) for name in ("snapshots", "snapshots_taken", "saved_in", "restoring")),
    *(
        ("status", name)
        for name in (
            "clusters",
            "usage",
            "meter",
            "ready_took_s",
            "ready_at",
            "acknowledged_at",
            "story",
            "notices",
            "alias",
            "leaving",
            "audited",
            "audit_digest",
            "audit_object",
            "mails",
            "mails_since",
            "change",
            "taken_wishes",
            "waiting_cut",
            "clearance",
            "waiting_listed",
            "kept_in",
            "turn",
            "urgent",
            "seats",
            "asks_seat",
            "seat_wait",
            "settles_at",
            "offered_zones",
            "wrong_zones",
            "refused_spec",
            "unsettled_since",
            "unwell_since",
            "restarted_for",
            "lost_at",
            "files_of",
            "rollback",
            "restored",
            "is_copied",
            "copy_failures",
            "copy_after",
            "dormancy",
            "regrets",
        )
    ),
    *(
        ("spec", name)
        for name in (
            "restart_at",
            "restore",
            "keep_on_until",
            "clusters",
            "cause",
            "entitled_by",
            "limited_by",
            "paid_by",
        )
    ),
]
# Either will do: programs of earlier versions read and write words only.
POWER = [("spec", "power_because"), *(p for p in paths(codec.to_json(full())) if p[:2] == ("spec", "power_reason"))]
OWN = [p for p in paths(codec.to_json(full())) if (p[0] != "facts" or len(p) == 1) and p not in [*LATER, *POWER]]


def test_a_record_of_an_older_version_is_read_with_what_came_later_unset():
    raw = json.loads(json.dumps(codec.to_json(full())))
    for *above, name in LATER:
        del (raw[above[0]] if above else raw)[name]
    older = codec.from_json(raw)
    assert (older.status, older.hold, older.email_since) == (full().status, None, None)


def test_what_an_older_program_must_not_overlook_raises_the_version():
    plain = replace(full(), hold=None)
    assert codec.to_json(plain)["version"] == 1
    assert codec.to_json(full())["version"] == 2
    former = Former(instance_id=InstanceId("nb-x"), zone="z", uid="u")
    kept = Snapshot(name="s", instance_id=InstanceId("nb-x"), zone="z", instance_uid="u", asked_at=NOW)
    for change in (
        {"account_id": AccountId("nb-x")},
        {"former": former},
        {"snapshots": (kept,)},
        {"naming": 2},
        {"restoring": Restoring(snapshot="s", instance_uid="u", asked_at=NOW)},
    ):
        assert codec.to_json(plain.with_status(**change))["version"] == 3
    assert codec.to_json(replace(plain, email_since=NOW))["version"] == 3
    wish = RestoreWish(snapshot="d", asked_at=NOW)
    for change in (
        {"snapshots": (replace(kept, kind=SnapshotKind.DAILY),)},
        {"rollback": Rollback(wish=wish, instance_uid="u", begun_at=NOW)},
        {"restored": Restored(wish=wish, of=NOW, end=RestoreEnd.DONE, ended_at=NOW)},
    ):
        assert codec.to_json(plain.with_status(**change))["version"] == 7
    assert codec.to_json(replace(plain, spec=replace(plain.spec, restore=wish)))["version"] == 7


@pytest.mark.parametrize("words", [*_ONCE, "idle since 2026-11-20 09:00 UTC", "idle since it was", "by hand"])
def test_words_of_an_earlier_version_become_a_cause_and_stay_the_same_words(words):
    raw = json.loads(json.dumps(codec.to_json(full())))
    del raw["spec"]["power_reason"]
    raw["spec"]["power_because"] = words
    reason = codec.from_json(raw).spec.power_reason
    assert (reason.cause is PowerCause.OTHER) == (words == "by hand")
    assert str(reason) == words
    again = codec.to_json(replace(full(), spec=replace(full().spec, power_reason=reason)))
    assert again["spec"]["power_because"] == str(reason)


@pytest.mark.parametrize("fields", [("power_reason", "power_because"), ("cause",), ("since",), ("words",)])
def test_a_record_that_does_not_say_why_it_runs_is_refused(fields):
    raw = json.loads(json.dumps(codec.to_json(full())))
    where = raw["spec"] if len(fields) > 1 else raw["spec"]["power_reason"]
    for name in fields:
        del where[name]
    with pytest.raises(PermanentError):
        codec.from_json(raw)


@pytest.mark.parametrize("path", OWN, ids=".".join)
def test_a_record_without_one_of_its_fields_is_refused(path):
    with pytest.raises(PermanentError) as caught:
        codec.from_json(damaged(path, lambda target, key: target.pop(key)))
    assert "damaged" in caught.value.user_message


@pytest.mark.parametrize("path", OWN, ids=".".join)
def test_a_record_with_another_field_in_place_of_one_of_its_own_is_refused(path):
    with pytest.raises(PermanentError) as caught:
        codec.from_json(damaged(path, lambda target, key: target.update({f"{key}_": target.pop(key)})))
    assert "damaged" in caught.value.user_message


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("version",), 4),
        (("version",), None),
        (("created_at",), "yesterday"),
        (("created_at",), 7),
        (("facts",), []),
        (("facts",), None),
        (("facts",), {"employment": [{"event_id": "x"}]}),
        (("facts",), {"employment": 5}),
        (("facts",), {"employment": ["x"]}),
        (("spec",), None),
        (("spec",), "x"),
        (("spec", "presence"), "MAYBE"),
        (("spec", "power"), None),
        (("status",), []),
        (("status", "generation"), "many"),
        (("status", "attempts"), None),
        (("status", "operation"), {"name": "x"}),
        (("status", "operation"), "x"),
        (("status", "conditions"), [{"type": "Weather"}]),
        (("status", "conditions"), None),
        (("status", "failed_zones"), None),
        (("status", "not_before"), "soon"),
    ],
)
def test_a_damaged_record_is_refused(path, value):
    def change(target, key):
        target[key] = value

    with pytest.raises(PermanentError):
        codec.from_json(damaged(path, change))


def with_spark():
    """A record with one of each of what came with Spark clusters and the page."""
    record = full().with_status(
        clusters=(ClusterStatus(template="spark", name="spark-1", asked_at=NOW, state=ClusterState.RUNNING),),
        usage={"notebook": Usage(month="2026-11", ran_s=7, since=NOW)},
        story=(StoryLine(at=NOW, kind=StoryKind.NEWS, text="Joined"),),
        ready_took_s=61.5,
        ready_at=NOW,
    )
    wishes = (ClusterWish(template="spark", since=NOW),)
    return replace(record, spec=replace(record.spec, clusters=wishes, keep_on_until=NOW))


def inner(raw):
    """The objects of which each field is needed: whoever writes one writes all of it."""
    status = raw["status"]
    return {
        "cluster": status["clusters"][0],
        "usage": status["usage"]["notebook"],
        "line": status["story"][0],
        "wish": raw["spec"]["clusters"][0],
    }


LATER_OF_A_LINE = {"act", "refused"}
LATER_OF_A_CLUSTER = {"offered_zones"}
SPARK_FIELDS = [
    (what, name)
    for what, fields in inner(codec.to_json(with_spark())).items()
    for name in fields
    if not (what == "line" and name in LATER_OF_A_LINE)
    if not (what == "cluster" and name in LATER_OF_A_CLUSTER)
]


def test_a_line_of_an_earlier_version_is_shown_as_it_is():
    raw = json.loads(json.dumps(codec.to_json(with_spark())))
    for name in LATER_OF_A_LINE:
        inner(raw)["line"].pop(name, None)  # a line without them is written without them
    (line, *_), (whole, *_) = codec.from_json(raw).status.story, with_spark().status.story
    assert line == replace(whole, act="", refused=False)


def test_a_cluster_of_an_earlier_version_has_no_offered_zones():
    raw = json.loads(json.dumps(codec.to_json(with_spark())))
    for name in LATER_OF_A_CLUSTER:
        del inner(raw)["cluster"][name]
    assert codec.from_json(raw).status.clusters == with_spark().status.clusters


@pytest.mark.parametrize(("what", "name"), SPARK_FIELDS)
def test_half_a_cluster_or_line_or_wish_is_no_guess(what, name):
    raw = json.loads(json.dumps(codec.to_json(with_spark())))
    whole = codec.from_json(raw)
    assert (whole.status, whole.spec) == (with_spark().status, with_spark().spec)
    del inner(raw)[what][name]
    with pytest.raises(PermanentError):
        codec.from_json(raw)


@pytest.mark.parametrize(
    ("what", "name", "value"),
    [
        ("cluster", "state", "WALKING"),
        ("cluster", "reason", "Weather"),
        ("cluster", "asked_at", "soon"),
        ("cluster", "tries", "many"),
        ("usage", "ran_s", None),
        ("line", "kind", "rumour"),
        ("line", "at", 7),
        ("wish", "since", None),
    ],
)
def test_a_damaged_cluster_or_line_or_wish_is_refused(what, name, value):
    raw = json.loads(json.dumps(codec.to_json(with_spark())))
    inner(raw)[what][name] = value
    with pytest.raises(PermanentError):
        codec.from_json(raw)


@pytest.mark.parametrize("raw", [{}, [], None, "x", 7, {"version": 1}])
def test_what_is_no_record_is_refused(raw):
    with pytest.raises(PermanentError):
        codec.from_json(raw)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(OWN), _JSON)
def test_any_value_anywhere_is_read_or_refused(path, value):
    def change(target, key):
        target[key] = copy.deepcopy(value)

    try:
        codec.from_json(damaged(path, change))
    except PermanentError as error:
        assert error.detail.startswith("unreadable record")  # noqa: PT017 - most values are refused, some are fine


def test_a_condition_keeps_its_time_until_its_status_changes():
    first = set_condition((), ConditionType.NOTEBOOK_READY, ConditionStatus.FALSE, Reason.CREATING, "a", NOW)
    later = NOW + timedelta(minutes=5)
    second = set_condition(first, ConditionType.NOTEBOOK_READY, ConditionStatus.FALSE, Reason.STARTING, "b", later)
    third = set_condition(second, ConditionType.NOTEBOOK_READY, ConditionStatus.TRUE, Reason.READY, "c", later)
    assert [c[0].last_transition_time for c in (first, second, third)] == [NOW, NOW, later]
    assert [c[0].message for c in (first, second, third)] == ["a", "b", "c"]


def test_the_row_of_a_record_says_what_sweeps_judge_by():
    record = full()
    row = row_of(record)
    assert (row.user_key, row.presence, row.power, row.zone) == (
        record.user_key,
        record.spec.presence,
        record.spec.power,
        record.status.notebook.zone,
    )
    assert row.busy
    assert row.settled
    assert row.reason == "Ready"
    assert row.ready_since == NOW
    assert row_of(person()).reason == "Pending"
    assert not row_of(person(observed_generation=2)).settled


def test_a_record_of_everything_that_may_be_said_survives():
    record = person()
    for event in (joined("again", 0, profile=""), account("s", 0, usable=False)):
        record = with_event(record, event)
    assert codec.from_json(codec.to_json(record)) == record


def test_a_program_that_does_not_know_holds_refuses_a_held_record():
    """It would drop the hold at its next write and then delete what it keeps. Other records it still reads."""
    assert codec.to_json(full())["version"] == codec.VERSION_WITH_HOLD != codec.VERSION
    assert codec.to_json(replace(full(), hold=None))["version"] == codec.VERSION


def test_no_two_parts_of_a_status_have_a_field_of_one_name():
    """A record's JSON has them side by side, and `with_status` takes them by name."""
    own = [name for name in Status.__struct_fields__ if name not in PARTS]
    inner_names = [name for kind in PARTS.values() for name in kind.__struct_fields__]
    assert len({*own, *inner_names, *PARTS}) == len([*own, *inner_names, *PARTS])
    assert set(StatusChanges.__annotations__) == {*own, *inner_names}


def test_what_a_change_of_a_status_takes_has_the_types_of_its_fields():
    taken = get_type_hints(StatusChanges)
    for kind in (Status, *PARTS.values()):
        hints = get_type_hints(kind)
        assert {name: hints[name] for name in kind.__struct_fields__ if name not in PARTS} == {
            name: taken[name] for name in kind.__struct_fields__ if name not in PARTS
        }


@pytest.mark.parametrize("guards", [(), ("0123456789abcdef",)])
def test_what_is_remembered_of_dropped_statements_is_kept(guards):
    """Without it a duplicate of an erased statement would be news."""
    record = full()
    record = replace(record, facts=replace(record.facts, forgotten=guards))
    assert codec.from_json(json.loads(json.dumps(codec.to_json(record)))).facts.forgotten == guards
