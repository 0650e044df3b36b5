"""The page `/manage/changes`: batches of cuts and other changes that wait for a decision, with two buttons.

`/api/changes` offers the same to scripts. A click creates an object that names the list that was shown. The tick verifies the
user who clicked, and carries out the decision. So the decision is always about the list that was shown, even if the list
has changed since.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum

import flask
from flask.blueprints import BlueprintSetupState
from werkzeug.exceptions import NotFound

from portal import pages
from portal.deps import current
from portal.manage import changes_view, policy_changes, questions, waves
from portal.manage.base import PAGE, asked, blueprint, cut, page_number
from portal.manage.changes_meaning import Change, Seen, Unread, waits_for
from portal.manage.changes_view import is_concerned, lists, own_keys
from portal.manage.export import FLAG, TEXT, Columns, Sheet, offer
from portal.routes import Access, Param, Place, Route
from portal.visit import signed_in, visit
from shared.domain.intent.decision import DIGEST, About, Decision, Verdict
from shared.domain.plan.guard_settings import GuardSettings
from shared.domain.things.errors import CloudUnavailableError, RefusedError
from shared.sheet import Value

_FIRST = 10  # the number of users of a batch that the overview shows; the batch's own page shows all

# For each kind of change a pair of functions: all changes that wait, and the change of a digest. A new kind adds a pair.
Kind = tuple[Callable[[Seen], list[Change]], Callable[[str, Seen], Change | None]]
KINDS: tuple[Kind, ...] = (
    (policy_changes.policies, policy_changes.policy_of),
    (waves.rollouts, waves.rollout_of),
    (changes_view.cuts, changes_view.cuts_of),
    (questions.questions, questions.question_of),  # last: its lookup by digest reads any list that was ever shown
)


class Said(StrEnum):
    """The code of the message that the page shows after a click; the URL of the page that follows carries it."""

    APPROVED = "approved"
    REJECTED = "rejected"
    ALREADY = "already"
    TOO_LATE = "too-late"
    OVER = "over"
    BUSY = "busy"
    CANNOT = "cannot"


TEXTS = {
    Said.APPROVED: "You approved this. It is processed within a minute, and takes effect once enough administrators agree.",
    Said.REJECTED: "You rejected this. It is processed within a minute.",
    Said.ALREADY: "You had already decided this; nothing was changed.",
    Said.TOO_LATE: "This was rejected before, and one rejection is enough: an approval does not count any more. Nothing was changed.",
    Said.OVER: "Nobody on this list waits any more, so there is nothing to decide.",
    Said.CANNOT: "This cannot be approved at present; the page gives the reason. It can be rejected.",
    Said.BUSY: "Another click of yours is still in progress, so this one did nothing.",
}


class Act(StrEnum):
    """The act of an administrator on a list: approve or reject. The value is the last word of the URL of the act's page."""

    APPROVE = "approve"
    REJECT = "reject"


# The words for each step of a change, for the table of users.
WORDS = {
    "Stop": "notebook stopped",
    "Revoke": "own account disabled",
    "EndClusters": "Spark clusters deleted",
    "Create": "notebook created",
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
    "Joined": "treated as one person",
    "Released": "hold released",
    "DataDeletedSooner": "files deleted sooner",
    "Failed": "not ready in time",
}
VERDICTS = {Act.APPROVE: Verdict.APPROVE, Act.REJECT: Verdict.REJECT}
_SAID = {Verdict.APPROVE: Said.APPROVED, Verdict.REJECT: Said.REJECTED}


@blueprint.record_once
def _attach(state: BlueprintSetupState) -> None:
    changes_view.attach(state.app.extensions)


@blueprint.app_template_global()
def changes_waiting() -> int:
    """Return the number of waiting changes if a page counted them within the last minute, else 0.

    No call is made, so every page can show the number in its navigation.
    """
    return lists().count(current().deps.engine.clock.monotonic_s())


