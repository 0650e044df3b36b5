"""A story is short, in order, and says each thing once."""

from __future__ import annotations

from datetime import timedelta

import pytest
from kit.making import ANA, NOW, account, group, joined, left, moved, notebook, person, policy, seen
from msgspec.structs import replace

from shared.domain.intent.wanted import with_hold
from shared.domain.notebook.actions import StopInstance
from shared.domain.people.events import Left, Renamed
from shared.domain.plan.plan import Plan
from shared.domain.reconcile.outcome import Asked, Done, Failed, Started
from shared.domain.reconcile.planner import make_plan
from shared.domain.record.record import Hold
from shared.domain.record.status import ConditionStatus, ConditionType, OperationRef, Verb, set_condition
from shared.domain.spark.actions import CreateCluster, DeleteCluster
from shared.domain.template.wanted import PutTemplate
from shared.domain.things.clusters import ClusterStatus, ClusterWish
from shared.domain.things.errors import AccessDeniedError, CloudUnavailableError, Reason
from shared.domain.things.history import MAX_LINES, StoryKind, StoryLine, latest, once_copied, told
from shared.domain.things.identity import parse_email
from shared.engine.reconcile.history import with_chronicle, with_hold_told, with_news

LATER = NOW + timedelta(minutes=5)
PUT = PutTemplate(template="spark", digest="d")
NO = Failed(AccessDeniedError(user_message="Not allowed.", detail="403"))
DOWN = Failed(CloudUnavailableError(user_message="Down.", detail="503"))


def lines(record):
    return [(line.kind, line.text, line.because, line.ref) for line in record.status.story]


def plan(record, *actions, because=("It is out of date.",)):
    return Plan(record=record, actions=actions, because=because, requeue_at=None)


def passed(record, *outcomes, after=None, now=NOW):
    made = plan(record, *(action for action, _ in outcomes))
    return with_chronicle(record, after or record, made, list(outcomes), now)


def test_it_is_bounded_and_the_newest_stay():
    story = ()
    for number in range(MAX_LINES + 30):
        line = StoryLine(at=NOW + timedelta(minutes=number), kind=StoryKind.CALL, text=f"line {number}")
        story = told(story, [line])
    assert len(story) == MAX_LINES + 30, "no line is dropped before it is copied out"
    copied = latest(tuple(map(once_copied, story)))
    assert [line.text for line in copied] == [f"line {n}" for n in range(30, MAX_LINES + 30)]


@pytest.mark.parametrize("field", ["text", "because", "ref"])
def test_a_long_text_is_cut(field):
    line = replace(StoryLine(at=NOW, kind=StoryKind.NEWS, text="t", because="b", ref="r"), **{field: "x" * 10_000})
    (waiting,) = told((), [line])
    assert len(getattr(waiting, field)) == 4000
    kept = once_copied(waiting)
    assert len(getattr(kept, field)) == 300
    assert replace(kept, **{field: ""}) == replace(line, **{field: ""})


def test_a_long_text_is_cut_between_words():
    line = StoryLine(at=NOW, kind=StoryKind.NEWS, text="a-word " * 100)
    text = once_copied(line).text
    assert text.endswith("a-word…"), text
    assert len(text) <= 300


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (joined(), "Joined"),
        (moved(), "Moved"),
        (left(), "Left"),
        (replace(left(), cause="end of contract"), "Left: end of contract"),
        (group("g", "data-analysts@example.com", 0, member=True), "Member of data-analysts@example.com"),
        (group("g", "data-analysts@example.com", 0, member=False), "No longer in data-analysts@example.com"),
        (account("a", 0, usable=False), "Account suspended"),
        (
            Renamed(event_id="r", user=ANA, occurred_at=NOW, effective_at=NOW, new_user=parse_email("new@example.com")),
            "The address changed",
        ),
    ],
)
def test_news_is_told_in_words_with_its_event(event, text):
    assert lines(with_news(person(), event, NOW)) == [(StoryKind.NEWS, text, "", event.event_id)]


def test_no_persons_address_gets_into_it():
    cause = "replaced by bob.boss@example.com from Monday"
    leaver = Left(event_id="l", user=ANA, occurred_at=NOW, effective_at=NOW, cause=cause)
    record = with_news(person(), leaver, NOW)
    held = with_hold(record, Hold(reason="case of carol@example.com", since=NOW))
    record = with_hold_told(record, held, "admin-0123456789ab", NOW)
    assert "@" not in "".join(line.text + line.because for line in record.status.story)
    assert "replaced by" in record.status.story[0].text


