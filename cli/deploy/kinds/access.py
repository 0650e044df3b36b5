"""The identities of a deployment and their roles: service accounts, custom roles, Google's service agents, role bindings.

Each binding is added to the present policy by a command of its own; no policy is ever replaced as a whole. Service agents are created
before they are granted roles.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from cli.deploy.failures import NoAccessError, NotThereError
from cli.deploy.gcloud import Do, FileWord
from cli.deploy.models import GrantModel, RoleModel
from cli.deploy.step import Mark, Step, same
from cli.deploy.target import Target
from shared.domain.things.catalog import Identity

Policy = Mapping[str, Any]
USER_ROLE = "roles/iam.serviceAccountUser"
_ELSEWHERE = {
    "cluster-accounts",
    "cost-dataset",
    "secrets",
}  # the grants on these are planned by the modules spark, billing and secrets
_NO_MORE = {
    "personal_accounts": "no profile needs it now; grants are not removed here: docs/operations.md, Turning "
    "personal accounts on",
    "messages": "messages to users are switched off; grants are not removed here: docs/operations.md, Messages to users",
    "billing_export": "no billing export is configured now; grants are not removed here: docs/operations.md, Cost by user",
}


def has(policy: Policy, role: str, member: str, *, condition: str = "") -> bool:
    """Return True if the policy gives `role` to `member`, without a condition or with the condition of this title."""
    return any(
        binding.get("role") == role
        and member in binding.get("members", [])
        and binding.get("condition", {}).get("title", "") == condition
        for binding in policy.get("bindings", [])
    )


def granted(
    key: str, *, is_there: bool, because: str, work: tuple[str, ...], needs: tuple[str, ...], lane: str
) -> Step:
    """Return the step that adds one binding, or a step without work if the binding `is_there`."""
    if is_there:
        return same(key)
    return Step(key=key, mark=Mark.CREATE, because=because, work=[work], needs=needs, lane=lane)


def full_role(target: Target, role: str) -> str:
    """Return `custom/x` as IAM's full name of the role; other roles unchanged."""
    kind, _, name = role.partition("/")
    return f"projects/{target.project}/roles/{name}" if kind == "custom" else role


def grants(target: Target) -> Iterator[Step]:
    """Yield a step for each binding on the project, the buckets and topics: from roles.yaml, and for data groups, publishers and roster writers.

    Yield also a note for each existing binding of roles.yaml whose condition (`when`) no longer holds.
    """
    policies = _Policies(target)
    for grant in target.deployment.grants:
        if grant.on not in _ELSEWHERE:
            yield _one(target, grant, policies)
    topics = target.deployment.topics.keys() - target.deployment.wanted(target.deployment.topics).keys()
    for grant in target.deployment.dormant_grants:
        if grant.on in _ELSEWHERE or grant.when is None or grant.on.removeprefix("topic/") in topics:
            continue
        if has(policies.of(grant.on), full_role(target, grant.role), target.member(grant.to)):
            yield Step(key=grant_key(grant, on=grant.on), mark=Mark.KEEP, because=_NO_MORE[grant.when])
    yield from data_roles(target, policies)
    yield from publishers(target, policies)
    yield from roster_writers(target, policies)


