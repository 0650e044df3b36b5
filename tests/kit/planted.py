"""Planted faults that more than one test is to catch: each changes the product until the test ends."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from shared.domain.reconcile import mails as deciding
from shared.domain.record.parts import MailState
from shared.domain.snapshot import step as saving
from shared.engine.decisions import decisions
from shared.engine.news import mails as telling
from shared.engine.reconcile import guard
from shared.engine.sweeps import roster

# --- messages to users


def claims_are_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = deciding._looked_at

    def hopeful(mail: Any, record: Any, wanted: Any, now: Any) -> Any:
        seen = looked_at(mail, record, wanted, now)
        return replace(mail, state=MailState.DUE) if seen.state is MailState.UNSURE else seen

    monkeypatch.setattr(deciding, "_looked_at", hopeful)


def an_answer_that_did_not_come_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    after = telling._after

    def hopeful(mail: Any, error: Any, now: Any) -> Any:
        error.is_unsure = False
        return after(mail, error, now)

    monkeypatch.setattr(telling, "_after", hopeful)


def sent_without_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "is_true", lambda *_: True)
    monkeypatch.setattr(deciding, "_is_true", lambda *_: True)


def deleted_without_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saving, "is_warned", lambda *_: True)


# --- the guard


def no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_has_room", lambda *_, **__: True)


def one_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "standing_of", approved_by_any)


def approved_by_any(votes: Any, *_: Any, **__: Any) -> decisions.Standing:
    return decisions.Standing.APPROVED if votes else decisions.Standing.OPEN


# --- rosters


def no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roster, "_is_confirmed", lambda *_: True)
