"""The roster of groups with 100,000 people: a first reading, then a reading in which one person in a hundred has changed.

Half of the changed people are new members without a record, the others were removed from the group. As in `fleet.py`,
each reading is a process of its own. Its memory and its time have fixed bounds.

`roster.py [--quick] [PEOPLE...]`; by default 100,000 people.
"""

from __future__ import annotations

import argparse
from collections import Counter
from typing import Any

from benching import header, judge, say  # puts the tree on sys.path
from fleet import filled, measured

from emulator.clock import rfc3339
from emulator.model.cloudidentity import Group

ANALYSTS = "data-analysts@example.com"
LIMIT_MB, LIMIT_S = 512, 30


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--quick", action="store_true", help="measure 1,000 people, for a quick check; do not quote the figures"
    )
    parser.add_argument("people", nargs="*", type=int)
    asked = parser.parse_args()
    for count in asked.people or ([1_000] if asked.quick else [100_000]):
        header(f"The roster of {count:,} people")
        bench = filled(count)
        groups = bench.cloud.cloudidentity._groups  # noqa: SLF001 - a hundred thousand calls would take an hour
        now = rfc3339(bench.now)
        for number, assigned in enumerate(bench.deps.policy.catalog.assignments):
            name = f"groups/{number:015}"
            groups[name] = Group(
                name=name, email=assigned.group, display_name="", description="", labels={}, created=now
            )
        members = groups["groups/000000000000000"].members
        emails = [row.email for row in bench.deps.records.rows()]
        for email in emails:
            members[email] = _member(email, now)
        with bench.cloud:
            measured("roster", bench)
            for number in range(count // 200):
                del members[emails[number]]
                email = f"new.{number}@example.com"
                members[email] = _member(email, now)
            bench.cloud.world.journal.clear()
            bench.advance(hours=1)
            found = measured("roster", bench)
        calls = Counter(
            f"{call['service']}.{call['method']}" for call in bench.cloud.world.journal.listing(mutating_only=False)
        )
        say(f"  {sum(calls.values()):,} calls: " + ", ".join(f"{each} {n:,}" for each, n in calls.most_common(8)))
        say(f"  {found['facts']['found']}")
        judge("memory", found["mb"], LIMIT_MB, unit=" MB")
        judge("time", found["s"], LIMIT_S, unit=" s")


def _member(email: str, now: str) -> dict[str, Any]:
    return {
        "name": f"groups/000000000000000/memberships/{abs(hash(email))}",
        "preferredMemberKey": {"id": email},
        "createTime": now,
        "updateTime": now,
        "roles": [{"name": "MEMBER"}],
        "type": "USER",
    }


if __name__ == "__main__":
    main()
