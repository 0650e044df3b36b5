"""Mails to users: told once, of what happened, and no data goes before its last warning was told."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import timedelta

import pytest
from kit.life import ANA, Life
from kit.mail import BOSSES, MESSAGES, Mailed, MailHost, mail_host, mailed
from kit.official import storage_bucket
from msgspec.structs import replace

from shared.domain.fleet.idle import Reason as IdleReason
from shared.domain.fleet.idle import Warn
from shared.domain.record.parts import MailState, Stage, Trouble
from shared.domain.record.record import Power
from shared.domain.record.status import Notice
from shared.domain.things.catalog import Disruption
from shared.domain.things.errors import CloudUnavailableError
from shared.domain.things.identity import parse_email
from shared.domain.things.power import PowerCause, PowerReason
from shared.engine.news.dead_letters import take_note
from shared.engine.news.mails import tell
from shared.engine.ports.mail import Letter
from shared.engine.reconcile.changing import want_hold, want_power
from shared.engine.sweeps.idle import _note_warning
from shared.engine.sweeps.sweeps import sweep

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
        f"Files of {ANA} will be deleted in 14 days",
        f"Files of {ANA} will be deleted in 3 days",
        f"Files of {ANA} will be deleted in 1 day",
        f"Files of {ANA} were deleted",
    ]
    assert made.life.snapshots() == {}
    assert {state for _, state in made.mails()} == {"Sent"}


def test_ten_redeliveries_tell_once(host: MailHost) -> None:
    made = mailed(host)
    made.life.join(minutes=8)
    outcomes = made.deliver(times=10)
    assert outcomes[0] == "Sent"
    assert set(outcomes[1:]) == {"not due: Sent"}
    assert made.subjects() == ["Your notebook is ready"]


@pytest.mark.parametrize(
    ("verb", "answer", "trouble"),
    [
        ("CONNECT", None, "Connect"),
        ("CONNECT", "554 no service", "Connect"),
        ("EHLO", None, "Greeting"),
        ("EHLO", "421 busy", "Greeting"),
        ("MAIL", "451 try later", "Sender"),
        ("MAIL", None, "Sender"),
        ("RCPT", "450 grey", "Recipient"),
        ("RCPT", None, "Recipient"),
        ("DATA", "451 try later", "Content"),
        ("DATA", None, "Content"),
        ("CONTENT", "452 full", "Content"),
    ],
)
def test_what_was_certainly_not_accepted_is_sent_later(
    host: MailHost, verb: str, answer: str | None, trouble: str
) -> None:
    host.answers[verb] = answer
    made = joined(host)
    mail = made.life.record.status.mail.mails[0]
    assert (mail.state, mail.trouble.value) == (MailState.DUE, trouble)
    assert mail.tries > 0
    assert host.accepted == []
    host.answers.clear()
    made.minutes(16)
    assert made.subjects() == ["Your notebook is ready"]
    assert made.mails() == [("ready", "Sent")]


@pytest.mark.parametrize(
    ("verb", "answer", "trouble"),
    [
        ("MAIL", "550 not you", "Sender"),
        ("RCPT", "550 unknown", "Recipient"),
        ("DATA", "554 no", "Content"),
        ("CONTENT", "554 looks like spam", "Content"),
    ],
)
def test_what_is_refused_for_good_is_told_to_the_operator(host: MailHost, verb: str, answer: str, trouble: str) -> None:
    host.answers[verb] = answer
    made = joined(host)
    assert made.mails() == [("ready", "Failed")]
    (line,) = [facts for _, said, facts in made.life.bench.log.lines if said == "Mail did not reach its reader"]
    assert (line["reason"], line["stage"]) == (trouble, "ready")
    assert "@" not in str(line)
    host.answers.clear()
    made.minutes(30)
    assert host.accepted == []


def test_a_refused_login_is_tried_again_for_a_day(host: MailHost) -> None:
    host.answers["AUTH"] = "535 wrong password"
    made = joined(host, user="robot")
    assert made.mails() == [("ready", "Due")]
    for _ in range(30):
        made.life.bench.advance(hours=1)
        made.minutes(1)
    mail = made.life.record.status.mail.mails[0]
    assert (mail.state, mail.trouble.value) == (MailState.FAILED, "Login")


@pytest.mark.parametrize("answer", ["200 OK", "222 queued", "251 forwarded"])
def test_any_completion_is_an_acceptance(host: MailHost, answer: str) -> None:
    host.answers |= dict.fromkeys(("MAIL", "RCPT", "CONTENT"), answer)
    made = joined(host)
    made.minutes(16)
    assert (made.subjects(), made.mails()) == (["Your notebook is ready"], [("ready", "Sent")])


@pytest.mark.parametrize("answer", ["what?", "999 no", "354 go on", "7"])
def test_an_answer_that_says_neither_is_as_none(host: MailHost, answer: str) -> None:
    host.answers["CONTENT"] = answer
    made = joined(host)
    host.answers.clear()
    made.minutes(16)
    assert (made.subjects(), made.mails()) == ([], [("ready", "Unsure")])


def test_an_answer_that_never_came_is_told_to_the_operator_and_never_sent_again(host: MailHost) -> None:
    host.hangs_up_after = True
    made = joined(host)
    assert made.mails() == [("ready", "Unsure")]
    host.hangs_up_after = False
    made.minutes(30)
    assert len(host.accepted) == 1
    assert [
        facts["state"] for _, said, facts in made.life.bench.log.lines if said == "Mail did not reach its reader"
    ] == ["Unsure"]


def test_one_refused_recipient_of_two_is_told_to_the_operator(host: MailHost) -> None:
    two = ("bosses@example.com", "gone@example.com")
    made = joined(host, messages=replace(MESSAGES, about_leavers=two))
    host.refuses["gone@example.com"] = "550 unknown"
    made.life.leave()
    made.minutes(20)
    assert host.accepted[-1].recipients == ["bosses@example.com"]
    mail = made.life.record.status.mail.mails[-1]
    assert (mail.stage, mail.state, mail.refused) == (Stage.ACCESS_ENDED, MailState.SENT, 1)
    assert [
        facts["refused"] for _, said, facts in made.life.bench.log.lines if said == "Recipients of a mail were refused"
    ] == [1]


def test_who_left_before_the_mail_could_be_sent_is_not_told_that_the_notebook_is_ready(host: MailHost) -> None:
    made = mailed(host)
    made.life.join(minutes=8)
    made.life.leave(minutes=1)
    assert made.deliver()[0] == "not due: Lapsed"
    assert "Your notebook is ready" not in made.subjects()


def test_who_came_back_before_the_mail_is_not_told_of_the_end(host: MailHost) -> None:
    made = joined(host)
    made.life.leave(minutes=15)
    assert made.mails()[-1] == ("access-ended", "Due")
    made.life.bench.advance(days=1)
    made.life.join(minutes=10)
    made.deliver()
    assert ("access-ended", "Lapsed") in made.mails()
    assert [subject for subject in made.subjects() if "ended" in subject] == []


def test_a_manager_whom_hr_names_is_told_of_the_end(host: MailHost) -> None:
    made = mailed(host)
    made.life.join(minutes=0, attributes={"manager": "Boss@Example.com", "language": "de"})
    made.minutes(8)
    assert made.subjects() == ["Ihr Notebook ist bereit"]
    made.life.leave()
    made.minutes(20)
    assert host.accepted[-1].recipients == ["boss@example.com"]
    assert made.subjects()[-1] == f"Access of {ANA} has ended"


@pytest.mark.parametrize("manager", ["boss@elsewhere.example", "boss@example.com\r\nBcc: x@example.com", 7, ""])
def test_a_manager_of_another_domain_is_never_written_to(host: MailHost, manager: object) -> None:
    made = mailed(host)
    made.life.join(minutes=8, attributes={"manager": manager})
    made.life.leave()
    made.minutes(20)
    assert host.accepted[-1].recipients == list(BOSSES)


def gone_for(made: Mailed, days: float) -> None:
    made.life.leave()
    made.minutes(20)
    made.days(days)


def test_a_deletion_waits_until_its_last_warning_was_accepted(host: MailHost) -> None:
    made = joined(host)
    gone_for(made, 80)
    host.answers["CONNECT"] = None
    made.days(9.5)
    made.days(5)
    assert made.life.snapshots()
    host.answers.clear()
    made.days(1)
    assert "will be deleted in 1 day" in made.subjects()[-1]
    assert made.life.snapshots()
    made.days(2)
    assert made.life.snapshots() == {}


def test_a_refused_last_warning_holds_the_deletion_until_an_operator_takes_note(host: MailHost) -> None:
    made = joined(host)
    gone_for(made, 80)
    host.answers["RCPT"] = "550 unknown"
    made.days(9.5)
    made.days(30)
    assert ("will-be-deleted", "Failed") in made.mails()
    assert made.life.snapshots()
    noted = take_note(made.life.key, made.deps, by="an operator")
    assert noted == 1
    made.minutes(8)
    assert made.life.snapshots() == {}


def test_a_hold_ends_the_warnings(host: MailHost) -> None:
    made = joined(host)
    gone_for(made, 60)
    want_hold(made.life.key, "a lawsuit", made.deps)
    made.days(28)
    assert [stage for stage, _ in made.mails() if stage == "will-be-deleted"] == []
    want_hold(made.life.key, None, made.deps)
    made.minutes(20)
    assert made.mails()[-1] == ("will-be-deleted", "Sent")
    assert made.life.snapshots()


def test_switched_on_later_the_past_is_not_told(host: MailHost) -> None:
    made = mailed(host)
    on = made.deps
    off = replace(on, mail=None, base_policy=replace(on.base_policy, tells=False))
    made.life.bench.deps = off
    made.life.join(minutes=8)
    assert made.life.record.status.mail.mails == ()
    made.life.bench.deps = on
    want_power(made.life.key, Power.RUNNING, PowerReason(cause=PowerCause.STARTED_BY_PERSON), made.deps)
    made.minutes(10)
    assert made.mails() == [("ready", "Before")]
    stop_idle(made)
    assert made.subjects() == ["Your notebook was stopped"]


def test_coming_back_is_told_again(host: MailHost) -> None:
    made = joined(host)
    made.life.leave()
    made.minutes(20)
    made.life.bench.advance(days=1)
    made.life.join(minutes=0)
    made.minutes(15)
    assert [subject for subject in made.subjects() if subject == "Your notebook is ready"] == [
        "Your notebook is ready"
    ] * 2


class Crash(BaseException):
    """The end of the process: nothing catches it."""


class CrashAt:
    """Ends the process at the nth moment before or after a call, and lets all later ones pass."""

    def __init__(self, made: Mailed, number: int) -> None:
        self.left, self.adapter = number, made.life.bench.adapter
        self.adapter.around = self

    def __call__(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Crash


def calls_of(host: MailHost) -> int:
    """How many moments there are, before and after the calls of one delivery."""
    made = mailed(host)
    made.life.join(minutes=8)
    moments = CrashAt(made, 0)
    made.deliver()
    return -moments.left


def test_a_crash_before_or_after_any_call_tells_at_most_once_and_the_operator_otherwise(host: MailHost) -> None:
    moments = calls_of(host)
    assert moments >= 6  # the record is read, claimed and written, each with a moment before and after
    ends = set()
    for number in range(1, moments + 1):
        host.accepted.clear()
        made = mailed(host)
        made.life.join(minutes=8)
        waiting = list(made.queue.published)
        CrashAt(made, number)
        with pytest.raises(Crash):
            made.deliver()
        made.life.bench.adapter.around = lambda: None
        made.queue.published = waiting
        made.deliver(times=10)
        made.minutes(15)
        ((_, state),) = made.mails()
        ends.add(state)
        assert len(host.accepted) == 1 or (state == "Unsure" and not host.accepted)
        told = [line for line in made.life.bench.log.lines if line[1] == "Mail did not reach its reader"]
        assert len(told) == (1 if state == "Unsure" else 0)
    assert ends == {"Sent", "Unsure"}


def test_a_crash_at_any_moment_of_a_pass_loses_no_mail_and_doubles_none(host: MailHost) -> None:
    probe = mailed(host)
    probe.life.join(minutes=5)
    moments = CrashAt(probe, 0)
    probe.life.minutes(3)
    assert probe.queue.published
    for number in range(1, -moments.left + 1):
        host.accepted.clear()
        made = mailed(host)
        made.life.join(minutes=5)
        CrashAt(made, number)
        with contextlib.suppress(Crash):
            made.life.minutes(3)
        made.life.bench.adapter.around = lambda: None
        made.minutes(10)
        assert made.subjects() == ["Your notebook is ready"], number
        assert made.mails() == [("ready", "Sent")], number


def test_a_crash_while_the_mail_server_speaks_is_told_to_the_operator(host: MailHost) -> None:
    made = mailed(host)
    made.life.join(minutes=8)

    class Dying:
        def send(self, letter: Letter) -> int:  # noqa: ARG002 - the port's own name
            raise Crash

    server = made.deps.mail.server
    made.life.bench.deps = replace(made.deps, mail=replace(made.deps.mail, server=Dying()))
    with pytest.raises(Crash):
        made.deliver()
    made.life.bench.deps = replace(made.deps, mail=replace(made.deps.mail, server=server))
    made.minutes(15)
    assert made.mails() == [("ready", "Unsure")]
    assert host.accepted == []


def test_a_topic_that_is_down_delays_a_mail_and_nothing_else(host: MailHost) -> None:
    made = mailed(host)
    made.queue.down = CloudUnavailableError(user_message="Pub/Sub does not answer.", detail="publish: 503")
    made.life.join(minutes=0)
    made.minutes(10)
    assert list(made.life.states().values()) == ["ACTIVE"]
    assert made.subjects() == []
    made.queue.down = None
    made.minutes(12)
    assert made.subjects() == ["Your notebook is ready"]
    made.minutes(30)
    assert made.queue.published == []


@pytest.mark.parametrize("number", range(1, 7))
def test_a_neighbour_who_sends_at_the_same_time_does_not_send_it_twice(host: MailHost, number: int) -> None:
    made = mailed(host)
    made.life.join(minutes=8)
    named, left, met = made.queue.published[0], [number], list[str]()

    def around() -> None:
        left[0] -= 1
        if left[0] == 0:
            made.life.bench.adapter.around = lambda: None
            met.append(tell(*named, made.deps))

    made.life.bench.adapter.around = around
    tell(*named, made.deps)
    assert met
    assert len(host.accepted) == 1
    assert made.mails() == [("ready", "Sent")]


def test_a_record_of_an_older_version_tells_nothing_twice(host: MailHost) -> None:
    made = mailed(host)
    made.life.join(minutes=8)
    named = made.queue.published[0]
    older = made.life.record
    made.deliver()
    blob = storage_bucket(made.life.bench.clients).blob(f"records/{made.life.key}.json")
    assert older.status.mail.mails[0].state is MailState.DUE
    blob.upload_from_string(b"damaged")
    made.minutes(3)
    made.life.bench.advance(hours=1)
    sweep("drift", made.deps)
    made.minutes(10)
    tell(*named, made.deps)
    assert made.subjects() == ["Your notebook is ready"]


def test_a_mail_that_was_due_in_a_record_that_was_put_back_is_the_operators(host: MailHost) -> None:
    """The lost version may have said that it was sent."""
    made = mailed(host)
    made.life.join(minutes=8)
    blob = storage_bucket(made.life.bench.clients).blob(f"records/{made.life.key}.json")
    blob.upload_from_string(b"damaged")
    made.life.bench.advance(hours=1)
    sweep("drift", made.deps)
    made.minutes(10)
    (mail, *_) = made.life.record.status.mail.mails
    assert (mail.stage, mail.state, mail.trouble) == (Stage.READY, MailState.UNSURE, Trouble.CRASHED)
    assert made.subjects() == []


def test_a_change_that_waits_is_told_with_what_stays(host: MailHost) -> None:
    waits = {"disruption": Disruption.WHEN_IDLE}
    made = joined(host, profiles={"analyst": waits})
    catalog = made.deps.base_policy.catalog
    analyst = replace(catalog.profiles["analyst"], machine_type="e2-standard-8")
    changed = replace(catalog, profiles={**catalog.profiles, "analyst": analyst})
    made.life.bench.deps = replace(made.deps, base_policy=replace(made.deps.base_policy, catalog=changed))
    want_power(made.life.key, Power.RUNNING, PowerReason(cause=PowerCause.STARTED_BY_PERSON), made.deps)
    made.minutes(10)
    assert made.subjects()[1:] == ["Your notebook will be changed"]
    text = host.accepted[-1].parsed.get_body(("plain",))
    assert text is not None
    assert "when it is next stopped" in text.get_content()
    assert "What stays: all files and packages." in text.get_content()
    made.minutes(30)
    assert len(made.subjects()) == 2


def test_an_idle_warning_is_told_and_one_that_came_too_late_is_not(host: MailHost) -> None:
    made = joined(host)
    key, deps = made.life.key, made.deps

    def warn(minutes: int) -> None:
        stop_at = made.life.bench.now + timedelta(minutes=minutes)
        _note_warning(key, Warn(because=IdleReason.MAX_BLIND, detail="", stop_at=stop_at), deps)

    warn(30)
    made.minutes(3)
    assert "will be stopped at" in made.subjects()[-1]
    made.life.bench.advance(hours=5)
    warn(1)
    made.life.bench.advance(minutes=5)
    made.minutes(3)
    assert made.mails()[1:] == [("will-stop", "Sent"), ("will-stop", "Lapsed")]


def test_an_address_outside_ascii_needs_a_server_that_takes_it(host: MailHost) -> None:
    host.has_utf8 = False
    made = joined(host)
    assert made.mails() == [("ready", "Failed")]
    assert Notice.NOT_TOLD in made.life.record.status.notices
    assert take_note(made.life.key, made.deps, by="an operator") == 1
    assert take_note(made.life.key, made.deps, by="an operator") == 0
    made.minutes(3)
    assert Notice.NOT_TOLD not in made.life.record.status.notices


def test_a_manager_who_left_is_not_told_of_another_leaver(host: MailHost) -> None:
    made = mailed(host)
    boss = Life(made.life.bench, parse_email("boss@example.com"))
    boss.join(minutes=0)
    made.life.join(minutes=10, attributes={"manager": "boss@example.com"})
    boss.leave()
    made.life.leave()
    made.minutes(20)
    about_ana = [mail.recipients for mail in host.accepted if "sub.example.co has ended" in str(mail.parsed["Subject"])]
    assert about_ana == [list(BOSSES)]
