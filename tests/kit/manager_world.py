"""A world in which every view of the manager's page has something to show, and the addresses of these views."""

from __future__ import annotations

from datetime import timedelta

from msgspec.structs import replace

from kit.hub import ANA, Hub, hub_settings, make_hub
from kit.life import limited
from portal.manage.acts import Act
from portal.manage.needs import NEEDS
from shared.domain.fleet.drift import Stray
from shared.domain.fleet.fleet import FleetPoint, FleetSnapshot, Notes
from shared.domain.fleet.idle_days import IdleDay
from shared.domain.people.entitlement import Cause
from shared.domain.record.cuts import SeatWait
from shared.domain.record.record import LimitRow, Presence, RecordRow, row_of
from shared.domain.record.status import Notice
from shared.domain.things.errors import Reason
from shared.domain.things.identity import instance_id_for, parse_email, user_key_for
from shared.domain.things.limits import GroupLimits
from shared.domain.things.power import NOTEBOOK, Usage
from shared.engine.ports.inbox import LetterRow
from shared.engine.views.fleet import Column, View

GROUPS = ("data-analysts@example.com", "data-engineers@example.com")
LEO = parse_email("leo.former@example.com")
TABS = ("", "?tab=history", "?tab=access", "?tab=costs", "?tab=technical")
_REASONS = ("UnknownProfile", "InvalidMessage", "LeaverNotUnderstood", "NotAllowed", "DeliveryAttemptsExhausted")


def rows_of_every_kind(hub: Hub) -> list[RecordRow]:
    """A row of each reason, each cause, each notice, and of each that needs attention otherwise."""
    now, like = hub.bench.now, replace(row_of(hub.record(ANA)), usage={NOTEBOOK: Usage(month="2026-11", ran_s=7200)})
    rows = [replace(like, reason=reason.value) for reason in Reason]
    rows += [replace(like, cause=cause, reason="Ready") for cause in Cause]
    rows += [replace(like, notices=(notice,), reason="Ready") for notice in Notice]
    left = replace(like, presence=Presence.ABSENT, reason="Retained", absent_since=now - timedelta(days=2))
    rows += [
        replace(left, proved_at=now),
        left,
        replace(like, presence=Presence.ABSENT, reason="NotEntitled", unknown_since=now),
        replace(like, on_hold=True, hold_reason="case 4711", reason="Ready"),
        replace(like, marked=True, reason="Ready"),
        replace(like, reason="Stockout", sold_out=("europe-west1-b",), sold_out_since=now - timedelta(hours=3)),
        replace(like, profile=None, reason="Waiting"),
        replace(like, profile="lost", reason="Ready", access_until=now + timedelta(days=9)),
    ]
    rows[0] = replace(rows[0], limits=LimitRow(seats=GROUPS, paid_by=GROUPS))
    rows[1] = replace(
        rows[1], limits=LimitRow(seats=GROUPS[:1], wait=SeatWait(groups=GROUPS[1:], since=now - timedelta(hours=5)))
    )
    named = [(parse_email(f"person.{number}@example.com"), row) for number, row in enumerate(rows)]
    return [
        replace(row, user_key=user_key_for(email), email=email, instance_id=instance_id_for(email))
        for email, row in named
    ]


def full_world() -> Hub:
    """Everything that the pages may have to show."""
    hub = make_hub(
        limited({group: GroupLimits(max_environments=1, max_monthly_cost=0.2) for group in GROUPS}, hub_settings())
    )
    for email in (ANA, LEO):
        hub.joined(email)
    hub.left(LEO)
    hub.swept()
    hub.bench.advance(minutes=1)
    now = hub.bench.now
    rows = rows_of_every_kind(hub)
    points = tuple(
        FleetPoint(at=now - timedelta(hours=h), running=9 - h, resting=h, moving=1, attention=2) for h in (9, 8, 1)
    )
    stopped = IdleDay(stops=3, stopped_s={"analyst": 7200, "lost": 60}, kernels=1, unknown=1)
    hub.bench.deps.fleet.write_fleet(
        FleetSnapshot(
            taken_at=now,
            rows=tuple(rows),
            strays=(Stray(name="nb-left", zone="europe-west1-c", why="has no record"),),
            blind=frozenset({rows[0].user_key}),
            points=points,
            idle_days={now.date().isoformat(): stopped},
        )
    )
    used = {row.user_key: now - timedelta(days=number) for number, row in enumerate(rows)}
    hub.bench.deps.fleet.write_notes(Notes(taken_at=now, last_used=used))
    for number, reason in enumerate(_REASONS):
        hub.keep_letter(_letter(hub, number, reason))
    return hub


def _letter(hub: Hub, number: int, reason: str) -> LetterRow:
    return LetterRow(
        letter_id=f"m-{number}", sent_at=hub.bench.now - timedelta(hours=number), reason=reason, detail="No such profile.",
        users=(user_key_for(ANA),), cuts=number == 2,
    )  # fmt: skip


def views() -> list[str]:
    """The address of each view, but those of single messages."""
    people, leaver = (f"/manage/people/{user_key_for(email)}" for email in (ANA, LEO))
    others = {Act.RESTORE, Act.UNDO_RESTORE, Act.DELETE_CLUSTER}
    return [
        "/manage",
        *(f"/manage/people?view={view.value}" for view in View),
        "/manage/people",
        "/manage/people?page=2",
        *(f"/manage/people?sort={column.value}&order=down" for column in Column),
        "/manage/people?q=nothing",
        *(f"/manage/people?needs={why}" for why in (*NEEDS, "any")),
        "/manage/people/announce?view=unused",
        "/manage/attention",
        *(f"/manage/attention?why={why}" for why in NEEDS),
        "/manage/costs",
        "/manage/costs?by=cost-center",
        "/manage/costs?by=profile",
        "/manage/messages",
        "/manage/messages?show=all",
        "/manage/changes",
        "/manage/rosters",
        *(f"{who}{tab}" for who in (people, leaver) for tab in TABS),
        *(f"{people}/acts/{act.value}" for act in Act if act not in others),
    ]
