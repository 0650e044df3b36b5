"""Ten thousand people in a running embedded cloud at once: records like somebody's own, put into its saved world."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import google_crc32c
from msgspec.structs import replace

from shared.cloud.storage.record_rows import to_texts
from shared.domain.record import codec
from shared.domain.record.record import UserRecord, row_of
from shared.domain.record.status import ConditionStatus, ConditionType
from shared.domain.things.errors import Reason
from shared.domain.things.identity import instance_id_for, parse_email, user_key_for
from shared.domain.things.meter import NO_METER
from shared.domain.things.power import NOTEBOOK, Usage, month_of
from tests.e2e.local_run import Local

REASONS = (Reason.READY, Reason.READY, Reason.STOPPED, Reason.IDLE, Reason.STUCK)


def crowd(like: UserRecord, count: int, *, now: datetime) -> Iterator[UserRecord]:
    """`person.<number>@example.com`: a fifth is stuck, two fifths rest; the higher the number, the more hours."""
    for number in range(count):
        email = parse_email(f"person.{number:05}@example.com")
        reason = REASONS[number % len(REASONS)]
        status = ConditionStatus.TRUE if reason is Reason.READY else ConditionStatus.FALSE
        conditions = tuple(
            replace(each, reason=reason, status=status, message=f"Number {number}.")
            if each.type is ConditionType.NOTEBOOK_READY
            else each
            for each in like.status.conditions
        )
        yield replace(
            like,
            user_key=user_key_for(email),
            email=email,
            cost_center=f"CC-{number % 40:02}",
            status=like.status.changed(
                instance_id=instance_id_for(email),
                conditions=conditions,
                story=(),
                next_attempt_at=None,
                usage={NOTEBOOK: Usage(month=month_of(now), ran_s=number * 36)},
                meter=NO_METER,
                ready_took_s=240.0 + number % 90,
                ready_at=now,
            ),
            created_at=like.created_at - timedelta(days=1),
        )


def put(local: Local, records: Iterator[UserRecord], *, beside: str) -> None:
    """Add the records to the cloud, whose object `beside` shows what an object is."""
    world = local.control("GET", "world")
    (objects,) = [
        each["objects"] for each in world["models"]["storage"]["buckets"] if each["name"] == "benchkeeper-local"
    ]
    model = next(each for each in objects if each["name"] == beside and each["deleted"] is None)
    generation = int(world["models"]["storage"]["last_generation"])
    for record in records:
        generation += 1
        objects.append(_object(model, record, generation))
    world["models"]["storage"]["last_generation"] = generation
    local.control("PUT", "world", world)


def _object(model: dict[str, Any], record: UserRecord, generation: int) -> dict[str, Any]:
    content = json.dumps(codec.to_json(record)).encode()
    crc = google_crc32c.value(content).to_bytes(4, "big")
    return {
        **model,
        "name": f"records/{record.user_key}.json",
        "generation": generation,
        "metageneration": 1,
        "content": base64.b64encode(content).decode(),
        "fields": {**model["fields"], "metadata": to_texts(row_of(record))},
        "crc32c": base64.b64encode(crc).decode(),
        "md5": base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode(),
    }
