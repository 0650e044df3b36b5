"""The rendering of a master cluster template into a user's own template.

The text is parsed, fields are set, and the result is validated; text is never substituted.

The Dataproc API's own message type (`shared.cloud.dataproc.types`) is the reference.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

from shared.cloud.dataproc.cluster_fields import JUPYTER, OUTPUT_ONLY, PERSONAL_AUTH_USER, SET_HERE
from shared.cloud.dataproc.message_check import problem_of, section_of, within
from shared.cloud.dataproc.plain_yaml import plain_yaml
from shared.cloud.dataproc.target import RenderTarget
from shared.cloud.dataproc.types import CLUSTER
from shared.domain.record.record import UserRecord
from shared.domain.things.catalog import MasterTemplate
from shared.domain.things.clusters import cluster_name
from shared.domain.things.errors import InvalidSpecError
from shared.domain.things.identity import account_email, account_id_for, label_value
from shared.domain.things.notebook import (
    LABEL_COST_CENTER,
    LABEL_MANAGED_BY,
    LABEL_PROFILE,
    LABEL_TEMPLATE,
    LABEL_USER,
    MANAGED_BY,
)


def render(master: MasterTemplate, record: UserRecord, target: RenderTarget) -> bytes:
    """Return the user's cluster template as YAML (cluster-export form), valid for the Dataproc API.

    Raise `InvalidSpecError` for an invalid master, or one that stages files in Benchkeeper's bucket.
    """
    cluster = personal_cluster(master, record, target)
    return (plain_yaml(cluster) or _as_yaml(cluster)).encode()


def _as_yaml(data: dict[str, Any]) -> str:
    import yaml

    # libyaml's writer gives the same data ten times as fast; its reader has a limit (`shared.yaml_lines`).
    writer = yaml.CSafeDumper if yaml.__with_libyaml__ else yaml.SafeDumper
    return str(
        yaml.dump(data, Dumper=writer, sort_keys=True, allow_unicode=True, default_flow_style=False, width=10_000)
    )


def personal_cluster(
    master: MasterTemplate, record: UserRecord, target: RenderTarget, *, zone: str = ""
) -> dict[str, Any]:
    """Return the user's cluster as the Dataproc API's JSON of `Cluster`, in `zone` if `zone` is not empty.

    Raise `InvalidSpecError` for an invalid master, or one that stages files in Benchkeeper's bucket.
    """
    cluster = copy.deepcopy(_checked(master, target.parsed))
    cluster["projectId"] = target.project
    known = record.status.cluster(master.name)
    cluster["clusterName"] = known.name if known is not None else cluster_name(master.name, record.user_key)
    cluster["labels"] = _labels(master, record)
    config = within(cluster, "config")
    if target.bucket in {config.get("configBucket"), config.get("tempBucket")}:
        raise _invalid(
            master.name, f"clusters cannot stage their files in {target.bucket}: their users could rewrite records"
        )
    _set_identity(config, record, target)
    _set_jupyter(config)
    if target.subnet:
        gce = within(config, "gceClusterConfig")
        gce.pop("networkUri", None)  # the API accepts only one of the two
        gce["subnetworkUri"] = target.subnet
    if zone:
        within(config, "gceClusterConfig")["zoneUri"] = zone
    problem = problem_of(cluster, CLUSTER)
    if problem is not None:
        raise _invalid(master.name, problem)
    return cluster


@functools.lru_cache(maxsize=256)
def _checked(master: MasterTemplate, parsed: Callable[[str], Any]) -> dict[str, Any]:
    """Return the content of a master, read and checked once per process. Raise `InvalidSpecError` if it is invalid.

    Callers must not change the content: each user's cluster is made from a copy.
    """
    name = master.name
    data = copy.deepcopy(parsed(master.digest)) or _read(master)
    cluster = {key: value for key, value in data.items() if key not in SET_HERE}
    for *path, field in OUTPUT_ONLY:
        section_of(cluster, "config", *map(str, path)).pop(str(field), None)
    problem = problem_of(cluster, CLUSTER)  # before values are set in a section, which may not be a mapping
    if problem is not None:
        raise _invalid(name, problem)
    return cluster


def _read(master: MasterTemplate) -> dict[str, Any]:
    from shared.yaml_lines import YamlFaultError, load_yaml

    try:
        return load_yaml(master.text)[0]
    except YamlFaultError as error:
        raise _invalid(master.name, error.problem) from error


def _set_jupyter(config: dict[str, Any]) -> None:
    """Enable the component gateway and Jupyter, which the page's link to the cluster needs, as Dataproc Hub did."""
    within(config, "endpointConfig")["enableHttpPortAccess"] = True
    software = within(config, "softwareConfig")
    components = software.get("optionalComponents") or []
    if JUPYTER not in components:
        software["optionalComponents"] = [*components, JUPYTER]


def _labels(master: MasterTemplate, record: UserRecord) -> dict[str, str]:
    """Return the labels that identify the owner and assign the cost.

    User, profile and cost centre are as on the notebook (config/deploy/cost_by_user.sql); the template is added.
    """
    return {
        LABEL_MANAGED_BY: MANAGED_BY,
        LABEL_USER: record.user_key,
        LABEL_TEMPLATE: label_value(master.name),
        **({LABEL_PROFILE: label_value(record.spec.profile)} if record.spec.profile else {}),
        **({LABEL_COST_CENTER: label_value(record.cost_center)} if record.cost_center else {}),
    }


def _set_identity(config: dict[str, Any], record: UserRecord, target: RenderTarget) -> None:
    """Set the identity so that only the user can use the cluster, and code reads data as the user or the user's own account.

    Sources: docs/platform-facts.md#61-personal-cluster-authentication and #62-an-account-of-the-persons-own.
    With an account, only the users in the mapping may run code: the address is compared as it is written.
    """
    if record.spec.profile not in target.own_accounts:
        within(within(config, "softwareConfig"), "properties")[PERSONAL_AUTH_USER] = record.email
        return
    account = account_email(record.status.account.account_id or account_id_for(record.user_key), target.project)
    within(config, "gceClusterConfig")["serviceAccount"] = account
    security = within(within(config, "securityConfig"), "identityConfig")
    security["userServiceAccountMapping"] = {record.email: account}


def _invalid(name: str, problem: str) -> InvalidSpecError:
    return InvalidSpecError(
        user_message=f"The cluster template '{name}' is not valid; an administrator must fix it.",
        detail=f"template {name}: {problem}",
    )
