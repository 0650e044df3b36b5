"""The costs of a user's environments in up to thirteen months: for the user's own page, and for the manager's."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from portal.deps import current
from portal.visit import visit
from shared.domain.fleet.spent import lines_of_record
from shared.domain.record.record import UserRecord
from shared.domain.things.errors import BenchkeeperError
from shared.domain.things.meter import Line
from shared.domain.things.power import month_of
from shared.engine.views.months import MonthSum, months_of_person, not_before


class PersonMonths(Struct, frozen=True, kw_only=True):
    """The known months of a user, the newest first.

    Nothing was metered before `not_before` ("": all thirteen months are shown).
    """

    known: tuple[MonthSum, ...]
    not_before: str


def months_of_cost(record: UserRecord) -> PersonMonths | None:
    """Return the costs of up to thirteen months, by one read for each past month; None if a read fails."""
    engine, now = current().deps.engine, visit().now()
    try:
        stored = {total.month for total in engine.fleet.month_totals()}

        def of_month(name: str) -> Sequence[Line] | None:
            return engine.fleet.month_about(name, record.user_key) if name in stored else None

        lines = lines_of_record(record, now)
        found = months_of_person(lines, of_month, month_of(now), engine.policy.catalog)
    except BenchkeeperError as error:
        visit().reason, visit().detail = error.reason.value, f"months: {error.detail}"
        return None
    return PersonMonths(known=tuple(each for each in found if each.sums is not None), not_before=not_before(found))


def title_of(name: str) -> str:
    """Return a month (`2026-11`) as `November 2026`."""
    return f"{datetime.strptime(name, '%Y-%m'):%B %Y}"  # noqa: DTZ007 - a month has no time zone
