"""The check of all master templates, each by its kind: of clusters or of serverless sessions.

Called with the whole configuration (`shared.wiring.checked_settings`), and by `benchkeeper import seed`.
"""

from __future__ import annotations

from collections.abc import Mapping

from shared.cloud.dataproc.cluster_render import check_cluster
from shared.cloud.dataproc.session_render import check_session
from shared.domain.things.catalog import MasterTemplate
from shared.faults import ConfigFault


def check_masters(masters: Mapping[str, MasterTemplate], folder: str) -> list[ConfigFault]:
    """Return all faults of the masters of both kinds, with file, line, field and nearest valid name."""
    return [fault for master in masters.values() for fault in _check(master, f"{folder}/{master.name}.yaml")]


def _check(master: MasterTemplate, path: str) -> list[ConfigFault]:
    from shared.yaml_lines import YamlFaultError, load_yaml

    try:
        data, lines = load_yaml(master.text)
    except YamlFaultError as error:
        return [ConfigFault(path, error.line, "", error.problem, "")]
    check = check_session if master.is_session else check_cluster
    return check(data, lines, path)
