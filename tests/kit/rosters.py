"""Rosters for tests: Google groups of the embedded cloud, HR's file in the inbox, and a product that reads both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from emulator.clock import rfc3339
from kit.inprocess import Bench, local_settings, make_bench
from shared.domain.fleet.roster import RosterKind
from shared.domain.people.events import GroupChanged, Joined, Left
from shared.domain.record.record import Presence
from shared.domain.things.identity import parse_email, user_key_for
from shared.engine.news.deliver import deliver
from shared.engine.ports.roster import RosterReport
from shared.engine.sweeps.sweeping import Summary
from shared.engine.sweeps.sweeps import sweep

ANALYSTS = "data-analysts@example.com"
_FORUM = {"cloudidentity.googleapis.com/groups.discussion_forum": ""}


def address(name: str) -> str:
    return name if "@" in name else f"{name}@example.com"


@dataclass
class Roster:
    """A bench that reads rosters, and the directory beside it."""

    bench: Bench
    number: int = 0

    @classmethod
    def build(cls, *, groups: bool = True, employees: bool = False) -> Roster:
        made = cls(make_bench(settings=local_settings(roster_groups=groups, roster_employees=employees)))
        for group in (each.group for each in made.bench.deps.policy.catalog.assignments):
            made.group(group)
        return made

    # --- the directory

    def group(self, email: str) -> None:
        body = {"parent": "customers/C046psxkn", "groupKey": {"id": email}, "labels": _FORUM}
        self.bench.control("POST", "/v1/groups?initialGroupConfig=EMPTY", body)

    def name(self, group: str) -> str:
        found: str = self.bench.control("GET", f"/v1/groups:lookup?groupKey.id={quote(group)}")["name"]
        return found

    def add(self, *people: str, group: str = ANALYSTS, until: datetime | None = None) -> None:
        name = self.name(group)
        role: dict[str, Any] = {"name": "MEMBER"}
        if until is not None:
            role["expiryDetail"] = {"expireTime": rfc3339(until)}
        for person in people:
            body = {"preferredMemberKey": {"id": address(person)}, "roles": [role]}
            self.bench.control("POST", f"/v1/{name}/memberships", body)

    def remove(self, *people: str, group: str = ANALYSTS) -> None:
        name = self.name(group)
        for person in people:
            found = self.bench.control("GET", f"/v1/{name}/memberships:lookup?memberKey.id={quote(address(person))}")
            self.bench.control("DELETE", f"/v1/{found['name']}")

    # --- HR's file

    def drop(self, people: Iterable[str], *, lines: Sequence[str] | None = None, header: str = "user") -> None:
        """Write HR's file with these people, and a right last line unless `lines` are given."""
        rows = [header, *people]
        text = "\n".join([*rows, *(lines if lines is not None else (f"#rows,{len(rows) - 1}",)), ""])
        self.drop_bytes(text.encode())

    def drop_bytes(self, raw: bytes) -> None:
        self.number += 1
        bucket = self.bench.clients.bucket(self.bench.settings.inbox_bucket)
        bucket.write(f"rosters/hr-{self.number:03}.csv", raw, content_type="text/csv", what="drop")

    # --- news and sweeps

    def says(self, kind: type, person: str, **more: Any) -> None:
        self.number += 1
        now = self.bench.now
        event = kind(
            event_id=f"m{self.number}", user=parse_email(address(person)), occurred_at=now, effective_at=now, **more
        )
        deliver(event, self.bench.deps)

    def joins(self, *people: str, group: str | None = ANALYSTS, source: str = "directory") -> None:
        for person in people:
            if group is None:
                self.says(Joined, person, source="hr", confirms=True)
            else:
                self.says(GroupChanged, person, group=group, member=True, source=source)

    def leaves(self, person: str, *, source: str = "hr") -> None:
        self.says(Left, person, source=source)

    def read(self, *, hours: float = 1, dry_run: bool = False) -> Summary:
        """Let time pass, and compare."""
        self.bench.cloud.world.clock.advance(timedelta(hours=hours))
        return sweep("roster", self.bench.deps, dry_run=dry_run)

    # --- what came of it

    def report(self, kind: RosterKind = RosterKind.GROUPS) -> RosterReport:
        found = self.bench.deps.rosters.report(kind)
        assert found is not None
        return found

    def has_access(self, person: str) -> bool:
        stored = self.bench.deps.records.load(user_key_for(parse_email(address(person))))
        return stored is not None and stored.record.spec.presence is Presence.PRESENT

    def with_access(self) -> set[str]:
        return {
            row.email.partition("@")[0] for row in self.bench.deps.records.rows() if row.presence is Presence.PRESENT
        }
