"""Wishes taken up: who may ask for what, once each, in their order, whatever dies in between; forged ones do nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from kit.hub import ADMINS, ANA, AUDIENCE, BEN, MIA, Hub, make_hub
from kit.inprocess import ListLog
from kit.official import storage_bucket
from msgspec.structs import replace

from emulator.iap.signing import claims_of, new_key
from shared.domain.intent.asking import MAX_TAKEN, REMEMBERED
from shared.domain.intent.roles import Roles
from shared.domain.intent.wish import LAPSES_AFTER, Asked, Wish, WishKind
from shared.domain.people.events import Renamed
from shared.domain.record.record import Power
from shared.domain.things.errors import AccessDeniedError, BenchkeeperError, CloudUnavailableError, Reason, RefusedError
from shared.domain.things.history import StoryKind
from shared.domain.things.identity import UserEmail, user_key_for
from shared.engine.news import requests as wishes
from shared.engine.news.requests import Fault, ask, take_up
from shared.engine.ports.deps import Deps
from shared.engine.sweeps.sweeps import sweep

KEY, BENS = user_key_for(ANA), user_key_for(BEN)
SMALL = "single-node"
STOP, START = Asked(kind=WishKind.STOP), Asked(kind=WishKind.START)


@pytest.fixture
def hub() -> Hub:
    """Ana has a running notebook; the page's wake-ups go nowhere, so that a test takes wishes up when it likes."""
    made = make_hub()
    made.joined(ANA)
    made.loses_wake_ups = True
    made.bench.log.lines.clear()
    return made


def deps_of(hub: Hub, **changes: Any) -> Deps:
    return replace(hub.bench.deps, **changes)


def wish(hub: Hub, asked: Asked = STOP, *, by: UserEmail = ANA, admin: bool = False, **changes: Any) -> Wish:
    """A wish as the page would write it, with fields changed as a thief of the page's account could."""
    count = getattr(hub, "_serial", 0) + 1
    hub.__dict__["_serial"] = count
    made = {
        "wish_id": f"{count:016x}",
        "user_key": KEY,
        "asked": asked,
        "as_administrator": admin,
        "asked_at": hub.bench.now,
        "assertion": hub.token(by),
    }
    return Wish(**{**made, **changes})


def put(hub: Hub, *made: Wish) -> None:
    for each in made:
        hub.bench.deps.inbox.put(each)


def left(hub: Hub, key: Any = KEY) -> int:
    return len(hub.bench.deps.inbox.waiting(key))


def dropped(hub: Hub) -> list[str]:
    return [facts["reason"] for facts in hub.lines("Dropped a request")]


def story(hub: Hub) -> list[tuple[str, str]]:
    return [(line.text, line.because) for line in hub.record().status.story if line.kind is StoryKind.WISH]


class TestAsking:
    def test_the_page_writes_no_record(self, hub: Hub) -> None:
        hub.bench.cloud.world.journal.clear()
        before = hub.record()
        answer = ask(KEY, STOP, hub.bench.deps, subject=ANA, assertion=hub.token(ANA))
        assert answer is not None
        assert (answer.changed, answer.record.spec.power) == (True, Power.STOPPED)
        assert hub.record() == before
        written = [call["resource"] for call in hub.bench.cloud.world.journal.listing(mutating_only=True)]
        assert [name.partition("/")[0] for name in written] == [hub.bench.settings.inbox_bucket]

    def test_what_waits_counts_already(self, hub: Hub) -> None:
        def click(asked: Asked) -> bool:
            hub.bench.advance(seconds=1)
            answer = ask(KEY, asked, hub.bench.deps, subject=ANA, assertion=hub.token(ANA))
            assert answer is not None
            return answer.changed

        assert [click(each) for each in (STOP, STOP, START, STOP)] == [True, False, True, True]
        take_up(KEY, hub.bench.deps)
        assert [text for text, _ in story(hub)] == ["Stop the notebook", "Start the notebook", "Stop the notebook"]

    @pytest.mark.parametrize("moment", range(5))
    def test_a_click_counts_although_the_one_before_is_taken_up_meanwhile(self, hub: Hub, moment: int) -> None:
        put(hub, wish(hub, STOP))
        hub.bench.advance(seconds=1)
        hub.taken_up_at(moment, KEY)
        answer = ask(KEY, START, hub.bench.deps, subject=ANA, assertion=hub.token(ANA))
        assert answer is not None
        assert answer.changed
        take_up(KEY, hub.bench.deps)
        assert hub.record().spec.power is Power.RUNNING

    def test_what_is_not_allowed_is_refused_at_once(self, hub: Hub) -> None:
        asked = Asked(kind=WishKind.START_CLUSTER, template="no-such")
        with pytest.raises(RefusedError):
            ask(KEY, asked, hub.bench.deps, subject=ANA, assertion=hub.token(ANA))
        assert left(hub) == 0

    def test_nobody_of_whom_nothing_is_known(self, hub: Hub) -> None:
        assert ask(BENS, STOP, hub.bench.deps, subject=BEN, assertion=hub.token(BEN)) is None
        assert left(hub, BENS) == 0


