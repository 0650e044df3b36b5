"""The page `/manage/attention`: users whose environment needs an administrator, and resources that belong to no record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import flask

from portal.manage.base import PAGE, asked, blueprint, cut, fleet, fleet_page, kept, page_number
from portal.manage.export import TEXT, Columns, Sheet, offer
from portal.manage.fleet import NEEDS
from portal.manage.letters import open_letters
from portal.routes import Access, Param, Place, Route
from shared.domain.fleet.figures import figures_of
from shared.domain.fleet.fleet import FleetSnapshot
from shared.engine.views.fleet import in_need, nearest_known
from shared.sheet import Value

_STRAY = "Stray"
# The advice for each reason; the operations handbook has the details.
ADVICE = {
    "Stuck": "It has been on the way for too long. Open the person's story, then look again now.",
    "QuotaExhausted": "Ask Google for more quota, or take a smaller machine; it is tried again by itself.",
    "AccessNotCut": "A leaver's notebook is not stopped yet. It is tried for ever; stop it in the Google Cloud console if it can be done there.",
    "NotAnswering": "It runs, and JupyterLab does not answer. The person may restart it; if that does not help, look at the machine's log.",
    "UnknownAnswer": "Google refused it in words that Benchkeeper does not know. The log has them; it is tried again ever more slowly.",
    "OrganizationPolicy": "Ask who sets the organization's policies for an exception; the text names the constraint. Tried again by itself.",
    "Perimeter": "Ask who keeps the VPC service perimeter; the identifier in the text names the refusal in its log.",
    "ApiDisabled": "Enable the API that the text names (./deploy.sh gcp enables all that are needed).",
    "BillingDisabled": "Link a billing account to the project.",
    "NotOurs": "Rename or remove what has the name; Benchkeeper leaves it alone.",
    "AccessDenied": "Deploy again, so that the functions' roles are what they should be.",
    "InvalidSpec": "Correct the value that the text names in the profile, and deploy: it is tried again within an hour, else once a day.",
    "UnknownProfile": "Put the profile back into the configuration, and deploy.",
    "SnapshotFailed": "The files are still on their disk. Find out in the log why, then look again now.",
    "DataMissing": "A snapshot or a disk is gone. Look in the person's story for the last one that was there.",
    "OnHold": "Ask for its release once nobody needs the data kept; another administrator approves that under Changes.",
    "NewsNotUnderstood": "A message about this person could not be used. Read the dead letter that the person's page names.",
    "StillListed": "HR's feed lists this person as active although a leaver was announced. Ask HR; a leave ends by leave_cancelled.",
    "DeletedButJoined": "HR says joined, but the Google account is deleted. Create or undelete the account.",
    "SamePerson": "The address was given to a new Google account. Find out whether it is the same person, and say so under Changes; the old files are kept.",
    "RenameWaits": "HR announced a new address, and the directory has not. Approve or reject it under Changes.",
    "AddressWaits": "New under an address that an announced change may give to somebody else. Waits for 24 hours at most.",
    "GroupWaits": "The group that gives access is gone, and several people would lose theirs. Approve it under Changes, or "
    "reject it if it is a mistake.",
    "CutWaits": "More people are to lose access at once than the guard lets through. Approve or reject their list under Changes.",
    "UnknownLeaver": "Somebody left of whom nothing is known. If a known address was meant, say so under that address: until then that "
    "person keeps access. If not, run benchkeeper acknowledge USER; after 30 days it is no longer shown.",
    "Blind": "Nobody can see whether it is used: look at its monitoring agent. It is not stopped meanwhile.",
}


@blueprint.get("/manage/attention")
def attention() -> flask.Response:
    """Show the page with one call to the cloud for users and orphans, and one for the number of dead letters."""
    seen, why = fleet(), asked("why")
    view = kept().get("figures", (seen,), lambda: figures_of(seen)).overview
    shown = cut(in_need(seen, why if why in view.needs else ""), page_number(flask.request.args))
    return fleet_page(
        "manage/attention.html",
        seen,
        why=why if why in view.needs else "",
        needs=view.needs,
        shown=shown,
        nearest=nearest_known(seen, [each.row for each in shown.rows]),
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
    "nearest": TEXT,
}


def _sheet() -> Sheet:
    seen, why = fleet(), asked("why")
    return Sheet(name="attention", columns=COLUMNS, rows=_values(seen, why), taken_at=seen.taken_at)


def _values(seen: FleetSnapshot, why: str) -> Iterator[Sequence[Value]]:
    found = in_need(seen, why)
    nearest = nearest_known(seen, [each.row for each in found])
    for each in found:
        row = each.row
        near = " ".join(other.email for other in nearest.get(row.user_key, ())) or None
        yield each.why, row.user_key, row.email, row.profile, row.instance_id, row.zone, row.reason, row.summary, near
    if why in {"", _STRAY}:
        for stray in seen.strays:
            yield _STRAY, None, None, None, stray.name, stray.zone, None, stray.why, None


_WHY = Param(name="why", place=Place.QUERY, text="Only this reason, for example Stuck; in a file, Stray too.")
ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        rule="/manage/attention",
        name="manage.attention",
        summary="What needs a person.",
        access=Access.READ,
        params=(_WHY, PAGE),
    ),
    *offer("/manage/attention", "attention", "What needs a person.", COLUMNS, _sheet, params=(_WHY,)),
)
