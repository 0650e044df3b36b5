"""The person's own service account: ready before anything runs as it, cut at once, deleted last and only when nothing is left."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.making import ANA, NOW, catalog, notebook, operation, person, policy, profile, saved, seen
from msgspec.structs import replace

from shared.domain.account.actions import (
    CreateAccount,
    DeleteAccount,
    DisableAccount,
    EnableAccount,
    JoinGroup,
    LeaveGroup,
    ShareAccount,
)
from shared.domain.account.step import USER_ROLE, identity_step, wants_account
from shared.domain.plan.plan import AccountSeen
from shared.domain.plan.step import Scene
from shared.domain.reconcile.planner import make_plan
from shared.domain.record.record import Hold, Power, Presence
from shared.domain.record.status import ConditionStatus, Verb
from shared.domain.things.catalog import Identity
from shared.domain.things.clusters import ClusterStatus
from shared.domain.things.errors import AccessDeniedError, CloudUnavailableError, Reason
from shared.domain.things.identity import account_email, account_id_for, instance_id_for, user_key_for
from shared.domain.things.notebook import Absent, NotebookState, NotLooked, Unreadable
from shared.domain.things.snapshots import Former

ACCOUNT = account_id_for(user_key_for(ANA))
READERS, OTHERS = "readers@example.com", "others@example.com"
MINE = {USER_ROLE: (f"user:{ANA}",)}
GOOD = AccountSeen(is_ours=True, disabled=False, shared_with=MINE)
CUT = AccountSeen(is_ours=True, disabled=True, shared_with={})
HELD = Hold(reason="case 1", since=NOW)
FORMER = Former(instance_id=instance_id_for(ANA), zone="z", uid="u")
DOWN = CloudUnavailableError(user_message="down", detail="503", retry_after=timedelta(minutes=7))
DENIED = AccessDeniedError(user_message="no", detail="403")


def rules(identity=Identity.PERSONAL_SERVICE_ACCOUNT, group=None):
    own = profile("analyst", identity=identity, data_group=group)
    return policy(catalog=catalog(profiles={"analyst": own}), project="p")


PLAIN = rules(Identity.END_USER_CREDENTIALS)


def here(**status):
    return person(**{"account_id": ACCOUNT, **status})


def gone(*, hold=None, **status):
    record = person(Presence.ABSENT, Power.STOPPED, **{"account_id": ACCOUNT, **status})
    return replace(record, hold=hold)


def judged(record, account, *, sight=None, rules_=None):
    observed = replace(seen(sight if sight is not None else Absent(), record=record), account=account)
    return identity_step(record, Scene(seen=observed, policy=rules_ or rules(), now=NOW))


def kinds(step):
    return [type(action) for action in step.actions]


@pytest.mark.parametrize(
    ("record", "rules_", "wants"),
    [
        (here(), rules(), True),
        (here(), PLAIN, False),
        (gone(), rules(), False),
        (here(), policy(catalog=catalog(profiles={})), False),
    ],
)
def test_who_is_to_have_one(record, rules_, wants):
    assert wants_account(record, rules_) is wants


@pytest.mark.parametrize("account", [Absent(), GOOD, NotLooked()])
def test_without_a_name_there_is_no_step(account):
    assert judged(here(account_id=None), account, rules_=PLAIN) == (None, True)
    assert judged(here(account_id=None), account) == (None, False)  # wanted, and not named yet


def test_nobody_looked_so_nothing_starts():
    assert judged(here(), NotLooked()) == (None, False)


WANTED = [
    # what was seen, actions, ready, reason
    (Absent(), [CreateAccount, ShareAccount], False, Reason.CREATING),
    (GOOD, [], True, Reason.READY),
    (replace(GOOD, disabled=True), [EnableAccount], False, Reason.CREATING),
    (replace(GOOD, shared_with={}), [ShareAccount], False, Reason.CREATING),
    (CUT, [ShareAccount, EnableAccount], False, Reason.CREATING),
    (replace(GOOD, shared_with={USER_ROLE: ("user:ben@example.com",)}), [ShareAccount], False, Reason.CREATING),
    (replace(GOOD, shared_with={USER_ROLE: (f"user:{ANA}", "user:z@x.y")}), [ShareAccount], False, Reason.CREATING),
    (replace(GOOD, shared_with={**MINE, "roles/owner": ("user:z@x.y",)}), [ShareAccount], False, Reason.CREATING),
    (replace(GOOD, shared_with={"roles/owner": (f"user:{ANA}",)}), [ShareAccount], False, Reason.CREATING),
]


@pytest.mark.parametrize(("account", "actions", "ready", "reason"), WANTED)
@pytest.mark.parametrize("hold", [None, HELD])
def test_what_it_takes_to_be_ready(account, actions, ready, reason, hold):
    step, is_ready = judged(replace(here(), hold=hold), account)
    assert (kinds(step), is_ready, step.reason) == (actions, ready, reason)
    assert (step.condition is ConditionStatus.TRUE) is ready
    assert step.requeue_after == (timedelta(seconds=60) if actions else None)
    assert bool(step.because) is bool(actions)
    assert all(action.user == ANA for action in step.actions if isinstance(action, ShareAccount))
    assert all(action.account_id == ACCOUNT for action in step.actions)


@pytest.mark.parametrize(
    ("groups", "member", "actions", "kept"),
    [
        ((READERS,), {READERS: True}, [], (READERS,)),
        ((READERS,), {READERS: False}, [JoinGroup], (READERS,)),
        ((READERS,), {}, [JoinGroup], (READERS,)),  # could not be read: asking again is safe
        ((OTHERS, READERS), {OTHERS: True, READERS: True}, [LeaveGroup], (OTHERS, READERS)),
        ((OTHERS, READERS), {READERS: True}, [LeaveGroup], (OTHERS, READERS)),
        ((OTHERS, READERS), {OTHERS: False, READERS: True}, [], (READERS,)),
    ],
)
def test_into_the_profiles_group_and_out_of_others(groups, member, actions, kept):
    account = replace(GOOD, in_groups=member)
    step, ready = judged(here(data_groups=groups), account, rules_=rules(group=READERS))
    assert (kinds(step), ready) == (actions, True)  # data comes a little later; the notebook does not wait for it
    assert step.record.status.account.data_groups == kept
    assert step.reason is (Reason.UPDATING if actions else Reason.READY)
    assert all(a.group == (READERS if isinstance(a, JoinGroup) else OTHERS) for a in step.actions)


def test_an_account_that_is_not_there_is_put_into_no_group_yet():
    step, _ = judged(here(data_groups=(READERS,)), Absent(), rules_=rules(group=READERS))
    assert kinds(step) == [CreateAccount, ShareAccount]
    assert step.record.status.account.data_groups == (READERS,)


@pytest.mark.parametrize(("error", "at_least"), [(DOWN, timedelta(minutes=7)), (DENIED, timedelta(minutes=30))])
@pytest.mark.parametrize(
    ("record", "rules_", "ready"), [(here(), rules(), False), (here(), PLAIN, True), (gone(), rules(), True)]
)
def test_what_could_not_be_read_is_left_alone(error, at_least, record, rules_, ready):
    step, is_ready = judged(record, Unreadable(error), rules_=rules_)
    assert (step.actions, step.condition, step.reason) == ((), ConditionStatus.UNKNOWN, Reason.UNREADABLE)
    assert is_ready is ready
    assert at_least <= step.requeue_after <= at_least * 1.25


@pytest.mark.parametrize("account", [replace(GOOD, is_ours=False), replace(CUT, is_ours=False)])
@pytest.mark.parametrize(
    ("record", "rules_", "ready"), [(here(), rules(), False), (here(), PLAIN, True), (gone(), rules(), True)]
)
def test_hands_off_what_is_not_ours(account, record, rules_, ready):
    step, is_ready = judged(record, account, rules_=rules_)
    assert (step.actions, step.reason, is_ready) == ((), Reason.NOT_OURS, ready)
    assert step.requeue_after == timedelta(hours=1)


# --- not wanted (any more)

LEAVER = [
    (GOOD, {}, [DisableAccount, ShareAccount]),
    (replace(GOOD, shared_with={}), {}, [DisableAccount]),
    (replace(CUT, shared_with=MINE), {}, [ShareAccount]),
    (
        replace(GOOD, in_groups={READERS: True}),
        {"data_groups": (READERS,)},
        [DisableAccount, ShareAccount, LeaveGroup],
    ),
    (replace(CUT, in_groups={READERS: True}), {"data_groups": (READERS,)}, [LeaveGroup]),
    (CUT, {"data_groups": (READERS,)}, [LeaveGroup]),
    (replace(CUT, in_groups={READERS: False}), {"data_groups": (READERS,)}, [DeleteAccount]),
    (CUT, {}, [DeleteAccount]),
]


@pytest.mark.parametrize(("account", "status", "actions"), LEAVER)
def test_a_leavers_account_is_cut_first_and_deleted_last(account, status, actions):
    step, ready = judged(gone(**status), account, rules_=rules(group=READERS))
    assert (kinds(step), ready, step.reason) == (actions, True, Reason.REVOKED)
    assert step.condition is ConditionStatus.FALSE
    assert step.requeue_after == timedelta(seconds=60)
    assert all(action.user is None for action in step.actions if isinstance(action, ShareAccount))
    cut = DisableAccount in actions or ShareAccount in actions
    assert ("is being disabled" in step.message) is cut
    assert any("Access has ended" in line for line in step.because) is cut
    assert any("The person has no resources any more" in line for line in step.because) is (DeleteAccount in actions)


def test_a_leavers_account_that_is_gone_is_the_end():
    step, ready = judged(gone(data_groups=(READERS,)), Absent())
    assert (step.actions, step.reason, step.requeue_after, ready) == ((), Reason.REMOVED, None, True)
    assert step.record.status.account.data_groups == ()


KEEPS = [
    ({"sight": notebook(NotebookState.STOPPED)}, {}, None),
    ({"sight": Unreadable(DOWN)}, {}, None),
    ({}, {"former": FORMER}, None),
    ({}, saved(), None),
    ({}, {"operation": operation(Verb.DELETE)}, None),
    ({}, {}, HELD),
]


@pytest.mark.parametrize(("more", "status", "hold"), KEEPS)
def test_it_is_kept_disabled_while_anything_is_left(more, status, hold):
    step, _ = judged(gone(hold=hold, **status), CUT, **more)
    assert (step.actions, step.requeue_after) == ((), None)
    assert step.reason is (Reason.ON_HOLD if hold else Reason.REVOKED)
    assert step.message.endswith("and kept on hold." if hold else "is disabled.")


def test_a_hold_does_not_keep_the_access():
    step, _ = judged(gone(hold=HELD), GOOD)
    assert (kinds(step), step.reason) == ([DisableAccount, ShareAccount], Reason.REVOKED)


def test_where_nobody_looks_for_an_instance_there_is_none():
    assert kinds(judged(gone(), CUT, sight=NotLooked())[0]) == [DeleteAccount]


SPARK = ClusterStatus(template="t", name="t-0123456789ab")  # nothing of it is there any more
RUNS_AS_IT = notebook(service_account=account_email(ACCOUNT, "p"))


@pytest.mark.parametrize(
    ("sight", "status", "kept"),
    [
        (RUNS_AS_IT, {}, True),
        (replace(RUNS_AS_IT, state=NotebookState.STOPPED), {}, True),
        (notebook(service_account="agent@x"), {}, False),
        (notebook(service_account=account_email(ACCOUNT, "q")), {}, False),
        (Unreadable(DOWN), {}, True),
        (Absent(), {}, False),
        (notebook(service_account="agent@x"), {"former": FORMER}, True),
        (notebook(service_account="agent@x"), {"operation": operation(Verb.CREATE)}, True),
        (notebook(service_account="agent@x"), {"clusters": (replace(SPARK, asked_at=NOW),)}, True),
        (notebook(service_account="agent@x"), {"clusters": (SPARK,)}, False),
    ],
)
def test_a_mover_keeps_it_until_nothing_runs_as_it(sight, status, kept):
    step, ready = judged(here(**status), GOOD, sight=sight, rules_=PLAIN)
    assert ready
    if kept:
        assert (step.actions, step.condition, step.reason) == ((), ConditionStatus.TRUE, Reason.READY)
    else:
        assert kinds(step) == [DisableAccount, ShareAccount]


def test_an_account_whose_last_reason_ends_in_this_pass_is_looked_at_again():
    """The account is judged before the operation: without another pass it would stay for ever."""
    record = here(operation=operation(Verb.CREATE))
    observed = replace(seen(notebook(service_account="agent@x"), record=record), account=CUT)
    plan = make_plan(record, observed, PLAIN, NOW)
    assert plan.record.status.notebook.operation is None
    assert plan.requeue_at is not None
    assert plan.requeue_at <= NOW + PLAIN.poll


@pytest.mark.parametrize(("status", "deleted"), [({}, True), (saved(), False)])
def test_a_mover_to_other_credentials_has_it_deleted_when_nothing_needs_it(status, deleted):
    step, _ = judged(here(**status), CUT, sight=notebook(service_account="agent@x"), rules_=PLAIN)
    assert kinds(step) == ([DeleteAccount] if deleted else [])


# --- laws

sights = st.sampled_from(
    [Absent(), NotLooked(), Unreadable(DOWN), *(notebook(state) for state in NotebookState), RUNS_AS_IT]
)
accounts = st.sampled_from([Absent(), NotLooked(), Unreadable(DENIED)]) | st.builds(
    AccountSeen,
    is_ours=st.booleans(),
    disabled=st.booleans(),
    shared_with=st.sampled_from([{}, MINE, {"roles/owner": ("user:z@x.y",)}]),
    in_groups=st.sampled_from([{}, {READERS: True}, {READERS: False}]),
)
people = st.builds(
    lambda make, hold, former, kept, busy, groups: replace(
        make(**({"former": FORMER} if former else {}), **kept, operation=busy, data_groups=groups), hold=hold
    ),
    st.sampled_from([here, gone]),
    st.none() | st.just(HELD),
    st.booleans(),
    st.sampled_from([{}, saved(), saved(ready=False), saved("other")]),
    st.none() | st.just(operation(Verb.STOP)),
    st.sampled_from([(), (READERS,)]),
)
all_rules = st.sampled_from([rules(), rules(group=READERS), PLAIN])


@given(people, accounts, sights, all_rules)
def test_it_is_never_deleted_while_something_or_somebody_needs_it(record, account, sight, rules_):
    step, _ = judged(record, account, sight=sight, rules_=rules_)
    if step is None or DeleteAccount not in kinds(step):
        return
    assert record.hold is None
    assert record.status.notebook.former is None
    assert not record.status.data.snapshots
    assert not wants_account(record, rules_)
    assert account.is_ours
    assert account.disabled
    assert not account.shared_with
    if record.spec.presence is Presence.ABSENT:
        assert isinstance(sight, Absent | NotLooked)
        assert record.status.notebook.operation is None
    else:
        assert sight != RUNS_AS_IT
    assert kinds(step) == [DeleteAccount]


@given(people, accounts, sights, all_rules)
def test_nothing_runs_as_an_account_that_is_not_as_it_should_be(record, account, sight, rules_):
    _, ready = judged(record, account, sight=sight, rules_=rules_)
    if wants_account(record, rules_) and ready:
        assert isinstance(account, AccountSeen)
        assert (account.is_ours, account.disabled, account.shared_with) == (True, False, MINE)


@given(people.filter(lambda record: record.spec.presence is Presence.ABSENT), accounts, sights)
def test_a_leaver_never_gets_access(record, account, sight):
    step, _ = judged(record, account, sight=sight)
    given_ = {CreateAccount, EnableAccount, JoinGroup}
    for action in step.actions if step is not None else ():
        assert type(action) not in given_
        assert not isinstance(action, ShareAccount) or action.user is None
