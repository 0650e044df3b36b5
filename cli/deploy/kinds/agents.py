"""The service agents of Google in the project, which are created before they are granted roles."""

from __future__ import annotations

from collections.abc import Iterator

from cli.deploy.step import Mark, Step, same
from cli.deploy.target import Target

# The service and the end of its agent's address. An agent that exists holds its service's agent role on the project.
_AGENTS = {
    "pubsub.googleapis.com": "@gcp-sa-pubsub.iam.gserviceaccount.com",
    "eventarc.googleapis.com": "@gcp-sa-eventarc.iam.gserviceaccount.com",
    "notebooks.googleapis.com": "@gcp-sa-notebooks.iam.gserviceaccount.com",
}


def agents(target: Target) -> Iterator[Step]:
    """Yield a step for each agent that holds no role yet."""
    policy = target.read("project", "projects", "get-iam-policy", target.project, otherwise={}, project=False)
    members = {member for binding in policy.get("bindings", []) for member in binding.get("members", [])}
    for service, end in _AGENTS.items():
        short = service.removesuffix(".googleapis.com")
        if f"serviceAccount:service-{target.number}{end}" in members:
            yield same(f"agent {short}")
        else:
            member = f"--member=serviceAccount:service-{target.number}{end}"
            # An agent that is created on request gets no role (IAM, Create and grant roles to service agents).
            grant = ("projects", "add-iam-policy-binding", target.project, member, f"--role=roles/{short}.serviceAgent")
            work = [
                ("beta", "services", "identity", "create", f"--service={service}"), (*grant, "--condition=None"),
            ]  # fmt: skip
            yield Step(
                key=f"agent {short}",
                mark=Mark.CREATE,
                because="Google's own account for the service",
                work=work,
                lane="project",
            )
