"""The report of a run: each question with its answer, whether the assumption holds, and the evidence. Without personal parts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

_COUNTED = ("held", "differs", "unknown", "not asked")


class Verdict(StrEnum):
    """What an answer means for the present assumption."""

    HELD = "held"
    DIFFERS = "differs"
    UNKNOWN = "unknown"
    NOT_ASKED = "not asked"


@dataclass(frozen=True)
class Answer:
    """The answer to a question: a sentence, the verdict, and the evidence as JSON."""

    says: str
    verdict: Verdict
    evidence: Mapping[str, Any] = field(default_factory=dict)


def judged(says: str, *, held: bool, **evidence: Any) -> Answer:
    """Return an answer that settles its question."""
    return Answer(says, Verdict.HELD if held else Verdict.DIFFERS, evidence)


@dataclass(frozen=True)
class Asked:
    """A question as its docstring has it: the sentence and its four parts."""

    name: str
    asks: str
    parts: Mapping[str, str]


def report(answers: Sequence[tuple[Asked, Answer]], *, begun: datetime, ended: datetime, left: Sequence[str]) -> str:
    """Return the report as Markdown; `left` are the commands for what was not removed."""
    counts = {verdict.value: sum(answer.verdict is verdict for _, answer in answers) for verdict in Verdict}
    lines = [
        "# What a real project answered",
        "",
        f"{begun:%Y-%m-%d %H:%M} to {ended:%H:%M} UTC. "
        + ", ".join(f"{counts[name]} {name}" for name in _COUNTED)
        + ".",
        "",
        "| question | assumption | answer |",
        "| --- | --- | --- |",
        *(f"| {asked.name} | {answer.verdict} | {_cell(answer.says)} |" for asked, answer in answers),
    ]
    if left:
        lines += ["", "**Not removed:**", "", *(f"    {command}" for command in left)]
    for asked, answer in answers:
        lines += [
            "",
            f"## {asked.name}",
            "",
            asked.asks,
            "",
            f"* Answer: {answer.says}",
            f"* Assumption: {asked.parts['Assumes']} **{answer.verdict.value}**",
            f"* Rests on it: {asked.parts['Rests on it']}",
        ]
        if answer.evidence:
            lines += ["", "```json", json.dumps(answer.evidence, indent=2, ensure_ascii=False, default=str), "```"]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")
