"""The Spark half of a plan: all of what may be known, seen and wanted together against what is allowed, and the cases by name."""

from __future__ import annotations

from datetime import timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.making import ANA, NOW, ZONES, person, policy, seen
from msgspec.structs import replace

from shared.domain.plan.plan import ClustersSeen
from shared.domain.plan.step import Scene
from shared.domain.reconcile.planner import make_plan
from shared.domain.record.record import Hold, Power, Presence
from shared.domain.record.status import ConditionStatus, ConditionType
from shared.domain.spark.actions import CreateCluster, DeleteCluster
from shared.domain.spark.step import spark_step
from shared.domain.things.clusters import (
    AUTO_ZONE,
    MAX_CLUSTER_NAME,
    Cluster,
    ClusterOperationSeen,
    ClusterState,
    ClusterStatus,
    ClusterWish,
    cluster_name,
)
from shared.domain.things.errors import (
    AccessDeniedError,
    CloudUnavailableError,
    OperationFailedError,
    QuotaExhaustedError,
    Reason,
    StockoutError,
)
from shared.domain.things.identity import parse_email, user_key_for
from shared.domain.things.notebook import Absent, NotLooked, Unreadable

T = "spark"
NAME = cluster_name(T, user_key_for(ANA))
OPERATION = "projects/p/regions/r/operations/o"
LAB = "https://lab.example/gateway/default/jupyter/lab/"
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
STOCKOUT = StockoutError(user_message="sold out", detail="x")
QUOTA = QuotaExhaustedError(user_message="quota; tried again", detail="x")
BROKEN = OperationFailedError(user_message="Initialization failed.", detail="x")
DENIED = Unreadable(AccessDeniedError(user_message="no", detail="403"))


def known(**changes):
    return ClusterStatus(template=T, name=NAME, **changes)


def cluster(state, **changes):
    ports = {"JupyterLab": LAB} if state == "RUNNING" else {}
    return Cluster(**{"name": NAME, "state": ClusterState(state), "zone": ZONES[2], "ports": ports, **changes})


def someone(status=None, since=None, *, hold=False, presence=Presence.PRESENT):
    power = Power.RUNNING if presence is Presence.PRESENT else Power.STOPPED
    record = person(presence, power, clusters=() if status is None else (status,))
    wishes = () if since is None else (ClusterWish(template=T, since=since),)
    held = Hold(reason="case 1", since=NOW) if hold else None
    return replace(record, spec=replace(record.spec, clusters=wishes), hold=held)


def step_of(record, *found, operation=None, sight=None, identity_ready=True, now=NOW):
    observed = replace(
        seen(Absent(), record=record),
        clusters=ClustersSeen(found) if sight is None else sight,
        cluster_operations={OPERATION: operation} if operation is not None else {},
    )
    return spark_step(
        record, observed.clusters, Scene(seen=observed, policy=policy(), now=now, identity_ready=identity_ready)
    )


# --- everything with everything

