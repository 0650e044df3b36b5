"""The import of the cluster templates of Google's Terraform example.

`benchkeeper import seed` calls this module. It makes drafts of master templates, and checks the copies that the example made
for each user.

Pure. The example replaced two placeholders in a text. This module parses the text, removes the fields that Benchkeeper
sets itself, and notes every change. `shared.cloud.dataproc.masters.check_masters` checks the drafts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import yaml
from msgspec import Struct

from shared.domain.things.identity import UserEmail
from shared.yaml_lines import YamlFaultError, load_yaml

USER_MARK, BUCKET_MARK = "REPLACEME_USER_NAME", "REPLACEME_BUCKET_NAME"
_SET_HERE = ("clusterName", "projectId", "labels", "clusterUuid", "status", "statusHistory", "metrics")
_PERSONAL_AUTH = "dataproc:dataproc.personal-auth.user"
_TYPO, _MEANT = "optioimage-versionnalComponents", "optionalComponents"
_IMAGE = "2.2-debian12"
_FIRST_SUPPORTED = 2
_IDLE, _AGE = "7200s", "172800s"


class Draft(Struct, frozen=True):
    """A draft of a master template. `notes` list changes and open decisions. `fault` is the reason if the master was unusable."""

    name: str
    text: str
    notes: tuple[str, ...]
    fault: str = ""


def draft_of(name: str, text: str, bucket: str) -> Draft:
    """Return the draft of one master template of the example; `bucket` is the name of the example's bucket."""
    try:
        data, _ = load_yaml(text)
    except YamlFaultError as error:
        return Draft(name, "", (), f"line {error.line}: {error.problem}")
    notes: list[str] = []
    cluster = {key: value for key, value in data.items() if key not in _SET_HERE}
    taken = [key for key in _SET_HERE if key in data]
    if taken:
        notes.append(f"{', '.join(taken)} left out: Benchkeeper sets it for each user.")
    config = _section(cluster, "config")
    if config is None:
        return Draft(name, "", (), "'config' is not a mapping")
    problem = _mend_software(config, notes) or _mend_rest(config, notes)
    if problem:
        return Draft(name, "", (), problem)
    cluster = _without_marks(cluster, bucket, "", notes)
    head = "".join(f"#   {note}\n" for note in notes)
    body = yaml.safe_dump(cluster, sort_keys=False, allow_unicode=True, default_flow_style=False, width=10_000)
    return Draft(
        name,
        f"# Made from the template '{name}' of gs://{bucket}. What was changed, and what to look at:\n{head}{body}",
        tuple(notes),
    )


def _section(parent: dict[str, Any], key: str) -> dict[str, Any] | None:
    """Return the mapping under `key`; create it if it is missing or empty. Return None if the value is not a mapping."""
    if not parent.get(key):
        parent[key] = {}
    section = parent[key]
    return section if isinstance(section, dict) else None


def _mend_software(config: dict[str, Any], notes: list[str]) -> str:
    software = _section(config, "softwareConfig")
    if software is None:
        return "'config.softwareConfig' is not a mapping"
    if _TYPO in software:
        meant = software.pop(_TYPO)
        software.setdefault(_MEANT, meant)
        notes.append(f"'{_TYPO}' is a misspelling of '{_MEANT}', which the example ignored. It now has an effect.")
    components = software.get(_MEANT) or []
    if not isinstance(components, list):
        return f"'config.softwareConfig.{_MEANT}' is not a list"
    if "ANACONDA" in components:
        notes.append("ANACONDA left out: no supported image has it; conda is part of images from 2.0 on.")
    if "JUPYTER" not in components:
        notes.append("JUPYTER added: the example's hub added it to every cluster.")
    software[_MEANT] = [*(c for c in components if c not in {"ANACONDA", "JUPYTER"}), "JUPYTER"]
    image = str(software.get("imageVersion") or "")
    if not _is_supported(image):
        software["imageVersion"] = _IMAGE
        notes.append(
            f"Image '{image or 'unnamed'}' is not supported any more: {_IMAGE} instead. Try your notebooks on it."
        )
    properties = _section(software, "properties")
    if properties is None:
        return "'config.softwareConfig.properties' is not a mapping"
    if properties.pop(_PERSONAL_AUTH, None) is not None:
        notes.append(f"{_PERSONAL_AUTH} left out: Benchkeeper sets it for each user.")
    if not properties:
        del software["properties"]
    return ""


