"""The audit over the embedded cloud: one entry for each call, chained, whatever is refused and wherever a process ends."""

from __future__ import annotations

from datetime import timedelta

import pytest
from kit import audit
from kit.inprocess import impatient, make_bench
from kit.life import ANA, DATA_GROUP, Life, personal
from kit.machine import CrashError
from kit.official import storage_bucket
from kit.rosters import Roster
from kit.spark import spark_life
from msgspec.structs import replace

from shared.domain.people.events import Joined, Left
from shared.domain.record.record import Power
from shared.domain.things.identity import parse_email
from shared.engine.news.deliver import deliver
from shared.engine.news.requests import ask_power
from shared.engine.reconcile.audit import LAPSES
from shared.engine.reconcile.reconciler import reconcile
from shared.engine.sweeps.lifetimes import erase
from shared.engine.views.audit import history_page, history_since
from shared.wiring import wire

VERBS = ("storage.objects.insert", "storage.objects.get", "storage.objects.list")


@pytest.fixture(autouse=True)
def _no_waiting():
    with impatient():
        yield


SILVA = parse_email("ana.silva@example.com")


def new_life(email=SILVA):
    return Life(make_bench(settings=personal()), email=email)


@pytest.fixture
def ana():
    return new_life()


def keys_of(life):
    return {life.record.status.audit.alias: life.key}


def waiting(life):
    return [line for line in life.record.status.story if line.waits]


def check(life):
    assert audit.broken_chains(life.bench) == []
    assert audit.unmatched(life.bench, keys_of(life)) == []
    assert waiting(life) == []


def refuse(life, verb):
    bucket = life.bench.settings.audit_bucket
    life.bench.fault(call=verb, resource=f"{bucket}*", times=0, error={"code": "PERMISSION_DENIED"})


def test_a_whole_life_has_one_entry_for_each_change():
    someone = spark_life()
    someone.want(minutes=4)
    someone.leave(minutes=10)
    someone.days(40)
    check(someone)
    told = audit.entries(someone.bench)
    stop = next(each for each in told if each["unmapped"].get("act", "").startswith("StopInstance"))
    assert stop["activity_id"] == 5
    assert stop["unmapped"]["before"]["notebook"] == "ACTIVE"
    assert stop["unmapped"]["after"]["presence"] == "ABSENT"
    assert stop["actor"]["app_uid"], "the event that caused it"
    assert stop["unmapped"]["policy"]


def test_an_entry_names_nobody():
    ana = Life(make_bench(), email=ANA)
    ana.join()
    ana.move(attributes={"groups": ["data-engineers@example.com"]}, minutes=2)
    ana.leave(minutes=6)
    found = audit.objects(ana.bench)
    names, everything = "\n".join(found), b"\n".join(found.values())
    for secret in (ANA, ana.key, ana.key.rpartition("-")[2], "nandu", "ñandú"):
        assert secret not in names
        assert secret.encode() not in everything, secret


def test_erasing_leaves_entries_that_lead_to_nobody(ana):
    ana.join()
    alias = ana.record.status.audit.alias
    ana.leave(minutes=6)
    ana.days(31)
    ana.days(91)
    kept = audit.objects(ana.bench)
    assert erase(ana.key, ana.bench.deps).kept is None
    assert kept.items() <= audit.objects(ana.bench).items(), "the entries stay"
    bucket = storage_bucket(ana.bench.clients)
    for blob in bucket.list_blobs():
        assert alias.encode() not in blob.download_as_bytes(), blob.name
        assert alias not in str(blob.metadata), blob.name


def test_a_steady_person_costs_no_call_and_no_write(ana):
    ana.join()
    ana.minutes(5)
    before = len(audit.objects(ana.bench))
    ana.bench.cloud.world.journal.clear()
    reconcile(ana.key, ana.bench.deps)
    assert not [c for c in ana.bench.calls() if c["mutates"] or "audit" in c["resource"]]
    assert len(audit.objects(ana.bench)) == before


@pytest.mark.parametrize("verb", VERBS)
def test_a_bucket_that_refuses_delays_no_cut_and_loses_nothing(ana, verb):
    ana.join()
    refuse(ana, verb)
    ana.leave(minutes=2)
    assert ana.only().state == "STOPPED"
    account = ana.account()
    assert account is not None
    assert account["disabled"]
    ana.minutes(20)
    if verb == VERBS[0]:
        assert waiting(ana)
        assert "Audit fell behind" in [message for severity, message, _ in ana.bench.log.lines if severity == "ERROR"]
    ana.bench.cloud.world.faults.clear()
    ana.minutes(15)
    check(ana)


def test_a_create_whose_answer_was_lost_is_found_again(ana):
    bucket = ana.bench.settings.audit_bucket
    ana.bench.fault(
        call="storage.objects.insert", resource=f"{bucket}*", phase="after", error={"code": "UNAVAILABLE"}, times=2
    )
    ana.join()
    ana.minutes(15)
    check(ana)


def test_entries_of_a_backlog_over_midnight_come_once(ana):
    ana.bench.advance(hours=15, minutes=50)  # 23:50
    refuse(ana, VERBS[0])
    ana.join(minutes=30)
    ana.bench.cloud.world.faults.clear()
    ana.minutes(20)
    check(ana)