ASKED = NOW - 2 * MINUTE
KNOWN = {
    "nothing": None,
    "a diagnosis": known(tries=2, diagnosis="It failed.", message="It failed.", reason=Reason.QUOTA_EXHAUSTED),
    "asked": known(asked_at=ASKED, operation=OPERATION, tries=1),
    "asked long ago": known(asked_at=NOW - 50 * MINUTE, operation=OPERATION, tries=1),
    "asked, no answer": known(asked_at=ASKED),
    "asked long ago, no answer": known(asked_at=NOW - 50 * MINUTE),
    "refused": known(not_before=NOW + 5 * MINUTE, reason=Reason.RATE_LIMITED, message="slow down"),
    "refused, waited": known(not_before=NOW - MINUTE, reason=Reason.RATE_LIMITED, message="slow down"),
    "answer lost": known(asked_at=ASKED, not_before=NOW - MINUTE),
    "zones tried": known(tries=1, tried_zones=(AUTO_ZONE, ZONES[0])),
    "asked for the last zone": known(
        asked_at=ASKED, operation=OPERATION, tried_zones=(AUTO_ZONE, ZONES[0], ZONES[1]), zone=ZONES[2], tries=3
    ),
    "ran": known(asked_at=NOW - 2 * HOUR, seen_running_at=NOW - HOUR, state=ClusterState.RUNNING, tries=1),
    "ran, being deleted": known(asked_at=NOW - 2 * HOUR, seen_running_at=NOW - HOUR, deleting=True, tries=1),
    "failed, being deleted": known(asked_at=ASKED, operation=OPERATION, deleting=True, tries=1),
}
SEEN = {
    "nothing": None,
    **{state.value: cluster(state.value) for state in ClusterState},
    "ERROR of quota": cluster("ERROR", error=QUOTA),
    "ERROR of stockout": cluster("ERROR", error=STOCKOUT),
    "theirs": cluster("RUNNING", is_ours=False),
}
WISHES = {"none": None, "old": NOW - 3 * HOUR, "before the ask": ASKED, "new": NOW - timedelta(seconds=5)}
OPERATIONS = {
    "not seen": None,
    "goes on": ClusterOperationSeen(done=False),
    "done": ClusterOperationSeen(done=True),
    "sold out": ClusterOperationSeen(done=True, error=STOCKOUT),
    "no quota": ClusterOperationSeen(done=True, error=QUOTA),
    "forgotten": Absent(),
    "unreadable": DENIED,
}
USABLE = {"RUNNING", "UPDATING", "ERROR_DUE_TO_UPDATE"}
WORKING = {"CREATING", "UPDATING", "STARTING", "STOPPING", "REPAIRING", "SCHEDULED", "DELETING"}  # refuse a deletion


def may_be_there(status, operation):
    """Whether something that is not seen may yet show itself. Written from the rules, not from the code."""
    if status is None or status.asked_at is None or status.deleting or status.seen_running_at is not None:
        return False
    if not status.operation:
        return False  # the answer never came: the same request is asked again, which is asking once
    if operation in {"goes on", "unreadable"}:
        return True
    return operation not in {"sold out", "no quota"} and NOW - status.asked_at <= 10 * MINUTE


def judge(status, sight, wish, operation, step, *, held, ready):
    """What must not be, of one case; empty when all is well."""
    wrong = _wrong_actions(status, sight, wish, operation, step, held=held, ready=ready)
    state = sight.state.value if sight is not None else None
    after = step.record
    still = after.spec.wish(T) is not None
    now_known = after.status.cluster(T)
    if now_known is None:  # nobody wanted one, and nobody of ours made one
        return wrong if wish is None and (sight is None or status is None) else [*wrong, "forgotten"]
    if wish is None and still:
        wrong.append("a wish from nowhere")
    # Progress: as long as something is not as it is wanted, or may show itself, somebody looks again.
    ours = sight is not None and sight.is_ours
    unfinished = (still and state not in USABLE) or ours or bool(step.actions)
    unfinished = unfinished or (sight is None and may_be_there(status, operation))
    if unfinished and not (step.requeue_after is not None and timedelta(0) < step.requeue_after <= 15 * MINUTE):
        wrong.append(f"nobody looks again: {step.requeue_after}")
    if ours and not now_known.is_there:
        wrong.append("what is there is forgotten")
    asked = status is not None and status.asked_at is not None and bool(status.operation)
    ran = asked or (status is not None and status.seen_running_at is not None) or state == "DELETING"
    if wish is not None and not still and not now_known.diagnosis and not ran:
        wrong.append("a wish that ends without a word")
    fine = step.condition is ConditionStatus.TRUE and still
    if state in USABLE and ours and wish is not None and not fine:
        wrong.append("what is wanted and works is not fine")
    if "quota; tried again" in now_known.message + now_known.diagnosis:
        wrong.append("a promise that nobody keeps")
    return wrong


