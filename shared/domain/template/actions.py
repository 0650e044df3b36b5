"""The actions on template objects."""

from __future__ import annotations

from shared.domain.plan.plan import Action, Activity
from shared.domain.record.status import ConditionType


class PutTemplate(Action, frozen=True, kw_only=True):
    """The action that renders a master for this user and writes the object."""

    condition = ConditionType.TEMPLATES_READY
    target = "template"
    activity = Activity.CREATE
    words = "write template {0.template}"

    template: str
    digest: str


class RemoveTemplate(Action, frozen=True, kw_only=True):
    """The action that removes one of the user's template objects."""

    condition = ConditionType.TEMPLATES_READY
    target = "template"
    activity = Activity.DELETE
    words = "remove template {0.template}"

    template: str