class TestTakenUp:
    def test_once_and_the_object_goes(self, hub: Hub) -> None:
        put(hub, wish(hub))
        accepted = take_up(KEY, hub.bench.deps)
        assert accepted is not None
        assert (accepted.changed, hub.record().spec.power, left(hub)) == (True, Power.STOPPED, 0)
        assert story(hub) == [("Stop the notebook", "asked for by the person")]
        assert take_up(KEY, hub.bench.deps) is None

    def test_a_lost_wake_up_is_the_ticks(self, hub: Hub) -> None:
        put(hub, wish(hub))
        sweep("due", hub.bench.deps)
        assert (hub.record().spec.power, left(hub)) == (Power.STOPPED, 0)
        assert hub.life().states() != {}

    def test_the_preview_of_a_sweep_names_who_waits(self, hub: Hub) -> None:
        put(hub, wish(hub))
        assert (KEY, "a request waits to be carried out") in sweep("due", hub.bench.deps, dry_run=True).decisions
        assert left(hub) == 1

    def test_in_the_order_of_creation_whatever_the_names_say(self, hub: Hub) -> None:
        put(hub, wish(hub, STOP, asked_at=hub.bench.now + timedelta(hours=9)))
        hub.bench.advance(seconds=1)
        put(hub, wish(hub, START, asked_at=hub.bench.now - timedelta(hours=9)))
        take_up(KEY, hub.bench.deps)
        assert [text for text, _ in story(hub)] == ["Stop the notebook", "Start the notebook"]

    def test_a_crash_after_the_record_was_written_folds_nothing_twice(self, hub: Hub) -> None:
        put(hub, wish(hub, STOP))
        hub.bench.fault(call="storage.objects.delete", resource="*/wishes/*", error={"code": "PERMISSION_DENIED"})
        with pytest.raises(BenchkeeperError):
            take_up(KEY, hub.bench.deps)
        assert left(hub) == 1
        put(hub, wish(hub, START))
        take_up(KEY, hub.bench.deps)
        assert left(hub) == 0
        assert [text for text, _ in story(hub)] == ["Stop the notebook", "Start the notebook"]

    def test_two_at_the_same_time_fold_it_once(self, hub: Hub) -> None:
        """The other one runs whole between this one's reading of the record and its writing."""
        put(hub, wish(hub, Asked(kind=WishKind.LOOK_AGAIN), by=MIA, admin=True))
        inner = hub.bench.deps

        class Between:
            def __init__(self) -> None:
                self.once = True

            def __getattr__(self, name: str) -> Any:
                return getattr(inner.records, name)

            def save(self, *args: Any, **more: Any) -> Any:
                if self.once:
                    self.once = False
                    take_up(KEY, inner)
                    put(hub, wish(hub, Asked(kind=WishKind.LOOK_AGAIN), by=MIA, admin=True))
                    take_up(KEY, inner)
                return inner.records.save(*args, **more)

        take_up(KEY, deps_of(hub, records=Between()))
        assert len(story(hub)) == 2
        assert left(hub) == 0

    def test_an_id_is_forgotten_once_no_object_and_no_older_listing_can_bring_it_up(self, hub: Hub) -> None:
        put(hub, wish(hub, STOP))
        take_up(KEY, hub.bench.deps)
        assert len(hub.record().status.inbox.taken_wishes) == 1
        hub.bench.advance(seconds=REMEMBERED.total_seconds() + 1)
        put(hub, wish(hub, START))
        take_up(KEY, hub.bench.deps)
        assert [each.wish_id for each in hub.record().status.inbox.taken_wishes] == [f"{2:016x}"]

    def test_an_id_of_which_the_object_is_still_there_is_never_forgotten(self, hub: Hub) -> None:
        put(hub, wish(hub, STOP))
        denied = {"code": "PERMISSION_DENIED"}
        for _ in range(2):
            hub.bench.fault(call="storage.objects.delete", resource="*/wishes/*", error=denied)
        with pytest.raises(BenchkeeperError):
            take_up(KEY, hub.bench.deps)
        hub.bench.advance(seconds=REMEMBERED.total_seconds() + 1)
        put(hub, wish(hub, START))
        with pytest.raises(BenchkeeperError):
            take_up(KEY, hub.bench.deps)
        take_up(KEY, hub.bench.deps)
        assert [text for text, _ in story(hub)] == ["Stop the notebook", "Start the notebook"]
        assert hub.record().spec.power is Power.RUNNING

    def test_a_flood_is_bounded_and_told(self, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(wishes, "MAX_TAKEN", 3)
        assert MAX_TAKEN > 50
        put(hub, *(wish(hub, Asked(kind=WishKind.LOOK_AGAIN), by=MIA, admin=True) for _ in range(5)))
        take_up(KEY, hub.bench.deps)
        assert (len(story(hub)), left(hub)) == (3, 2)
        assert hub.lines("Left requests of one user for the next pass") == [{"user": KEY, "left": 2}]
        hub.bench.advance(seconds=REMEMBERED.total_seconds() + 1)
        hub.joined(BEN, minutes=0)
        take_up(KEY, hub.bench.deps)

    def test_one_that_cannot_be_followed_any_more_says_so_in_the_history(self, hub: Hub) -> None:
        put(hub, wish(hub, START))
        hub.left(ANA, minutes=0)
        take_up(KEY, hub.bench.deps)
        (line,) = [line for line in hub.record().status.story if line.kind is StoryKind.WISH]
        assert (line.text, line.ref) == ("Start the notebook: refused", Reason.REFUSED.value)
        assert left(hub) == 0

    def test_one_of_yesterday_lapses_and_says_so(self, hub: Hub) -> None:
        put(hub, wish(hub))
        hub.bench.advance(seconds=LAPSES_AFTER.total_seconds() + 1)
        take_up(KEY, hub.bench.deps)
        assert hub.record().spec.power is Power.RUNNING
        assert (dropped(hub), left(hub)) == (["Lapsed"], 0)
        assert story(hub)[0][0] == "Stop the notebook: refused"

    def test_the_longest_survives_two_clocks_that_differ_a_little(self, hub: Hub) -> None:
        longest = hub.bench.deps.policy.catalog.profiles["analyst"].idle.max_keep_on
        asked = Asked(kind=WishKind.KEEP_ON, until=hub.bench.now + longest + timedelta(seconds=30))
        put(hub, wish(hub, asked))
        take_up(KEY, hub.bench.deps)
        assert hub.record().spec.keep_on_until == hub.bench.now + longest

    def test_a_wish_under_a_key_that_leads_to_the_record_reaches_it(self, hub: Hub) -> None:
        hub.life().tell(Renamed, new_user=BEN)
        put(hub, wish(hub, STOP, by=BEN, user_key=BENS))
        take_up(BENS, hub.bench.deps)
        assert hub.record().spec.power is Power.STOPPED


def changed_claims(hub: Hub, **changes: Any) -> str:
    return hub.signer.sign({**claims_of(ANA, AUDIENCE, issued=int(hub.bench.now.timestamp())), **changes})


class TestForged:
    """What a stolen account of the page can write, and what comes of it: nothing but a line in the log."""

    @pytest.mark.parametrize(
        ("forge", "fault"),
        [
            (lambda hub: wish(hub, assertion=""), Fault.NOT_SIGNED),
            (lambda hub: wish(hub, assertion="a.b.c"), Fault.NOT_SIGNED),
            (lambda hub: wish(hub, assertion=hub.token(ANA, key=new_key())), Fault.NOT_SIGNED),
            (lambda hub: wish(hub, assertion=hub.token(ANA, kid="other")), Fault.NOT_SIGNED),
            (lambda hub: wish(hub, assertion=changed_claims(hub, aud="/projects/1/other")), Fault.NOT_SIGNED),
            (
                lambda hub: wish(hub, assertion=changed_claims(hub, exp=hub.bench.now.timestamp() - 60)),
                Fault.NOT_SIGNED,
            ),
            (lambda hub: wish(hub, by=BEN), Fault.NOT_THEIRS),
            (lambda hub: wish(hub, by=MIA), Fault.NOT_THEIRS),
            (lambda hub: wish(hub, by=BEN, admin=True), Fault.NOT_ADMINISTRATOR),
            (lambda hub: wish(hub, by=ANA, admin=True), Fault.NOT_ADMINISTRATOR),
            (lambda hub: wish(hub, Asked(kind=WishKind.HOLD, reason="x"), by=ANA), Fault.NOT_OFFERED),
            (lambda hub: wish(hub, Asked(kind=WishKind.RELEASE), by=MIA), Fault.NOT_OFFERED),
            (
                lambda hub: wish(hub, Asked(kind=WishKind.START_CLUSTER, template=SMALL), by=MIA, admin=True),
                Fault.NOT_OFFERED,
            ),
        ],
    )
    def test_it_changes_nothing(self, hub: Hub, forge: Any, fault: Fault) -> None:
        before = hub.record()
        put(hub, forge(hub))
        take_up(KEY, hub.bench.deps)
        assert hub.record() == before
        assert (dropped(hub), left(hub)) == ([fault.value], 0)

    @pytest.mark.parametrize("content", [b"", b"{}", b"x" * 30_000, b'{"version": 1}'])
    def test_bytes_that_are_no_wish_go(self, hub: Hub, content: bytes) -> None:
        before = hub.record()
        bucket = storage_bucket(hub.bench.clients, hub.bench.settings.inbox_bucket)
        for name in (f"20261123T080000.000000Z-{7:016x}", "anything"):
            bucket.blob(f"wishes/{KEY}/{name}.json").upload_from_string(content)
        take_up(KEY, hub.bench.deps)
        assert hub.record() == before
        assert (dropped(hub), left(hub)) == (["NoWish"] * 2, 0)

    def test_a_wish_for_another_person_under_this_persons_name(self, hub: Hub) -> None:
        hub.joined(BEN)
        before = hub.record(BEN)
        made = wish(hub, by=BEN, user_key=KEY)
        put(hub, made)
        raw = storage_bucket(hub.bench.clients, hub.bench.settings.inbox_bucket)
        raw.copy_blob(raw.blob(f"wishes/{KEY}/{made.name}.json"), raw, f"wishes/{BENS}/{made.name}.json")
        take_up(BENS, hub.bench.deps)
        assert hub.record(BEN) == before
        assert dropped(hub) == ["NoWish"]

    def test_an_old_assertion_is_good_for_no_new_wish(self, hub: Hub) -> None:
        stolen = hub.token(ANA)
        hub.bench.advance(minutes=11)
        put(hub, wish(hub, assertion=stolen))
        take_up(KEY, hub.bench.deps)
        assert (dropped(hub), hub.record().spec.power) == (["NotSigned"], Power.RUNNING)

    def test_a_good_wish_is_taken_up_after_its_assertion_expired(self, hub: Hub) -> None:
        put(hub, wish(hub))
        hub.bench.advance(hours=2)
        take_up(KEY, hub.bench.deps)
        assert hub.record().spec.power is Power.STOPPED

    def test_who_was_an_administrator_at_the_click_and_is_none_now(self, hub: Hub) -> None:
        put(hub, wish(hub, by=MIA, admin=True))
        hub.bench.deps.groups.leave(ADMINS, MIA)
        take_up(KEY, hub.bench.deps)
        assert (dropped(hub), hub.record().spec.power) == (["NotAdministrator"], Power.RUNNING)

    def test_without_a_group_nobody_is_an_administrator(self, hub: Hub) -> None:
        put(hub, wish(hub, by=MIA, admin=True))
        take_up(KEY, deps_of(hub, roles=Roles()))
        assert (dropped(hub), hub.record().spec.power) == (["NotAdministrator"], Power.RUNNING)

    def test_a_flood_in_somebodys_name_who_has_no_record(self, hub: Hub) -> None:
        put(hub, wish(hub, by=BEN, user_key=BENS))
        assert take_up(BENS, hub.bench.deps) is None
        assert (dropped(hub), left(hub, BENS)) == (["NoRecord"], 0)
        assert hub.bench.deps.records.load(BENS) is None


class TestUnknownIsNotNo:
    def test_while_the_group_cannot_be_read_the_act_waits_and_the_persons_own_wish_does_not(self, hub: Hub) -> None:
        class Unreadable:
            def has(self, _group: str, _member: str) -> bool:
                raise CloudUnavailableError(user_message="Later.", detail="503")

        hold = Asked(kind=WishKind.HOLD, reason="case 1")
        put(hub, wish(hub, hold, by=MIA, admin=True), wish(hub, STOP))
        with pytest.raises(CloudUnavailableError):
            take_up(KEY, deps_of(hub, groups=Unreadable()))
        assert (hub.record().spec.power, hub.record().hold, left(hub)) == (Power.STOPPED, None, 1)
        take_up(KEY, hub.bench.deps)
        assert (hub.record().hold is not None, left(hub)) == (True, 0)

    def test_of_two_acts_that_wait_the_cause_of_the_first_is_told(self, hub: Hub) -> None:
        class Denied:
            def __init__(self) -> None:
                self.asked = 0

            def has(self, _group: str, _member: str) -> bool:
                self.asked += 1
                raise AccessDeniedError(user_message="Never.", detail=f"403, number {self.asked}")

        one, two = Asked(kind=WishKind.HOLD, reason="case 1"), Asked(kind=WishKind.HOLD, reason="case 2")
        put(hub, wish(hub, one, by=MIA, admin=True), wish(hub, two, by=MIA, admin=True))
        with pytest.raises(AccessDeniedError) as told:
            take_up(KEY, deps_of(hub, groups=Denied()))
        assert (told.value.detail, hub.record().hold, left(hub)) == ("403, number 1", None, 2)

    def test_while_the_keys_cannot_be_read_everything_waits(self, hub: Hub) -> None:
        class NoKeys:
            def subject_of(self, _assertion: str, _at: Any) -> UserEmail:
                raise CloudUnavailableError(user_message="Later.", detail="keys")

        put(hub, wish(hub))
        log = ListLog()
        sweep("due", deps_of(hub, sign_in=NoKeys(), log=log))
        assert (hub.record().spec.power, left(hub)) == (Power.RUNNING, 1)
        assert [facts["reason"] for _, text, facts in log.lines if text == "Requests could not be read"] == [
            "CloudUnavailable"
        ]
        sweep("due", hub.bench.deps)
        assert (hub.record().spec.power, left(hub)) == (Power.STOPPED, 0)

    def test_an_inbox_that_cannot_be_listed_holds_up_nobody_whose_time_has_come(self, hub: Hub) -> None:
        denied = {"code": "PERMISSION_DENIED"}
        hub.bench.fault(call="storage.objects.list", resource=f"{hub.bench.settings.inbox_bucket}*", error=denied)
        hub.joined(BEN, minutes=0)
        summary = sweep("due", hub.bench.deps)
        assert summary.failed == {}
        assert len(hub.lines("Requests could not be listed")) == 1
