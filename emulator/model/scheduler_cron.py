"""The next run of a unix-cron schedule. `cronsim` computes it; this module refuses what Cloud Scheduler does not accept."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from emulator.errors import ApiError

_ITEM = r"(?:\*|[0-9]{1,2}|[A-Z]{3})(?:-(?:[0-9]{1,2}|[A-Z]{3}))?(?:/[0-9]{1,3})?"
_FIELD = re.compile(rf"{_ITEM}(?:,{_ITEM})*")
_FIELDS = 5


def next_run(schedule: str, time_zone: str, after: datetime) -> datetime:
    """Return the first moment after `after` at which `schedule` fires in `time_zone`.

    Raise INVALID_ARGUMENT for an invalid schedule.
    """
    fields = schedule.upper().split()
    if len(fields) != _FIELDS or not all(_FIELD.fullmatch(field) for field in fields):
        raise _invalid()
    try:
        local = after.astimezone(ZoneInfo(time_zone or "Etc/UTC"))
        found: datetime = next(CronSim(" ".join(fields), local))
    except (CronSimError, StopIteration, ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise _invalid() from error
    return found.astimezone(UTC)


def _invalid() -> ApiError:
    return ApiError("INVALID_ARGUMENT", "Schedule or time zone is invalid.")