def crashing(life, number, work):
    """Do the work, and end it at the `number`-th moment before or after a call; returns whether it came that far."""
    count = 0

    def around():
        nonlocal count
        count += 1
        if count == number:
            raise CrashError

    life.bench.adapter.around = around
    try:
        work()
    except CrashError:
        return True
    finally:
        life.bench.adapter.around = lambda: None
    return False


@pytest.mark.parametrize("what", ["join", "leave"])
def test_a_crash_before_or_after_each_call_leaves_a_chain_that_tells_all(what):
    number, crashed = 0, True
    while crashed:
        number += 1
        life = new_life()
        if what == "leave":
            life.join()
        kind, now = Joined if what == "join" else Left, life.bench.now
        event = kind(event_id=f"{what}-1", user=life.email, occurred_at=now, effective_at=now)

        def work(life=life, event=event):
            deliver(event, life.bench.deps)

        crashed = crashing(life, number, work)
        deliver(event, life.bench.deps)  # Pub/Sub delivers it again
        life.minutes(round(LAPSES / timedelta(minutes=1)) + 8)
        check(life)
    assert number > 12


def test_the_whole_history_is_read_by_pages_and_since_a_day(ana):
    ana.join()
    for _ in range(30):
        ana.bench.advance(hours=5)
        ask_power(ana.key, Power.STOPPED, ana.bench.deps, by=ana.key)
        ana.minutes(3)
        ask_power(ana.key, Power.RUNNING, ana.bench.deps, by=ana.key)
        ana.minutes(6)
    deps = ana.bench.deps
    told = history_since(ana.record, deps, None)
    assert len(told) == len(audit.entries(ana.bench)) > 200
    assert told[0].text == "Joined"
    since = ana.bench.now - timedelta(days=2)
    assert history_since(ana.record, deps, since) == [line for line in told if line.at >= since]
    pages, before = [], ""
    while True:
        page = history_page(ana.record, deps, before=before)
        pages.insert(0, page.lines)
        before = page.older
        if not before:
            break
    joined = [(line.at, line.kind, line.text) for lines in pages for line in lines]
    assert joined == [(line.at, line.kind, line.text) for line in told]
    assert len(pages) > 2
    assert history_page(ana.record, deps, before="../secret").lines == ana.record.status.story


def test_two_passes_at_once_leave_one_chain(ana):
    ana.join()
    ana.tell(Left)
    bench = ana.bench
    other = replace(wire(bench.settings, log=bench.log, clients=bench.clients), clock=bench.deps.clock)
    calls = iter(range(10**6))

    def around():
        if next(calls) in {3, 9, 15, 21}:
            ana.bench.adapter.around = lambda: None
            reconcile(ana.key, other)
            ana.bench.adapter.around = around

    ana.bench.adapter.around = around
    reconcile(ana.key, ana.bench.deps)
    ana.bench.adapter.around = lambda: None
    ana.minutes(15)
    check(ana)


def test_an_older_version_that_comes_back_goes_on_with_the_chain(ana):
    ana.join()
    bucket = storage_bucket(ana.bench.clients)
    name = f"records/{ana.key}.json"
    ask_power(ana.key, Power.STOPPED, ana.bench.deps, by=ana.key)
    ana.minutes(4)
    bucket.blob(name).upload_from_string(b"{broken")
    older = sorted(bucket.list_blobs(prefix=name, versions=True), key=lambda blob: blob.generation)
    for blob in older[-4:-1]:
        bucket.delete_blob(name, generation=blob.generation)
    ana.minutes(1)
    reconcile(ana.key, ana.bench.deps)
    ana.minutes(14)
    assert audit.broken_chains(ana.bench) == []
    assert waiting(ana) == []


# --- groups that give access to data


def in_a_group(bench):
    """The group of data readers is there, and two people's accounts are to be in it."""
    with bench.other_hands():
        Roster(bench).group(DATA_GROUP)
    return [Life(bench, email=parse_email(name)) for name in ("ana.silva@example.com", "ben.okafor@example.com")]


def test_joining_and_leaving_a_group_has_an_entry_for_each_call():
    people = in_a_group(make_bench(settings=personal(data_group=DATA_GROUP)))
    for person in people:
        person.join()
    people[0].leave(minutes=6)
    bench, keys = people[0].bench, {person.record.status.audit.alias: person.key for person in people}
    assert audit.unmatched(bench, keys) == []
    acts = [each["unmapped"].get("act", "") for each in audit.entries(bench)]
    assert [acts.count(f"{kind} {DATA_GROUP}") for kind in ("JoinGroup", "LeaveGroup")] == [2, 1]


@pytest.mark.parametrize("way", ["a change without an entry", "an entry without its change"])
def test_the_judge_sees_a_membership_and_an_entry_that_do_not_match(way):
    people = in_a_group(make_bench(settings=personal(data_group=DATA_GROUP)))
    people[0].join()
    bench, keys = people[0].bench, {people[0].record.status.audit.alias: people[0].key}
    if way == "a change without an entry":
        Roster(bench).add("somebody@example.com", group=DATA_GROUP)
        assert audit.unmatched(bench, keys) == [
            f"cloudidentity.memberships.create {DATA_GROUP}: 2 changes, 1 entries and 0 open ones"
        ]
        return
    journal = bench.cloud.world.journal
    kept = [entry for entry in journal._entries if entry.method != "memberships.create"]
    journal._entries.clear()
    journal._entries.extend(kept)
    assert audit.unmatched(bench, keys) == [f"cloudidentity.memberships.create {DATA_GROUP}: 1 entries, 0 calls"]
