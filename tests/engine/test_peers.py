"""What users of a peer, coder/coder, asked it for: each complaint in a sentence, and the proof that it does not hold here."""

from __future__ import annotations

import pytest
from kit.inprocess import impatient
from kit.life import RETENTION, SNAPSHOT_RETENTION, Life, life, settings_with
from kit.oracle import instances
from msgspec.structs import replace

from shared.domain.people.events import AccountChanged, AccountState
from shared.domain.policy.effect import StepKind
from shared.domain.record.record import Power
from shared.domain.record.status import ConditionType, Notice
from shared.domain.things.catalog import Disk, Disruption, Identity
from shared.domain.things.errors import Reason
from shared.domain.things.identity import parse_email
from shared.domain.things.power import PowerCause, PowerReason
from shared.engine.decisions.policy_impact import impact_of_policy
from shared.engine.reconcile.changing import want_power
from shared.engine.sweeps.sweeps import sweep

WORK = b"written before leaving"
ANN = parse_email("ann.o'neil+test@sub.example.co")


@pytest.fixture(autouse=True)
def _no_waiting():
    with impatient():
        yield


def suspend(person: Life) -> None:
    """As the directory's log tells it."""
    person.tell(AccountChanged, state=AccountState.SUSPENDED, holds=True)


def own_account():
    return settings_with({"analyst": {"identity": Identity.PERSONAL_SERVICE_ACCOUNT}})


def test_10480_what_a_suspended_person_runs_is_stopped_in_the_same_breath_and_goes_in_the_end():
    """Suspended users keep running workspaces, and nothing deletes them for the whole deployment.

    https://github.com/coder/coder/issues/10480 (2023-11-01).
    """
    someone = life(own_account(), ANN)
    someone.join(minutes=10)
    someone.write(WORK)
    suspend(someone)  # no tick yet: the delivery itself
    assert list(someone.states().values()) == ["STOPPING"]
    assert someone.account() == {"disabled": True, "bindings": []}
    someone.minutes(10)
    # A suspension may be a leave of absence: while it lasts nothing is deleted, and a manager is told when it lasts long.
    someone.bench.advance(days=2 * RETENTION.days)
    someone.minutes(12)
    assert list(someone.states().values()) == ["STOPPED"]
    assert Notice.SUSPENDED_LONG in someone.record.status.notices
    someone.tell(AccountChanged, state=AccountState.DELETED, holds=True)
    someone.tell(AccountChanged, state=AccountState.SUSPENDED, holds=False)
    someone.minutes(12)
    assert list(someone.states().values()) == ["STOPPED"]
    someone.bench.advance(days=RETENTION.days)
    someone.minutes(12)
    assert someone.states() == {}
    assert [snapshot.content for snapshot in someone.snapshots().values()] == [WORK]
    someone.bench.advance(days=(SNAPSHOT_RETENTION - RETENTION).days)
    someone.minutes(20)
    assert someone.snapshots() == {}
    assert someone.account() is None


def test_10597_nothing_starts_again_what_a_suspended_person_had():
    """Workspaces of users who were offboarded are still started by their schedule.

    https://github.com/coder/coder/issues/10597 (2023-11-08).
    """
    someone = life()
    someone.join()
    suspend(someone)
    someone.minutes(10)
    # Whatever could start it: a wish to run, every sweep, a start by hand, over a week.
    want_power(someone.key, Power.RUNNING, PowerReason(cause=PowerCause.STARTED_BY_PERSON), someone.bench.deps)
    for _ in range(7):
        someone.bench.advance(days=1)
        for kind in ("idle", "drift", "due"):
            sweep(kind, someone.bench.deps)
        assert list(someone.states().values()) == ["STOPPED"]
    someone.bench.cloud.notebooks.start(someone.only().name)
    someone.bench.advance(minutes=5)
    sweep("drift", someone.bench.deps)
    someone.minutes(10)
    assert list(someone.states().values()) == ["STOPPED"]
    assert [call["method"] for call in someone.bench.calls() if call["method"] == "StartInstance"] == []


def test_12748_who_is_long_gone_is_gone_and_comes_back_as_anybody_does():
    """Dormant users are not deleted on their own, although they could come back at any time with their permission.

    https://github.com/coder/coder/issues/12748 (2024-03-25).
    """
    someone = life(own_account(), ANN)
    someone.join(minutes=10)
    someone.write(WORK)
    someone.leave(minutes=10)
    someone.days(SNAPSHOT_RETENTION.days + 1)
    someone.days(1)
    assert instances(someone.bench.cloud) == {}
    assert (someone.snapshots(), someone.account()) == ({}, None)
    someone.join(minutes=12)
    assert list(someone.states().values()) == ["ACTIVE"]
    assert someone.files() == b""  # nothing came back from the dead


def test_7497_how_many_a_change_would_touch_is_said_before_it_touches_any():
    """Before a policy takes effect the administrator wants to know how many workspaces it hits, and to be able to cancel.

    https://github.com/coder/coder/issues/7497 (2023-05-11).
    """
    first = life(settings_with({"engineer": {"disruption": Disruption.NOW}}))
    bench = first.bench
    people = {
        "at-work-1": "analyst", "at-work-2": "analyst", "resting": "analyst", "eng-1": "engineer", "eng-2": "engineer",
        "eng-3": "engineer",
    }  # fmt: skip
    crowd = {name: Life(bench, parse_email(f"{name}@example.com")) for name in people}
    for name, person in crowd.items():
        person.join(minutes=0, profile=people[name])
    crowd["eng-3"].minutes(10)
    bench.cloud.notebooks.stop_outside(crowd["resting"].only().name)
    sweep("drift", bench.deps)
    assert sweep("drift", bench.deps, dry_run=True).found == {}
    calls, records = len(bench.calls()), {name: person.record for name, person in crowd.items()}

    def blast(**fields):
        """The impact of another configuration, which nobody has put in force yet."""
        profiles = {
            name: replace(profile, **fields.get(name, {}))
            for name, profile in bench.deps.policy.catalog.profiles.items()
        }
        catalog = replace(bench.deps.policy.catalog, profiles=profiles)
        found = impact_of_policy(replace(bench.deps.policy, catalog=catalog), bench.deps).impact
        return dict(found.counts), found.interrupts

    larger = {"machine_type": "e2-standard-16"}
    assert blast(analyst=larger, engineer=larger) == ({StepKind.UPDATED: 6}, 5)
    more = {"data_disk": Disk(size_gb=1000, type="PD_SSD")}
    # The analysts' disks get another type; the engineers' are only made larger, where they are.
    assert blast(analyst=more, engineer=more) == ({StepKind.REPLACED: 3, StepKind.DISK: 3, StepKind.PATCHED: 3}, 2)
    assert blast(analyst={"labels": {"team": "renamed"}}) == ({StepKind.PATCHED: 3}, 0)
    both = {StepKind.REPLACED: 3, StepKind.PATCHED: 3, StepKind.DISK: 3}
    other = {"data_disk": Disk(size_gb=1000, type="PD_BALANCED")}
    assert blast(engineer=other | {"labels": {"team": "renamed"}}) == (both, 3)
    assert blast(analyst={"templates": ()}) == ({StepKind.TEMPLATES: 3}, 0)
    # And nothing came of it: no call that changes anything, no record is another, nobody is told otherwise.
    assert [call for call in bench.calls()[calls:] if call["mutates"]] == []
    assert {name: person.record for name, person in crowd.items()} == records
    ready = crowd["at-work-1"].condition(ConditionType.NOTEBOOK_READY)
    assert ready is not None
    assert ready.reason is Reason.READY
