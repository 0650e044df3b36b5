"""The words for the idle rule's verdicts, and for the findings of an idle sweep."""

from __future__ import annotations

import re
from collections.abc import Mapping

from shared.domain.fleet.idle import Reason as Sign
from shared.engine.views.words import in_words

# The verdicts of the idle rule, and the evidence for them.
VERDICTS: Mapping[str, str] = {"KEEP": "Kept running", "WARN": "Will be stopped, warned", "STOP": "To be stopped now"}
_FOUND: Mapping[str, str] = {
    "KEEP": "kept running", "BLIND": "kept running, although their use is not known", "WARN": "to be warned", "STOP": "to be stopped",
}  # fmt: skip
_SIGNS: Mapping[str, str] = {
    Sign.STARTED_RECENTLY: "it started recently",
    Sign.KERNEL_BUSY: "a kernel is busy",
    Sign.KERNEL_ACTIVITY: "a kernel was busy",
    Sign.TERMINAL_ACTIVITY: "a terminal was used",
    Sign.SERVER_ACTIVITY: "JupyterLab was used",
    Sign.PROXIED_REQUESTS: "its page was used",
    Sign.CPU_BUSY: "its CPU was busy",
    Sign.TRANSFER: "it moved data over network or disk",
    Sign.GPU_BUSY: "its GPU was busy",
    Sign.OUTSIDE_JOB: "a job of its owner runs elsewhere",
    Sign.REPORTED: "its machine reported work",
    Sign.NO_FRESH_EVIDENCE: "its use is not known",
    Sign.WARNED: "it is not used, and its owner was warned",
    Sign.WARNED_BLIND: "its use is not known, and its owner was warned",
    Sign.ASKED_FOR: "its owner extended it",
    Sign.IDLE: "it is not used",
    Sign.MAX_BLIND: "its use was not known for too long",
}
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)[\d:.]*(?:\+00:00|Z)", re.ASCII)


def verdict_words(because: str) -> str:
    """Return the evidence for a verdict in words.

    `Idle: since 2026-11-30T03:36:00+00:00` becomes `it is not used: since 2026-11-30 03:36 UTC`.
    """
    reason, colon, detail = because.partition(": ")
    detail = _MOMENT.sub(r"\1 \2 UTC", detail)
    return f"{_SIGNS.get(reason, 'Other')}{colon}{detail}"


def found_words(what: str) -> str:
    """Return the words for a finding that a sweep counts; a finding that is already in words is returned unchanged."""
    return _FOUND.get(what, what)


def decision_words(why: str) -> str:
    """Return a sweep's decision about a user in words: `STOP Idle: since …` becomes `To be stopped now: it is not used: since …`."""
    verdict, _, because = why.partition(" ")
    return f"{VERDICTS[verdict]}: {verdict_words(because)}" if verdict in VERDICTS else in_words(why)
