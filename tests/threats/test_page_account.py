"""The page's account, stolen: every write that the cloud serves is attempted with its grants, on everything that is there."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from kit.as_account import Acting, acting, deploy_access
from kit.attempts import attempts
from kit.hub import ADMINS, ANA, BEN, MIA, Hub, hub_settings, make_hub
from kit.inprocess import START
from kit.official import storage_bucket

from emulator.iap.signing import new_key
from shared.domain.intent.batches import Batch, Entry
from shared.domain.intent.batches import to_json as list_json
from shared.domain.intent.decision import About, Decision, Verdict
from shared.domain.intent.wish import Asked, Wish, WishKind
from shared.domain.record.cuts import CutClass, StepKind
from shared.domain.record.record import Power
from shared.domain.things.errors import AccessDeniedError
from shared.domain.things.identity import user_key_for
from shared.engine.decisions.decisions import take_up_decisions
from shared.engine.news.requests import ask, take_up
from shared.engine.ports.inbox import DeadLetter, LetterRow

KEY = user_key_for(ANA)
LETTER = DeadLetter(
    row=LetterRow(letter_id="1", sent_at=START, reason="InvalidMessage", detail="The message is not JSON."),
    source="s", received_at=START, body=b"x", size=1, attributes={},
)  # fmt: skip


@pytest.fixture
def hub() -> Hub:
    """Ana and Ben have running notebooks, a click of Ana waits, and a letter is kept; the grants are the deployment's."""
    made = make_hub(hub_settings())
    made.joined(ANA, minutes=0)
    made.joined(BEN)
    deploy_access(made.bench)
    made.loses_wake_ups = True
    made.browser(ANA).post("/notebook/keep-on", until="1h")
    made.swept()
    made.bench.deps.dead_letters.store(LETTER)
    return made


@pytest.fixture
def page(hub: Hub) -> Acting:
    return acting(hub.bench, f"benchkeeper-hub@{hub.bench.settings.project}.iam.gserviceaccount.com")


def world_of(hub: Hub) -> dict[str, Any]:
    """Everything that is in the cloud, but for the new objects of the inbox and what waits on the topic of wake-ups."""
    settings = hub.bench.settings
    models = copy.deepcopy(hub.bench.cloud.world.save()["models"])
    for bucket in models["storage"]["buckets"]:
        if bucket["name"] == settings.inbox_bucket:
            bucket.clear()
    models["storage"] = {"buckets": models["storage"]["buckets"]}
    models["pubsub"] = without_wake_ups(models["pubsub"], settings.topic_wake)
    return models


def without_wake_ups(pubsub: dict[str, Any], topic: str) -> dict[str, Any]:
    return {
        "topics": pubsub["topics"],
        "subscriptions": [each for each in pubsub["subscriptions"] if topic not in str(each.get("config"))],
    }


def inbox(hub: Hub) -> dict[str, bytes]:
    bucket = storage_bucket(hub.bench.clients, hub.bench.settings.inbox_bucket)
    return {blob.name: blob.download_as_bytes() for blob in bucket.list_blobs()}


def test_no_byte_of_anything_but_new_wishes_and_wake_ups_can_be_written(hub: Hub, page: Acting) -> None:
    before, waiting = world_of(hub), inbox(hub)
    allowed: set[tuple[str, str]] = set()
    refused: dict[str, set[int]] = {}
    for attempt in attempts(hub.bench):
        answer = page.ask(attempt.verb, attempt.path, body=attempt.body, **attempt.more)
        refused.setdefault(attempt.route, set()).add(answer.status_code)
        if answer.ok:
            allowed.add((attempt.verb, attempt.path.partition("?")[0]))
    settings = hub.bench.settings
    assert allowed == {
        ("POST", f"/upload/storage/v1/b/{settings.inbox_bucket}/o"),
        ("POST", f"/v1/projects/{settings.project}/topics/{settings.topic_wake}:publish"),
    }
    vacuous = [route for route, statuses in refused.items() if 403 not in statuses and 200 not in statuses]
    assert vacuous == []
    assert len(refused) > 60
    assert world_of(hub) == before
    assert {name: content for name, content in inbox(hub).items() if name in waiting} == waiting


