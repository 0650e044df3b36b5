"""The check of all master templates, by their kind: clusters or serverless sessions.

Called with the whole configuration (`shared.checking.check_all`), and by `benchkeeper import seed`.
"""

from __future__ import annotations

from collections.abc import Mapping

from shared.cloud.dataproc.cluster_check import cluster_findings, not_a_mapping
from shared.cloud.dataproc.session_check import session_findings
from shared.cloud.dataproc.template_context import TemplateContext
from shared.compute_table import table
from shared.domain.things.catalog import MasterTemplate
from shared.faults import ConfigFault, in_order


def check_masters(
    masters: Mapping[str, MasterTemplate], folder: str, context: TemplateContext | None = None
) -> list[ConfigFault]:
    """Return all faults of the masters of both kinds, in the order of their lines.

    `context` has the settings, None if they are unknown.
    """
    return [fault for fault in judge_masters(masters, folder, context) if not fault.is_note]


def judge_masters(
    masters: Mapping[str, MasterTemplate], folder: str, context: TemplateContext | None = None
) -> list[ConfigFault]:
    """Return the faults that `check_masters` returns, and the notes."""
    context = context or TemplateContext(table=table())
    return [fault for each in masters.values() for fault in _check(each, f"{folder}/{each.name}.yaml", context)]


def _check(master: MasterTemplate, path: str, context: TemplateContext) -> list[ConfigFault]:
    from shared.yaml_lines import YamlFaultError, load_yaml

    try:
        data, lines = load_yaml(master.text)
    except YamlFaultError as error:
        other = not_a_mapping(master.text)
        if other is not None:
            return [ConfigFault(path, error.line, "", other.problem, other.hint)]
        return [ConfigFault(path, error.line, "", error.problem, "")]
    findings = session_findings(data, context) if master.is_session else cluster_findings(data, context)
    # A key is judged once: a value of the wrong kind is not judged as a value, too.
    return in_order([fault] for fault in (each.at(path, lines) for each in findings))
