"""The accounts that users' Spark clusters run as, and the functions' right to create such clusters."""

from __future__ import annotations

from collections.abc import Iterator

from cli.deploy.failures import NoAccessError, NotThereError
from cli.deploy.kinds.access import Policy, full_role, grant_key, granted, has
from cli.deploy.step import Mark, Step
from cli.deploy.target import Target
from shared.domain.things.catalog import ClusterIdentity
from shared.yaml_lines import YamlFaultError, load_yaml

ON = "cluster-accounts"  # the scope that such a grant of roles.yaml names


def cluster_accounts(target: Target) -> tuple[str, ...]:
    """Return the accounts that master templates name, and the Compute default account if a template names none.

    Only templates of profiles with personal authentication count. Clusters that run as a user's own account need no
    such grant, because the custom role `benchkeeper_accounts` covers them.
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
    """Return the account that a master template names.

    Return "" if the template names none, or if its text is invalid, which `validate-config` reports.
    """
    try:
        found: object = load_yaml(text)[0]
    except YamlFaultError:
        return ""
    for key in ("config", "gceClusterConfig", "serviceAccount"):
        found = found.get(key) if isinstance(found, dict) else None
    return found.rpartition("/")[2] if isinstance(found, str) else ""


def grants(target: Target) -> Iterator[Step]:
    """Yield a step for each grant on each account of `cluster_accounts`; only a note for an account whose policy cannot be read.

    A grant on the project instead would let the functions act as any account.
    """
    wanted = [each for each in target.deployment.grants if each.on == ON]
    for email in cluster_accounts(target):
        try:
            policy = policy_of(target, email)
        except (NoAccessError, NotThereError) as error:
            because = f"the functions may not create clusters that run as it: {error.cause} See docs/operations.md, Spark clusters"
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
    """Return the account's IAM policy; {} while its service is off.

    Raise `NotThereError` if the account is missing, and `NoAccessError` for an account of another project.
    """
    # The Compute default account comes with the service: while the service is off, the account cannot be read.
    service = "compute.googleapis.com" if "compute.googleapis.com" in target.off else "iam.googleapis.com"
    policy: Policy = target.read(service, "iam", "service-accounts", "get-iam-policy", email, otherwise={})
    return policy
