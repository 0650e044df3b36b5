"""Somebody changes between two calls of a pass what the pass was planned from: neither its stop nor what it creates is mistaken later."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import timedelta

import pytest
from kit.inprocess import impatient
from kit.life import Life, disruptive, life, settings_with

from shared.domain.people.events import Joined, Moved
from shared.domain.record.record import Power
from shared.domain.things.catalog import Disruption, Identity
from shared.domain.things.identity import account_email, account_id_for
from shared.engine.news.deliver import deliver
from shared.engine.reconcile.changing import want_hold
from shared.engine.reconcile.reconciler import reconcile
from shared.engine.sweeps.sweeps import sweep


class DiedError(BaseException):
    """The process died here."""


@pytest.fixture(autouse=True)
def _no_waiting():
    with impatient():
        yield


def at_call(someone: Life, number: int, what: Callable[[], object]) -> None:
    """Do something before that call, or after the one before it."""
    left = [number]

    def around() -> None:
        left[0] -= 1
        if left[0] == 0:
            what()

    someone.bench.adapter.around = around


def die() -> None:
    raise DiedError


def undisturbed(someone: Life) -> None:
    someone.bench.adapter.around = lambda: None


def rejoins(someone: Life, dies_after: int | None) -> Callable[[], None]:
    """Return what joins anew; the pass that was interrupted may die so many calls later."""

    def rejoin() -> None:
        undisturbed(someone)
        someone.bench.advance(seconds=1)
        someone.tell(Joined)
        if dies_after is not None:
            at_call(someone, dies_after, die)

    return rejoin


@pytest.mark.parametrize("settled", [True, False], ids=["seen running", "never seen running"])
@pytest.mark.parametrize("number", range(1, 32, 2))
def test_a_return_while_the_leave_is_carried_out_ends_in_a_running_notebook(number, settled):
    for dies_after in (None, 2, 5):
        someone = life()
        someone.join(minutes=8 if settled else 0)
        someone.bench.advance(hours=1)
        at_call(someone, number, rejoins(someone, dies_after))
        with contextlib.suppress(DiedError):
            someone.leave()
        undisturbed(someone)
        reconcile(someone.key, someone.bench.deps)  # a wake-up, or the message that comes again
        someone.minutes(25)
        record = someone.record
        assert list(someone.states().values()) == ["ACTIVE"], (dies_after, record.spec.power_reason)
        assert (record.spec.power, record.status.notebook.power_settled) == (Power.RUNNING, True)


@pytest.mark.parametrize("number", range(1, 40, 2))
def test_what_an_instance_was_created_with_is_known_although_the_record_changed_while_it_was_created(number):
    someone = life(disruptive(Disruption.NOW))
    someone.join(minutes=3)  # not settled yet: else the record is written first anyway
    someone.bench.cloud.notebooks.delete_outside(someone.only().name)

    def put_on_hold() -> None:
        undisturbed(someone)
        want_hold(someone.key, "case 1", someone.bench.deps)

    at_call(someone, number, put_on_hold)
    someone.move(profile="engineer", profile_said=True)
    undisturbed(someone)
    someone.minutes(10)
    # As the sweep sees it: no listing shows the data disk, so the record has to know it.
    assert someone.record.status.notebook.built_from.get("data disk") in {None, "PD_SSD of 500 GB"}
    assert sweep("drift", someone.bench.deps).decisions == []
    assert (list(someone.states().values()), list(someone.mine())) == (
        ["ACTIVE"],
        [someone.record.status.notebook.instance_id],
    )


@pytest.mark.parametrize("number", range(1, 40, 2))
def test_an_account_that_a_pass_had_begun_when_it_died_goes_with_the_leave(number):
    someone = life(settings_with({"engineer": {"identity": Identity.PERSONAL_SERVICE_ACCOUNT}}))
    someone.join()
    now, bench = someone.bench.now, someone.bench
    later = {"occurred_at": now, "effective_at": now + timedelta(hours=1)}
    deliver(Moved(event_id="m", user=someone.email, profile="engineer", profile_said=True, **later), bench.deps)
    bench.advance(hours=1)
    at_call(someone, number, die)
    with contextlib.suppress(DiedError):
        sweep("due", bench.deps)
    undisturbed(someone)
    someone.leave(minutes=5)
    email = account_email(account_id_for(someone.key), bench.settings.project)
    path = f"/v1/projects/{bench.settings.project}/serviceAccounts/{email}"
    iam = bench.clients.json("iam")
    found = iam.call_or_none("GET", path)
    assert found is None or found["disabled"]
    assert found is None or not iam.call("POST", f"{path}:getIamPolicy", body={}).get("bindings")
