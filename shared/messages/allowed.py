"""The check of the kinds of facts that a source may state."""

from __future__ import annotations

from shared.domain.people.sources import May
from shared.domain.things.errors import Reason, UnsupportedMessageError
from shared.messages.message import Rules


def allowed(rules: Rules, what: May) -> None:
    """Raise `UnsupportedMessageError` with reason `NOT_ALLOWED` if the source may not state that kind of fact."""
    source = rules.source
    if source.may(what):
        return
    may = ", ".join(sorted(source.may_state)) or "nothing: it only wakes"
    raise UnsupportedMessageError(
        user_message=f"The source '{source.name}' (topic {source.topic}) may not state {what.value}. It may state {may}. "
        "config/sources.yaml says who may say what.",
        detail=f"source {source.name} may not state {what.value}",
        reason=Reason.NOT_ALLOWED,
    )
