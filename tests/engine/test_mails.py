"""Mails to users: told once, of what happened, and no data goes before its last warning was told."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from kit.life import ANA
from kit.mail import BOSSES, MESSAGES, MailHost, Mailed, mail_host, mailed
from msgspec.structs import replace

from shared.domain.record.mails import MailState, Stage
from shared.domain.record.record import Power
from shared.domain.things.power import PowerCause, PowerReason
from shared.engine.reconcile.changing import want_hold, want_power

UTF8_ANA = '"ñandú o\'neil+test"@sub.example.co'


@pytest.fixture
def host() -> Iterator[MailHost]:
    with mail_host() as made:
        yield made


def joined(host: MailHost, **more: object) -> Mailed:
    made = mailed(host, **more)
    made.life.join(minutes=0)
    made.minutes(8)
    return made


def stop_idle(made: Mailed) -> None:
    since = made.life.bench.now - timedelta(hours=3)
    want_power(made.life.key, Power.STOPPED, PowerReason(cause=PowerCause.IDLE, since=since), made.deps)
    made.minutes(8)


def test_a_life_is_told_stage_by_stage(host: MailHost) -> None:
    made = joined(host)
    assert made.subjects() == ["Your notebook is ready"]
    assert host.accepted[0].recipients == [UTF8_ANA]
    stop_idle(made)
    assert made.subjects()[1:] == ["Your notebook was stopped"]
    made.life.leave()
    made.minutes(20)
    assert made.subjects()[2:] == [f"Access of {ANA} has ended"]
    assert host.accepted[2].recipients == list(BOSSES)
    for days in (77, 10, 2, 2):
        made.days(days)
    assert made.subjects()[3:] == [
        f"Files of {ANA} are deleted in 14 days",
        f"Files of {ANA} are deleted in 3 days",
        f"Files of {ANA} are deleted in 1 day",
        f"Files of {ANA} are deleted",
    ]
    assert made.life.snapshots() == {}
    assert {state for _, state in made.mails()} == {"Sent"}
