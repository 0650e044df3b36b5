"""Rosters for tests: Google groups of the embedded cloud, HR's file in the inbox, and a product that reads both."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from msgspec.structs import replace

from emulator.clock import rfc3339
from kit.inprocess import Bench, local_settings, make_bench
from shared.domain.fleet.roster import RosterKind
from shared.domain.people.events import GroupChanged, Joined, Left
from shared.domain.people.sources import FROM_ROSTER
from shared.domain.record.record import Presence, UserRecord
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


class LeavesOut:
    """A reading of the directory in which some people are missing; a look at one person is right. `without` may change."""

    def __init__(self, real: Any, without: Collection[str]) -> None:
        self._real, self.kind, self.without = real, real.kind, without

    def read(self, groups: frozenset[str], now: datetime) -> Any:
        found, without = self._real.read(groups, now), {parse_email(name) for name in self.without}
        return replace(found, people={e: held for e, held in found.people.items() if e not in without})

    def is_absent(self, email: Any, group: str, reading: Any) -> bool:
        return bool(self._real.is_absent(email, group, reading))


@dataclass
class Absences:
    """Who was in no group, and when: what a roster says of absence is judged by this, never by the roster."""

    _moments: dict[tuple[str, str], list[tuple[datetime, bool]]] = field(default_factory=dict)

    def note(self, person: str, group: str, member: bool, now: datetime) -> None:
        """From now on the person is a member, or is none."""
        self._moments.setdefault((str(parse_email(person)), group), []).append((now, member))

    def was_out(self, person: str, group: str, since: datetime) -> bool:
        """Return True if the person was out of the group at some moment since then."""
        moments = self._moments.get((str(parse_email(person)), group), [])
        before = [member for at, member in moments if at <= since]
        return not (before and before[-1]) or any(not member for at, member in moments if at >= since)

    def is_in(self, person: str, group: str) -> bool:
        moments = self._moments.get((str(parse_email(person)), group), [])
        return bool(moments) and moments[-1][1]

    def no_false_cut(self, record: UserRecord, now: datetime) -> None:
        """A roster has said "is in no such group" only of whoever was out of it since its reading began."""
        for group in {group for _, group in self._moments}:
            said = record.facts.at(f"group:{group}", now)
            if said is not None and said.source == FROM_ROSTER and said.value is not True:
                assert self.was_out(record.email, group, said.occurred_at), (
                    f"{record.user_key} was cut by a roster that was false: {said}"
                )
