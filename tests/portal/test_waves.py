"""A change of notebooks that goes in waves, on the page *Changes*: how far it is, and who may let a halted one go on or back."""

from __future__ import annotations

import pytest
from kit.hub import MIA, Hub, hub_settings, make_hub, plain
from kit.oracle import instances
from msgspec.structs import replace

from shared.domain.policy.policy_codec import policy_digest
from shared.domain.record.waves import RolloutState
from shared.domain.things.catalog import Disruption, VmImage
from shared.domain.things.identity import parse_email
from shared.engine.decisions.policy_change import note_deployed, put_in_force, waiting
from shared.engine.ports.deps import Deps
from shared.engine.sweeps.sweeps import sweep
from shared.wiring import wire

DEPLOYER = "deployer@example.com"
PEOPLE = 8


def files(name: str) -> dict[str, dict[str, object]]:
    return {"analyst": {"image": VmImage(project="p", name=name), "disruption": Disruption.NOW}}


def hour(hub: Hub, deps: Deps) -> None:
    sweep("drift", deps)
    for minutes in (*[1] * 15, 44, 1):
        hub.bench.advance(minutes=minutes)
        sweep("due", deps)


def rolled_out(author: str = DEPLOYER, *, broken: bool = False) -> tuple[Hub, Deps]:
    """A fleet in the middle of a rollout of another image."""
    hub = make_hub(settings=hub_settings(files("old")))
    for number in range(PEOPLE):
        hub.life(parse_email(f"user{number}@example.com")).join(profile="analyst")
    sweep("drift", hub.bench.deps)
    wired = wire(hub_settings(files("new")), log=hub.bench.log, clients=hub.bench.clients)
    deps = replace(wired, clock=hub.bench.deps.clock)
    note_deployed(deps.base_policy, deps, by=author)
    sweep("drift", deps)
    (proposal,) = waiting(deps)
    put_in_force(proposal.digest, deps, impact_digest=proposal.impact.digest, approved_by=("otto",))
    hub.bench.deps.policies.load()
    if broken:
        error = {"code": "INVALID_ARGUMENT", "message": "The image does not boot."}
        hub.bench.fault(call="notebooks.CreateInstance", times=0, operation_error=error)
        for _ in range(2):
            hour(hub, deps)
        hub.bench.cloud.world.faults.clear()
        sweep("idle", deps)
        hub.bench.deps.policies.load()
    return hub, deps


def images(hub: Hub) -> list[str]:
    return [i.body["gceSetup"]["vmImage"]["name"] for i in instances(hub.bench.cloud).values()]


def digest_of(deps: Deps) -> str:
    current = deps.policies.load()
    assert current is not None
    assert current.rollout is not None
    return current.rollout.decided_by


def test_the_page_shows_how_far_it_is() -> None:
    hub, _ = rolled_out()
    page = plain(hub.browser(MIA).text("/manage/changes"))
    assert "Rollout in progress Wave 1 of 3" in page
    assert "not started" in page
    assert "No change waits" not in page


def test_a_halted_one_is_shown_with_what_either_verdict_does_and_goes_back() -> None:
    hub, deps = rolled_out(broken=True)
    browser, digest = hub.browser(MIA), digest_of(deps)
    listing = plain(browser.text("/manage/changes"))
    assert "Rollout halted" in listing
    assert "too many were not ready in time: 1 person waits" in listing
    assert "No other notebook is touched." in listing
    assert "The whole previous configuration is put in force again" in listing
    assert "not ready in time" in plain(browser.text(f"/manage/changes/{digest}"))
    assert "1 person waits for a change to be approved" in plain(browser.text("/manage"))
    assert browser.post(f"/manage/changes/{digest}/reject").status_code == 303
    hub.bench.advance(minutes=1)
    sweep("due", deps)
    current = deps.policies.load()
    assert current is not None
    assert (current.digest, current.rollout) == (policy_digest(hub.bench.deps.base_policy), None)
    for _ in range(2):
        hour(hub, deps)
    assert images(hub) == ["old"] * PEOPLE
    assert deps.decisions.waiting() == ()


def test_without_the_list_of_the_fleet_the_rest_of_the_page_is_shown() -> None:
    hub, _ = rolled_out(broken=True)
    browser = hub.browser(MIA)
    browser.text("/manage/changes")
    hub.bench.advance(hours=1)
    hub.bench.fault(
        call="storage.objects.get",
        resource="*index/fleet.json.gz",
        error={"code": "PERMISSION_DENIED", "message": "no"},
        times=0,
    )
    page = plain(browser.text("/manage/changes"))
    assert "the waiting configurations could not be read" in page.lower()


def test_one_administrator_lets_it_go_on() -> None:
    hub, deps = rolled_out(broken=True)
    assert hub.browser(MIA).post(f"/manage/changes/{digest_of(deps)}/approve").status_code == 303
    hub.bench.advance(minutes=1)
    sweep("due", deps)
    current = deps.policies.load()
    assert current is not None
    assert current.rollout is not None
    assert current.rollout.state is RolloutState.OPEN
    for _ in range(6):
        hour(hub, deps)
    assert images(hub) == ["new"] * PEOPLE  # the first one's change was tried again, too


@pytest.mark.parametrize("verdict", ["approve", "reject"])
def test_who_deployed_it_does_not_decide(verdict: str) -> None:
    hub, deps = rolled_out(author=MIA, broken=True)
    browser, digest = hub.browser(MIA), digest_of(deps)
    assert "You deployed this, so others must decide about it." in plain(browser.text(f"/manage/changes/{digest}"))
    assert browser.post(f"/manage/changes/{digest}/{verdict}").status_code == 409
    assert deps.decisions.waiting() == ()


def test_a_decision_about_an_earlier_halt_counts_for_nothing() -> None:
    hub, deps = rolled_out(broken=True)
    browser, digest = hub.browser(MIA), digest_of(deps)
    browser.post(f"/manage/changes/{digest}/approve")
    hub.bench.advance(minutes=1)
    sweep("due", deps)
    assert browser.post(f"/manage/changes/{digest}/reject").status_code == 404
