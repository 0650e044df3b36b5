"""`/manage/attention`: what does not mend itself: people whose environment waits for somebody, and what belongs to nobody."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import flask

from portal.manage.base import PAGE, asked, blueprint, cut, fleet, fleet_page, kept, page_number
from portal.manage.export import TEXT, Columns, Sheet, offer
from portal.manage.fleet import NEEDS
from portal.manage.letters import open_letters
from portal.routes import Access, Param, Place, Route
from shared.domain.fleet import FleetSnapshot
from shared.engine.fleet_views import in_need, overview
from shared.sheet import Value

_STRAY = "Stray"
# What somebody can do about it; all of it is in the operations handbook.
ADVICE = {
    "Stuck": "It has been on the way for too long. Open the person's story, then look again now.",
    "QuotaExhausted": "Ask Google for more quota, or take a smaller machine; it is tried again by itself.",
    "NotOurs": "Rename or remove what has the name; Benchkeeper leaves it alone.",
    "AccessDenied": "Deploy again, so that the functions' roles are what they should be.",
    "InvalidSpec": "Mend the profile in the configuration, and deploy.",
    "UnknownProfile": "Put the profile back into the configuration, and deploy.",
    "SnapshotFailed": "The files are still on their disk. Find out in the log why, then look again now.",
    "DataMissing": "A snapshot or a disk is gone. Look in the person's story for the last one that was there.",
    "OnHold": "Release it once nobody needs the data kept.",
    "Blind": "Nobody can see whether it is used: look at its monitoring agent. It is not stopped meanwhile.",
}


@blueprint.get("/manage/attention")
def attention() -> flask.Response:
    """One call to the cloud for people and strays, one for the number of dead letters."""
    seen, why = fleet(), asked("why")
    view = kept().get("overview", (seen,), lambda: overview(seen))
    return fleet_page(
        "manage/attention.html",
        seen,
        why=why if why in view.needs else "",
        needs=view.needs,
        shown=cut(in_need(seen, why if why in view.needs else ""), page_number(flask.request.args)),
        strays=seen.strays,
        letters=open_letters(),
        needs_texts=NEEDS,
        advice=ADVICE,
    )


COLUMNS: Columns = {
    "why": TEXT,
    "user_key": TEXT,
    "address": TEXT,
    "profile": TEXT,
    "name": TEXT,
    "zone": TEXT,
    "state": TEXT,
    "summary": TEXT,
}


def _sheet() -> Sheet:
    seen, why = fleet(), asked("why")
    return Sheet(name="attention", columns=COLUMNS, rows=_values(seen, why), taken_at=seen.taken_at)


def _values(seen: FleetSnapshot, why: str) -> Iterator[Sequence[Value]]:
    for each in in_need(seen, why):
        row = each.row
        yield each.why, row.user_key, row.email, row.profile, row.instance_id, row.zone, row.reason, row.summary
    if why in {"", _STRAY}:
        for stray in seen.strays:
            yield _STRAY, None, None, None, stray.name, stray.zone, None, stray.why


_WHY = Param(name="why", place=Place.QUERY, text="Only this reason, for example Stuck; in a file, Stray too.")
ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        rule="/manage/attention",
        name="manage.attention",
        summary="What needs a person.",
        access=Access.ADMIN,
        params=(_WHY, PAGE),
    ),
    *offer("/manage/attention", "attention", "What needs a person.", COLUMNS, _sheet, params=(_WHY,)),
)