def changes_now() -> tuple[list[Change], Seen]:
    """Return all waiting changes, sorted by kind, and the state that was read for them."""
    found = changes_view.seen()
    changes = [change for all_of, _ in KINDS for change in all_of(found)]
    if Unread.INDEX not in found.unread:
        count = sum(change.is_current for change in changes)
        lists().counted(count, current().deps.engine.clock.monotonic_s())
    return changes, found


def change_of(digest: str) -> tuple[Change, Seen]:
    """Return the change of a digest, and the state that was read for it. A digest that was never shown gives 404.

    Raise `CloudUnavailableError` if the change may only be missing because the waiting users could not be read.
    """
    if not DIGEST.fullmatch(digest):
        raise NotFound
    found = changes_view.seen()
    change = next((change for _, one_of in KINDS if (change := one_of(digest, found)) is not None), None)
    if change is None:
        if Unread.INDEX in found.unread:
            raise CloudUnavailableError(
                user_message="The list of waiting people could not be read just now. Try again in a minute.",
                detail="index unreadable",
            )
        raise NotFound
    return change, found


def guard_settings() -> GuardSettings:
    """Return the guard's limits in force."""
    return current().deps.engine.policy.guard


def objection(change: Change) -> str:
    """Return the reason why the reader may not decide about a change, or "" if the reader may."""
    if not change.is_kept:
        return "The list could not be stored just now, so nobody can decide about it. Open this page again in a minute."
    if guard_settings().approvers > 1 and is_concerned(change, own_keys()):
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
    """Show all waiting changes. A batch that was never shown before is stored, so that a decision can name it."""
    waiting, found = changes_now()
    return pages.page(
        "manage/changes.html",
        changes=waiting,
        rollout=waves.progress(),
        counted=waves.COUNTED,
        unread=found.unread,
        guard=guard_settings(),
        addresses=changes_view.addresses() if waiting else {},
        first=_FIRST,
    )


@blueprint.get("/manage/changes/<digest>")
def change(digest: str) -> flask.Response:
    """Show a list with all its users, the decisions so far, and the buttons."""
    found, seen = change_of(digest)
    said = asked("said")
    waiting = seen.by_key()
    return pages.page(
        "manage/change.html",
        change=found,
        unread=seen.unread,
        guard=guard_settings(),
        shown=cut(found.entries, page_number(flask.request.args)),
        still=lambda entry: waits_for(entry, waiting.get(entry.user_key)),
        addresses=changes_view.addresses(),
        why_not=objection(found),
        words=WORDS,
        said=TEXTS[Said(said)] if said in set(Said) else "",
    )


@blueprint.get("/manage/changes/<digest>/<verdict>")
def confirm_change(digest: str, verdict: str) -> flask.Response:
    """Show the effect of a decision, and the button. Nothing is changed."""
    found, seen = change_of(digest)
    return pages.page(
        "manage/decide.html",
        change=found,
        act=act_of(verdict).value,
        unread=seen.unread,
        guard=guard_settings(),
        why_not=objection(found),
    )


@blueprint.post("/manage/changes/<digest>/<verdict>")
def decide(digest: str, verdict: str) -> flask.Response:
    """Store the decision, and redirect to the list's page."""
    said = decided(digest, VERDICTS[act_of(verdict)])
    return pages.go(flask.url_for("manage.change", digest=digest, said=said.value))


def act_of(text: str) -> Act:
    """Return the act that the last word of a URL names; raise 404 for any other word."""
    found = next((act for act in Act if act.value == text), None)
    if found is None:
        raise NotFound
    return found