def _wrong_actions(status, sight, wish, operation, step, *, held, ready):
    wrong = []
    creates = [a for a in step.actions if isinstance(a, CreateCluster)]
    deletes = [a for a in step.actions if isinstance(a, DeleteCluster)]
    state = sight.state.value if sight is not None else None
    known_after = step.record.status.cluster(T)
    if len(step.actions) > 1:
        wrong.append("more than one thing at a time")
    if creates and (wish is None or sight is not None or may_be_there(status, operation) or not ready):
        wrong.append("a create that nobody wants, or beside one that is or may be there")
    if creates and status is not None and status.not_before is not None and status.not_before > NOW:
        wrong.append("a create before its time")
    unanswered = status is not None and status.asked_at and not status.operation and not status.deleting
    if creates and unanswered and status.seen_running_at is None:
        first = step_of(someone(replace(status, asked_at=None, not_before=None), wish or NOW)).actions[0]
        if creates[0] != first:
            wrong.append("a second create of which the cloud does not know that it is the first")
    if creates and not (step.record.spec.wish(T) and known_after.is_there):
        wrong.append("a create that is not written down")
    if deletes and (sight is None or not sight.is_ours or state in WORKING or (wish is not None and state in USABLE)):
        wrong.append("a delete of what is not there, not ours, busy, or wanted and of use")
    if deletes and held and status is not None and status.seen_running_at is not None:
        wrong.append("a delete under a hold")
    if deletes and not known_after.deleting:
        wrong.append("a delete that is not written down")
    if any(a.name != NAME for a in step.actions):
        wrong.append("another name")
    return wrong


@pytest.mark.parametrize("name", KNOWN)
def test_only_what_is_allowed_is_done_and_nothing_is_left_alone(name):
    status, wrong = KNOWN[name], []
    for (s, sight), (w, wish), (o, operation), held, ready in product(
        SEEN.items(), WISHES.items(), OPERATIONS.items(), [False, True], [False, True]
    ):
        record = someone(status, wish, hold=held)
        step = step_of(record, *([sight] if sight else []), operation=operation, identity_ready=ready)
        found = judge(status, sight, wish, o, step, held=held, ready=ready)
        wrong += [f"seen {s}, wish {w}, operation {o}, hold {held}, ready {ready}: {each}" for each in found]
    assert wrong == []


@pytest.mark.parametrize("sight", [DENIED, Unreadable(CloudUnavailableError(user_message="down", detail="503"))])
@pytest.mark.parametrize("since", WISHES.values(), ids=WISHES)
@pytest.mark.parametrize("status", KNOWN.values(), ids=KNOWN)
def test_what_cannot_be_read_is_not_touched(status, since, sight):
    record = someone(status, since)
    step = step_of(record, sight=sight)
    assert (step.actions, step.record, step.condition) == ((), record, ConditionStatus.UNKNOWN)
    assert step.requeue_after is not None


@pytest.mark.parametrize("presence", Presence)
def test_where_nobody_looked_nothing_is_said(presence):
    record = someone(presence=presence)
    observed = replace(seen(Absent(), record=record), clusters=NotLooked())
    said = make_plan(record, observed, policy(), NOW).record.status
    assert said.condition(ConditionType.CLUSTERS_READY) is None
    assert said.condition(ConditionType.CLUSTERS_REMOVED) is None


_STEPS = st.lists(
    st.tuples(st.sampled_from(sorted(SEEN)), st.sampled_from(sorted(OPERATIONS)), st.integers(0, 90), st.booleans()),
    max_size=8,
)


@given(_STEPS)
def test_looking_twice_is_looking_once(steps):
    """A second pass over the same sight says and asks the same; so a crash between the two costs nothing."""
    record, now = someone(None, NOW), NOW
    for s, o, minutes, click in steps:
        now += minutes * MINUTE
        if click:
            record = replace(record, spec=replace(record.spec, clusters=(ClusterWish(template=T, since=now),)))
        found = [SEEN[s]] if SEEN[s] else []
        first = step_of(record, *found, operation=OPERATIONS[o], now=now)
        again = step_of(first.record, *found, operation=OPERATIONS[o], now=now)
        if not first.actions:
            assert again.record.spec == first.record.spec
            assert again.actions == () or SEEN[s] is None
        elif isinstance(first.actions[0], CreateCluster):
            assert again.actions == first.actions
        else:
            assert [a for a in again.actions if isinstance(a, CreateCluster)] == []
        record = first.record