def test_a_hold_and_its_release_are_told_once():
    record = person()
    held = with_hold(record, Hold(reason="case 1", since=NOW))
    record = with_hold_told(record, held, "by-1", NOW)
    assert with_hold_told(record, record, "by-1", NOW) is record
    record = with_hold_told(record, with_hold(record, None), "by-2", LATER)
    assert [(text, because) for _, text, because, _ in lines(record)] == [
        ("Put on hold", "case 1; asked for by by-1"),
        ("Released from hold", "asked for by by-2"),
    ]


def test_calls_are_told_with_why_and_what_came_of_them():
    stop = StopInstance(ref=notebook().ref)
    operation = OperationRef(name="projects/p/operations/1", verb=Verb.STOP, started_at=NOW)
    create = CreateCluster(template="spark", name="spark-1", zone="", request_id="r")
    record = passed(person(), (stop, Started(operation)), (create, Asked("projects/p/operations/2")), (PUT, Done()))
    why = "It is out of date."
    assert lines(record) == [
        (StoryKind.CALL, f"stop instance {notebook().ref.instance_id}", why, "projects/p/operations/1"),
        (StoryKind.CALL, "create Spark cluster spark-1 from template spark", why, "projects/p/operations/2"),
        (StoryKind.CALL, "write template spark", why, ""),
    ]


def test_a_refusal_is_told_with_its_reason_and_the_same_one_once():
    record = passed(person(), (PUT, NO))
    assert lines(record) == [(StoryKind.CALL, "write template spark: refused", "Not allowed.", "AccessDenied")]
    assert passed(record, (PUT, NO), now=LATER) is record
    other = passed(record, (PUT, DOWN), now=LATER)
    assert [ref for *_, ref in lines(other)] == ["AccessDenied", "CloudUnavailable"]
    well = passed(other, (PUT, Done()), now=LATER)
    again = passed(well, (PUT, NO), now=LATER)  # it had worked meanwhile: that is news
    assert [text for _, text, _, _ in lines(again)][-2:] == ["write template spark", "write template spark: refused"]


def test_refusals_that_take_turns_do_not_fill_it():
    record, other = person(), DeleteCluster(name="spark-1")
    for _ in range(50):
        record = passed(record, (PUT, NO), (other, DOWN))
    assert len(record.status.story) == 2


def conditioned(record, kind, reason, status=ConditionStatus.FALSE, text="As it is."):
    return record.with_status(conditions=set_condition(record.status.conditions, kind, status, reason, text, NOW))


def test_what_stands_differently_is_told_and_what_does_not_is_not():
    before = conditioned(person(), ConditionType.NOTEBOOK_READY, Reason.CREATING)
    after = conditioned(
        person(), ConditionType.NOTEBOOK_READY, Reason.READY, ConditionStatus.TRUE, "Your notebook is ready."
    )
    assert lines(passed(before, after=after)) == [
        (StoryKind.DECISION, "Notebook: Ready", "Your notebook is ready.", "")
    ]
    reworded = conditioned(
        person(), ConditionType.NOTEBOOK_READY, Reason.CREATING, text="Being created: the machine starts."
    )
    assert passed(before, after=reworded) is reworded


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (ConditionType.RECONCILED, Reason.SETTLED),
        (ConditionType.NOTEBOOK_READY, Reason.PENDING),
        (ConditionType.CLUSTERS_READY, Reason.WAITING),
    ],
)
def test_what_only_goes_on_is_no_line(kind, reason):
    after = conditioned(person(), kind, reason)
    assert passed(person(), after=after) is after


def test_why_a_cluster_is_not_kept_up_is_told():
    wishes = tuple(ClusterWish(template=name, since=NOW) for name in ("bad", "gone", "kept"))
    before = replace(person(), spec=replace(person().spec, clusters=wishes))
    failed = ClusterStatus(template="bad", name="bad-1", diagnosis="No quota.")
    after = replace(before, spec=replace(before.spec, clusters=wishes[2:])).with_status(clusters=(failed,))
    assert lines(passed(before, after=after)) == [
        (StoryKind.DECISION, "Spark environment bad: ended", "No quota.", ""),
        (
            StoryKind.DECISION,
            "Spark environment gone: ended",
            "The cluster ended by itself and is not created again.",
            "",
        ),
    ]


def test_a_pass_over_what_is_as_it_should_be_adds_nothing():
    record = person()
    first = make_plan(record, seen(notebook(), record=record), policy(), NOW)
    settled = with_chronicle(record, first.record, first, [], NOW)
    second = make_plan(settled, seen(notebook(), record=settled), policy(), LATER)
    assert with_chronicle(settled, second.record, second, [], LATER) is second.record
    assert second.record == settled