class _Policies:
    """A cache of IAM policies by scope, so that each policy is read once."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._read: dict[str, Policy] = {}

    def of(self, scope: str) -> Policy:
        """Return the IAM policy of `project`, `bucket/<which>` or `topic/<name>`; empty if the resource does not exist yet."""
        if scope not in self._read:
            self._read[scope] = self._ask(scope)
        return self._read[scope]

    def _ask(self, scope: str) -> Policy:
        kind, _, name = scope.partition("/")
        target = self._target
        try:
            if kind == "bucket":
                bucket = f"gs://{target.deployment.bucket_named(name)}"
                found: Policy = target.read(
                    "storage.googleapis.com", "storage", "buckets", "get-iam-policy", bucket, otherwise={}
                )
            elif kind == "topic":
                found = target.read("pubsub.googleapis.com", "pubsub", "topics", "get-iam-policy", name, otherwise={})
            else:
                found = target.read(
                    "project", "projects", "get-iam-policy", target.project, otherwise={}, project=False
                )
        except NotThereError:
            return {}
        return found


def _one(target: Target, grant: GrantModel, policies: _Policies) -> Step:
    member, role = target.member(grant.to), full_role(target, grant.role)
    kind, _, name = grant.on.partition("/")
    words = (f"--member={member}", f"--role={role}")
    holder, _, holder_name = grant.to.partition("/")
    there_first = f"account {target.deployment.accounts[holder_name].id}" if holder == "account" else "agent"
    needs: tuple[str, ...] = (there_first, f"role {grant.role.partition('/')[2]}")
    key = grant_key(grant, on=grant.on)
    because = "added to the existing policy"
    if kind == "gcf-sources":
        title, condition = "gcf-sources-only", _sources(target)
        return granted(
            key, is_there=has(policies.of("project"), role, member, condition=title), because="the uploaded sources only",
            work=("projects", "add-iam-policy-binding", target.project, *words, condition), needs=needs, lane="project",
        )  # fmt: skip
    title = _only(grant)
    there = has(policies.of(grant.on), role, member, condition=title)
    if kind == "project":
        work: tuple[str, ...] = ("projects", "add-iam-policy-binding", target.project, *words, "--condition=None")
    elif kind == "bucket":
        bucket = target.deployment.bucket_named(name)
        work = ("storage", "buckets", "add-iam-policy-binding", f"gs://{bucket}", *words, *_condition(target, grant))
        needs = (*needs, f"bucket {bucket}")
    else:
        work = ("pubsub", "topics", "add-iam-policy-binding", name, *words)
        needs = (*needs, f"topic {name}")
    return granted(key, is_there=there, because=because, work=work, needs=needs, lane=grant.on)


def _only(grant: GrantModel) -> str:
    """Return the title of the condition that limits a grant; empty if the grant has no condition."""
    if grant.all_but:
        return f"all-but-{grant.all_but.strip('/').replace('/', '-')}"
    return f"{grant.prefix.strip('/').replace('/', '-')}-only" if grant.prefix else ""


def _condition(target: Target, grant: GrantModel) -> tuple[str, ...]:
    """Return gcloud's arguments for a grant's condition.

    For a grant without a condition, gcloud needs `--condition=None` if other bindings of the policy have conditions;
    else the result is empty.
    """
    if _only(grant):
        bucket = target.deployment.bucket_named(grant.on.partition("/")[2])
        start = f'resource.name.startsWith("projects/_/buckets/{bucket}/objects/{grant.prefix or grant.all_but}")'
        return (f"--condition=title={_only(grant)},expression={'!' if grant.all_but else ''}{start}",)
    mixed = any(_only(each) and each.on == grant.on for each in target.deployment.grants)
    return ("--condition=None",) if mixed else ()


def withdrawn(target: Target) -> Iterator[Step]:
    """Yield a step for each binding that an earlier version made and that is no longer needed.

    The binding is removed once the functions run the new code: without it, the old code would stop working.
    """
    policies = _Policies(target)
    for grant in target.deployment.withdrawn:
        member, role = target.member(grant.to), full_role(target, grant.role)
        if not has(policies.of(grant.on), role, member):
            continue
        kind, _, name = grant.on.partition("/")
        words = (f"--member={member}", f"--role={role}")
        if kind == "bucket":
            where = f"gs://{target.deployment.bucket_named(name)}"
            work: tuple[str, ...] = (
                "storage",
                "buckets",
                "remove-iam-policy-binding",
                where,
                *words,
                *_condition(target, grant),
            )
        else:
            work = ("pubsub", "topics", "remove-iam-policy-binding", name, *words)
        yield Step(
            key=f"withdrawn {grant_key(grant, on=grant.on).removeprefix('access ')}", mark=Mark.DELETE,
            because="an earlier version needed it", work=[work], needs=("function",), lane=grant.on,
        )  # fmt: skip


def grant_key(grant: GrantModel, *, on: str) -> str:
    """Return the key of the step that makes a grant."""
    where = f"{on}/{grant.prefix}" if grant.prefix else on
    where = f"{on} but {grant.all_but}" if grant.all_but else where
    return f"access {grant.to.partition('/')[2]}: {grant.role.rpartition('/')[2]} on {where}"


def _sources(target: Target) -> str:
    """Return the condition for the buckets in which Cloud Functions keeps uploaded sources: a build reads these and no others."""
    start = f"projects/_/buckets/gcf-v2-sources-{target.number}-"
    return f'--condition=title=gcf-sources-only,expression=resource.name.startsWith("{start}")'


def data_roles(target: Target, policies: _Policies) -> Iterator[Step]:
    """Yield a step for each role of the profiles' data groups (`data_group`, `data_roles`), whose members are the users' own accounts."""
    for group, held in target.deployment.data_roles.items():
        for role in held:
            member = f"group:{group}"
            words = (f"--member={member}", f"--role={role}", "--condition=None")
            yield granted(
                f"data {group}: {role}", is_there=has(policies.of("project"), role, member),
                because="the data that people's own accounts may read, added to existing roles",
                work=("projects", "add-iam-policy-binding", target.project, *words), needs=(), lane="project",
            )  # fmt: skip


def publishers(target: Target, policies: _Policies) -> Iterator[Step]:
    """Yield one step for each member in `deployment.publishers`: grant the right to publish to the lifecycle topic."""
    topic, role = target.deployment.settings.topic_lifecycle, "roles/pubsub.publisher"
    for member in target.deployment.options.publishers:
        yield granted(
            f"publisher {member}", is_there=has(policies.of(f"topic/{topic}"), role, member),
            because=f"may publish to {topic}",
            work=("pubsub", "topics", "add-iam-policy-binding", topic, f"--member={member}", f"--role={role}"),
            needs=(f"topic {topic}",), lane=f"topic/{topic}",
        )  # fmt: skip


def roster_writers(target: Target, policies: _Policies) -> Iterator[Step]:
    """Yield one step for each member in `deployment.roster_writers`: grant the right to create objects below rosters/ of the inbox."""
    bucket, role = target.deployment.bucket_named("inbox"), "roles/storage.objectCreator"
    start = f'resource.name.startsWith("projects/_/buckets/{bucket}/objects/rosters/")'
    for member in target.deployment.options.roster_writers:
        condition = f"--condition=title=rosters-only,expression={start}"
        yield granted(
            f"roster writer {member}",
            is_there=has(policies.of("bucket/inbox"), role, member, condition="rosters-only"),
            because=f"may upload HR's list to {bucket}/rosters/",
            work=("storage", "buckets", "add-iam-policy-binding", f"gs://{bucket}", f"--member={member}", f"--role={role}", condition),
            needs=(f"bucket {bucket}",), lane="bucket/inbox",
        )  # fmt: skip


def identity(target: Target) -> Iterator[Step]:
    """Yield a step for each member who may act as the account that the environments run as.

    With managed end-user credentials that account is an agent of Google's. The functions need the role to create an
    instance, and the people of the profile's groups need it to open the instance. The role is bound on that account
    alone: on the project, it would let every member act as any account. If the agent's policy cannot be read, yield
    only a note.
    """
    catalog = target.deployment.settings.catalog
    groups = sorted(
        {
            f"group:{each.group}"
            for each in catalog.assignments
            if catalog.profiles[each.profile].identity is Identity.END_USER_CREDENTIALS
        }
    )
    agent = target.agent("notebooks-vm")
    members = [*(target.member(f"account/{key}") for key in ("lifecycle", "tick")), *groups]
    # The agent comes with the service: while the service is off, the agent cannot be read.
    service = "notebooks.googleapis.com" if "notebooks.googleapis.com" in target.off else "iam.googleapis.com"
    try:
        policy = target.read(service, "iam", "service-accounts", "get-iam-policy", agent, otherwise={})
    except (NoAccessError, NotThereError) as error:
        yield Step(
            key=f"identity {agent}", mark=Mark.KEEP,
            because=f"{error.cause} It is Google's own account; see docs/operations.md, Who may act as the agent",
        )  # fmt: skip
        return
    for member in members:
        work: tuple[Do, ...] = (
            ("iam", "service-accounts", "add-iam-policy-binding", agent, f"--member={member}", f"--role={USER_ROLE}"),
        )
        key = f"identity {member.partition(':')[2]}"
        if has(policy, USER_ROLE, member):
            yield same(key)
        else:
            because = "may act as the environments' agent, on that account only"
            yield Step(
                key=key, mark=Mark.CREATE, because=because, work=work, needs=("account", "agent"), lane="identity"
            )


_IAM = "iam.googleapis.com"


def accounts(target: Target) -> Iterator[Step]:
    """Yield a step for each service account."""
    listed = target.read(_IAM, "iam", "service-accounts", "list", otherwise=[])
    seen = {each["email"]: each for each in listed}
    for key, wanted in target.deployment.wanted(target.deployment.accounts).items():
        email, step = target.account(key), f"account {wanted.id}"
        words = (f"--display-name={wanted.title}", f"--description={wanted.purpose}")
        found = seen.get(email)
        if found is None:
            work: list[tuple[str, ...]] = [("iam", "service-accounts", "create", wanted.id, *words)]
            yield Step(key=step, mark=Mark.CREATE, because=wanted.purpose, work=work)
            continue
        work, why = [], []
        if (found.get("displayName"), found.get("description")) != (wanted.title, wanted.purpose):
            work.append(("iam", "service-accounts", "update", email, *words))
            why.append("its description differs")
        if found.get("disabled"):
            work.append(("iam", "service-accounts", "enable", email))
            why.append("it is disabled")
        yield Step(key=step, mark=Mark.CHANGE, because=", ".join(why), work=work) if work else same(step)


def roles(target: Target) -> Iterator[Step]:
    """Yield a step for each custom role; a deleted role is restored."""
    listed = target.read(_IAM, "iam", "roles", "list", "--show-deleted", otherwise=[])
    seen = {each["name"].rsplit("/", 1)[1]: each for each in listed}
    for name, wanted in target.deployment.roles.items():
        step = f"role {name}"
        file = FileWord("--file", _body(wanted))
        if name not in seen:
            because = f"{len(wanted.permissions)} permissions"
            yield Step(key=step, mark=Mark.CREATE, because=because, work=[("iam", "roles", "create", name, file)])
        elif seen[name].get("deleted"):
            undo = [("iam", "roles", "undelete", name), ("iam", "roles", "update", name, file)]
            yield Step(key=step, mark=Mark.CHANGE, because="it was deleted", work=undo)
        else:
            found = target.read(_IAM, "iam", "roles", "describe", name, otherwise={})
            why = _difference(wanted, found)
            change = [("iam", "roles", "update", name, file)]
            yield Step(key=step, mark=Mark.CHANGE, because=why, work=change) if why else same(step)


def _body(role: RoleModel) -> str:
    return json.dumps(
        {
            "title": role.title,
            "description": role.description,
            "includedPermissions": sorted(role.permissions),
            "stage": "GA",
        }
    )


def _difference(wanted: RoleModel, found: dict[str, Any]) -> str:
    has, needs = set(found.get("includedPermissions", [])), set(wanted.permissions)
    why = [
        *(f"lacks {each}" for each in sorted(needs - has)),
        *(f"has an unneeded {each}" for each in sorted(has - needs)),
    ]
    if (found.get("title"), found.get("description")) != (wanted.title, wanted.description):
        why.append("its description differs")
    return ", ".join(why)


# The service and the end of its agent's address. An agent that exists holds its service's agent role on the project.
_AGENTS = {
    "pubsub.googleapis.com": "@gcp-sa-pubsub.iam.gserviceaccount.com",
    "eventarc.googleapis.com": "@gcp-sa-eventarc.iam.gserviceaccount.com",
    "notebooks.googleapis.com": "@gcp-sa-notebooks.iam.gserviceaccount.com",
}


def agents(target: Target) -> Iterator[Step]:
    """Yield a step for each of Google's agents: create the agent and grant it the service's role, unless it holds a role already."""
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
