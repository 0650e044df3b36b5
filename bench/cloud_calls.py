"""The calls to the cloud for a join, a duplicate, a quiet tick and a quiet drift sweep, counted by the embedded cloud's journal.

The product's real adapters and Google's clients run in this process against the embedded cloud without sockets. The
numbers of calls are compared with the bounds of the design. The time of the drift sweep is compared with that of
listing the sweep's pages without judging them.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from benching import arguments, header, judge, median, say, timed
from kit.inprocess import Bench
from kit.official import storage_bucket
from people import message, settled_world, tell

from shared.domain.things.identity import parse_email, user_key_for
from shared.engine.sweeps.sweeps import sweep

# What is kept for the pages, the policy in force, the size of the fleet for the guard.
_FOR_EVERYBODY = ("/index/", "/policy/current", "/guard/sizes")


def calls(bench: Bench) -> list[dict[str, Any]]:
    """Return the calls to Google's services that the journal has, and clear the journal.

    Calls to the embedded cloud's control API do not count.
    """
    found = [call for call in bench.calls() if call["service"] not in {"emulator", "control"}]
    bench.cloud.world.journal.clear()
    return found


def named(found: list[dict[str, Any]]) -> str:
    counted = Counter(f"{call['service']}.{call['method']}" for call in found)
    return ", ".join(f"{count} {name}" for name, count in counted.items()) or "none"


def reads_and_writes(found: list[dict[str, Any]]) -> int:
    """Return the number of calls other than listings, without calls on objects that exist once for all users."""
    about_people = [call for call in found if not any(part in call["resource"] for part in _FOR_EVERYBODY)]
    return sum(not c["method"].lower().startswith("list") and not c["method"].endswith(".list") for c in about_people)


def main() -> None:
    asked = arguments(__doc__)
    people = 1_000 if asked.quick else 10_000
    header(f"Calls to the cloud, {people:,} quiet users")
    bench = settled_world(people)

    join = message(bench, "joiner", "ana.silva@example.com")
    tell(bench, join)
    found = calls(bench)
    stored = bench.deps.records.load(user_key_for(parse_email("ana.silva@example.com")))
    assert stored is not None
    templates = len(bench.settings.catalog.profiles[str(stored.record.spec.profile)].templates)
    say(f"join: {named(found)}")
    judge(f"calls of a join ({templates} template)", len(found), 10 + templates, unit="")
    calls(bench)

    tell(bench, join)
    found = calls(bench)
    say(f"duplicate: {named(found)}")
    judge("writes of a duplicate", sum(call["mutates"] for call in found), 0, unit="")

    for _ in range(8):
        bench.advance(minutes=1)
        sweep("due", bench.deps)
    calls(bench)
    quiet = timed(lambda: sweep("due", bench.deps))
    found = calls(bench)
    say(f"quiet tick: {named(found)}, {quiet * 1000:.1f} ms")
    judge("calls of a quiet tick", len(found), 2, unit="")  # who is due, and whether a file lies in the inbox

    swept: list[float] = []
    bare: list[float] = []
    for _ in range(3):
        swept.append(timed(lambda: sweep("drift", bench.deps)))
        found = calls(bench)
        bare.append(timed(lambda: bare_listing(bench)))
        calls(bench)
    summary = sweep("drift", bench.deps)
    assert summary.looked_at == people + 1, f"{summary.looked_at} of {people + 1} records were looked at"
    assert not summary.decisions, f"not quiet: {summary.decisions[:3]}"
    say(
        f"quiet drift sweep: {named(found)}, {median(swept):.2f} s; the same pages listed and dropped: {median(bare):.2f} s"
    )
    judge("calls of a quiet drift sweep that are no listing", reads_and_writes(found), 0, unit="")
    judge("RATIO quiet drift sweep / bare listing", median(swept) / median(bare), 2.0)


def bare_listing(bench: Bench) -> None:
    """List the pages that a drift sweep lists and discard each row: the baseline of the sweep's time.

    Objects are listed by google-cloud-storage, instances by the product's own client.
    """
    bucket = storage_bucket(bench.clients)
    for prefix in ("records/", "templates/"):
        for _ in bucket.list_blobs(prefix=prefix, fields="items(name,metadata),nextPageToken", page_size=1000):
            pass
    path, token = f"/v2/projects/{bench.settings.project}/locations/-/instances", ""
    while True:
        page = bench.clients.json("notebooks").call("GET", path, params={"pageSize": 500, "pageToken": token})
        token = page.get("nextPageToken", "")
        if not token:
            return


if __name__ == "__main__":
    main()
