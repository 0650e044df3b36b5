"""What can be asked of the cloud about template objects."""

from __future__ import annotations

from shared.domain.plan.plan import Action
from shared.domain.record.status import ConditionType


class PutTemplate(Action, frozen=True, kw_only=True):
    """Render a master for this user and write the object."""

    condition = ConditionType.TEMPLATES_READY
    target = "template"
    words = "write template {0.template}"

    template: str
    digest: str


class RemoveTemplate(Action, frozen=True, kw_only=True):
    """Remove one of the user's template objects."""

    condition = ConditionType.TEMPLATES_READY
    target = "template"
    words = "remove template {0.template}"

    template: str
