"""`/manage/changes`: what waits because many people are to lose access at once, and the two buttons. `/api/changes`: the same for scripts.

A click creates an object that names the list which was shown; the tick verifies who clicked and carries it out. So a list that has
changed since is still the one that is decided about, and never another.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import islice
from typing import Any

import flask
from flask.blueprints import BlueprintSetupState
from werkzeug.exceptions import NotFound

from portal import pages
from portal.deps import current
from portal.manage import changes_view, policy_changes, questions, waves
from portal.manage.base import PAGE, asked, blueprint, cut, page_number
from portal.manage.changes_view import Change, Seen, Unread, is_concerned, lists, own_keys
from portal.manage.export import FLAG, NUMBER, TEXT, TIME, Columns, Sheet, offer
from portal.routes import JSON, Access, Param, Place, Route
from portal.visit import signed_in, visit
from shared.domain.batches import announced
from shared.domain.batches import to_json as batch_to_json
from shared.domain.decision import DIGEST, About, Decision, Verdict
from shared.domain.errors import CloudUnavailableError, InvalidMessageError, RefusedError
from shared.domain.guard_settings import GuardSettings
from shared.domain.identity import UserKey, parse_user_key
from shared.domain.times import parse_time, rfc3339
from shared.sheet import Value

_FIRST = 10  # of the people of a batch, shown before its own page
_LONGEST = timedelta(days=31)  # an announcement is for a moment, not for good
_MOST_ANNOUNCED = 4_000_000  # bytes: about 100,000 people
_MOST_ROWS = 1_000  # of one list in an answer of the API; the whole list is a file

# Each kind of change: all that waits, and the one of a digest. A further kind is a further pair.
Kind = tuple[Callable[[Seen], list[Change]], Callable[[str, Seen], Change | None]]
KINDS: tuple[Kind, ...] = (
    (policy_changes.policies, policy_changes.policy_of),
    (waves.rollouts, waves.rollout_of),
    (changes_view.cuts, changes_view.cuts_of),
    (questions.questions, questions.question_of),  # last: one of a digest reads anything that was ever shown
)


class Said(StrEnum):
    """What the page says after a click; the code stands in the address of the page that follows."""

    APPROVED = "approved"
    REJECTED = "rejected"
    ALREADY = "already"
    OVER = "over"
    BUSY = "busy"
    CANNOT = "cannot"


TEXTS = {
    Said.APPROVED: "You approved this. It is taken up within a minute, and takes effect once enough administrators agree.",
    Said.REJECTED: "You rejected this. It is taken up within a minute.",
    Said.ALREADY: "You decided so before; nothing was changed.",
    Said.OVER: "Nobody on this list waits any more, so there is nothing to decide.",
    Said.CANNOT: "This cannot be approved as things are; the page says why. It can be rejected.",
    Said.BUSY: "Another click of yours is still being worked on, so this one did nothing.",
}


class Act(StrEnum):
    """The last word of the address of a button's page."""

    APPROVE = "approve"
    REJECT = "reject"


# What happens to one person, in a table.
WORDS = {
    "Stop": "notebook stopped",
    "Revoke": "own account disabled",
    "EndClusters": "Spark clusters deleted",
    "Create": "notebook made",
    "LosesAccess": "loses access",
    "GainsAccess": "is given access",
    "ChangesProfile": "another profile",
    "Replaced": "notebook replaced",
    "Updated": "notebook stopped and changed",
    "Patched": "notebook changed while it runs",
    "Disk": "another disk",
    "Templates": "Spark templates change",
    "ClustersEnd": "Spark clusters deleted",
    "DataRoles": "another group for data",
    "IdleSooner": "idle sooner",
    "DeletedSooner": "notebook deleted sooner",
    "NewAddress": "another address",
    "Joined": "taken for one person",
    "Released": "hold released",
    "DataDeletedSooner": "files deleted sooner",
    "Failed": "not ready in time",
}
_VERDICTS = {Act.APPROVE: Verdict.APPROVE, Act.REJECT: Verdict.REJECT}
_SAID = {Verdict.APPROVE: Said.APPROVED, Verdict.REJECT: Said.REJECTED}


@blueprint.record_once
def _attach(state: BlueprintSetupState) -> None:
    changes_view.attach(state.app.extensions)


@blueprint.app_template_global()
def changes_waiting() -> int:
    """How many changes waited when somebody looked in the last minute: for a number in the navigation that costs nothing."""
    return lists().count(current().deps.engine.clock.monotonic_s())


def changes_now() -> tuple[list[Change], Seen]:
    """All that waits, the kinds one after the other."""
    found = changes_view.seen()
    changes = [change for all_of, _ in KINDS for change in all_of(found)]
    if Unread.INDEX not in found.unread:
        count = sum(change.is_current for change in changes)
        lists().counted(count, current().deps.engine.clock.monotonic_s())
    return changes, found


