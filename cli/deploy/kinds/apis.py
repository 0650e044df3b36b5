"""The services (APIs) of the project. A deployment turns on missing services, and turns no service off."""

from __future__ import annotations

from collections.abc import Mapping

from cli.deploy.gcloud import Gcloud
from cli.deploy.step import Mark, Step, same


def off(gcloud: Gcloud, apis: Mapping[str, str]) -> frozenset[str]:
    """Return the services of `apis` that the project has not turned on."""
    listed = gcloud.read("services", "list", "--enabled") or []
    on = {each["config"]["name"] for each in listed}
    return frozenset(apis) - on


def plan(missing: frozenset[str]) -> list[Step]:
    """Return one step that turns on all missing services, or does nothing if none is missing."""
    if not missing:
        return [same("services all")]
    names = sorted(missing)
    short = ", ".join(name.removesuffix(".googleapis.com") for name in names)
    # One call takes at most 20 services (Service Usage batchEnable).
    batches = [names[start : start + 20] for start in range(0, len(names), 20)]
    work = [("services", "enable", *batch) for batch in batches]
    return [Step(key="services all", mark=Mark.CREATE, because=f"off: {short}", work=work)]
