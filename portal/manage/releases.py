"""The request to release a hold, for the user's page and for scripts. The request is the first of two approvals of one question."""

from __future__ import annotations

import flask

from portal import pages
from portal.deps import current
from portal.manage.base import blueprint, user_key_of
from portal.manage.changes import Said, decided
from portal.reading import read_record
from portal.routes import JSON, Access, Route
from shared.domain.intent.decision import Verdict
from shared.domain.intent.question import release_of, to_json
from shared.domain.record.record import UserRecord
from shared.domain.things.errors import RefusedError

SAYS = {
    Said.APPROVED: "The release was requested. The hold ends once another administrator approves it under Changes; nothing is deleted "
    "before.",
    Said.ALREADY: "You requested the release before; it waits for another administrator. Nothing was changed.",
    Said.OVER: "This person is not on hold. Nothing was changed.",
    Said.BUSY: "Another click of yours is still in progress, so this one did nothing.",
}
ALONE = (
    "The release was requested and takes effect within a minute: one administrator is enough here (guard.approvers: 1)."
)


def needs_another() -> bool:
    """Return True if a second administrator must approve a release."""
    return current().deps.engine.policy.guard.approvers > 1


def ask_release(record: UserRecord) -> tuple[Said, str]:
    """Store the question with the reader's approval. Return the outcome and the question's digest ("" if there is no hold).

    If two administrators request the same release, the second request is its approval.
    """
    question = release_of(record)
    if question is None:
        return Said.OVER, ""
    current().deps.engine.decisions.put_list(to_json(question))
    return decided(question.digest, Verdict.APPROVE), question.digest


@blueprint.post("/api/releases")
def api_release() -> flask.Response:
    """Request the release of a user's hold, by a script. Raise `RefusedError` for an unknown user."""
    sent = flask.request.get_json(silent=True)
    key = user_key_of(str(sent.get("user_key", ""))) if isinstance(sent, dict) else None
    stored = read_record(key) if key is not None else None
    if stored is None:
        raise RefusedError(
            user_message='Nothing was changed. Send {"user_key": "..."} with the key of a known user.',
            detail="no release: nobody of that key",
        )
    said, digest = ask_release(stored.record)
    says = ALONE if said is Said.APPROVED and not needs_another() else SAYS[said]
    return pages.json_answer(
        {"user_key": stored.record.user_key, "digest": digest, "outcome": said.value, "says": says}
    )


_TEXT = {"type": "string"}
_PROPERTIES = {"user_key": _TEXT, "digest": _TEXT, "outcome": _TEXT, "says": _TEXT}
ROUTES: tuple[Route, ...] = (
    Route(
        method="POST",
        rule="/api/releases",
        name="manage.api_release",
        summary="Request the release of a hold, by a script.",
        access=Access.ACT,
        media=JSON,
        takes=JSON,
        schema={
            "type": "object",
            "properties": _PROPERTIES,
            "required": list(_PROPERTIES),
            "additionalProperties": False,
        },
        answers={
            200: "Stored, requested before, or there is no hold; `outcome` says which.",
            403: "The user's role does not allow it, or the headers of a script are missing.",
            409: "No person has that key, or the hold is on the user's own data. The response says which.",
        },
    ),
)
