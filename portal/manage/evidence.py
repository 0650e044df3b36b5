"""The evidence for an auditor as a package.

`/manage/evidence.zip` is about all people, `/manage/people/<user_key>/evidence.zip` about one person.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date

import flask

from portal.deps import current
from portal.manage.base import USER_KEY, asked, blueprint
from portal.manage.person_tables import moment_of, record_of
from portal.routes import Access, Param, Place, Route
from portal.visit import signed_in, visit
from shared.domain.record.record import UserRecord
from shared.engine.views.evidence import Period, all_records, gather
from shared.evidence import package, zipped

ZIP = "application/zip"
_DAYS = tuple(
    Param(name=name, place=Place.QUERY, text=text, schema={"type": "string", "format": "date"})
    for name, text in (
        ("from", "The first day (UTC). Default: the first recorded day."),
        ("to", "The last day (UTC). Default: today."),
    )
)


@blueprint.get("/manage/evidence.zip")
def evidence() -> flask.Response:
    """Return the package about all people."""
    return _answer(all_records(current().deps.engine), "everybody")


@blueprint.get("/manage/people/<user_key>/evidence.zip")
def evidence_of(user_key: str) -> flask.Response:
    """Return the package about one person."""
    record = record_of(user_key)
    return _answer([[record]], record.user_key)


def _answer(records: Iterable[Sequence[UserRecord]], about: str) -> flask.Response:
    engine, now = current().deps.engine, visit().now()
    first, last = moment_of(asked("from")), moment_of(asked("to"))
    period = Period(first=first.date() if first else date(1970, 1, 1), last=last.date() if last else now.date())
    found = gather(records, period, engine)
    _, by = signed_in()
    files = package(found, period, about=about, asked_by=f"{by} on the page", at=now, policy=engine.policy_digest)
    response = flask.Response(zipped(files), content_type=ZIP)
    response.headers["Content-Disposition"] = f'attachment; filename="benchkeeper-evidence-{about}-{now:%Y-%m-%d}.zip"'
    return response


def _route(rule: str, name: str, summary: str, *params: Param) -> Route:
    return Route(
        method="GET",
        rule=rule,
        name=f"manage.{name}",
        summary=summary,
        access=Access.READ,
        params=(*params, *_DAYS),
        media=ZIP,
        answers={
            200: "The package: a CSV and a JSON file for each table, and a manifest with the SHA-256 of each file."
        },
    )


ROUTES: tuple[Route, ...] = (
    _route("/manage/evidence.zip", "evidence", "The evidence package about all people, for an auditor."),
    _route("/manage/people/<user_key>/evidence.zip", "evidence_of", "The evidence package about one person.", USER_KEY),
)
