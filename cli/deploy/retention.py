"""The retention in force, stored as a label of a deployed function, so that a plan can report a shorter retention.

The settings file already has the new value when a plan is made, so only the label shows the old value. A shorter retention soon
deletes data that cannot be restored, so the plan reports it before it asks for confirmation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from cli.deploy.models import FunctionModel
from cli.deploy.target import Target
from shared.settings import Settings

LABEL = "benchkeeper-retention"
_KINDS = ("instance", "snapshot", "personal_data")
_NOTED = re.compile(r"\d{1,12}_\d{1,12}_\d{1,12}")
_GOES = {
    "instance": "the notebooks of people who left longer ago are deleted",
    "snapshot": "the saved files of people who left longer ago are deleted",
    "personal_data": "dead letters, and records of people without resources, are erased sooner",
}


def is_noted_at(function: FunctionModel, target: Target) -> bool:
    """Return True for the function of HR's topic, which is the only function with the label."""
    return function.topic == target.deployment.settings.topic_lifecycle


def noted(settings: Settings) -> str:
    """Return the label's value: the three retentions in seconds."""
    values = (settings.retention, settings.snapshot_retention, settings.personal_data)
    return "_".join(str(int(value.total_seconds())) for value in values)


def shortened(target: Target, listed: list[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield (kind of retention, sentence) for each shorter retention, or ("", sentence) if the retention in force is unknown."""
    names = {name for name, wanted in target.deployment.functions.items() if is_noted_at(wanted, target)}
    for found in listed:
        if found["name"].rsplit("/", 1)[-1] not in names:
            continue
        text = str(found.get("labels", {}).get(LABEL, ""))
        if _NOTED.fullmatch(text) is None:
            yield (
                "",
                "the retention in force is not known, because an older version deployed it; compare it with the settings file",
            )
            return
        for kind, was, becomes in zip(
            _KINDS, text.split("_"), noted(target.deployment.settings).split("_"), strict=True
        ):
            if int(becomes) < int(was):
                yield (
                    kind,
                    f"shortened from {_said(int(was))} to {_said(int(becomes))}: {_GOES[kind]}, and cannot be restored",
                )


def _said(seconds: int) -> str:
    length = timedelta(seconds=seconds)
    if length >= timedelta(days=1) and seconds % 86_400 == 0:
        return f"{length.days}d"
    return f"{seconds // 3600}h" if seconds % 3600 == 0 else f"{seconds}s"
