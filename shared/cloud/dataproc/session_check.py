"""The check of master templates of serverless sessions: their fields, the values, and the identity with which sessions run.

Called by the check of the whole configuration, and by the rendering, which has no settings and passes no `context`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from shared.cloud.dataproc.message_check import seconds_of, section_of, shape_findings
from shared.cloud.dataproc.template_context import TemplateContext, of_one_cluster, place_findings
from shared.cloud.dataproc.types import SESSION_TEMPLATE
from shared.cloud.dataproc.versions import session_runtime
from shared.domain.things.catalog import SESSION_KINDS
from shared.faults import Finding

SESSION_SET_HERE = ("name", "labels", "creator", "createTime", "updateTime", "uuid")
AS_ONESELF = "END_USER_CREDENTIALS"
EXECUTION = ("environmentConfig", "executionConfig")
_LEAST_S, _MOST_S = 600, 1_209_600  # docs/platform-facts.md#43-sessions
_CLUSTERS_OWN = ("config", "clusterName", "virtualClusterConfig")


def session_findings(data: Mapping[str, Any], context: TemplateContext | None = None) -> Iterator[Finding]:
    """Yield all faults and notes of a master template of sessions. Without `context`, nothing is compared with the settings."""
    for key in SESSION_SET_HERE:
        if key in data:
            yield Finding(
                (key,), f"'{key}' is ignored: Benchkeeper sets it for each profile, or Dataproc itself", is_note=True
            )
    for key in _CLUSTERS_OWN:
        if key in data:
            hint = "A file describes either clusters or sessions: remove the keys of the other kind."
            yield Finding((key,), f"'{key}' belongs to a cluster template, but this is a session template", hint)
    yield from _identity(data)
    yield from shape_findings(data, SESSION_TEMPLATE, left_out=(*SESSION_SET_HERE, *_CLUSTERS_OWN))
    if all(kind in data for kind in SESSION_KINDS):
        yield Finding((SESSION_KINDS[1],), f"'{SESSION_KINDS[0]}' is given, too", "Keep one of the two.")
    execution = section_of(data, *EXECUTION)
    for field in ("idleTtl", "ttl"):
        seconds = seconds_of(execution.get(field))
        if seconds is not None and not _LEAST_S <= seconds <= _MOST_S:
            near = _LEAST_S if seconds < _LEAST_S else _MOST_S
            problem, hint = (
                f"{execution[field]} is not possible",
                f"The nearest is {near}s. Valid: {_LEAST_S}s to {_MOST_S}s.",
            )
            yield Finding((*EXECUTION, field), problem, hint)
    yield from of_one_cluster(section_of(data, "runtimeConfig", "properties"), ("runtimeConfig", "properties"))
    if context is not None:
        yield from _values(data, execution, context)


def _values(data: Mapping[str, Any], execution: Mapping[str, Any], context: TemplateContext) -> Iterator[Finding]:
    yield from place_findings(execution.get("subnetworkUri"), (*EXECUTION, "subnetworkUri"), context)
    if execution.get("networkUri") and context.has_subnet:
        problem = "it is ignored: the settings name network.subnet, and Dataproc accepts only one of the two"
        yield Finding((*EXECUTION, "networkUri"), problem, is_note=True)
    version = section_of(data, "runtimeConfig").get("version")
    verdict = session_runtime(context.table, version) if isinstance(version, str) and version else None
    if verdict is not None:
        yield Finding(("runtimeConfig", "version"), verdict.problem, verdict.hint, verdict.is_note)


def _identity(data: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield a fault if sessions would not run as the user who starts them, and so would read data with another identity."""
    execution = section_of(data, *EXECUTION)
    said = section_of(execution, "authenticationConfig").get("userWorkloadAuthenticationType")
    if said is not None and said != AS_ONESELF:
        yield Finding(
            (*EXECUTION, "authenticationConfig", "userWorkloadAuthenticationType"),
            f"'{said}' is refused: code in a session reads data as the person",
            f"Remove it; Benchkeeper sets {AS_ONESELF}.",
        )
    if execution.get("serviceAccount"):
        problem = "a service account shared by users is refused: code in a session reads data as the person"
        yield Finding((*EXECUTION, "serviceAccount"), problem, "Remove it.")
