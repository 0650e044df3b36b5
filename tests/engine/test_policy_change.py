"""The policy in force: a mistake in the files acts on nobody, and what is approved is what runs."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from kit import audit
from kit.inprocess import KitClock, local_settings, make_bench
from kit.official import storage_bucket
from kit.oracle import instances
from kit.policies import in_force
from msgspec.structs import replace

from shared.domain.notebook.actions import ResizeDisk, StopInstance, UpdateInstance
from shared.domain.people.events import Joined, Left
from shared.domain.plan.guard_settings import GuardSettings
from shared.domain.policy.effect import StepKind
from shared.domain.policy.impact import Limit
from shared.domain.policy.policy_change import Noted, Outcome
from shared.domain.policy.policy_codec import digest_of, policy_digest
from shared.domain.record.record import Power, Presence
from shared.domain.snapshot.actions import CreateSnapshot
from shared.domain.template.wanted import RemoveTemplate
from shared.domain.things.catalog import Assignment, Disk, Disruption
from shared.domain.things.errors import PermanentError, RefusedError
from shared.domain.things.identity import parse_email, user_key_for
from shared.domain.things.power import PowerCause, PowerReason
from shared.engine.decisions.decisions import clear_losers
from shared.engine.decisions.policy_change import keep_policy, note_deployed, propose, put_in_force, reject, waiting
from shared.engine.decisions.policy_impact import impact_of_policy
from shared.engine.news.deliver import deliver
from shared.engine.reconcile.changing import want_power
from shared.engine.reconcile.reconciler import preview, reconcile
from shared.engine.sweeps.sweeps import sweep
from shared.wiring import wire

GROUP, TYPO, SMALL = "analysts@example.com", "analyst@example.com", "engineers@example.com"
DEPLOYER, ADMIN = "deployer@example.com", "admin@example.com"


def settings(*groups, **more):
    assigned = tuple(Assignment(group=group, profile="analyst", priority=n) for n, group in enumerate(groups))
    made = local_settings(**more)
    return replace(made, catalog=replace(made.catalog, assignments=assigned))


RIGHT, WRONG = settings(GROUP, SMALL), settings(TYPO, SMALL)


def person(number, where="many"):
    return parse_email(f"{where}.{number}@example.com")


def told(bench, kind, email, event_id, **more):
    event = kind(event_id=event_id, user=email, occurred_at=bench.now, effective_at=bench.now, **more)
    deliver(event, bench.deps)


def minutes(bench, count, *deps):
    for _ in range(count):
        bench.advance(minutes=1)
        for each in deps or (bench.deps,):
            sweep("due", each)


def revision(bench, files):
    """Another revision of the functions over the same world, with other files."""
    return replace(wire(files, log=bench.log, clients=bench.clients), clock=KitClock(bench.cloud))


def fresh(deps):
    """A minute later: the process reads the policy in force again."""
    deps.policies.load()
    return deps


@pytest.fixture
def bench():
    made = make_bench(settings=RIGHT)
    for number in range(12):
        told(made, Joined, person(number), f"j{number}", groups=frozenset({GROUP}))
    for number in range(2):
        told(made, Joined, person(number, "few"), f"f{number}", groups=frozenset({SMALL}))
    minutes(made, 8)
    sweep("drift", made.deps)
    assert running(made) == 14
    made.log.lines.clear()
    return made


def running(bench):
    return sum(i.state == "ACTIVE" for i in instances(bench.cloud).values())


def present(bench):
    return sum(row.presence is Presence.PRESENT for row in bench.deps.records.rows())


def said(bench, message):
    return [facts for _, text, facts in bench.log.lines if text == message]


def approve(deps, by=(ADMIN,)):
    (proposal,) = waiting(deps)
    return put_in_force(proposal.digest, deps, impact_digest=proposal.impact.digest, approved_by=by)


class Turning:
    """The policies of a deployment, of which another comes into force after so many questions."""

    def __init__(self, before, after, *, turns_after):
        self.before, self.after, self.left = before, after, turns_after

    def in_force(self, _own):
        self.left -= 1
        return self.before if self.left >= 0 else self.after


@pytest.mark.parametrize("turns_after", range(1, 14))
def test_a_pass_keeps_to_the_policy_with_which_it_began(turns_after):
    bench = make_bench()
    email = person(1)
    deliver(
        Joined(event_id="j", user=email, occurred_at=bench.now, effective_at=bench.now, profile="analyst"), bench.deps
    )
    minutes(bench, 6)
    before = bench.deps.policy
    analyst = before.catalog.profiles["analyst"]
    larger = replace(analyst, data_disk=replace(analyst.data_disk, size_gb=analyst.data_disk.size_gb + 100))
    after = replace(before, catalog=replace(before.catalog, profiles={**before.catalog.profiles, "analyst": larger}))
    turning = Turning(before, after, turns_after=turns_after)
    want_power(user_key_for(email), Power.STOPPED, PowerReason(cause=PowerCause.STOPPED_BY_PERSON), bench.deps)
    known = audit.objects(bench)
    result = reconcile(user_key_for(email), replace(bench.deps, policies=turning), thorough=True)
    said = b"".join(content for name, content in audit.objects(bench).items() if name not in known).decode()
    assert [type(action) for action in result.plan.actions] == [StopInstance]
    assert policy_digest(before) in said
    assert policy_digest(after) not in said
    assert turning.left < turns_after


def test_the_first_drift_sweep_puts_the_own_files_in_force(bench):
    current = bench.deps.policies.load()
    assert current.digest == policy_digest(bench.deps.base_policy)
    assert bench.deps.policy == bench.deps.base_policy


def test_a_typo_in_a_group_acts_on_nobody_whatever_happens(bench):
    wrong = revision(bench, WRONG)
    for kind in ("drift", "due", "idle", "drift"):
        sweep(kind, wrong)
        minutes(bench, 5, wrong)
    for number in range(12):
        reconcile(user_key_for(person(number)), wrong)
    event = Joined(
        event_id="again", user=person(0), occurred_at=bench.now, effective_at=bench.now, groups=frozenset({GROUP})
    )
    deliver(event, wrong)
    minutes(bench, 5, wrong)
    assert (running(bench), present(bench)) == (14, 14)
    assert said(bench, "Held back a policy change")[0]["counts"] == {"LosesAccess": 12}
    assert len(said(bench, "Held back a policy change")) == 2


def test_a_new_revision_judges_by_the_policy_in_force_before_its_first_sweep(bench):
    wrong = revision(bench, WRONG)
    reconcile(user_key_for(person(0)), wrong)
    minutes(bench, 5, wrong)
    assert (running(bench), present(bench)) == (14, 14)


def test_two_revisions_side_by_side_judge_alike_before_and_after(bench):
    wrong = revision(bench, WRONG)
    assert wrong.policy == bench.deps.policy
    sweep("drift", wrong)
    assert fresh(wrong).policy == fresh(bench.deps).policy == bench.deps.base_policy
    approve(wrong)
    assert fresh(bench.deps).policy == fresh(wrong).policy == wrong.base_policy
    sweep("drift", bench.deps)  # the older revision's files are not proposed back
    assert bench.deps.policies.load().digest == policy_digest(wrong.base_policy)
    assert waiting(bench.deps) == ()
    assert said(bench, "Deployed files were not put in force")[0]["because"] == "Superseded"


def test_an_approved_change_is_for_exactly_the_people_of_the_list(bench):
    wrong = revision(bench, WRONG)
    sweep("drift", wrong)
    (proposal,) = waiting(wrong)
    assert proposal.impact.counts == {StepKind.LOSES_ACCESS: 12}
    assert [e.limit for e in proposal.excesses] == [Limit.GROUP, Limit.PROFILE]
    done = approve(wrong)
    assert {e.user_key for e in done.approved.entries} == {user_key_for(person(n)) for n in range(12)}
    clear_losers(done.approved, done.policy.digest, wrong)
    sweep("drift", wrong)
    minutes(bench, 5, wrong)
    assert (running(bench), present(bench)) == (2, 2)
    assert waiting(wrong) == ()


def test_who_joined_since_is_left_out_and_reported(bench):
    wrong = revision(bench, WRONG)
    sweep("drift", wrong)
    told(bench, Joined, person(50), "late", groups=frozenset({GROUP}))
    told(bench, Left, person(3), "gone")
    done = approve(wrong)
    late, gone = user_key_for(person(50)), user_key_for(person(3))
    assert [e.user_key for e in done.left_out] == [late]
    approved = wrong.policies.approved(done.policy.digest)
    assert not {late, gone} & {e.user_key for e in approved.impact.entries}
    assert len(approved.impact.entries) == 11
    assert said(bench, "Left users out of an approved change")[0]["users"] == [late]


def test_too_many_who_were_not_in_the_list_must_be_agreed_to(bench):
    wrong = revision(bench, WRONG)
    sweep("drift", wrong)
    for number in range(100, 113):
        told(bench, Joined, person(number), f"late{number}", groups=frozenset({GROUP}))
    with pytest.raises(RefusedError, match="not in the approved list"):
        approve(wrong)
    assert wrong.policies.load().digest == policy_digest(RIGHT.policy())
    (proposal,) = waiting(wrong)
    assert len(proposal.impact.entries) == 25
    assert len(approve(wrong).approved.entries) == 25


@pytest.mark.parametrize("by", [(), (DEPLOYER,), ("Deployer@example.com",)])
def test_who_deployed_cannot_approve_alone(bench, by):
    wrong = revision(bench, WRONG)
    note_deployed(wrong.base_policy, wrong, by=DEPLOYER)
    sweep("drift", wrong)
    with pytest.raises(RefusedError):
        approve(wrong, by)
    assert approve(wrong, (DEPLOYER, ADMIN)).policy.by == DEPLOYER


def test_an_approval_of_another_list_is_refused(bench):
    wrong = revision(bench, WRONG)
    sweep("drift", wrong)
    (proposal,) = waiting(wrong)
    with pytest.raises(RefusedError):
        put_in_force(proposal.digest, wrong, impact_digest="0" * 16, approved_by=[ADMIN])


def test_a_change_below_the_limits_is_taken_at_once(bench):
    fewer = revision(bench, settings(GROUP))  # two people of the small group
    sweep("drift", fewer)
    minutes(bench, 5, fewer)
    assert fewer.policies.load().digest == policy_digest(fewer.base_policy)
    assert (running(bench), present(bench)) == (12, 12)
    assert said(bench, "Put a policy in force")[0]["people"] == 2


def test_a_rejected_policy_is_not_proposed_again(bench):
    wrong = revision(bench, WRONG)
    sweep("drift", wrong)
    (proposal,) = waiting(wrong)
    reject(proposal.digest, wrong, by=ADMIN)
    sweep("drift", wrong)
    assert waiting(wrong) == ()
    with pytest.raises(RefusedError):
        put_in_force(proposal.digest, wrong, impact_digest=proposal.impact.digest, approved_by=[ADMIN])
    deployed = Noted(digest=proposal.digest, by=DEPLOYER, at=bench.now + timedelta(hours=1))
    assert propose(WRONG.policy(), wrong, deployed=deployed).outcome is Outcome.REJECTED


def test_a_deployment_goes_back_to_earlier_files(bench):
    wrong = revision(bench, settings(GROUP))
    sweep("drift", wrong)
    bench.advance(minutes=1)
    note_deployed(bench.deps.base_policy, bench.deps, by=DEPLOYER)
    assert keep_policy(bench.deps).outcome is Outcome.PUT
    assert keep_policy(wrong).outcome is Outcome.SUPERSEDED


def test_a_revision_that_says_when_it_was_deployed_goes_back_to_its_files(bench):
    wrong = revision(bench, settings(GROUP))
    sweep("drift", wrong)
    bench.advance(minutes=1)
    again = revision(bench, replace(RIGHT, deployed_at=bench.now, deployed_by=DEPLOYER))
    assert keep_policy(bench.deps).outcome is Outcome.SUPERSEDED
    assert keep_policy(again).outcome is Outcome.PUT
    assert again.policies.load().by == DEPLOYER


def test_going_back_wins_over_a_sweep_of_the_other_revision_in_the_meantime(bench):
    wrong = revision(bench, replace(settings(GROUP), deployed_at=bench.now, deployed_by=DEPLOYER))
    bench.advance(minutes=1)
    again = revision(bench, replace(RIGHT, deployed_at=bench.now, deployed_by=DEPLOYER))  # its plan was made
    bench.advance(minutes=1)
    assert keep_policy(wrong).outcome is Outcome.PUT
    assert keep_policy(again).outcome is Outcome.PUT
    assert keep_policy(wrong).outcome is Outcome.SUPERSEDED


def test_going_back_withdraws_what_waits(bench):
    wrong = revision(bench, WRONG)
    sweep("drift", wrong)
    bench.advance(minutes=1)
    note_deployed(bench.deps.base_policy, bench.deps, by=DEPLOYER)
    sweep("drift", bench.deps)
    assert waiting(bench.deps) == ()
    assert keep_policy(wrong).outcome is Outcome.SUPERSEDED


def test_a_crash_between_the_proposal_and_its_taking_force_costs_nothing(bench, monkeypatch):
    fewer = revision(bench, settings(GROUP))

    def dies(*_args, **_more):
        raise RuntimeError("the process is gone")

    with monkeypatch.context() as patched:
        patched.setattr(type(fewer.policies), "put", dies)
        with pytest.raises(RuntimeError):
            keep_policy(fewer)
    assert len(fewer.policies.proposals()) == 1
    assert waiting(fewer) == ()
    assert keep_policy(fewer).outcome is Outcome.PUT
    assert fewer.policies.proposals() == ()


def test_a_crash_before_what_waits_is_withdrawn_costs_no_second_write_of_the_policy(bench, monkeypatch):
    sweep("drift", revision(bench, WRONG))
    bench.advance(minutes=1)
    note_deployed(bench.deps.base_policy, bench.deps, by=DEPLOYER)

    def dies(*_args, **_more):
        raise RuntimeError("the process is gone")

    with monkeypatch.context() as patched:
        patched.setattr(type(bench.deps.policies), "withdraw", dies)
        with pytest.raises(RuntimeError):
            keep_policy(bench.deps)
    bench.cloud.world.journal.clear()
    keep_policy(bench.deps)
    assert waiting(bench.deps) == ()
    written = [call["resource"] for call in bench.calls() if call["method"] == "objects.insert"]
    assert [name for name in written if name.endswith("policy/current")] == []


def test_a_crash_between_the_approved_list_and_the_policy_is_repaired_by_the_same_approval(bench, monkeypatch):
    wrong = revision(bench, WRONG)
    sweep("drift", wrong)

    def dies(*_args, **_more):
        raise RuntimeError("the process is gone")

    (proposal,) = waiting(wrong)
    with monkeypatch.context() as patched:
        patched.setattr(type(wrong.policies), "put", dies)
        with pytest.raises(RuntimeError):
            approve(wrong)
    assert fresh(wrong).policy == bench.deps.base_policy
    first = approve(wrong)
    again = put_in_force(proposal.digest, wrong, impact_digest=proposal.impact.digest, approved_by=[ADMIN])
    assert again.approved == first.approved


def test_two_who_put_in_force_at_once_do_not_overwrite_each_other(bench, monkeypatch):
    fewer, same = (
        revision(bench, settings(GROUP)),
        revision(bench, settings(GROUP, SMALL, retention=timedelta(days=40))),
    )
    real = type(fewer.policies).put

    def put(self, policy, *, expected):
        monkeypatch.undo()
        keep_policy(same)
        return real(self, policy, expected=expected)

    monkeypatch.setattr(type(fewer.policies), "put", put)
    keep_policy(fewer)
    assert policy_digest(same.base_policy) in fewer.policies.load().superseded


def test_a_looser_guard_waits_for_approval(bench):
    loose = revision(bench, settings(GROUP, SMALL, guard=replace(GuardSettings(), approvers=1)))
    assert keep_policy(loose).outcome is Outcome.WAITS
    assert loose.policy.guard.approvers == 2


def test_templates_and_sessions_follow_the_policy_in_force(bench):
    name, master = next((n, m) for n, m in RIGHT.catalog.masters.items() if n == "single-node")
    text = master.text.replace("config:", "config:\n  tempBucket: elsewhere", 1)
    masters = {**RIGHT.catalog.masters, name: replace(master, text=text)}
    files = replace(RIGHT, catalog=replace(RIGHT.catalog, masters=masters))
    new = revision(bench, files)
    read = bench.deps.templates.read
    key = user_key_for(person(0))
    reconcile(key, new)
    assert "elsewhere" not in read(key, name)
    sweep("drift", new)  # of templates nothing is taken from anybody
    fresh(bench.deps)
    bench.deps.templates.remove(key, name)
    reconcile(key, bench.deps)  # the older revision
    assert "elsewhere" in read(key, name)


def test_not_readable_now_is_not_absent(bench):
    wrong = revision(bench, WRONG)
    bench.fault(call="storage.objects.get", resource="*policy/current*", error={"code": "PERMISSION_DENIED"}, times=3)
    with pytest.raises(PermanentError):
        _ = wrong.policy
    bench.deps.policies._look_again_at = 0.0
    assert bench.deps.policy == bench.deps.base_policy  # the one that was read before goes on
    assert said(bench, "Policy in force could not be read")
    with pytest.raises(PermanentError):
        keep_policy(wrong)


def test_a_damaged_policy_is_said_and_nobody_judges_by_the_own_files(bench):
    storage_bucket(bench.clients).blob("policy/current").upload_from_string(b"{}")
    with pytest.raises(PermanentError, match="unreadable policy/current"):
        _ = revision(bench, WRONG).policy


@pytest.mark.parametrize(
    "broken", [{"group": []}, {"group": [""]}, {"profile": ""}, {"cost": {}}, {"user": None, "parts": 7}]
)
def test_a_damaged_proposal_is_named(bench, broken):
    sweep("drift", revision(bench, WRONG))
    (proposal,) = bench.deps.policies.proposals()
    blob = storage_bucket(bench.clients).blob(f"policy/proposed/{proposal.digest}")
    content = json.loads(blob.download_as_bytes())
    content["impact"] = [{**each, **broken} for each in content["impact"]]
    blob.upload_from_string(json.dumps(content))
    with pytest.raises(PermanentError, match=f"unreadable policy/proposed/{proposal.digest}"):
        bench.deps.policies.proposals()


def test_a_policy_that_is_gone_is_not_replaced_by_files_that_wait(bench):
    wrong = revision(bench, WRONG)
    sweep("drift", wrong)
    storage_bucket(bench.clients).blob("policy/current").delete()
    with pytest.raises(PermanentError, match="a policy waits, and none is in force"):
        keep_policy(revision(bench, WRONG))
    with pytest.raises(PermanentError, match="was deleted"):
        keep_policy(wrong)
    assert wrong.policy == bench.deps.base_policy


def test_a_newer_programs_policy_is_never_acted_on_in_silence(bench):
    current = bench.deps.policies.load()
    newer = {**current.content, "colour": "green"}
    bench.deps.policies.put(replace(current, content=newer, digest=digest_of(newer)), expected=current)
    assert bench.deps.policy == bench.deps.base_policy
    assert said(bench, "Policy in force was written by another program")
    assert keep_policy(bench.deps).outcome is Outcome.FOREIGN


def test_the_impact_changes_nothing(bench):
    before = len([c for c in bench.calls() if c["mutates"]])
    judged = impact_of_policy(WRONG.policy(), bench.deps)
    assert judged.impact.counts == {StepKind.LOSES_ACCESS: 12}
    assert judged.impact.interrupts == 12
    assert len([c for c in bench.calls() if c["mutates"]]) == before


def test_a_shorter_retention_waits(bench):
    for number in range(10):
        told(bench, Left, person(number), f"l{number}")
    minutes(bench, 5)
    short = revision(
        bench, settings(GROUP, SMALL, retention=timedelta(seconds=1), snapshot_retention=timedelta(days=90))
    )
    sweep("drift", short)
    minutes(bench, 5, short)
    assert len(instances(bench.cloud)) == 14
    (proposal,) = waiting(short)
    assert proposal.impact.counts == {StepKind.DELETED_SOONER: 14 - present(bench)}


CHANGES = {
    "machine": ({"machine_type": "n2-standard-16"}, StepKind.UPDATED, UpdateInstance),
    "disk": ({"data_disk": Disk(size_gb=1000, type="PD_SSD")}, StepKind.REPLACED, CreateSnapshot),
    "larger disk": ({"data_disk": Disk(size_gb=200, type="PD_BALANCED")}, StepKind.PATCHED, ResizeDisk),
    "label": ({"labels": {"team": "x"}}, StepKind.PATCHED, UpdateInstance),
    "templates": ({"templates": ()}, StepKind.TEMPLATES, RemoveTemplate),
    "nothing": ({"title": "Another"}, None, None),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("rests", [False, True])
def test_what_is_foreseen_is_what_is_then_done(name, rests):
    """The oracle is the plan that a pass makes once the policy is in force."""
    fields, kind, action = CHANGES[name]
    base = settings(GROUP)
    analyst = replace(base.catalog.profiles["analyst"], disruption=Disruption.NOW)
    before = replace(base, catalog=replace(base.catalog, profiles={**base.catalog.profiles, "analyst": analyst}))
    changed = {**before.catalog.profiles, "analyst": replace(analyst, **fields)}
    after = replace(before, catalog=replace(before.catalog, profiles=changed))
    made = make_bench(settings=before)
    told(made, Joined, person(0), "j", groups=frozenset({GROUP}))
    minutes(made, 8)
    key = user_key_for(person(0))
    if rests:
        want_power(key, Power.STOPPED, PowerReason(cause=PowerCause.STOPPED_BY_PERSON), made.deps)
        minutes(made, 5)
    in_force(made.deps)
    found = impact_of_policy(after.policy(), made.deps).impact
    assert {step for each in found.entries for step in each.steps} - {StepKind.DISK} == ({kind} if kind else set())
    assert found.interrupts == (kind in {StepKind.UPDATED, StepKind.REPLACED} and not rests)
    new = in_force(revision(made, after))
    done = []
    for _ in range(6):  # a running one is stopped first
        done += preview(key, new).plan.actions
        reconcile(key, new)
        made.advance(minutes=1)
    assert any(isinstance(each, action) for each in done) if action else done == []
