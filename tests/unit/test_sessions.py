"""Which session templates are made, replaced, removed and left alone: decided from what is wanted and what is seen."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from kit.inprocess import local_settings
from msgspec.structs import replace

from shared.domain.template.sessions import (
    LABEL_DIGEST,
    CreateSession,
    LeaveSession,
    RemoveSession,
    SessionSeen,
    UpdateSession,
    WantedSession,
    digest_label,
    labels_of,
    offers,
    plan_sessions,
    session_id_for,
)
from shared.domain.things.notebook import LABEL_TEMPLATE

# Dataproc on ids of sessions: 4 to 63 of a-z, 0-9 and dash. On labels: RFC 1035.
SESSION_ID = re.compile(r"[a-z][a-z0-9-]{2,61}[a-z0-9]")
RFC_1035 = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
PROFILES = st.from_regex(r"[a-z][a-z0-9-]{0,30}", fullmatch=True)
TEMPLATES = st.from_regex(r"[A-Za-z0-9._-]{1,100}", fullmatch=True)
OURS = {"managed-by": "benchkeeper", "benchkeeper-profile": "analyst", LABEL_TEMPLATE: "spark"}


def wanted(session_id: str = "analyst-spark-1", **fields) -> WantedSession:
    body = {
        "name": f"projects/p/locations/r/sessionTemplates/{session_id}",
        "labels": OURS,
        "jupyterSession": {},
        **fields,
    }
    labels = {**OURS, LABEL_DIGEST: digest_label(session_id, body)}
    return WantedSession(session_id=session_id, body={**body, "labels": labels})


def seen_as(each: WantedSession, **changes) -> SessionSeen:
    """As the service gives it back: with what it adds itself."""
    body = {**each.body, "uuid": "u", "creator": "tick@p.iam.gserviceaccount.com", **changes}
    return SessionSeen(session_id=each.session_id, labels=body["labels"], body=body)


# --- names ---


@given(PROFILES, TEMPLATES)
@example("a", "-")
@example("a-", "...")
@example("a" * 31, "b" * 100)
def test_every_id_is_one_that_dataproc_takes(profile, template):
    assert SESSION_ID.fullmatch(session_id_for(profile, template))


@given(PROFILES, TEMPLATES, PROFILES, TEMPLATES)
@example("a-b", "c", "a", "b-c")
@example("a", "Spark", "a", "spark")
@example("a", "x" * 60 + "1", "a", "x" * 60 + "2")
def test_no_two_offers_meet_in_one_id(profile, template, other_profile, other_template):
    assume((profile, template) != (other_profile, other_template))
    assert session_id_for(profile, template) != session_id_for(other_profile, other_template)


def test_an_offer_for_each_profile_and_template_says_whether_others_have_it_too():
    catalog = local_settings().catalog
    profile = next(iter(catalog.profiles.values()))
    catalog = replace(
        catalog,
        profiles={
            "a": replace(profile, name="a", session_templates=("one", "two", "one")),
            "b": replace(profile, name="b", session_templates=("two",)),
            "c": replace(profile, name="c", session_templates=()),
        },
    )
    assert [(o.profile, o.template, o.is_shared) for o in offers(catalog)] == [
        ("a", "one", False),
        ("a", "two", True),
        ("b", "two", True),
    ]
    assert len({o.session_id for o in offers(catalog)}) == 3


def test_the_labels_are_the_profiles_and_ours_and_ours_hold():
    catalog = local_settings().catalog
    profile = replace(catalog.profiles["analyst"], labels={"team": "analytics", "managed-by": "somebody"})
    (offer,) = (o for o in offers(catalog) if o.profile == "analyst")
    assert labels_of(replace(offer, template="Spark 3.5"), profile) == {
        "team": "analytics",
        "managed-by": "benchkeeper",
        "benchkeeper-profile": "analyst",
        "benchkeeper-template": "spark-3-5",
    }


@given(st.text(), st.text(), st.text())
def test_a_digest_is_a_label_and_tells_body_and_name(session_id, one, other):
    made = digest_label(session_id, {"description": one})
    assert RFC_1035.fullmatch(made)
    assert (made == digest_label(session_id, {"description": other})) is (one == other)
    assert made != digest_label(f"{session_id}x", {"description": one})


# --- the plan ---


def test_what_is_as_wanted_is_left_as_it_is():
    each = wanted(runtimeConfig={"version": "2.3"})
    assert plan_sessions([each], [seen_as(each)]) == ()
    more = {"version": "2.3", "properties": {"spark.added": "by the service"}}
    assert plan_sessions([each], [seen_as(each, runtimeConfig=more)]) == ()


def test_what_is_not_there_is_made():
    each = wanted()
    assert plan_sessions([each], []) == (CreateSession(wanted=each, because="it does not exist"),)


def test_a_changed_configuration_replaces_what_is_there():
    before, after = wanted(description="old"), wanted(description="new")
    assert plan_sessions([after], [seen_as(before)]) == (
        UpdateSession(wanted=after, because="the configuration changed"),
    )
    gone = wanted()  # what was taken out of the master is seen by the digest alone
    assert plan_sessions([gone], [seen_as(before)]) == (
        UpdateSession(wanted=gone, because="the configuration changed"),
    )


def test_what_somebody_changed_by_hand_is_replaced_and_named():
    execution = {
        "executionConfig": {"authenticationConfig": {"userWorkloadAuthenticationType": "END_USER_CREDENTIALS"}}
    }
    each = wanted(environmentConfig=execution)
    path = "environmentConfig.executionConfig.authenticationConfig.userWorkloadAuthenticationType"
    for type_ in ("SERVICE_ACCOUNT", "END_USER_CREDENTIALS_NOT"):
        other = {"executionConfig": {"authenticationConfig": {"userWorkloadAuthenticationType": type_}}}
        (action,) = plan_sessions([each], [seen_as(each, environmentConfig=other)])
        assert action == UpdateSession(wanted=each, because=f"{path} was changed outside Benchkeeper")
    (action,) = plan_sessions([each], [seen_as(each, environmentConfig={"executionConfig": {}})])
    assert action.because.startswith("environmentConfig.executionConfig.authenticationConfig was")


def test_another_kind_or_list_is_a_difference_and_a_whole_address_is_none():
    each = wanted(tags=["a", "b"], subnetworkUri="projects/p/regions/r/subnetworks/s")
    whole = "https://www.googleapis.com/compute/v1/projects/p/regions/r/subnetworks/s"
    assert plan_sessions([each], [seen_as(each, subnetworkUri=whole)]) == ()
    assert len(plan_sessions([each], [seen_as(each, subnetworkUri="projects/p/regions/r/subnetworks/other")])) == 1
    assert len(plan_sessions([each], [seen_as(each, tags=["b", "a"])])) == 1
    other = SessionSeen(
        session_id=each.session_id,
        labels=each.body["labels"],
        body={key: value for key, value in each.body.items() if key != "jupyterSession"} | {"sparkConnectSession": {}},
    )
    (action,) = plan_sessions([each], [other])
    assert action.because == "jupyterSession was changed outside Benchkeeper"


def test_what_no_profile_offers_any_more_is_removed():
    each = wanted("analyst-old-1")
    assert plan_sessions([], [seen_as(each)]) == (
        RemoveSession(session_id="analyst-old-1", because="no profile offers it any more"),
    )


def test_what_cannot_be_told_now_stays():
    each = wanted("analyst-broken-1")
    assert plan_sessions([], [seen_as(each)], unknown=frozenset({"analyst-broken-1"})) == ()


@pytest.mark.parametrize(
    "labels", [{}, {"managed-by": "somebody"}, {k: v for k, v in OURS.items() if k != "managed-by"}]
)
def test_somebody_elses_is_left_alone_even_under_our_name(labels):
    each = wanted()
    (action,) = plan_sessions([each], [seen_as(each, labels=labels)])
    assert action == LeaveSession(session_id=each.session_id, because="it exists without Benchkeeper's labels")
    taken_over = {**labels, LABEL_DIGEST: each.body["labels"][LABEL_DIGEST]}
    for said in (labels, taken_over):
        assert plan_sessions([], [seen_as(each, labels=said)]) == ()


def test_a_copy_that_somebody_made_under_another_name_is_theirs():
    """`gcloud dataproc session-templates export` and `import` keep the labels."""
    each = wanted()
    copy = replace(seen_as(each), session_id="my-own-spark")
    assert copy.is_ours
    assert plan_sessions([each], [seen_as(each), copy]) == ()
    assert plan_sessions([], [copy]) == ()


def test_a_digest_that_somebody_took_off_comes_back():
    each = wanted()
    (action,) = plan_sessions([each], [seen_as(each, labels=OURS)])
    assert isinstance(action, UpdateSession)


_IDS = st.lists(st.sampled_from([f"s-{n}" for n in range(6)]), unique=True)
_TEXTS = st.sampled_from(["old", "new"])


@given(st.dictionaries(st.sampled_from([f"s-{n}" for n in range(6)]), _TEXTS), st.data())
def test_after_the_plan_all_is_as_wanted_and_others_things_are_untouched(texts, data):
    asked = [wanted(session_id, description=text) for session_id, text in texts.items()]
    world: dict[str, SessionSeen] = {}
    for session_id in data.draw(_IDS):
        there = seen_as(wanted(session_id, description=data.draw(_TEXTS)))
        world[session_id] = there if data.draw(st.booleans()) else replace(there, labels={})
    foreign = {session_id: there for session_id, there in world.items() if not there.is_ours}
    left = set()
    for action in plan_sessions(asked, world.values()):
        match action:
            case CreateSession(wanted=each):
                assert each.session_id not in world
                world[each.session_id] = seen_as(each)
            case UpdateSession(wanted=each):
                assert world[each.session_id].is_ours
                world[each.session_id] = seen_as(each)
            case RemoveSession(session_id=session_id):
                assert world.pop(session_id).is_ours
            case LeaveSession(session_id=session_id):
                left.add(session_id)
    assert left == set(foreign) & set(texts)
    assert {session_id: world[session_id] for session_id in foreign} == foreign
    ours = {session_id: there.body["description"] for session_id, there in world.items() if there.is_ours}
    assert ours == {session_id: text for session_id, text in texts.items() if session_id not in foreign}
    again = plan_sessions(asked, world.values())
    assert {each.session_id for each in again if isinstance(each, LeaveSession)} == left
    assert len(again) == len(left)
