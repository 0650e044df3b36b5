"""The judge of what one person was told: it looks at the world at the moment in which the mail server accepts a mail.

The state machine of mails and the simulator share it. It knows nothing of the record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from shared.domain.record.parts import NOT_TOLD, Mail, MailState

# Of a mail that did not reach its reader, of one that is late while it is still tried, and of one that some recipients did not get.
TOLD_TO_OPERATORS = frozenset(
    ["Mail did not reach its reader", "Mail was not accepted in time", "Recipients of a mail were refused"]
)
RUNNING = frozenset({"ACTIVE", "STARTING", "PROVISIONING", "INITIALIZING"})
FAILURES: tuple[tuple[str, str | None], ...] = (
    ("CONNECT", None), ("CONNECT", "554 no"), ("EHLO", None), ("MAIL", "451 later"), ("MAIL", "550 no"), ("RCPT", "450 busy"),
    ("RCPT", "550 unknown"), ("DATA", "451 later"), ("DATA", None), ("CONTENT", "451 later"), ("CONTENT", "554 spam"),
    ("CONTENT", None),
)  # fmt: skip


class Judged(list[Any]):
    """What the server accepted. Each mail is judged by the world of that moment."""

    def __init__(self, judge: Callable[[Any], None]) -> None:
        super().__init__()
        self.judge = judge

    def append(self, mail: Any) -> None:
        super().append(mail)
        self.judge(mail)


@dataclass
class MailJudge:
    """What is held against one person's mails: `wrong` are the faults so far.

    `states` are those of the person's instances; `files` says whether anything is kept; `has_access` whether the person is entitled.
    """

    states: Callable[[], set[str]]
    files: Callable[[], bool]
    has_access: Callable[[], bool]
    wrong: list[str] = field(default_factory=list)
    told: set[str] = field(default_factory=set)
    was_ready: bool = False
    was_stopped: bool = False
    warned: bool = False  # of the deletion in a day, since the person left; or an operator took note
    had_files: bool = False

    def judge(self, mail: Any) -> None:
        """Judge a mail. The server's thread calls this while the sender waits for the answer."""
        subject, number = str(mail.parsed["Subject"]), str(mail.parsed["Message-ID"])
        if number in self.told:
            self.wrong.append(f"told twice: {subject}")
        self.told.add(number)
        if ("is ready" in subject and not self.was_ready) or ("was stopped" in subject and not self.was_stopped):
            self.wrong.append(f"never was: {subject}")
        elif "has ended" in subject and (self.has_access() or self.states() & RUNNING):
            self.wrong.append(f"has access: {subject}")
        elif "will be deleted in" in subject:
            if self.has_access() or not self.files():
                self.wrong.append(f"not to be deleted: {subject}")
            self.warned = self.warned or "in 1 day" in subject
        elif subject.endswith("were deleted") and self.files():
            self.wrong.append(f"still there: {subject}")

    def look(self, *, knows_files: Callable[[], bool | None] | None = None) -> None:
        """Look as often as the world moves: what was there, and whether files are gone unannounced.

        `knows_files` is of a caller who knows better than `files`; it returns None if nothing was ever kept.
        """
        states = self.states()
        self.was_ready = self.was_ready or "ACTIVE" in states
        self.was_stopped = self.was_stopped or bool(states & {"STOPPING", "STOPPED"})
        has_files = (knows_files or self.files)()
        if has_files:
            self.had_files = True
        elif has_files is False and self.had_files:
            assert self.warned, "files were deleted, and nobody was warned"
            assert not self.has_access()
            self.had_files = False

    def is_told(self) -> None:
        """Hold that nothing was told twice, or of what did not happen."""
        assert self.wrong == []

    def is_at_rest(self, mails: Iterable[Mail], lines: Iterable[tuple[str, str, dict[str, Any]]]) -> None:
        """Hold, with nothing wrong any more, that all is told, and that an operator was told of whoever could not be."""
        waits = [mail for mail in mails if mail.state in {MailState.DUE, MailState.CLAIMED}]
        assert not waits, f"not told although nothing is wrong: {waits}"
        alarms = [told for _, message, told in lines if message in TOLD_TO_OPERATORS]
        for mail in mails:
            if mail.state in NOT_TOLD:
                assert any(told["stage"] == mail.stage.value for told in alarms), f"no operator is told of {mail}"
        self.is_told()