def _is_supported(image: str) -> bool:
    major = image.partition(".")[0]
    return major.isdigit() and int(major) >= _FIRST_SUPPORTED


def _mend_rest(config: dict[str, Any], notes: list[str]) -> str:
    for name in ("lifecycleConfig", "gceClusterConfig", "endpointConfig"):
        if _section(config, name) is None:
            return f"'config.{name}' is not a mapping"
    lifecycle, gce, endpoint = config["lifecycleConfig"], config["gceClusterConfig"], config["endpointConfig"]
    if "idleDeleteTtl" not in lifecycle:
        lifecycle["idleDeleteTtl"] = _IDLE
        notes.append(f"idleDeleteTtl: {_IDLE} added: a cluster without jobs is deleted after that time.")
    if not {"autoDeleteTtl", "autoDeleteTime"} & set(lifecycle):
        lifecycle["autoDeleteTtl"] = _AGE
        notes.append(f"autoDeleteTtl: {_AGE} added: no cluster becomes older than that.")
    if endpoint.get("enableHttpPortAccess") is not True:
        endpoint["enableHttpPortAccess"] = True
        notes.append("endpointConfig.enableHttpPortAccess: true added: without it JupyterLab cannot be opened.")
    if not gce.get("serviceAccount"):
        notes.append(
            "No gceClusterConfig.serviceAccount: clusters run as the Compute default account. Name an account with fewer roles."
        )
    if gce.pop("serviceAccountScopes", None):
        notes.append("serviceAccountScopes left out: the account's roles decide, and the default scope covers them.")
    if not gce:
        del config["gceClusterConfig"]
    return ""


def _without_marks(value: Any, bucket: str, where: str, notes: list[str]) -> Any:
    """Return the value with the bucket's name in place of its placeholder. Entries with the user's placeholder are left out.

    Each change is noted.
    """
    match value:
        case dict():
            kept = {}
            for key, inner in value.items():
                here = f"{where}.{key}" if where else str(key)
                if USER_MARK in str(key) or (isinstance(inner, str) and USER_MARK in inner):
                    notes.append(
                        f"{here} left out: it held {USER_MARK}; Benchkeeper sets the user in name, labels and personal-auth only."
                    )
                else:
                    kept[key] = _without_marks(inner, bucket, here, notes)
            return kept
        case list():
            kept_items = [item for item in value if not (isinstance(item, str) and USER_MARK in item)]
            if len(kept_items) != len(value):
                notes.append(f"{where}: an item left out that held {USER_MARK}.")
            return [_without_marks(item, bucket, f"{where}[{i}]", notes) for i, item in enumerate(kept_items)]
        case str() if BUCKET_MARK in value:
            notes.append(f"{where} points into the example's bucket: move the file before that bucket is deleted.")
            return value.replace(BUCKET_MARK, bucket)
        case _:
            return value


def is_as_made(text: str, masters: Mapping[str, str], user: str, bucket: str) -> bool:
    """Return True if the text is a copy that the example's script made of a master for this user, apart from line ends."""
    return any(
        _plain(master.replace(USER_MARK, user).replace(BUCKET_MARK, bucket)) == _plain(text)
        for master in masters.values()
    )


def _plain(text: str) -> str:
    return text.replace("\r\n", "\n").rstrip("\n")


def collisions(users: Iterable[UserEmail]) -> list[tuple[UserEmail, ...]]:
    """Return the groups of users with the same name before the @, because the example used only that part in names."""
    by_name: dict[str, list[UserEmail]] = {}
    for user in sorted(set(users)):
        by_name.setdefault(user.partition("@")[0], []).append(user)
    return [tuple(same) for same in by_name.values() if len(same) > 1]