def decided(digest: str, verdict: Verdict) -> Said:
    """Create the decision object, which the tick carries out, and return the code of the message for the page.

    The decision names the stored list of this digest, even if other users wait by now. If the decision would have no effect, nothing
    is created, and the message says why. Raise `RefusedError` if the reader may not decide.
    """
    portal, (_, key) = current(), signed_in()
    with portal.flights.one(key, f"decision:{digest}") as first:
        if not first:
            return Said.BUSY
        found, _ = change_of(digest)
        why_not = objection(found)
        if why_not:
            raise RefusedError(user_message=f"{why_not} Nothing was changed.", detail="may not decide about this list")
        if found.own() is verdict:
            return Said.ALREADY
        if found.is_rejected and verdict is Verdict.APPROVE:
            return Said.TOO_LATE
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
        deps.log.info("Stored a decision from the page", digest=found.digest, verdict=verdict.value, by=key)
    return _SAID[verdict]


# ---- files


COLUMNS: Columns = {"user_key": TEXT, "address": TEXT, "cause": TEXT, "source": TEXT, "steps": TEXT, "waits": FLAG}


def _sheet(digest: str) -> Sheet:
    found, seen = change_of(digest)
    return Sheet(
        name=f"changes-{digest[:12]}", columns=COLUMNS, rows=tuple(rows_of(found, seen)), taken_at=visit().now()
    )


def rows_of(found: Change, seen: Seen) -> Iterator[Sequence[Value]]:
    """Yield the users of a list as the cells of `COLUMNS`."""
    known, waiting = changes_view.addresses(), seen.by_key()
    for entry in found.entries:
        waits = waits_for(entry, waiting.get(entry.user_key)) if seen.waiting is not None else None
        steps = " ".join(step.value for step in entry.steps)
        yield entry.user_key, known.get(entry.user_key), found.cause, found.source, steps, waits


# ---- scripts


# ---- the description

DIGEST_PARAM = Param(
    name="digest",
    place=Place.PATH,
    text="The digest of a list that the page has shown: 32 hex digits.",
    schema={"type": "string", "pattern": "^[0-9a-f]{16,64}$"},
    required=True,
)
VERDICT_PARAM = Param(
    name="verdict",
    place=Place.PATH,
    text="The decision about the list.",
    schema={"type": "string", "enum": [act.value for act in Act]},
    required=True,
)
_SAID_PARAM = Param(
    name="said",
    place=Place.QUERY,
    text="The code of the message at the top of the page, after a click.",
    schema={"type": "string", "enum": [said.value for said in Said]},
)
NO_SUCH_LIST = {404: "No list with this digest was ever shown."}
REFUSED = {409: "The user is on the list, or the list could not be stored."}


_RULE = "/manage/changes/<digest>"
DECIDE = "/<verdict>"
ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        rule="/manage/changes",
        name="manage.changes",
        summary="All changes that wait for a decision.",
        access=Access.READ,
    ),
    Route(
        method="GET",
        rule=_RULE,
        name="manage.change",
        summary="One list of waiting people.",
        access=Access.READ,
        params=(DIGEST_PARAM, _SAID_PARAM, PAGE),
        answers={200: "The page.", **NO_SUCH_LIST},
    ),
    Route(
        method="GET",
        rule=_RULE + DECIDE,
        name="manage.confirm_change",
        summary="The effect of a decision, before it is made.",
        access=Access.DECIDE,
        params=(DIGEST_PARAM, VERDICT_PARAM),
        answers={200: "The page.", **NO_SUCH_LIST},
    ),
    Route(
        method="POST",
        rule=_RULE + DECIDE,
        name="manage.decide",
        summary="Approve or reject a list of waiting people.",
        access=Access.DECIDE,
        params=(DIGEST_PARAM, VERDICT_PARAM),
        answers={
            303: "Stored, or decided before. Location is the page of the list.",
            403: "The user's role does not allow it, or the form is out of date.",
            **NO_SUCH_LIST,
            **REFUSED,
        },
    ),
    *offer(f"{_RULE}/people", "change_people", "One list of waiting people.", COLUMNS, _sheet, params=(DIGEST_PARAM,)),
)