def change_of(digest: str) -> tuple[Change, Seen]:
    """Return the list of a digest; 404 if nobody was ever shown one."""
    if not DIGEST.fullmatch(digest):
        raise NotFound
    found = changes_view.seen()
    change = next((change for _, one_of in KINDS if (change := one_of(digest, found)) is not None), None)
    if change is None:
        if Unread.INDEX in found.unread:
            raise CloudUnavailableError(
                user_message="Who waits could not be read just now. Try again in a minute.", detail="index unreadable"
            )
        raise NotFound
    return change, found


def _guard() -> GuardSettings:
    return current().deps.engine.policy.guard


def _why_not(change: Change) -> str:
    """Why the reader may not decide; empty if they may."""
    if not change.is_kept:
        return "The list could not be stored just now, so nobody can decide about it. Open this page again in a minute."
    if _guard().approvers > 1 and is_concerned(change, own_keys()):
        if change.about is About.WAVES:
            return "You deployed this, so others must decide about it."
        if change.about is About.POLICY:
            return "You deployed this, or it changes your own access, so others must decide about it."
        if change.is_question:
            return "It concerns you yourself, so others must decide about it."
        return "You are on this list yourself, so others must decide about it."
    return ""


# ---- pages


@blueprint.get("/manage/changes")
def changes() -> flask.Response:
    """Everything that waits. Two listings, and one write for each batch that nobody was shown before."""
    waiting, found = changes_now()
    return pages.page(
        "manage/changes.html",
        changes=waiting,
        rollout=waves.progress(),
        counted=waves.COUNTED,
        unread=found.unread,
        guard=_guard(),
        addresses=changes_view.addresses() if waiting else {},
        first=_FIRST,
    )


@blueprint.get("/manage/changes/<digest>")
def change(digest: str) -> flask.Response:
    """One list with everybody on it, who decided, and the buttons."""
    found, seen = change_of(digest)
    said = asked("said")
    waiting = seen.by_key()
    return pages.page(
        "manage/change.html",
        change=found,
        unread=seen.unread,
        guard=_guard(),
        shown=cut(found.entries, page_number(flask.request.args)),
        still=lambda entry: changes_view.waits_for(entry, waiting.get(entry.user_key)),
        addresses=changes_view.addresses(),
        why_not=_why_not(found),
        words=WORDS,
        said=TEXTS[Said(said)] if said in set(Said) else "",
    )


@blueprint.get("/manage/changes/<digest>/<verdict>")
def confirm_change(digest: str, verdict: str) -> flask.Response:
    """Show what the button will do, and the button. Nothing is changed."""
    found, seen = change_of(digest)
    return pages.page(
        "manage/decide.html",
        change=found,
        act=_act(verdict).value,
        unread=seen.unread,
        guard=_guard(),
        why_not=_why_not(found),
    )


@blueprint.post("/manage/changes/<digest>/<verdict>")
def decide(digest: str, verdict: str) -> flask.Response:
    """Write the decision down, and go back to the list's page."""
    said = decided(digest, _VERDICTS[_act(verdict)])
    return pages.go(flask.url_for("manage.change", digest=digest, said=said.value))


def _act(text: str) -> Act:
    found = next((act for act in Act if act.value == text), None)
    if found is None:
        raise NotFound
    return found


def decided(digest: str, verdict: Verdict) -> Said:
    """Create the object that the tick takes up. The list is the stored one of this digest, whatever waits by now."""
    portal, (_, key) = current(), signed_in()
    with portal.flights.one(key, f"decision:{digest}") as first:
        if not first:
            return Said.BUSY
        found, _ = change_of(digest)
        why_not = _why_not(found)
        if why_not:
            raise RefusedError(user_message=f"{why_not} Nothing was changed.", detail="may not decide about this list")
        if found.own() is verdict:
            return Said.ALREADY
        if found.still == 0:
            return Said.OVER
        if found.cannot_approve and verdict is Verdict.APPROVE:
            return Said.CANNOT
        deps, present = portal.deps.engine, visit()
        deps.decisions.put(
            Decision(
                decision_id=secrets.token_hex(8),
                about=found.about,
                verdict=verdict,
                digest=found.digest,
                asked_at=present.now(),
                assertion=present.assertion,
            ),
            by=key,
        )
        deps.log.info("Decided on the page", digest=found.digest, verdict=verdict.value, by=key)
    return _SAID[verdict]


# ---- files


COLUMNS: Columns = {"user_key": TEXT, "address": TEXT, "cause": TEXT, "source": TEXT, "steps": TEXT, "waits": FLAG}


def _sheet(digest: str) -> Sheet:
    found, seen = change_of(digest)
    return Sheet(name=f"changes-{digest[:12]}", columns=COLUMNS, rows=tuple(_rows(found, seen)), taken_at=visit().now())


