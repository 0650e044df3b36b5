"""What each other account could do if its key were stolen: everything is attempted with its grants, and this is all that goes."""

from __future__ import annotations

import pytest
from kit.as_account import Acting, acting, deploy_access, writer_of
from kit.attempts import permitted
from kit.hub import ADMINS, ANA, BEN, MIA, Hub, hub_settings, make_hub
from kit.mail import MESSAGES
from msgspec.structs import replace

from shared.domain.intent.batches import WaitingPerson
from shared.domain.intent.decision import About, Decision, Verdict
from shared.domain.intent.wish import Asked, WishKind
from shared.domain.record.cuts import CutClass, StepKind
from shared.domain.things.errors import AccessDeniedError
from shared.domain.things.identity import user_key_for
from shared.engine.news.requests import ask

KEY = user_key_for(ANA)
HR = "hr-feed@acme-hr.iam.gserviceaccount.com"
AUDIT = "benchkeeper-local-audit"
CREATES = {"storage.objects.insert"}  # what storage.objects.create alone comes to: nothing that is there changes
RECORDS, INBOX, LETTERS = "benchkeeper-local", "benchkeeper-local-inbox", "benchkeeper-local-letters"
# What storage.objects.create and .delete on a bucket come to.
WRITES = {f"storage.objects.{method}" for method in ("insert", "delete", "compose", "rewrite", "copy")}
NOTEBOOKS = {
    f"notebooks.{method}"
    for method in (
        "CreateInstance",
        "DeleteInstance",
        "ResetInstance",
        "StartInstance",
        "StopInstance",
        "UpdateInstance",
    )
}
# The API itself asks for notebooks.instances.update where files are restored or a disk grows.
SAME_PERMISSION = {"notebooks.RestoreInstance", "notebooks.ResizeDisk"}
SNAPSHOTS = {
    "compute.disks.createSnapshot",
    "compute.snapshots.insert",
    "compute.snapshots.delete",
    "compute.snapshots.setLabels",
}
CLUSTERS = {"dataproc.CreateCluster", "dataproc.DeleteCluster"}
LOG = {"logging.entries.write"}
COPIES = {f"storage.objects.{method}" for method in ("compose", "rewrite", "copy")}  # to a name that is free
SESSIONS = {f"dataproc.{verb}SessionTemplate" for verb in ("Create", "Update", "Delete")}

# What it does to letters (notes on them, and removes those whose lifetime is over), and on which topics it may publish.
NOTES: dict[str, dict[str, set[str]]] = {
    "lifecycle": {AUDIT: CREATES},
    "tick": {AUDIT: CREATES, LETTERS: {f"storage.objects.{method}" for method in ("delete", "patch", "update")}},
}
SPEAKS = {"lifecycle": ("dead-letter", "lifecycle", "operator", "directory", "tick"), "tick": ("dead-letter",)}


@pytest.fixture
def hub() -> Hub:
    """Ana and Ben have running notebooks, and a click of Ana waits."""
    made = make_hub(hub_settings())
    made.joined(ANA, minutes=0)
    made.joined(BEN)
    deploy_access(made.bench, publishers=[f"serviceAccount:{HR}"])
    made.loses_wake_ups = True
    made.browser(ANA).post("/notebook/stop")
    return made


def ours(hub: Hub, name: str) -> Acting:
    return acting(hub.bench, f"benchkeeper-{name}@{hub.bench.settings.project}.iam.gserviceaccount.com")


def methods(found: set[tuple[str, str]], *, without: str = "") -> set[str]:
    return {method for method, where in found if where != without or not without}


@pytest.mark.parametrize(("name", "may"), [("push", set()), ("build", {("logging.entries.write", "")})])
def test_push_and_build_may_change_nothing(hub: Hub, name: str, may: set[tuple[str, str]]) -> None:
    """The build writes its own log."""
    assert permitted(hub.bench, ours(hub, name)) == may


@pytest.mark.parametrize(
    ("email", "topic"),
    [
        (HR, "workbench-lifecycle"),
        (writer_of("benchkeeper-people"), "workbench-directory"),
        (writer_of("benchkeeper-notebooks"), "workbench-wake"),
    ],
)
def test_a_source_may_publish_to_its_own_topic_and_nothing_else(hub: Hub, email: str, topic: str) -> None:
    assert permitted(hub.bench, acting(hub.bench, email)) == {("pubsub.Publish", topic)}


def test_the_dead_letter_function_keeps_letters_and_marks_records(hub: Hub) -> None:
    """It can overwrite a record that it can name; it can list none, and no environment and no topic of a source is in its reach."""
    account = ours(hub, "dead-letter")
    found = permitted(hub.bench, account)
    assert {where for _, where in found} == {RECORDS, LETTERS, "workbench-dead-letter"}
    assert methods({pair for pair in found if pair[1] == RECORDS}) <= WRITES | {"storage.objects.move"}
    assert ("storage.objects.delete", LETTERS) not in found
    assert {method for method, where in found if where == "workbench-dead-letter"} == {"pubsub.Publish"}
    for listing in (account.deps.records.rows, account.deps.dead_letters.rows, account.deps.inbox.folders):
        with pytest.raises(AccessDeniedError):
            list(listing())