# --- by name


def told(step):
    status = step.record.status.cluster(T)
    return status.reason, status.message


def test_the_first_one_is_for_dataproc_to_place():
    step = step_of(someone(None, NOW))
    (create,) = step.actions
    assert (create.template, create.name, create.zone) == (T, NAME, AUTO_ZONE)
    assert told(step)[0] is Reason.CREATING
    assert step.record.status.cluster(T).asked_at == NOW


def test_zones_come_one_after_the_other_and_then_the_wish_ends():
    record, zones = someone(None, NOW), []
    for _ in range(9):
        step = step_of(record)
        if not step.actions:
            break
        zones.append(step.actions[0].zone)
        asked = step.record.status.cluster(T)
        record = step.record.with_status(clusters=(replace(asked, operation=OPERATION, tries=asked.tries + 1),))
        failed = cluster("ERROR", zone=zones[-1] or ZONES[1])
        step = step_of(record, failed, operation=ClusterOperationSeen(done=True, error=STOCKOUT))
        assert step.actions == (DeleteCluster(name=NAME),)
        still_there = step_of(step.record, replace(failed, state=ClusterState.DELETING))
        assert still_there.actions == ()  # never two, not even a remnant and a new one
        record = still_there.record
    assert zones == [AUTO_ZONE, ZONES[0], ZONES[2]]  # Auto Zone had come to the one in the middle
    assert record.spec.clusters == ()
    assert "No zone of the region" in record.status.cluster(T).diagnosis
    assert told(step) == (Reason.STOCKOUT, record.status.cluster(T).diagnosis)


def test_no_two_tries_have_one_request_id():
    record, ids = someone(None, NOW), set()
    for number in range(6):
        step = step_of(record)
        ids.add(step.actions[0].request_id)
        asked = step.record.status.cluster(T)
        answered = number % 2  # or the process died before the answer was written down
        asked = replace(asked, operation=OPERATION, tries=asked.tries + 1) if answered else asked
        gone = step_of(step_of(step.record.with_status(clusters=(asked,)), cluster("ERROR", error=QUOTA)).record)
        assert gone.actions == ()
        wishes = (ClusterWish(template=T, since=NOW),)
        record = replace(gone.record, spec=replace(gone.record.spec, clusters=wishes))
    assert len(ids) == 6


def test_one_that_runs_gives_its_address_and_its_time_counts():
    step = step_of(someone(KNOWN["asked"], ASKED), cluster("RUNNING", uuid="u"))
    status = step.record.status.cluster(T)
    assert (status.jupyter_url, status.uuid, status.zone, status.operation) == (
        LAB,
        "u",
        ZONES[2],
        "",
    )
    assert status.seen_running_at == NOW
    assert step.record.status.usage["spark:spark"].since == NOW
    assert (step.requeue_after, step.condition) == (15 * MINUTE, ConditionStatus.TRUE)
    later = step_of(step.record, now=NOW + HOUR)
    assert later.record.status.usage["spark:spark"].ran_s == 3600
    assert later.record.spec.clusters == ()
    assert later.actions == ()


def test_one_that_is_asked_for_again_waits_for_nothing_any_more():
    step = step_of(someone(KNOWN["refused, waited"], ASKED))
    assert [type(action) for action in step.actions] == [CreateCluster]
    assert step.record.status.cluster(T).not_before is None


def test_when_one_was_seen_to_run_first_is_noted_once():
    first = step_of(someone(KNOWN["asked"], ASKED), cluster("RUNNING")).record
    later = step_of(first, cluster("RUNNING"), now=NOW + HOUR).record
    assert later.status.cluster(T).seen_running_at == NOW
    again = replace(first, spec=replace(first.spec, clusters=(ClusterWish(template=T, since=NOW + MINUTE),)))
    assert step_of(again, cluster("RUNNING"), now=NOW + HOUR).record.status.cluster(T).seen_running_at == NOW + HOUR


