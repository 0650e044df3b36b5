"""Leavers: the real seconds from the published event to the stopping of the instance, through the real processes.

The users have running notebooks. First some leave one by one, then the others leave in one burst. The baseline sends
messages the same way, by publish and push, to a function that answers at once.
"""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import requests
from benching import (
    arguments,
    embedded_cloud,
    header,
    hello_folder,
    judge,
    news,
    percentile,
    publish,
    pubsub_message,
    say,
    wait_until,
)

from cli.local.system import LocalSystem
from shared.domain.things.identity import instance_id_for, parse_email

_TOPIC = "bench-hello"
_SUBSCRIPTION = "eventarc-bench-hello"


def control(system: LocalSystem, method: str, path: str, body: Any = None) -> Any:
    answer = requests.request(method, system.url + path, json=body, headers=system.token(), timeout=60)
    answer.raise_for_status()
    return answer.json()


def states(system: LocalSystem) -> dict[str, str]:
    """Return the state of every instance by its id."""
    found: dict[str, str] = {}
    token = ""
    while True:
        path = f"/v2/projects/{system.settings.project}/locations/-/instances?pageSize=500&pageToken={token}"
        page = control(system, "GET", path)
        found |= {row["name"].rpartition("/")[2]: row["state"] for row in page.get("instances", [])}
        token = page.get("nextPageToken", "")
        if not token:
            return found


def ready(system: LocalSystem, people: list[str]) -> None:
    """Let all users join, and wait until their notebooks run and nothing is due; each look moves the clock by a minute.

    Raise `RuntimeError` if not all notebooks run after five minutes. If records are still due two minutes later, only
    print a note.
    """
    moment = datetime.now(UTC) - timedelta(days=1)
    publish(system, system.settings.topic_lifecycle, [pubsub_message(news("joiner", one, moment)) for one in people])

    def all_active() -> bool:
        control(system, "POST", "/_emulator/clock", {"advance_seconds": 60})
        return list(states(system).values()).count("ACTIVE") >= len(people)

    if not wait_until(all_active, patience_s=300, every_s=2):
        raise RuntimeError(f"not all notebooks run: see {system.log_file}")
    quiet = wait_until(lambda: not _due(system), patience_s=120, every_s=1)
    if not quiet:
        say("(some records were still due when the leavers left)")


def _due(system: LocalSystem) -> bool:
    control(system, "POST", "/_emulator/clock", {"advance_seconds": 60})
    time.sleep(1)
    path = f"/storage/v1/b/{system.settings.bucket}/o?prefix=due/&maxResults=1"
    return bool(control(system, "GET", path).get("items"))


def journal(system: LocalSystem, method: str) -> list[dict[str, Any]]:
    """Return the calls of a method since the journal was emptied. Their times are real, because the clock runs at speed 1."""
    return [row for row in control(system, "GET", "/_emulator/calls")["calls"] if row["method"] == method]


def virtual_now(system: LocalSystem) -> datetime:
    return datetime.fromisoformat(control(system, "GET", "/_emulator/clock")["now"])


def latencies(system: LocalSystem, topic: str, messages: dict[str, dict[str, Any]], method: str) -> list[float]:
    """Return the seconds from the start of publishing to each successful call of `method`; there is one call for each message.

    `messages` maps the end of a resource's name to its message. For several messages about one resource, `#` and a
    number follow the name, and as many calls are awaited. Raise `RuntimeError` if a call is missing after five minutes.
    """
    control(system, "DELETE", "/_emulator/calls")
    begun = virtual_now(system)
    publish(system, topic, list(messages.values()))
    wanted = Counter(name.partition("#")[0] for name in messages)
    seen: list[datetime] = []

    def complete() -> bool:
        seen.clear()
        left = wanted.copy()
        for row in journal(system, method):
            name = row["resource"].rpartition("/")[2]
            if row["status"] < 300 and left[name] > 0:
                left[name] -= 1
                seen.append(datetime.fromisoformat(row["time"]))
        return len(seen) == len(messages)

    if not wait_until(complete, patience_s=300, every_s=0.2):
        raise RuntimeError(f"{method}: {len(seen)} of {len(messages)} seen; see {system.log_file}")
    return [(moment - begun).total_seconds() for moment in seen]


def leavers(system: LocalSystem, people: list[str]) -> list[float]:
    """Return the seconds from the published event to the accepted stop for each leaver.

    Raise `RuntimeError` if an instance is not stopped or stopping afterwards.
    """
    moment = virtual_now(system)
    messages = {instance_id_for(parse_email(one)): pubsub_message(news("leaver", one, moment)) for one in people}
    seconds = latencies(system, system.settings.topic_lifecycle, dict(messages), "StopInstance")
    now = states(system)
    wrong = {now[instance] for instance in messages} - {"STOPPING", "STOPPED"}
    if wrong:
        raise RuntimeError(f"instances of leavers are {wrong}")
    return seconds


def hellos(system: LocalSystem, count: int) -> list[float]:
    """Return the seconds from the publish to the answered push of a function that does nothing."""
    messages = {f"{_SUBSCRIPTION}#{number}": pubsub_message({"n": number}) for number in range(count)}
    return latencies(system, _TOPIC, messages, "Push")


def deploy_hello(system: LocalSystem, folder: str) -> None:
    """Start the baseline's function in the host of the product's functions, with the same number of threads."""
    topic = f"projects/{system.settings.project}/topics/{_TOPIC}"
    control(system, "PUT", f"/v1/{topic}", {})
    function = {"name": "bench-hello", "source": folder, "entry_point": "hello", "topic": topic}
    control(system, "POST", "/_emulator/functions", function)


def tell(what: str, seconds: list[float]) -> None:
    say(f"{what}: p50 {percentile(seconds, 0.5):.2f} s, p99 {percentile(seconds, 0.99):.2f} s, n = {len(seconds)}")


def main() -> None:
    asked = arguments(__doc__)
    count, single = (40, 5) if asked.quick else (200, 20)
    header(f"{count} leavers")
    people = [f"leaver.{number}@example.com" for number in range(count + single)]
    with hello_folder() as folder, embedded_cloud(speed=1, functions=True) as system:
        deploy_hello(system, str(folder))
        ready(system, people)
        one_leaver: list[float] = []
        one_hello: list[float] = []
        for person in people[:single]:
            one_hello += hellos(system, 1)
            one_leaver += leavers(system, [person])
        hello_before = hellos(system, count)
        all_leavers = leavers(system, people[single:])
        hello_after = hellos(system, count)
    all_hellos = [*hello_before, *hello_after]
    tell("one leaver at a time, publish to stop", one_leaver)
    tell("one hello at a time, publish to answer", one_hello)
    tell(f"{count} leavers at once, publish to stop", all_leavers)
    tell(f"{count} hellos at once, publish to answer", all_hellos)
    judge("one leaver, p50", percentile(one_leaver, 0.5), 1.0, unit=" s")
    judge(f"{count} leavers at once, p99", percentile(all_leavers, 0.99), 60.0, unit=" s")
    judge("RATIO leavers / hellos at once, p99", percentile(all_leavers, 0.99) / percentile(all_hellos, 0.99), 30)


if __name__ == "__main__":
    main()
