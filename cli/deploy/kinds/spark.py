"""As whom people's Spark clusters run, and that the functions may make clusters that do."""

from __future__ import annotations

from collections.abc import Iterator

from cli.deploy.failures import NoAccessError, NotThereError
from cli.deploy.kinds.access import Policy, full_role, grant_key, granted, has
from cli.deploy.step import Mark, Step
from cli.deploy.target import Target
from shared.domain.things.catalog import ClusterIdentity
from shared.yaml_lines import YamlFaultError, load_yaml

ON = "cluster-accounts"  # what a grant of roles.yaml says it is on


def cluster_accounts(target: Target) -> tuple[str, ...]:
    """Return the accounts that masters name, and the Compute default one where a master names none.

    Only of profiles whose clusters run so: as a person's own account they run by `benchkeeper_accounts`.
    """
    catalog = target.deployment.settings.catalog
    masters = {
        name
        for profile in catalog.profiles.values()
        if profile.spark.identity is ClusterIdentity.PERSONAL_AUTH
        for name in profile.templates
    }
    default = f"{target.number}-compute@developer.gserviceaccount.com"
    return tuple(sorted({_named(catalog.masters[name].text) or default for name in masters}))


def _named(text: str) -> str:
    """Return the account that a master names; "" for none, and for a text that cannot be read, which `validate-config` tells of."""
    try:
        found: object = load_yaml(text)[0]
    except YamlFaultError:
        return ""
    for key in ("config", "gceClusterConfig", "serviceAccount"):
        found = found.get(key) if isinstance(found, dict) else None
    return found.rpartition("/")[2] if isinstance(found, str) else ""


def grants(target: Target) -> Iterator[Step]:
    """Yield a step for each grant on each of these accounts: on the project it would let the functions act as anybody."""
    wanted = [each for each in target.deployment.grants if each.on == ON]
    for email in cluster_accounts(target):
        try:
            policy = policy_of(target, email)
        except (NoAccessError, NotThereError) as error:
            because = f"the functions may not make clusters that run as it: {error.cause} See docs/operations.md, Spark clusters"
            yield Step(key=f"access on {email}", mark=Mark.KEEP, because=because)
            continue
        for grant in wanted:
            member, role = target.member(grant.to), full_role(target, grant.role)
            yield granted(
                grant_key(grant, on=email), is_there=has(policy, role, member), because="people's Spark clusters run as it",
                work=("iam", "service-accounts", "add-iam-policy-binding", email, f"--member={member}", f"--role={role}"),
                needs=("account", f"role {grant.role.partition('/')[2]}"), lane=email,
            )  # fmt: skip


def policy_of(target: Target, email: str) -> Policy:
    """Who may do what with the account. Raises `NotThereError`, and `NoAccessError` for one of another project."""
    # The Compute default account comes with the service: while that is off, nothing can be asked about it.
    service = "compute.googleapis.com" if "compute.googleapis.com" in target.off else "iam.googleapis.com"
    policy: Policy = target.read(service, "iam", "service-accounts", "get-iam-policy", email, otherwise={})
    return policy
