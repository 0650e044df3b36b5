"""1,000 leavers in one burst: the time from the news to the disabled account, to the accepted stop and to the stopped instance.

Each user runs a notebook with a personal service account. The news is parsed and handled by the engine on eight
threads, as in a function, in one process against the embedded cloud without sockets. The clock runs at real speed
during the burst, so virtual and real seconds are the same; afterwards it ticks minute by minute. The times of the burst
are read from the embedded cloud's journal and state, never from the product. The baseline is the bare calls that end
access.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial

from benching import ROOM, arguments, header, judge, percentile, say, timed
from kit.inprocess import Bench, impatient, local_settings, make_bench
from kit.oracle import instances
from msgspec.structs import replace
from people import message, tell

from shared.domain.things.catalog import Identity
from shared.domain.things.identity import account_email, account_id_for, instance_id_for, parse_email, user_key_for
from shared.engine.sweeps.sweeps import sweep

_THREADS = 8
_QUOTA = 10_000  # service accounts a project; Google gives 100 until asked for more


def world_of(people: list[str]) -> Bench:
    """Return a world whose users joined through the product and run a notebook with a personal account. Nothing is due; the journal is empty."""
    settings = local_settings()
    own = {n: replace(p, identity=Identity.PERSONAL_SERVICE_ACCOUNT) for n, p in settings.catalog.profiles.items()}
    bench = make_bench(settings=replace(settings, guard=ROOM, catalog=replace(settings.catalog, profiles=own)))
    bench.cloud.iam.quota = _QUOTA
    for person in people:
        tell(bench, message(bench, "joiner", person))
    for _ in range(12):
        bench.advance(minutes=1)
        sweep("due", bench.deps)
    states = [instance.state for instance in instances(bench.cloud).values()]
    assert states == ["ACTIVE"] * len(people), f"not all run: {states.count('ACTIVE')} of {len(people)}"
    found = [why for _, why in sweep("drift", bench.deps).decisions if "once a day" not in why]
    assert not found, f"the world is not settled: {found[:3]}"
    bench.cloud.world.journal.clear()
    return bench


def access_is_over(bench: Bench, person: str) -> bool:
    """Return True if the person's service account is disabled, and its policy has no member."""
    email = account_email(account_id_for(user_key_for(parse_email(person))), bench.settings.project)
    path = f"/v1/projects/{bench.settings.project}/serviceAccounts/{email}"
    account, policy = bench.control("GET", path), bench.control("POST", f"{path}:getIamPolicy", {})
    return bool(account.get("disabled")) and not policy.get("bindings")


def moments(bench: Bench, method: str, since: datetime) -> dict[str, float]:
    """Return the seconds from `since` to the first accepted call of a method, by the last part of its resource's name."""
    found: dict[str, float] = {}
    for call in bench.calls():
        if call["method"] == method and call["status"] < 300:
            name = call["resource"].rpartition("/")[2]
            found.setdefault(name, (datetime.fromisoformat(call["time"]) - since).total_seconds())
    return found


def on_threads(work: Callable[[str], object], people: list[str]) -> None:
    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        list(pool.map(work, people))


def burst(bench: Bench, people: list[str]) -> float:
    """Let all users leave at once, print the times, and fail if any user still has access. Return the seconds per user."""
    said = {person: message(bench, "leaver", person) for person in people}
    clock = bench.cloud.world.clock
    clock.set_speed(1)
    begun = bench.now
    on_threads(lambda person: tell(bench, said[person]), people)
    took = (bench.now - begun).total_seconds()
    clock.set_speed(0)
    say(f"{len(people):,} deliveries in {took:.1f} s = {len(people) / took:.0f} a second")
    left = [person for person in people if not access_is_over(bench, person)]
    assert not left, f"{len(left)} accounts are of use after their delivery"
    disabled, cut = (
        moments(bench, "serviceAccounts.disable", begun),
        moments(bench, "serviceAccounts.setIamPolicy", begun),
    )
    revoked = [max(disabled[account], cut[account]) for account in disabled]
    accepted = moments(bench, "StopInstance", begun)
    for _ in range(5):
        bench.advance(minutes=1)
        sweep("due", bench.deps)
    now = {each.short: each for each in instances(bench.cloud).values()}
    mine = [now[instance_id_for(parse_email(person))] for person in people]
    assert {each.state for each in mine} == {"STOPPED"}, "somebody's instance runs"
    stopped = [(each.updated - begun).total_seconds() for each in mine]
    assert len(revoked) == len(accepted) == len(stopped) == len(people)
    for what, seconds in (("revoked", revoked), ("stop accepted", list(accepted.values())), ("STOPPED", stopped)):
        figures = (
            f"p50 {percentile(seconds, 0.5):.2f} s, p99 {percentile(seconds, 0.99):.2f} s, last {max(seconds):.2f} s"
        )
        say(f"news to {what}: {figures}")
    judge("news to revoked, p99", percentile(revoked, 0.99), 10.0, unit=" s")
    judge("news to stop accepted, p99", percentile(list(accepted.values()), 0.99), 60.0, unit=" s")
    judge("news to STOPPED, p99 (60 s of it is the embedded cloud's stop)", percentile(stopped, 0.99), 120.0, unit=" s")
    return took / len(people)


def single(bench: Bench, people: list[str]) -> None:
    """Print the times of leavers who leave one after the other, so that none waits for another."""
    said = [message(bench, "leaver", person) for person in people]
    seconds = [timed(partial(tell, bench, each)) for each in said]
    say(f"one leaver at a time, news to all of it: p50 {percentile(seconds, 0.5) * 1e3:.0f} ms, n = {len(people)}")
    assert all(access_is_over(bench, person) for person in people)


def bare(bench: Bench, people: list[str]) -> float:
    """Return the real seconds per user of the bare calls: stop, disable, read and write the policy."""
    project = bench.settings.project

    def end(person: str) -> None:
        email = parse_email(person)
        account = account_email(account_id_for(user_key_for(email)), project)
        path = f"/v1/projects/{project}/serviceAccounts/{account}"
        zone = bench.settings.zones[0]
        bench.control("POST", f"/v2/projects/{project}/locations/{zone}/instances/{instance_id_for(email)}:stop", {})
        bench.control("POST", f"{path}:disable", {})
        etag = bench.control("POST", f"{path}:getIamPolicy", {})["etag"]
        bench.control("POST", f"{path}:setIamPolicy", {"policy": {"etag": etag, "bindings": []}})

    return timed(lambda: on_threads(end, people)) / len(people)


def main() -> None:
    asked = arguments(__doc__)
    count = 100 if asked.quick else 1_000
    few = count // 20
    header(f"{count:,} leavers with accounts of their own")
    people = [f"leaver.{number}@example.com" for number in range(count + 2 * few)]
    with impatient():
        bench = world_of(people)
        single(bench, people[:few])
        alone = bare(bench, people[few : 2 * few])
        bench.cloud.world.journal.clear()
        each = burst(bench, people[2 * few :])
    say(f"a leaver in the burst: {each * 1e3:.1f} ms; the bare calls: {alone * 1e3:.1f} ms a person")
    judge("RATIO leaver / bare calls", each / alone, 13)  # two slots of the guard are two writes more


if __name__ == "__main__":
    main()