def _rows(found: Change, seen: Seen) -> Iterator[Sequence[Value]]:
    known, waiting = changes_view.addresses(), seen.by_key()
    for entry in found.entries:
        waits = changes_view.waits_for(entry, waiting.get(entry.user_key)) if seen.waiting is not None else None
        steps = " ".join(step.value for step in entry.steps)
        yield entry.user_key, known.get(entry.user_key), found.cause, found.source, steps, waits


# ---- scripts


@blueprint.get("/api/changes")
def api_changes() -> flask.Response:
    """Return what the page shows, as JSON."""
    waiting, found = changes_now()
    return pages.json_answer(
        {
            "taken_at": rfc3339(visit().now()),
            "approvers": _guard().approvers,
            "unread": [each.value for each in found.unread],
            "changes": [_view(each) for each in waiting],
        }
    )


@blueprint.get("/api/changes/<digest>")
def api_change(digest: str) -> flask.Response:
    """One list, as JSON."""
    found, seen = change_of(digest)
    rows = [
        {"user_key": key, "address": address, "steps": str(steps).split(), "waits": waits}
        for key, address, _, _, steps, waits in islice(_rows(found, seen), _MOST_ROWS)
    ]
    return pages.json_answer({**_view(found), "why_not": _why_not(found), "rows": rows})


@blueprint.post("/api/changes/<digest>/<verdict>")
def api_decide(digest: str, verdict: str) -> flask.Response:
    """Decide about one list. Sent by a script: JSON, with the header of our own (`portal.csrf.check_script`)."""
    wanted = _VERDICTS[_act(verdict)]
    said = decided(digest, wanted)
    return pages.json_answer({"digest": digest, "verdict": wanted.value, "outcome": said.value, "says": TEXTS[said]})


@blueprint.post("/api/announcements")
def api_announce() -> flask.Response:
    """Announce who is going to lose access, and until when: a list that another administrator has to approve."""
    portal, (_, key) = current(), signed_in()
    flask.request.max_content_length = _MOST_ANNOUNCED
    keys, until = _announced(flask.request.get_json(silent=True))
    deps, present = portal.deps.engine, visit()
    digest = deps.decisions.put_list(batch_to_json(announced(keys, until)))
    deps.decisions.put(
        Decision(
            decision_id=secrets.token_hex(8),
            about=About.CUTS,
            verdict=Verdict.APPROVE,
            digest=digest,
            asked_at=present.now(),
            assertion=present.assertion,
        ),
        by=key,
    )
    deps.log.info("Announced on the page", digest=digest, people=len(keys), by=key)
    return pages.json_answer({"digest": digest, "people": len(keys), "until": rfc3339(until)})


def _announced(sent: object) -> tuple[list[UserKey], datetime]:
    """Return the people and the moment of an announcement. `RefusedError` says what is valid."""
    try:
        if not isinstance(sent, dict) or not isinstance(sent["people"], list) or not sent["people"]:
            raise ValueError("no list of people")
        keys = [parse_user_key(str(each)) for each in sent["people"]]
        until = parse_time(str(sent["until"]))
    except (KeyError, ValueError, InvalidMessageError) as error:
        raise RefusedError(
            user_message='Send {"people": [user keys], "until": a time such as 2026-12-01T18:00:00Z}. Nothing was announced.',
            detail=f"no announcement: {type(error).__name__}",
        ) from error
    now = visit().now()
    if not now < until <= now + _LONGEST:
        raise RefusedError(
            user_message=f"until must lie within the next {_LONGEST.days} days. Nothing was announced.",
            detail="an announcement for too long, or for the past",
        )
    return sorted(set(keys)), until


def _view(change: Change) -> dict[str, Any]:
    return {
        "about": change.about.value,
        "digest": change.digest,
        "title": change.title,
        "cause": change.cause,
        "source": change.source,
        "people": change.people,
        "still": change.still,
        "undone": change.undone,
        "since": _time(change.since),
        "patience_ends": _time(change.patience_ends),
        "takes_effect_at": _time(change.takes_effect_at),
        "is_current": change.is_current,
        "needs_another": change.needs_another,
        "cannot_approve": change.cannot_approve,
        "approving": list(change.approving),
        "rejecting": list(change.rejecting),
        "votes": [
            {"by": vote.by, "verdict": vote.verdict.value, "at": rfc3339(vote.at), "is_own": vote.is_own}
            for vote in change.votes
        ],
    }


def _time(moment: Any) -> str | None:
    return rfc3339(moment) if moment is not None else None


# ---- the description