def test_the_function_that_sends_mails_changes_records_that_it_can_name_and_nothing_else() -> None:
    """It claims mails in records. It lists nothing, and no environment, letter, request and no topic of a source is in its reach."""
    made = make_hub(replace(hub_settings(), messages=MESSAGES))
    made.joined(ANA, minutes=0)
    made.joined(BEN)
    deploy_access(made.bench)
    account = ours(made, "notify")
    found = permitted(made.bench, account)
    assert {where for _, where in found} == {RECORDS, "workbench-dead-letter"}
    assert methods({pair for pair in found if pair[1] == RECORDS}) <= WRITES | {"storage.objects.move"}
    for listing in (account.deps.records.rows, account.deps.dead_letters.rows, account.deps.inbox.folders):
        with pytest.raises(AccessDeniedError):
            list(listing())


@pytest.mark.parametrize("name", ["lifecycle", "tick"])
def test_who_acts_on_environments_does_what_the_product_does_and_no_more(hub: Hub, name: str) -> None:
    """Whoever may write records may write facts anyway: that the lifecycle function may pass messages on adds no power to it."""
    found = permitted(hub.bench, ours(hub, name))
    storage = {pair for pair in found if pair[0].startswith("storage.")}
    assert {where for _, where in storage} == {RECORDS, INBOX, *NOTES[name]}
    assert {method for method, where in storage if where == LETTERS} == NOTES[name].get(LETTERS, set())
    assert {method for method, where in storage if where == AUDIT} <= CREATES | COPIES
    assert {method for method, where in storage if where == INBOX} == {"storage.objects.delete"}
    assert {method for method, where in storage if where == RECORDS} <= WRITES | {"storage.objects.move"}
    topics = {f"workbench-{topic}" for topic in SPEAKS[name]}
    assert {pair for pair in found if pair[0].startswith("pubsub.")} == {("pubsub.Publish", topic) for topic in topics}
    rest = {method for method, _ in found if not method.startswith(("storage.", "pubsub."))}
    assert rest >= NOTEBOOKS | SNAPSHOTS | CLUSTERS
    assert rest <= NOTEBOOKS | SAME_PERMISSION | SNAPSHOTS | CLUSTERS | (SESSIONS | LOG if name == "tick" else set())


@pytest.mark.parametrize("name", ["lifecycle", "tick"])
def test_who_takes_wishes_up_can_write_none(hub: Hub, name: str) -> None:
    account = ours(hub, name)
    with pytest.raises(AccessDeniedError):
        ask(KEY, Asked(kind=WishKind.LOOK_AGAIN), account.deps, subject=MIA, assertion="", as_administrator=True)


@pytest.mark.parametrize("name", ["lifecycle", "tick", "dead-letter", "push", "build"])
def test_none_makes_anybody_an_administrator(hub: Hub, name: str) -> None:
    account = ours(hub, name)
    hub.make_admin(account.email)
    with pytest.raises(AccessDeniedError):
        account.deps.groups.join(ADMINS, BEN)
    assert not hub.bench.deps.groups.has(ADMINS, BEN)


def test_the_functions_work_with_these_grants(hub: Hub) -> None:
    """Wishes are taken up by the lifecycle function's account and by the tick's; the grants are not so narrow that nothing works."""
    from shared.engine.news.requests import take_up  # noqa: PLC0415
    from shared.engine.sweeps.sweeps import sweep  # noqa: PLC0415 - only here

    accounts = {name: ours(hub, name) for name in ("lifecycle", "tick")}
    for account in accounts.values():
        hub.make_admin(account.email)  # a member, so that it may look into the group
    take_up(KEY, accounts["lifecycle"].deps)
    assert hub.record(ANA).spec.power.value == "STOPPED"
    hub.browser(MIA).post(f"/manage/people/{KEY}/acts/hold", reason="case 1")
    assert sweep("due", accounts["tick"].deps).failed == {}
    assert hub.record(ANA).hold is not None
    assert hub.bench.deps.inbox.folders().people == ()


@pytest.mark.parametrize("name", ["lifecycle", "tick"])
def test_who_takes_decisions_up_keeps_the_guards_objects_and_can_decide_nothing(hub: Hub, name: str) -> None:
    account = ours(hub, name)
    deps = account.deps
    waiting = WaitingPerson(
        user_key=KEY, ref="0" * 16, steps=(StepKind.STOP,), cause=CutClass.GROUP, source="hr", since=hub.bench.now
    )
    deps.guard.note_waiting(waiting)
    assert [each.user_key for each in deps.guard.waiting()] == [KEY]
    assert deps.guard.claim("hr", "fleet-hour", 0, KEY, expected=None)
    deps.guard.forget_waiting(KEY)
    decision = Decision(
        decision_id="0" * 16, about=About.CUTS, verdict=Verdict.APPROVE, digest="0" * 32, asked_at=hub.bench.now,
        assertion=hub.token(MIA),
    )  # fmt: skip
    with pytest.raises(AccessDeniedError):
        deps.decisions.put(decision)
    hub.bench.deps.decisions.put(decision)
    (found,) = deps.decisions.waiting()
    assert deps.decisions.read(found) is not None
    deps.decisions.remove(found)
    assert deps.decisions.waiting() == ()