@pytest.mark.parametrize("state", ["UPDATING", "ERROR_DUE_TO_UPDATE"])
def test_one_that_can_be_worked_on_is_fine_whatever_it_is_called(state):
    """It accepts jobs in these states; to delete it for them would take the person's work [clusters.py ClusterStatus.State]."""
    step = step_of(someone(KNOWN["ran"], NOW - 3 * HOUR), cluster(state, error=STOCKOUT, ports={"JupyterLab": LAB}))
    assert (step.actions, step.condition, told(step)[0]) == ((), ConditionStatus.TRUE, Reason.READY)
    assert step.record.status.cluster(T).jupyter_url == LAB
    assert step.record.status.usage["spark:spark"].since == NOW


def test_one_that_takes_too_long_asks_for_a_person():
    step = step_of(someone(KNOWN["asked long ago"], NOW - HOUR), cluster("CREATING"))
    assert (step.actions, told(step)[0]) == ((), Reason.STUCK)
    fine = step_of(someone(KNOWN["ran"], NOW - 3 * HOUR), cluster("REPAIRING"))
    assert told(fine)[0] is not Reason.STUCK


def test_the_hour_is_counted_from_the_wish_and_not_from_the_last_failure():
    status = KNOWN["refused, waited"]
    assert step_of(someone(status, NOW - 59 * MINUTE)).actions != ()
    late = step_of(someone(status, NOW - 61 * MINUTE))
    assert late.record.spec.clusters == ()
    assert "for an hour" in late.record.status.cluster(T).diagnosis
    assert told(late)[0] is Reason.RATE_LIMITED
    anew = step_of(replace(late.record, spec=replace(late.record.spec, clusters=(ClusterWish(template=T, since=NOW),))))
    assert len(anew.actions) == 1


def test_after_an_hour_what_was_asked_for_last_may_still_come():
    status = replace(KNOWN["answer lost"], asked_at=NOW - 5 * MINUTE)
    step = step_of(someone(status, NOW - 61 * MINUTE))
    assert (step.actions, step.record.spec.clusters != (), step.requeue_after) == ((), True, MINUTE)
    assert step_of(step.record, now=NOW + 6 * MINUTE).record.spec.clusters == ()


def test_a_second_one_is_no_reason_to_touch_the_first():
    other = ClusterStatus(template="notes", name="notes-1", asked_at=ASKED, seen_running_at=ASKED)
    record = someone(None, NOW).with_status(clusters=(other,))
    wishes = (ClusterWish(template="notes", since=ASKED), ClusterWish(template=T, since=NOW))
    record = replace(record, spec=replace(record.spec, clusters=wishes))
    step = step_of(record, cluster("RUNNING", name="notes-1"))
    assert [type(a) for a in step.actions] == [CreateCluster]
    assert (step.condition, step.requeue_after) == (ConditionStatus.FALSE, MINUTE)
    assert {c.template for c in step.record.status.clusters} == {"notes", T}


# --- names


@given(st.from_regex(r"[A-Za-z0-9._-]{1,100}", fullmatch=True), st.emails())
def test_a_name_is_one_that_dataproc_takes_and_only_this_templates(template, address):
    user_key = user_key_for(parse_email(address))
    name = cluster_name(template, user_key)
    assert len(name) <= MAX_CLUSTER_NAME
    assert name[0].isalpha()
    assert name[-1].isalnum()
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert name == cluster_name(template, user_key)
    for near in {template.upper(), template.replace(".", "-"), f"{template}-", template[:40]} - {template}:
        assert cluster_name(near, user_key) != name


def test_names_of_two_people_differ():
    names = {cluster_name(T, user_key_for(parse_email(f"ana{n}@example.com"))) for n in range(500)}
    assert len(names) == 500