def test_what_it_wrote_into_the_inbox_changes_nobodys_record(hub: Hub, page: Acting) -> None:
    before = hub.record(ANA), hub.record(BEN)
    made = {
        "user_key": KEY, "asked": Asked(kind=WishKind.STOP), "asked_at": hub.bench.now, "as_administrator": True,
        "assertion": hub.token(ANA, key=new_key()),
    }  # fmt: skip
    page.deps.inbox.put(Wish(wish_id="0" * 16, **made))
    page.deps.inbox.put(Wish(wish_id="1" * 16, **{**made, "assertion": hub.token(BEN)}))
    page.deps.inbox.put(Wish(wish_id="2" * 16, **{**made, "as_administrator": False, "assertion": hub.token(BEN)}))
    waiting = hub.bench.deps.inbox.waiting(KEY)
    for each in waiting:
        if each.shown is not None and each.shown.asked.kind is WishKind.KEEP_ON:
            hub.bench.deps.inbox.remove(each)
    take_up(KEY, hub.bench.deps)
    assert (hub.record(ANA), hub.record(BEN)) == before
    dropped = {facts["reason"] for facts in hub.lines("Dropped a request")}
    assert dropped == {"NotSigned", "NotAdministrator", "NotTheirs"}


def test_it_can_use_an_assertion_that_it_saw_for_what_its_owner_may_ask(hub: Hub, page: Acting) -> None:
    """What is left, and docs/threats.md says so: for ten minutes, within the rights of whoever was on the page."""
    seen = hub.token(ANA)
    answer = ask(KEY, Asked(kind=WishKind.STOP), page.deps, subject=ANA, assertion=seen)
    assert answer is not None
    take_up(KEY, hub.bench.deps)
    assert hub.record(ANA).spec.power is Power.STOPPED
    hub.bench.advance(minutes=11)
    ask(KEY, Asked(kind=WishKind.START), page.deps, subject=ANA, assertion=seen)
    take_up(KEY, hub.bench.deps)
    assert hub.record(ANA).spec.power is Power.STOPPED


def test_it_approves_nothing(hub: Hub, page: Acting) -> None:
    """It can write down decisions as it likes; without an assertion of an administrator none counts, and it can read nobody's."""
    hub.bench.deps.groups.join(ADMINS, BEN)
    batch = Batch(
        cause=CutClass.EMPLOYMENT, source="hr", since=START,
        entries=(Entry(user_key=KEY, ref="0" * 16, steps=(StepKind.STOP,)),),
    )  # fmt: skip
    digest = page.deps.decisions.put_list(list_json(batch))
    assert page.deps.decisions.read_list(digest) == list_json(batch)
    before = hub.record(ANA), hub.record(BEN)
    forged = hub.token(MIA, key=new_key())
    for number, assertion in enumerate(("", "x", forged, hub.token(ANA), hub.token(MIA, aud="/another/service"))):
        decision = Decision(
            decision_id=f"{number:016}", about=About.CUTS, verdict=Verdict.APPROVE, digest=digest,
            asked_at=hub.bench.now, assertion=assertion,
        )  # fmt: skip
        page.deps.decisions.put(decision, by=user_key_for(MIA))
    for waiting in page.deps.decisions.waiting():
        with pytest.raises(AccessDeniedError):
            page.deps.decisions.read(waiting)
        with pytest.raises(AccessDeniedError):
            page.deps.decisions.remove(waiting)
    take_up_decisions(hub.bench.deps)
    assert (hub.record(ANA), hub.record(BEN)) == before
    assert hub.bench.deps.decisions.waiting() == ()
    assert {facts["reason"] for facts in hub.lines("Dropped a decision")} == {"NotSigned", "NotAdministrator"}
    assert hub.lines("Approved list") == []


def test_it_makes_nobody_an_administrator(hub: Hub, page: Acting) -> None:
    hub.make_admin(page.email)  # a member of the group, so that it may look into it
    name = page.ask("GET", f"/v1/groups:lookup?groupKey.id={ADMINS}").json()["name"]
    joining = {"preferredMemberKey": {"id": BEN}, "roles": [{"name": "MEMBER"}]}
    assert page.ask("POST", f"/v1/{name}/memberships", body=joining).status_code == 403
    assert page.deps.groups.has(ADMINS, MIA)
    assert not hub.bench.deps.groups.has(ADMINS, BEN)


def test_the_page_itself_works_with_these_grants(hub: Hub, page: Acting) -> None:
    """The grants are not so narrow that nothing works: each route, by the page's account."""
    from msgspec.structs import replace  # noqa: PLC0415 - only here

    from portal.app import ROUTES, create_app  # noqa: PLC0415
    from portal.roles import NEEDED  # noqa: PLC0415
    from tests.kit.hub import ask as visit  # noqa: PLC0415

    hub.make_admin(page.email)
    hub.app = create_app(replace(hub.deps, engine=page.deps))
    for route in ROUTES:
        browser = hub.browser(MIA if route.access in NEEDED else ANA)
        answer = visit(browser, route)
        assert answer.status_code < 500, route.name
        assert answer.status_code in route.answers, (route.name, answer.status_code)
