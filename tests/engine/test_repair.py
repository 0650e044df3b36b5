"""Damaged, deleted and newer records: put back first, then judged; a leaver loses access in any case, nobody else does."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from kit import audit
from kit.inprocess import impatient, local_settings, make_bench
from kit.machine import CrashError
from kit.official import storage_bucket
from kit.oracle import instances, object_names
from msgspec.structs import replace

from shared.domain.people.events import AccountChanged, AccountState, GroupChanged, Joined, Left, Moved, Renamed, Woken
from shared.domain.record.audit import alias_of_cuts
from shared.domain.record.kept_cuts import KEPT
from shared.domain.record.record import Presence
from shared.domain.record.recovery import Intact, NeverWritten, Recoverable, Unrecoverable
from shared.domain.things.catalog import Identity
from shared.domain.things.errors import BenchkeeperError, DamagedRecordError, NewerRecordError
from shared.domain.things.identity import account_id_for, parse_email, user_key_for
from shared.domain.things.notebook import LABEL_USER
from shared.engine.news.deliver import deliver
from shared.engine.news.fail_closed import cut_by_label, is_cut_in_effect
from shared.engine.reconcile.audit import copy_kept_cuts
from shared.engine.reconcile.changing import want_hold
from shared.engine.reconcile.repair import load_mended
from shared.engine.sweeps.sweeps import sweep
from shared.engine.views.audit import verify

ANA, NEW = parse_email("ana.silva@example.com"), parse_email("ana.souza@example.com")
BEN = parse_email("ben@example.com")
KEY, NEW_KEY, BEN_KEY = (user_key_for(email) for email in (ANA, NEW, BEN))
DAMAGE = [b"", b"{", b"[]", b"\xff", b'{"version": 1}', b'{"version": 4, "moved_to": "nobody"}', "somebody else's"]
NEWER = json.dumps({"version": 99, "facts": "another shape"}).encode()


@pytest.fixture
def bench():
    with impatient():
        made = make_bench()
        yield made
        assert made.cloud.world.faults.unfired() == []


def said(bench, kind, number, *, user=ANA, **more):
    event = kind(event_id=f"e{number}", user=user, occurred_at=bench.now, effective_at=bench.now, **more)
    return deliver(event, bench.deps)


def minutes(bench, count):
    for _ in range(count):
        bench.advance(minutes=1)
        sweep("due", bench.deps)


def blob(bench, key=KEY):
    return storage_bucket(bench.clients).blob(f"records/{key}.json")


def spoil(bench, content, key=KEY):
    if content == "somebody else's":
        said(bench, Joined, 77, user=BEN)
        content = blob(bench, BEN_KEY).download_as_bytes()
    blob(bench, key).upload_from_string(content)


def content(bench, key=KEY):
    return blob(bench, key).download_as_bytes()


def states(bench, user=KEY):
    return [i.state for i in instances(bench.cloud).values() if i.body["labels"].get(LABEL_USER) == user]


def lines(bench, message):
    return [facts for _, told, facts in bench.log.lines if told == message]


def joined(bench):
    said(bench, Joined, 1)
    minutes(bench, 5)
    assert states(bench) == ["ACTIVE"]


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize(
    ("kind", "more"),
    [(Left, {}), (AccountChanged, {"state": AccountState.SUSPENDED, "holds": True})],
    ids=["left", "suspended"],
)
def test_a_leaver_with_a_damaged_record_is_stopped_on_the_ordinary_way(bench, damage, kind, more):
    joined(bench)
    want_hold(KEY, "case 17", bench.deps)
    spoil(bench, damage)
    said(bench, kind, 2, **more)
    minutes(bench, 2)
    assert states(bench) == ["STOPPED"]
    record = bench.deps.records.load(KEY).record
    assert record.spec.presence is Presence.ABSENT
    assert record.hold is not None  # what was known is known again
    (put_back,) = lines(bench, "Restored a record")
    assert (put_back["user"], put_back["reason"]) == (KEY, "Damaged")
    assert any(line.text == "Record put back" for line in record.status.story)


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_grant_finds_the_restored_record_and_the_same_instance(bench, damage):
    joined(bench)
    before = list(instances(bench.cloud))
    spoil(bench, damage)
    said(bench, Moved, 2, profile="analyst", profile_said=True)
    minutes(bench, 3)
    assert [name for name, i in instances(bench.cloud).items() if i.body["labels"][LABEL_USER] == KEY] == before
    assert states(bench) == ["ACTIVE"]


def test_a_deleted_record_of_a_leaver_stays_a_tombstone_when_a_joiner_comes_late(bench):
    joined(bench)
    early = bench.now
    bench.advance(minutes=5)
    said(bench, Left, 2)
    minutes(bench, 3)
    blob(bench).delete()
    late = Joined(event_id="e0", user=ANA, occurred_at=early, effective_at=early)
    deliver(late, bench.deps)
    minutes(bench, 3)
    assert states(bench) == ["STOPPED"]
    (put_back,) = lines(bench, "Restored a record")
    assert put_back["reason"] == "Deleted"


def test_a_leaver_whose_record_was_deleted_is_stopped(bench):
    joined(bench)
    blob(bench).delete()
    said(bench, Left, 2)
    minutes(bench, 2)
    assert states(bench) == ["STOPPED"]


def test_a_brand_new_person_pays_one_listing(bench):
    bench.cloud.world.journal.clear()
    said(bench, Joined, 1)
    listings = [c for c in bench.calls() if c["method"] == "objects.list" and "records" not in c["resource"]]
    reads = [c["method"] for c in bench.calls() if c["service"] == "storage"]
    assert reads.count("objects.list") == 1, listings  # versions of the record
    bench.cloud.world.journal.clear()
    said(bench, Joined, 1)  # a duplicate
    assert [c["method"] for c in bench.calls()] == ["objects.get"]


def test_a_pointer_that_was_damaged_or_whose_record_was_deleted_is_put_back(bench):
    joined(bench)
    said(bench, Renamed, 2, new_user=NEW)
    spoil(bench, b"{", NEW_KEY)
    assert load_mended(NEW_KEY, bench.deps).record.user_key == KEY
    assert json.loads(content(bench, NEW_KEY))["moved_to"] == KEY
    blob(bench).delete()
    with pytest.raises(DamagedRecordError):
        bench.deps.records.load(NEW_KEY)
    said(bench, Left, 3, user=NEW)
    minutes(bench, 2)
    assert states(bench) == ["STOPPED"]


def test_two_who_put_back_at_once_leave_one_record(bench):
    joined(bench)
    spoil(bench, b"{")
    looked = bench.deps.records.examine(KEY)
    assert isinstance(looked, Recoverable)
    load_mended(KEY, bench.deps)
    said(bench, Left, 2)
    kept = content(bench)

    class Late:
        """Sees what was there before the neighbour was done."""

        def __getattr__(self, name):
            return getattr(bench.deps.records, name)

        def examine(self, user_key):
            assert user_key == KEY
            return looked

        def load(self, user_key):
            if not hasattr(self, "asked"):
                self.asked = True
                raise DamagedRecordError(user_message="x", detail="x", user_key=user_key)
            return bench.deps.records.load(user_key)

    assert load_mended(KEY, replace(bench.deps, records=Late())).record.spec.presence is Presence.ABSENT
    assert content(bench) == kept


def test_examining_tells_the_four_kinds_apart(bench):
    records = bench.deps.records
    assert records.examine(KEY) == NeverWritten()
    spoil(bench, b"{")
    assert isinstance(records.examine(KEY), Unrecoverable)
    blob(bench).delete()
    assert records.examine(KEY) == Unrecoverable(live_generation=0, versions=1)
    said(bench, Joined, 1, user=BEN)
    assert records.examine(BEN_KEY) == Intact()
    newest = bench.deps.records.load(BEN_KEY)
    spoil(bench, b"{", BEN_KEY)
    spoil(bench, b"", BEN_KEY)
    found = records.examine(BEN_KEY)
    assert (found.generation, found.record) == (newest.generation, newest.record)


@pytest.mark.parametrize("below", [False, True], ids=["live", "under damage"])
def test_what_a_newer_program_wrote_is_never_rewritten_and_a_leaver_is_stopped_by_label(bench, below):
    joined(bench)
    said(bench, Joined, 1, user=BEN)
    minutes(bench, 5)
    spoil(bench, NEWER)
    if below:
        spoil(bench, b"{")
    kept = content(bench)
    for kind in (Joined, Moved):
        with pytest.raises(NewerRecordError):
            said(bench, kind, kind.__name__)
    assert (states(bench), states(bench, BEN_KEY)) == (["ACTIVE"], ["ACTIVE"])
    with pytest.raises(NewerRecordError):
        said(bench, Left, 2)
    bench.advance(minutes=2)
    assert (states(bench), states(bench, BEN_KEY)) == (["STOPPED"], ["ACTIVE"])
    assert content(bench) == kept
    (cut,) = lines(bench, "Handled a leaver without a usable record")
    assert (cut["reason"], cut["complete"], len(cut["stopped"])) == ("WrittenByNewer", True, 1)
    bench.cloud.world.journal.clear()
    with pytest.raises(NewerRecordError):
        said(bench, Left, 2)
    assert not [c for c in bench.calls() if c["mutates"]]


def test_a_leaver_of_whom_no_version_can_be_read_is_stopped_by_label(bench):
    joined(bench)
    for stored in list(storage_bucket(bench.clients).list_blobs(prefix=f"records/{KEY}.json", versions=True)):
        stored.delete()
    spoil(bench, b"{")
    with pytest.raises(DamagedRecordError, match="no version"):
        said(bench, Left, 2)
    bench.advance(minutes=2)
    assert states(bench) == ["STOPPED"]
    assert content(bench) == b"{"


def test_under_a_new_address_too_all_that_is_the_persons_is_stopped(bench):
    joined(bench)
    said(bench, Renamed, 2, new_user=NEW)
    spoil(bench, NEWER)
    with pytest.raises(NewerRecordError):
        said(bench, Left, 3, user=NEW)
    bench.advance(minutes=2)
    assert states(bench) == ["STOPPED"]


def test_with_the_pointer_unreadable_the_fleet_index_knows_the_key(bench):
    joined(bench)
    said(bench, Renamed, 2, new_user=NEW)
    sweep("drift", bench.deps)
    spoil(bench, NEWER, NEW_KEY)
    with pytest.raises(NewerRecordError):
        said(bench, Left, 3, user=NEW)
    bench.advance(minutes=2)
    assert states(bench) == ["STOPPED"]


def test_the_account_is_disabled_and_one_failure_holds_up_nothing_else():
    with impatient():
        settings = local_settings()
        analyst = settings.catalog.profiles["analyst"]
        own = replace(analyst, identity=Identity.PERSONAL_SERVICE_ACCOUNT)
        catalog = replace(settings.catalog, profiles={**settings.catalog.profiles, "analyst": own})
        bench = make_bench(settings=replace(settings, catalog=catalog))
        said(bench, Joined, 1)
        minutes(bench, 8)
        spoil(bench, NEWER)
        bench.fault(call="notebooks.StopInstance", error={"code": "UNAVAILABLE", "message": "down"})
        with pytest.raises(NewerRecordError):
            said(bench, Left, 2)
        assert bench.deps.accounts.get(account_id_for(KEY), KEY).disabled
        (cut,) = lines(bench, "Handled a leaver without a usable record")
        assert (cut["complete"], cut["stopped"]) == (False, [])
        assert cut["failed"] == [f"stop nb-{KEY}: CloudUnavailable"]
        done = cut_by_label({KEY}, bench.deps)
        assert (done.complete, done.stopped, done.disabled) == (True, (f"nb-{KEY}",), ())


def own_accounts():
    settings = local_settings()
    own = replace(settings.catalog.profiles["analyst"], identity=Identity.PERSONAL_SERVICE_ACCOUNT)
    profiles = {**settings.catalog.profiles, "analyst": own}
    bench = make_bench(settings=replace(settings, catalog=replace(settings.catalog, profiles=profiles)))
    said(bench, Joined, 1)
    minutes(bench, 8)
    return bench


def cuts_are_told(bench):
    aliases = {alias_of_cuts(KEY, bench.now.date()): str(KEY)}
    cuts = [each for each in audit.entries(bench) if each["user"]["uid"] in aliases]
    assert audit.broken_chains(bench) == []
    keys = {each["user"]["uid"]: str(KEY) for each in audit.entries(bench)}
    assert audit.unmatched(bench, keys) == []
    return [(each["unmapped"]["act"].split()[0], each["unmapped"]["state"]) for each in cuts]


def test_a_cut_by_label_is_in_a_chain_of_its_own_with_intents_and_outcomes():
    with impatient():
        bench = own_accounts()
        bench.fault(call="notebooks.StopInstance", error={"code": "UNAVAILABLE"})
        cut_by_label({KEY}, bench.deps)
        stop, account = "StopInstance", "DisableAccount"
        first = [(stop, "asked"), (account, "asked"), (stop, "refused"), (account, "done")]
        assert cuts_are_told(bench) == first
        cut_by_label({KEY}, bench.deps)
        assert cuts_are_told(bench) == [*first, (stop, "asked"), (stop, "done")]
        everything = b"".join(audit.objects(bench).values())
        assert str(KEY).encode() not in everything
        assert verify(bench.deps).faults == []


def test_a_crash_at_any_call_of_a_cut_by_label_leaves_no_change_without_an_entry():
    with impatient():
        number, crashed = 0, True
        while crashed:
            number += 1
            bench = own_accounts()
            crashed = dies_at(number, bench, lambda bench=bench: cut_by_label({KEY}, bench.deps))
            assert not crashed or cut_by_label({KEY}, bench.deps).complete
            assert cuts_are_told(bench)
        assert number > 10


def refusing_audit(bench, **more):
    bucket = f"{bench.settings.audit_bucket}*"
    bench.fault(call="storage.objects.insert", resource=bucket, times=0, error={"code": "PERMISSION_DENIED"}, **more)


def dies_at(number, bench, act):
    """Whether the process died at that call of the act; if it makes fewer, it came to its end."""
    left = number

    def around():
        nonlocal left
        left -= 1
        if left == 0:
            raise CrashError

    bench.adapter.around = around
    try:
        act()
    except CrashError:
        return True
    finally:
        bench.adapter.around = lambda: None
    return False


def kept_cuts(bench):
    return object_names(bench.cloud, bench.settings.bucket, KEPT)


ALL_FOUR = [
    ("StopInstance", "asked"),
    ("DisableAccount", "asked"),
    ("StopInstance", "done"),
    ("DisableAccount", "done"),
]


@pytest.mark.parametrize("days", [0, 3])
def test_an_audit_that_refuses_delays_no_cut_by_label_and_has_its_entries_later(days):
    with impatient():
        bench = own_accounts()
        refusing_audit(bench)
        done = cut_by_label({KEY}, bench.deps)
        assert done.complete
        assert done.stopped
        assert lines(bench, "Audit entry was lost") == []
        assert [facts["entries"] for facts in lines(bench, "Postponed audit entries") if "age_s" in facts][-2:] == [
            2,
            2,
        ]
        sweep("drift", bench.deps)
        assert len(kept_cuts(bench)) == 2, "it still refuses"
        assert lines(bench, "Audit fell behind")
        bench.cloud.world.faults.clear()
        bench.advance(days=days, minutes=1)
        at = bench.now - timedelta(days=days, minutes=1)
        sweep("drift", bench.deps)
        minutes(bench, 12)  # the pass that gave the person back what is theirs is told, too
        assert cuts_are_told(bench) == ALL_FOUR
        assert kept_cuts(bench) == set()
        alias = alias_of_cuts(KEY, bench.now.date())
        told = [each["unmapped"]["at"] for each in audit.entries(bench) if each["user"]["uid"] == alias]
        assert set(told) == {at.isoformat()}, "of when it was, not of when it was copied"
        count = len(audit.objects(bench))
        copy_kept_cuts(bench.deps)
        assert len(audit.objects(bench)) == count
        assert verify(bench.deps).faults == []


def test_a_crash_at_any_call_while_the_audit_refuses_a_cut_by_label_leaves_no_change_without_an_entry():
    with impatient():
        number, crashed = 0, True
        while crashed:
            number += 1
            bench = own_accounts()
            refusing_audit(bench)
            crashed = dies_at(number, bench, lambda bench=bench: cut_by_label({KEY}, bench.deps))
            assert not crashed or cut_by_label({KEY}, bench.deps).complete
            bench.cloud.world.faults.clear()
            bench.advance(minutes=1)
            sweep("drift", bench.deps)
            assert cuts_are_told(bench)
            assert kept_cuts(bench) == set()
        assert number > 10


def test_kept_cuts_that_cannot_be_read_stay_and_hold_up_no_others():
    with impatient():
        bench = own_accounts()
        refusing_audit(bench)
        cut_by_label({KEY}, bench.deps)
        bench.cloud.world.faults.clear()
        bench.advance(minutes=1)
        odd = f"{KEPT}0000-odd.json"
        storage_bucket(bench.clients).blob(odd).upload_from_string(b'{"key": 1}')
        copy_kept_cuts(bench.deps)
        assert cuts_are_told(bench) == ALL_FOUR
        assert kept_cuts(bench) == {odd}
        assert len(lines(bench, "Audit fell behind")) == 1


def test_a_crash_at_any_call_of_copying_writes_each_entry_once():
    with impatient():
        number, crashed = 0, True
        while crashed:
            number += 1
            bench = own_accounts()
            refusing_audit(bench)
            cut_by_label({KEY}, bench.deps)
            bench.cloud.world.faults.clear()
            bench.advance(minutes=1)
            crashed = dies_at(number, bench, lambda bench=bench: copy_kept_cuts(bench.deps))
            copy_kept_cuts(bench.deps)
            assert cuts_are_told(bench) == ALL_FOUR, number
            assert kept_cuts(bench) == set()
        assert number > 10


def test_an_entry_whose_answer_was_lost_is_written_once():
    with impatient():
        bench = own_accounts()
        bucket = f"{bench.settings.audit_bucket}*"
        bench.fault(
            call="storage.objects.insert", resource=bucket, times=1, phase="after", error={"code": "UNAVAILABLE"}
        )
        cut_by_label({KEY}, bench.deps)
        bench.advance(minutes=1)
        sweep("drift", bench.deps)
        assert sorted(cuts_are_told(bench)) == sorted(ALL_FOUR)
        assert kept_cuts(bench) == set()


def test_what_neither_bucket_takes_is_in_the_log_alone():
    with impatient():
        bench = own_accounts()
        bench.fault(call="storage.objects.insert", times=0, error={"code": "PERMISSION_DENIED"})
        assert cut_by_label({KEY}, bench.deps).complete
        assert [facts["entries"] for facts in lines(bench, "Audit entry was lost")] == [2, 2]


@pytest.mark.parametrize(
    "error",
    [{"code": "PERMISSION_DENIED", "message": "no"}, {"code": "UNAVAILABLE", "message": "down"}],
    ids=["403", "503"],
)
def test_what_cannot_be_read_now_stops_nobody_and_restores_nothing(bench, error):
    joined(bench)
    bench.fault(call="storage.objects.get", resource="*records*", times=0, error=error)
    with pytest.raises(BenchkeeperError):
        said(bench, Left, 2)
    assert states(bench) == ["ACTIVE"]
    assert not lines(bench, "Restored a record")
    assert not lines(bench, "Handled a leaver without a usable record")
    bench.cloud.world.faults.clear()
    said(bench, Left, 2)
    minutes(bench, 2)
    assert states(bench) == ["STOPPED"]


@pytest.mark.parametrize(
    ("kind", "more", "offset", "cut"),
    [
        (Left, {}, timedelta(0), True),
        (Left, {}, timedelta(days=-13), True),
        (Left, {}, timedelta(days=-15), False),
        (Left, {}, timedelta(seconds=1), False),
        (AccountChanged, {"state": AccountState.DELETED, "holds": True}, timedelta(0), True),
        (AccountChanged, {"state": AccountState.DELETED, "holds": False}, timedelta(0), False),
        (GroupChanged, {"group": "a@example.com", "member": False}, timedelta(0), False),
        (Joined, {}, timedelta(0), False),
        (Renamed, {"new_user": NEW}, timedelta(0), False),
    ],
)
def test_only_a_leave_that_is_in_effect_and_recent_cuts_without_a_record(bench, kind, more, offset, cut):
    at = bench.now + offset
    event = kind(event_id="e", user=ANA, occurred_at=at, effective_at=at, **more)
    assert is_cut_in_effect(event, bench.now) is cut
    if cut:
        assert not is_cut_in_effect(event, bench.now, stated_at=bench.now - timedelta(days=15))


@pytest.mark.parametrize("how", ["damaged", "deleted"])
def test_a_drift_sweep_finds_and_repairs_by_itself(bench, how):
    joined(bench)
    if how == "damaged":
        spoil(bench, b"{")
    else:
        blob(bench).delete()
    bench.advance(minutes=1)
    dry = sweep("drift", bench.deps, dry_run=True)
    assert dry.found["a record may be damaged or gone"] == 1
    assert isinstance(bench.deps.records.examine(KEY), Recoverable)
    sweep("drift", bench.deps)
    assert bench.deps.records.examine(KEY) == Intact()
    assert [row.user_key for row in bench.deps.records.rows()] == [KEY]
    minutes(bench, 3)
    assert states(bench) == ["ACTIVE"]


def test_a_due_sweep_and_a_wake_repair_what_they_load(bench):
    said(bench, Joined, 1)
    spoil(bench, b"{")
    minutes(bench, 5)
    assert isinstance(bench.deps.records.examine(KEY), Intact)
    spoil(bench, b"{")
    deliver(Woken(event_id="w", user_key=KEY, occurred_at=bench.now), bench.deps)
    assert isinstance(bench.deps.records.examine(KEY), Intact)


def test_a_wake_for_a_deleted_record_puts_it_back_and_for_nobody_does_nothing(bench):
    joined(bench)
    blob(bench).delete()
    deliver(Woken(event_id="w", user_key=KEY, occurred_at=bench.now), bench.deps)
    assert isinstance(bench.deps.records.examine(KEY), Intact)
    deliver(Woken(event_id="w", user_key=BEN_KEY, occurred_at=bench.now), bench.deps)
    assert bench.deps.records.examine(BEN_KEY) == NeverWritten()


def test_a_pointer_is_no_damage_to_a_drift_sweep(bench):
    joined(bench)
    said(bench, Renamed, 2, new_user=NEW)
    minutes(bench, 2)
    assert sweep("drift", bench.deps, dry_run=True).found["a record may be damaged or gone"] == 0
    blob(bench, NEW_KEY).upload_from_string(content(bench, NEW_KEY))  # as an earlier program wrote it: without a mark
    found = sweep("drift", bench.deps)
    assert (found.found["a record may be damaged or gone"], found.failed) == (1, {})
    assert not lines(bench, "Restored a record")


class Died(BaseException):
    """The process ends at this moment."""


@pytest.mark.parametrize(("how", "first"), [("damaged", 0), ("deleted", 1)], ids=["damaged", "deleted"])
def test_a_process_that_dies_at_any_call_of_a_repair_leaves_nothing_that_the_redelivery_does_not_mend(how, first):
    """Before each call of the one, after each call of the other."""
    reached = 0
    for number in range(first, 60, 2):
        with impatient():
            bench = make_bench()
            said(bench, Joined, 1)
            minutes(bench, 5)
            want_hold(KEY, "case 17", bench.deps)
            if how == "damaged":
                blob(bench).upload_from_string(b"{")
            else:
                blob(bench).delete()
            bench.advance(minutes=1)
            event = Left(event_id="e2", user=ANA, occurred_at=bench.now, effective_at=bench.now)
            calls = iter(range(number))

            def around(left=calls):
                if next(left, None) is None:
                    raise Died

            bench.adapter.around = around
            try:
                deliver(event, bench.deps)
            except Died:
                reached = number
            else:
                break  # all of its calls were gone through
            finally:
                bench.adapter.around = lambda: None
            deliver(event, bench.deps)
            minutes(bench, 3)
            record = bench.deps.records.load(KEY).record
            assert (record.spec.presence, states(bench)) == (Presence.ABSENT, ["STOPPED"]), number
            assert record.hold is not None
            told = [line.text for line in record.status.story]
            assert (told.count("Record put back"), told.count("Left")) == (1, 1), number
    else:
        raise AssertionError("the delivery never got through")
    assert reached >= 14
