"""The rendering of master session templates into a profile's `SessionTemplate`, and the check of such masters. Parsed, set, validated.

Sessions always run with the credentials of the user who starts them. That is set here, and a master that asks for
another identity is a fault.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from shared.cloud.dataproc.message_check import (
    canonical,
    parsed,
    problem_of,
    section_of,
    set_here,
    unknown_fields,
    within,
)
from shared.cloud.dataproc.target import RenderTarget
from shared.cloud.dataproc.types import SESSION_TEMPLATE
from shared.domain.template.sessions import LABEL_DIGEST, SessionOffer, WantedSession, digest_label
from shared.domain.things.catalog import SESSION_KINDS, MasterTemplate
from shared.domain.things.errors import InvalidSpecError
from shared.faults import ConfigFault, Loc, dotted, line_of

SESSION_SET_HERE = ("name", "labels", "creator", "createTime", "updateTime", "uuid")
_AS_ONESELF = "END_USER_CREDENTIALS"
_EXECUTION = ("environmentConfig", "executionConfig")
_LEAST, _MOST = timedelta(minutes=10), timedelta(days=14)  # docs/platform-facts.md#43-sessions


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

    Raise `InvalidSpecError` for a master in which `check_session` finds faults.
    """
    from shared.yaml_lines import YamlFaultError, load_yaml

    try:
        data, lines = load_yaml(master.text)
    except YamlFaultError as error:
        raise _invalid(master.name, error.problem) from error
    faults = check_session(data, lines, master.name)
    if faults:
        raise _invalid(master.name, str(faults[0]))
    body = {**data, "name": name, "labels": dict(labels)}
    _set_kind(body, f" ({title})" if offer.is_shared else "")
    execution = within(within(body, _EXECUTION[0]), _EXECUTION[1])
    if execution.get("stagingBucket") == target.bucket:
        raise _invalid(
            master.name, f"sessions cannot stage their files in {target.bucket}: who runs one could rewrite records"
        )
    execution["authenticationConfig"] = {"userWorkloadAuthenticationType": _AS_ONESELF}
    if target.subnet:
        execution.pop("networkUri", None)  # the API accepts only one of the two
        execution["subnetworkUri"] = target.subnet
    made = canonical(body, SESSION_TEMPLATE)
    made["labels"] = {**labels, LABEL_DIGEST: digest_label(offer.session_id, made)}
    return WantedSession(session_id=offer.session_id, body=made)


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


def check_session(data: dict[str, Any], lines: dict[Loc, int], path: str) -> list[ConfigFault]:
    """Return all faults of a master of sessions, with file, line, field and the valid values."""
    faults = unknown_fields(data, SESSION_TEMPLATE, path, lines)
    faults += set_here(data, SESSION_SET_HERE, "profile", path, lines)
    faults += [_fault(path, lines, loc, problem, hint) for loc, problem, hint in _identity_problems(data)]
    if faults:
        return faults
    if all(kind in data for kind in SESSION_KINDS):
        return [
            _fault(path, lines, (SESSION_KINDS[1],), f"'{SESSION_KINDS[0]}' stands there too", "Keep one of the two.")
        ]
    problem = problem_of(data, SESSION_TEMPLATE)
    if problem is not None:
        return [ConfigFault(path, 0, "", problem, "See the Dataproc API's SessionTemplate message.")]
    return [
        _fault(path, lines, (*_EXECUTION, field), f"{value.total_seconds():.0f}s is not possible", "Valid: 600s to 1209600s.")
        for field, value in _times_to_live(data)
        if not _LEAST <= value <= _MOST
    ]  # fmt: skip


def _identity_problems(data: dict[str, Any]) -> Iterator[tuple[Loc, str, str]]:
    """Yield a fault if sessions would not run as the user who starts them, and so would read data with another identity."""
    authentication = section_of(data, *_EXECUTION, "authenticationConfig")
    said = authentication.get("userWorkloadAuthenticationType")
    if said is not None and said != _AS_ONESELF:
        yield (
            (*_EXECUTION, "authenticationConfig", "userWorkloadAuthenticationType"),
            f"'{said}' is refused: code in a session reads data as the person",
            f"Remove it; Benchkeeper sets {_AS_ONESELF}.",
        )
    if section_of(data, *_EXECUTION).get("serviceAccount"):
        yield (
            (*_EXECUTION, "serviceAccount"),
            "a service account shared by users is refused: code in a session reads data as the person",
            "Remove it.",
        )


def _times_to_live(data: dict[str, Any]) -> Iterator[tuple[str, timedelta]]:
    execution = parsed(data, SESSION_TEMPLATE).environment_config.execution_config
    for field, message in (("idleTtl", "idle_ttl"), ("ttl", "ttl")):
        if execution.HasField(message):
            value = getattr(execution, message)
            yield field, timedelta(seconds=value.seconds, microseconds=value.nanos // 1000)


def _fault(path: str, lines: dict[Loc, int], loc: Loc, problem: str, hint: str) -> ConfigFault:
    return ConfigFault(path, line_of(lines, loc), dotted(loc), problem, hint)


def _invalid(name: str, problem: str) -> InvalidSpecError:
    return InvalidSpecError(
        user_message=f"The session template '{name}' is not valid; an administrator must mend it.",
        detail=f"session template {name}: {problem}",
    )
