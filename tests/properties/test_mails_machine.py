"""Mails, whatever comes between: nobody is told twice or of what did not happen, and no files go without a warning.

A person joins, works, leaves and comes back; a mail server fails at any verb; messages come twice, late or never; processes die at any
call, also after the server took the mail. The judge reads what the server accepted, and looks at the embedded cloud as it accepts.
BENCHKEEPER_RUNS sets how many histories are tried.
"""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from kit import planted
from kit.histories import ARE_THE_SAME, RUNS
from kit.inprocess import impatient
from kit.mail import MailHost, mail_host, mailed
from kit.mail_judge import FAILURES, Judged, MailJudge

from shared.domain.record.record import Power
from shared.domain.things.errors import BenchkeeperError, CloudUnavailableError
from shared.domain.things.power import PowerCause, PowerReason
from shared.engine.news import mails as telling
from shared.engine.news.dead_letters import take_note
from shared.engine.reconcile.changing import want_hold, want_power
from shared.engine.reconcile.reconciler import reconcile


class CrashError(BaseException):
    """The process died here."""


class MailsMachine(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self._open = contextlib.ExitStack()
        self._open.enter_context(impatient())
        self.host: MailHost = self._open.enter_context(mail_host())
        self.made = mailed(self.host)
        self.life = self.made.life
        self.judge = MailJudge(states=self._states, files=self._files, has_access=lambda: self.is_employed)
        self.host.accepted = Judged(self.judge.judge)
        self.old: list[Any] = []  # all that was ever published: Pub/Sub may bring it again
        self.is_employed = False

    def teardown(self) -> None:
        try:
            self._rest()
        finally:
            self._open.close()

    # --- the judge

    def _states(self) -> set[str]:
        return set(self.life.states().values())

    def _files(self) -> bool:
        return bool(self.life.mine()) or bool(self.life.snapshots())

    @invariant()
    def nobody_was_told_wrongly(self) -> None:
        self.judge.is_told()

    # --- what happens

    @initialize()
    def begin(self) -> None:
        self.join()
        self.minutes(8)

    @rule()
    def join(self) -> None:
        if not self.is_employed:
            self.is_employed, self.judge.warned = True, False
            self.life.bench.advance(seconds=1)  # a tie goes to the leaver
            self._until_taken(lambda: self.life.join(minutes=0))

    @rule()
    def leave(self) -> None:
        if self.is_employed:
            self.is_employed, self.judge.warned = False, False
            self.life.bench.advance(seconds=1)
            self._until_taken(self.life.leave)

    @rule(cause=st.sampled_from([PowerCause.IDLE, PowerCause.STOPPED_BY_ADMINISTRATOR]))
    def stop(self, cause: PowerCause) -> None:
        why = PowerReason(cause=cause, since=self.life.bench.now - timedelta(hours=3))
        self._guarded(lambda: want_power(self.life.key, Power.STOPPED, why, self.made.deps))

    @rule()
    def start(self) -> None:
        why = PowerReason(cause=PowerCause.STARTED_BY_PERSON)
        self._guarded(lambda: want_power(self.life.key, Power.RUNNING, why, self.made.deps))

    @rule(put=st.booleans())
    def hold(self, put: bool) -> None:
        self._guarded(lambda: want_hold(self.life.key, "case 7" if put else None, self.made.deps))

    @rule(count=st.integers(1, 15))
    def minutes(self, count: int) -> None:
        for _ in range(count):
            self._guarded(lambda: self.life.minutes(1))
            self.judge.look()
            self.deliver(times=1, lost=False)

    @rule(days=st.sampled_from([0.2, 1, 2, 10, 29, 76]))
    def days(self, days: float) -> None:
        self.life.bench.advance(days=days)
        self.minutes(3)

    @rule(times=st.integers(1, 3), lost=st.booleans())
    def deliver(self, times: int, lost: bool) -> None:
        """All that was published comes, perhaps several times, perhaps not at all."""
        waiting, self.made.queue.published = self.made.queue.published, []
        self.old += waiting
        for named in () if lost else waiting:
            for _ in range(times):
                self._guarded(lambda named=named: telling.tell(*named, self.made.deps))

    @precondition(lambda self: self.old)
    @rule(data=st.data())
    def again(self, data: st.DataObject) -> None:
        named = data.draw(st.sampled_from(self.old))
        self._guarded(lambda: telling.tell(*named, self.made.deps))

    @rule(how=st.none() | st.sampled_from(FAILURES), hears=st.booleans())
    def gone_for_long(self, how: tuple[str, str | None] | None, hears: bool) -> None:
        """The person leaves for longer than files are kept, perhaps while the mail server fails; at the end it may work again."""
        self.leave()
        self.minutes(8)
        self.host.answers = dict([how]) if how is not None else {}
        for days in (76, 11, 2, 2):
            self.days(days)
        if hears:
            self.server_works()
            self.days(1)

    @rule(how=st.sampled_from(FAILURES), away=st.integers(1, 12))
    def gone_for_a_moment(self, how: tuple[str, str | None], away: int) -> None:
        """The person leaves and is back before any mail could be sent."""
        self.host.answers = dict([how])
        self.leave()
        self.minutes(away)
        self.join()
        self.server_works()
        self.minutes(10)

    # --- trouble

    @rule(how=st.sampled_from(FAILURES))
    def server_fails(self, how: tuple[str, str | None]) -> None:
        self.host.answers = dict([how])

    @rule()
    def server_hangs_up_after_the_content(self) -> None:
        self.host.hangs_up_after = True

    @rule()
    def server_works(self) -> None:
        self.host.answers, self.host.hangs_up_after = {}, False

    @rule(down=st.booleans())
    def topic(self, down: bool) -> None:
        self.made.queue.down = CloudUnavailableError(user_message="down", detail="down") if down else None

    @rule(after=st.integers(1, 30))
    def a_process_dies(self, after: int) -> None:
        """At the nth moment before or after a call, whoever makes it."""
        left = [after]

        def around() -> None:
            left[0] -= 1
            if left[0] == 0:
                raise CrashError

        self.life.bench.adapter.around = around

    @rule(before=st.integers(1, 8))
    def a_neighbour_tells(self, before: int) -> None:
        """Another process delivers, and makes a pass, between two calls of the next one."""
        left, waiting = [before], [*self.made.queue.published, *self.old[-3:]]

        def around() -> None:
            left[0] -= 1
            if left[0] == 0:
                self.life.bench.adapter.around = lambda: None
                with contextlib.suppress(BenchkeeperError):
                    reconcile(self.life.key, self.made.deps)
                    for named in waiting:
                        telling.tell(*named, self.made.deps)

        self.life.bench.adapter.around = around

    @rule()
    def operator_takes_note(self) -> None:
        def note() -> None:
            if self.life.record.status.mail.is_untold:
                self.judge.warned = True
                take_note(self.life.key, self.made.deps, by="mia@example.com")

        self._guarded(note)

    def _until_taken(self, news: Any) -> None:
        """Pub/Sub brings news again until they are acked; nothing happens meanwhile."""
        for _ in range(3):
            try:
                return news()
            except (BenchkeeperError, CrashError):
                self.life.bench.adapter.around = lambda: None
        raise AssertionError("news are not taken although nothing is wrong")

    def _guarded(self, work: Any) -> None:
        with contextlib.suppress(BenchkeeperError, CrashError):
            work()

    # --- at the end

    def _rest(self) -> None:
        """No more trouble: all that is still true is told, and whoever was not told stands in the log."""
        self.life.bench.adapter.around = lambda: None
        self.server_works()
        self.topic(down=False)
        for _ in range(3):
            self.life.bench.advance(hours=1)
            self.minutes(14)
        self.judge.is_at_rest(self.life.record.status.mail.mails, self.life.bench.log.lines)


def _settings(examples: int, **more: Any) -> settings:
    return settings(
        max_examples=examples, stateful_step_count=16, deadline=None, suppress_health_check=list(HealthCheck), database=None,
        print_blob=True, phases=[Phase.explicit, Phase.generate], **more,
    )  # fmt: skip


@pytest.mark.timeout(900)
def test_nobody_is_told_twice_or_wrongly_and_no_files_go_unannounced() -> None:
    machine = seed(20261130)(MailsMachine) if ARE_THE_SAME else MailsMachine
    run_state_machine_as_test(machine, settings=_settings(max(RUNS // 12, 20)))


# --- planted faults


PLANTED = [
    planted.claims_are_taken_back, planted.an_answer_that_did_not_come_is_a_refusal, planted.sent_without_a_look,
    planted.deleted_without_a_warning,
]  # fmt: skip


@pytest.mark.timeout(600)
@pytest.mark.parametrize("plant", PLANTED)
def test_a_planted_fault_is_caught(plant: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    machine = seed(20261130)(type("Planted", (MailsMachine,), {}))
    with pytest.raises(AssertionError):
        run_state_machine_as_test(machine, settings=_settings(150, report_multiple_bugs=False))
