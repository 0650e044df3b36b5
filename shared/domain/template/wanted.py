"""The template objects that a user should have, and the actions on them.

`shared.cloud` renders the objects, because rendering needs YAML and the types of the Dataproc API.
"""

from __future__ import annotations

import hashlib

from shared.domain.plan.plan import Action, Activity, Policy
from shared.domain.record.record import Presence, RecordRow, UserRecord
from shared.domain.record.status import ConditionType

RENDERER = "4"  # raise this number when the same master renders differently


def wanted_templates(record: UserRecord | RecordRow, policy: Policy) -> dict[str, str] | None:
    """Return the wanted objects: a mapping from template name to the digest of the object's inputs.

    The mapping is empty for a user who is not entitled. Return None if the profile is not in the configuration: the
    wanted objects are then unknown, so no object is changed.
    """
    presence = record.presence if isinstance(record, RecordRow) else record.spec.presence
    profile_name = record.profile if isinstance(record, RecordRow) else record.spec.profile
    if presence is Presence.ABSENT or profile_name is None:
        return {}
    if profile_name not in policy.catalog.profiles:
        return None
    profile, masters = policy.catalog.profiles[profile_name], policy.catalog.masters
    end = f"{record.user_key}\n{profile_name}\n{profile.spark.identity.value}\n{record.cost_center}"
    return {
        name: hashlib.sha256(
            f"{RENDERER}\n{masters[name].digest}\n{policy.template_context}\n{end}".encode()
        ).hexdigest()[:16]
        for name in profile.templates
    }


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
