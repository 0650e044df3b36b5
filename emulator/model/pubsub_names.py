"""The names, limits and errors of Pub/Sub, in the words of the real API if they are known."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import NoReturn

from emulator.clock import rfc3339
from emulator.errors import ApiError

DELETED_TOPIC = "_deleted-topic_"
MAX_PUBLISH_BYTES = 10_000_000
MAX_PUBLISH_MESSAGES = 1000
MAX_ATTRIBUTES = 100
MAX_ATTRIBUTE_KEY_BYTES = 256
MAX_ATTRIBUTE_VALUE_BYTES = 1024
MAX_ORDERING_KEY_BYTES = 1024
MAX_LABELS = 64

_ID = re.compile(r"[A-Za-z][A-Za-z0-9\-_.~+%]{2,254}")
_PROJECT = re.compile(r"[a-z0-9.:\-]+")
_LABEL_KEY = re.compile(r"[a-z][a-z0-9_\-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_\-]{0,63}")
_DURATION = re.compile(r"(\d+)(?:\.(\d{1,9}))?s")


def refuse(message: str) -> NoReturn:
    """Raise INVALID_ARGUMENT."""
    raise ApiError("INVALID_ARGUMENT", message)


def short(name: str) -> str:
    """Return the last segment of a resource name."""
    return name.rsplit("/", 1)[-1]


def project_of(name: str) -> str:
    """Return the project id in `projects/P/...`."""
    return name.split("/")[1]


def check_name(name: str, collection: str) -> str:
    """Return `name` if it is a valid `projects/P/<collection>/ID`; otherwise raise 400 with the API's text."""
    parts = name.split("/")
    shape = len(parts) == 4 and parts[0] == "projects" and parts[2] == collection  # noqa: PLR2004 - projects/P/x/ID
    if not shape or not _PROJECT.fullmatch(parts[1]) or not _ID.fullmatch(parts[3]) or parts[3].startswith("goog"):
        refuse(f"Invalid [{collection}] name: (name={name})")
    return name


def not_found(name: str) -> ApiError:
    """Return the error 404 for a topic or subscription."""
    return ApiError("NOT_FOUND", f"Resource not found (resource={short(name)}).")


def already_exists(name: str) -> ApiError:
    """Return the error 409 for a topic or subscription."""
    return ApiError("ALREADY_EXISTS", f"Resource already exists in the project (resource={short(name)}).")


def check_labels(labels: dict[str, str]) -> None:
    """Raise 400 by Google's label rules: at most 64, lower case, 63 characters, a key begins with a letter."""
    if len(labels) > MAX_LABELS:
        refuse(f"The number of labels is too large. You passed {len(labels)}, but the maximum value is {MAX_LABELS}.")
    for key, value in labels.items():
        if not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
            refuse(f"Invalid label (key={key}, value={value}).")


def parse_duration(text: str, *, field: str) -> timedelta:
    """Return the time span of protobuf's JSON form `1.5s`; nanoseconds are cut to microseconds."""
    match = _DURATION.fullmatch(text)
    if match is None:
        refuse(f"Invalid duration (field={field}, value={text}).")
    return timedelta(seconds=int(match[1]), microseconds=int((match[2] or "0").ljust(6, "0")[:6]))


def check_duration(text: str, *, field: str, low: timedelta, high: timedelta) -> None:
    """Raise 400 unless `low` <= the duration <= `high`."""
    if not low <= parse_duration(text, field=field) <= high:
        refuse(
            f"Invalid {field} ({field}={text}): must be between {int(low.total_seconds())} "
            f"and {int(high.total_seconds())} seconds."
        )


def milliseconds(moment: datetime) -> str:
    """Return RFC 3339 with three decimals and `Z`, the precision of Pub/Sub's publish times."""
    return f"{rfc3339(moment)[:-4]}Z"