_DIGEST = Param(
    name="digest",
    place=Place.PATH,
    text="The digest of a list that the page has shown: 32 hex digits.",
    schema={"type": "string", "pattern": "^[0-9a-f]{16,64}$"},
    required=True,
)
_VERDICT = Param(
    name="verdict",
    place=Place.PATH,
    text="What to do with the list.",
    schema={"type": "string", "enum": [act.value for act in Act]},
    required=True,
)
_SAID_PARAM = Param(
    name="said",
    place=Place.QUERY,
    text="What the page says on top, after a click.",
    schema={"type": "string", "enum": [said.value for said in Said]},
)
_NONE = {404: "Nobody was ever shown a list of this digest."}
_REFUSED = {409: "The reader is on the list, or the list could not be stored."}


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _array(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


_PROPERTIES: Mapping[str, Any] = {
    "about": {"type": "string"},
    "digest": {"type": "string"},
    "title": {"type": "string"},
    "cause": {"type": "string"},
    "source": {"type": "string"},
    "people": {"type": "integer"},
    "still": {"type": ["integer", "null"]},
    "undone": {"type": "integer"},
    "since": TIME,
    "patience_ends": TIME,
    "takes_effect_at": TIME,
    "is_current": FLAG,
    "needs_another": FLAG,
    "cannot_approve": TEXT,
    "approving": _array(TEXT),
    "rejecting": _array(TEXT),
    "votes": _array(_object({"by": TEXT, "verdict": TEXT, "at": TIME, "is_own": FLAG})),
}
_ROW = _object({"user_key": TEXT, "address": TEXT, "steps": _array(TEXT), "waits": FLAG})
_ALL = _object({"taken_at": TIME, "approvers": NUMBER, "unread": _array(TEXT), "changes": _array(_object(_PROPERTIES))})
_ONE = _object({**_PROPERTIES, "why_not": TEXT, "rows": _array(_ROW)})
_ANNOUNCED = _object({"digest": TEXT, "people": NUMBER, "until": TIME})
_DECIDED = _object({"digest": TEXT, "verdict": TEXT, "outcome": TEXT, "says": TEXT})
_RULE, _API = "/manage/changes/<digest>", "/api/changes/<digest>"
_DECIDE = "/<verdict>"
ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        rule="/manage/changes",
        name="manage.changes",
        summary="What waits for administrators to decide.",
        access=Access.ADMIN,
    ),
    Route(
        method="GET",
        rule=_RULE,
        name="manage.change",
        summary="One list of people who wait.",
        access=Access.ADMIN,
        params=(_DIGEST, _SAID_PARAM, PAGE),
        answers={200: "The page.", **_NONE},
    ),
    Route(
        method="GET",
        rule=_RULE + _DECIDE,
        name="manage.confirm_change",
        summary="What a decision will do.",
        access=Access.ADMIN,
        params=(_DIGEST, _VERDICT),
        answers={200: "The page.", **_NONE},
    ),
    Route(
        method="POST",
        rule=_RULE + _DECIDE,
        name="manage.decide",
        summary="Decide about a list of people who wait.",
        access=Access.ADMIN,
        params=(_DIGEST, _VERDICT),
        answers={
            303: "Written down, or so already; the list's page is at Location.",
            403: "Not an administrator, or the form is out of date.",
            **_NONE,
            **_REFUSED,
        },
    ),
    *offer(f"{_RULE}/people", "change_people", "One list of people who wait.", COLUMNS, _sheet, params=(_DIGEST,)),
    Route(
        method="GET",
        rule="/api/changes",
        name="manage.api_changes",
        summary="What waits for administrators to decide, for scripts.",
        access=Access.ADMIN,
        media=JSON,
        schema=_ALL,
        answers={200: "All of it."},
    ),
    Route(
        method="GET",
        rule=_API,
        name="manage.api_change",
        summary=f"One list of people who wait, for scripts; the first {_MOST_ROWS:,} people.",
        access=Access.ADMIN,
        params=(_DIGEST,),
        media=JSON,
        schema=_ONE,
        answers={200: "The list.", **_NONE},
    ),
    Route(
        method="POST",
        rule="/api/announcements",
        name="manage.api_announce",
        summary="Announce who is going to lose access, by a script.",
        access=Access.ADMIN,
        media=JSON,
        takes=JSON,
        schema=_ANNOUNCED,
        answers={
            200: "Written down; another administrator has to approve the list.",
            403: "Not an administrator, or not sent as a script sends it.",
            409: "No such people or moment; the answer says what is valid.",
        },
    ),
    Route(
        method="POST",
        rule=_API + _DECIDE,
        name="manage.api_decide",
        summary="Decide about a list of people who wait, by a script.",
        access=Access.ADMIN,
        params=(_DIGEST, _VERDICT),
        media=JSON,
        takes=JSON,
        schema=_DECIDED,
        answers={
            200: "Written down, or so already.",
            403: "Not an administrator, or not sent as a script sends it.",
            **_NONE,
            **_REFUSED,
        },
    ),
)
