"""Whether two answers have the same shape: the same fields, of the same types and formats; values may differ."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# Of the Notebooks API's fields.
FORMATS = {
    "name": r"projects/[^/]+/locations/[a-z0-9-]+/(instances|operations)/[a-z0-9-]+",
    "target": r"projects/[^/]+/locations/[a-z0-9-]+/instances/[a-z0-9-]+",
    "createTime": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z",
    "updateTime": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z",
    "last_updated": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00",
    "id": r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "instanceId": r"\d{18,19}",
    "diskSizeGb": r"\d+",
    "externalIp": r"\d+\.\d+\.\d+\.\d+",
    "proxyUri": r"[0-9a-f]{16}-dot-[a-z0-9-]+\.notebooks\.googleusercontent\.com",
    "proxy-url": r"[0-9a-f]{16}-dot-[a-z0-9-]+\.notebooks\.googleusercontent\.com",
    "proxy-backend-id": r"[0-9a-f]{16}",
    "proxy-registration-url": r"https://[a-z0-9-]+\.notebooks\.cloud\.google\.com/tun/m/[0-9a-f]{40}",
    "machineType": r"https://www\.googleapis\.com/compute/v1/projects/[^/]+/zones/[a-z0-9-]+/machineTypes/[a-z0-9-]+",
    "network": r"https://www\.googleapis\.com/compute/v1/projects/[^/]+/global/networks/[a-z0-9-]+",
    "subnet": r"https://www\.googleapis\.com/compute/v1/projects/[^/]+/regions/[a-z0-9-]+/subnetworks/[a-z0-9-]+",
    "email": r"\d+-compute@developer\.gserviceaccount\.com",
    "creator": r"[^@]+@[^@]+",
}
# Labels that a caller set.
NOT_OURS = {"goog-terraform-provisioned"}


def differences(real: Any, ours: Any, path: str = "", *, formats: Mapping[str, str] = FORMATS) -> list[str]:
    """Fields, JSON types and formats that are not the same; values may differ."""
    if type(real) is not type(ours):
        return [f"{path}: {type(real).__name__} is {type(ours).__name__}"]
    if isinstance(real, dict):
        keys = set(real) - NOT_OURS
        found = [f"{path}.{key}: missing" for key in sorted(keys - set(ours))]
        found += [f"{path}.{key}: not in the real answer" for key in sorted(set(ours) - keys)]
        return found + [
            line
            for key in sorted(keys & set(ours))
            for line in differences(real[key], ours[key], f"{path}.{key}", formats=formats)
        ]
    if isinstance(real, list):
        if len(real) != len(ours):
            return [f"{path}: {len(real)} items, not {len(ours)}"]
        return [
            line
            for n, (a, b) in enumerate(zip(real, ours, strict=True))
            for line in differences(a, b, f"{path}[{n}]", formats=formats)
        ]
    pattern = formats.get(path.rsplit(".", 1)[-1])
    if pattern is None:
        return []
    if not re.fullmatch(pattern, real):
        return [f"the format of {path} does not fit the recording: {real}"]
    return [] if re.fullmatch(pattern, ours) else [f"{path}: {ours!r} has not the format of {real!r}"]
