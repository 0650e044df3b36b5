"""The rendering of master session templates into a profile's `SessionTemplate`.

The text is parsed, fields are set, and the result is validated.

Sessions always run with the credentials of the user who starts them. This module sets these credentials, and refuses a master that
asks for another identity.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from shared.cloud.dataproc.message_check import canonical, section_of, within
from shared.cloud.dataproc.session_check import AS_ONESELF, EXECUTION, SESSION_SET_HERE, session_findings
from shared.cloud.dataproc.target import RenderTarget
from shared.cloud.dataproc.types import SESSION_TEMPLATE
from shared.domain.template.sessions import LABEL_DIGEST, SessionOffer, WantedSession, digest_label
from shared.domain.things.catalog import SESSION_KINDS, MasterTemplate
from shared.domain.things.errors import InvalidSpecError
from shared.faults import Loc


def render_session(
    master: MasterTemplate,
    offer: SessionOffer,
    *,
    title: str,
    labels: Mapping[str, str],
    name: str,
    target: RenderTarget,
) -> WantedSession:
    """Return the profile's template in Dataproc's form; `title` is the profile's, `name` the full resource name.

    Raise `InvalidSpecError` for a master in which `session_findings` finds faults, or which stages files in Benchkeeper's bucket.
    """
    data = copy.deepcopy(target.parsed(master.digest)) or _read(master)[0]
    fault = next((each for each in session_findings(data) if not each.is_note), None)
    if fault is not None:
        raise _invalid(master.name, str(fault.at(master.name, _read(master)[1])))
    kept = {key: value for key, value in data.items() if key not in SESSION_SET_HERE}
    body = {**kept, "name": name, "labels": dict(labels)}
    _set_kind(body, f" ({title})" if offer.is_shared else "")
    execution = within(within(body, EXECUTION[0]), EXECUTION[1])
    if execution.get("stagingBucket") == target.bucket:
        raise _invalid(
            master.name, f"sessions cannot stage their files in {target.bucket}: their users could rewrite records"
        )
    execution["authenticationConfig"] = {"userWorkloadAuthenticationType": AS_ONESELF}
    if target.subnet:
        execution.pop("networkUri", None)  # the API accepts only one of the two
        execution["subnetworkUri"] = target.subnet
    made = canonical(body, SESSION_TEMPLATE)
    made["labels"] = {**labels, LABEL_DIGEST: digest_label(offer.session_id, made)}
    return WantedSession(session_id=offer.session_id, body=made)


def _read(master: MasterTemplate) -> tuple[dict[str, Any], dict[Loc, int]]:
    from shared.yaml_lines import YamlFaultError, load_yaml

    try:
        return load_yaml(master.text)
    except YamlFaultError as error:
        raise _invalid(master.name, error.problem) from error


def _set_kind(body: dict[str, Any], suffix: str) -> None:
    """Set the session's kind and its shown name. `jupyterSession:` without a value is a valid kind, too.

    The launcher shows all names to all users, so a shared template's name gets its profile as a suffix.
    """
    for kind in SESSION_KINDS:
        if kind in body:
            body[kind] = dict(body[kind] or {})
    shown = section_of(body, "jupyterSession")
    if shown.get("displayName"):
        shown["displayName"] = f"{shown['displayName']}{suffix}"


def _invalid(name: str, problem: str) -> InvalidSpecError:
    return InvalidSpecError(
        user_message=f"The session template '{name}' is not valid; an administrator must fix it.",
        detail=f"session template {name}: {problem}",
    )
