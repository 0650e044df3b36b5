"""The audit of a day as files, `/manage/audit.csv` and `.json`: every entry of every user, under pseudonyms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date

from portal.deps import current
from portal.manage.base import asked
from portal.manage.export import NUMBER, TEXT, TIME, Columns, Sheet, offer
from portal.manage.person_tables import moment_of
from portal.routes import Param, Place
from portal.visit import visit
from shared.engine.views.audit import entries_on
from shared.sheet import Value

AUDIT: Columns = {
    "at": TIME,
    "user": TEXT,
    "number": NUMBER,
    "kind": TEXT,
    "text": TEXT,
    "because": TEXT,
    "by": TEXT,
    "event": TEXT,
    "state": TEXT,
    "activity": NUMBER,
    "policy": TEXT,
    "ref": TEXT,
}
_DAY = Param(
    name="day",
    place=Place.QUERY,
    text="The day (UTC) on which the entries were written. Default, also for an invalid text: today.",
    schema={"type": "string", "format": "date"},
)


def _sheet() -> Sheet:
    moment = moment_of(asked("day")) or visit().now()
    rows = sorted(_rows(moment.date()), key=lambda row: str(row[0]))
    return Sheet(name=f"audit-{moment:%Y-%m-%d}", columns=AUDIT, rows=rows, taken_at=visit().now())


def _rows(day: date) -> Iterator[Sequence[Value]]:
    for each in entries_on(day, current().deps.engine):
        state = each.state.value if each.state is not None else ""
        said = each.alias, each.number, each.kind.value, each.words, each.because, each.by, each.event
        yield each.at, *said, state, each.activity, each.policy, each.ref


ROUTES = offer("/manage/audit", "audit", "All audit entries of a day.", AUDIT, _sheet, params=(_DAY,))
