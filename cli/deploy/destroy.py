"""The plan that removes what a deployment created. The buckets, the environments and people's access to them stay."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cli.deploy.failures import NoAccessError, NotThereError
from cli.deploy.gcloud import Call, Do
from cli.deploy.kinds import hub
from cli.deploy.kinds.access import USER_ROLE, has
from cli.deploy.kinds.billing import DATASET, VIEW, readers, shut_out
from cli.deploy.kinds.observing import listed_by_label, scope_words
from cli.deploy.kinds.secrets import API, named
from cli.deploy.kinds.spark import cluster_accounts
from cli.deploy.step import Mark, Step
from cli.deploy.target import BENCHKEEPER, OURS, Target

_READERS = 4
_PERSONAL = "Benchkeeper: "  # the prefix of the description of a user's own account (shared.cloud.identity.accounts)


def make_destroy_plan(target: Target) -> list[Step]:
    """Return a step for each existing resource of the deployment, in the order of removal. Each step removes a resource, or says why it stays."""
    kinds: tuple[Callable[[Target], Iterable[Step]], ...] = (
        _environments, _buckets, _jobs, _sinks, _page, _functions, _watching, _view, _readers, _subscriptions, _topics, _secrets,
        _bindings, _data_roles, _roles, _accounts,
    )  # fmt: skip
    with ThreadPoolExecutor(max_workers=_READERS) as pool:
        parts = list(pool.map(lambda kind: list(kind(target)), kinds))
    return [step for part in parts for step in part]


def _gone(key: str, *work: Do, because: str = "", needs: tuple[str, ...] = (), lane: str = "") -> Step:
    return Step(key=key, mark=Mark.DELETE, because=because, work=work, needs=needs, lane=lane)


def _kept(key: str, because: str) -> Step:
    return Step(key=key, mark=Mark.KEEP, because=because)


def _is_ours(found: Mapping[str, Any]) -> bool:
    return bool(found.get("labels", {}).get(OURS) == BENCHKEEPER)


def _last(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def _environments(target: Target) -> Iterator[Step]:
    listed = target.read("notebooks.googleapis.com", "workbench", "instances", "list", "--location=-", otherwise=[])
    ours = [each for each in listed if _is_ours(each)]
    running = sum(each.get("state") in {"ACTIVE", "STARTING", "PROVISIONING", "INITIALIZING"} for each in ours)
    if ours:
        because = (
            f"{len(ours)} stay as they are, {running} of them running. Idle environments will no longer be stopped"
        )
        yield _kept("environments people's", because)


def _buckets(target: Target) -> Iterator[Step]:
    for name in target.deployment.buckets:
        try:
            found = target.read(
                "storage.googleapis.com", "storage", "buckets", "describe", f"gs://{name}", otherwise={}
            )
        except NotThereError:
            continue
        if found:
            yield _kept(f"bucket {name}", "it stays with its content")


def _jobs(target: Target) -> Iterator[Step]:
    where = f"--location={target.region}"
    listed = target.read("cloudscheduler.googleapis.com", "scheduler", "jobs", "list", where, otherwise=[])
    for name in sorted({_last(each["name"]) for each in listed} & set(target.deployment.jobs)):
        yield _gone(f"job {name}", ("scheduler", "jobs", "delete", name, where))


def _sinks(target: Target) -> Iterator[Step]:
    for scope in ("project", "organization"):
        where = scope_words(target, scope)
        if where is None:
            continue
        api = "logging.googleapis.com"
        listed = target.read(api, "logging", "sinks", "list", *where, otherwise=[], project=scope == "project")
        topics = {f"pubsub.googleapis.com/{target.topic(name)}" for name in target.deployment.topics}
        for each in listed:
            if each["name"] in target.deployment.sinks and each.get("destination") in topics:
                yield _gone(f"sink {each['name']}", ("logging", "sinks", "delete", each["name"], *where))


def _functions(target: Target) -> Iterator[Step]:
    where = f"--regions={target.region}"
    listed = target.read("cloudfunctions.googleapis.com", "functions", "list", "--v2", where, otherwise=[])
    for each in listed:
        name = _last(each["name"])
        if name not in target.deployment.functions:
            continue
        if not _is_ours(each):
            yield _kept(f"function {name}", "it stays, because it lacks Benchkeeper's label")
            continue
        work: Do = ("functions", "delete", name, "--gen2", f"--region={target.region}")
        hears = target.deployment.functions[name].heard is not None
        because = "with its trigger and subscription" if hears else "with its service and proxy"
        yield _gone(f"function {name}", work, because=because, needs=("job", "sink", "opener", "domain"))


def _page(target: Target) -> Iterator[Step]:
    """Yield the steps that remove the hub page's domain and the access that the settings give. Access that others gave stays.

    Yield none if the page's function does not exist or lacks Benchkeeper's label.
    """
    name, domain = target.deployment.page, target.deployment.options.hub_domain
    if name is None:
        return
    where = f"--regions={target.region}"
    listed = target.read("cloudfunctions.googleapis.com", "functions", "list", "--v2", where, otherwise=[])
    if not any(_last(each["name"]) == name and _is_ours(each) for each in listed):
        return
    policy = hub.openers(target, name)
    for member in target.deployment.options.hub_access:
        if has(policy, hub.OPENER, member):
            yield _gone(f"opener {member}", hub.close(target, name, member), lane="opener")
    mapping = hub.mapped(target, domain) if domain is not None else None
    if domain is not None and mapping is not None and hub.leads_to(mapping, name):
        work = ("beta", "run", "domain-mappings", "delete", f"--domain={domain}", f"--region={target.region}")
        yield _gone(f"domain {domain}", work, because="remove its DNS records yourself")


def _watching(target: Target) -> Iterator[Step]:
    api = "monitoring.googleapis.com"
    for each in listed_by_label(target, "alertPolicies"):
        yield _gone(
            f"alert {each.get('displayName', '')} ({_last(each['name'])})",
            Call("monitoring", "DELETE", f"v3/{each['name']}"),
        )
    for each in listed_by_label(target, "notificationChannels"):
        key = f"channel {each['labels'].get('email_address', '')} ({_last(each['name'])})"
        yield _gone(key, Call("monitoring", "DELETE", f"v3/{each['name']}"), needs=("alert",))
    for each in target.read(api, "monitoring", "dashboards", "list", otherwise=[]):
        if _is_ours(each):
            yield _gone(f"dashboard {each['displayName']}", ("monitoring", "dashboards", "delete", each["name"]))
    for each in target.read("logging.googleapis.com", "logging", "metrics", "list", otherwise=[]):
        if each["name"] in target.deployment.metrics:
            work: Do = ("logging", "metrics", "delete", each["name"])
            yield _gone(f"metric {each['name']}", work, needs=("alert", "dashboard"))


def _view(target: Target) -> Iterator[Step]:
    """Yield the step that deletes the view of costs, and the note that its dataset stays.

    Yield only a note if the view cannot be read, and nothing if the view does not exist or lacks Benchkeeper's label.
    """
    where = f"bigquery/v2/projects/{target.project}/datasets/{DATASET}"
    if target.deployment.options.billing_export is None:
        return
    try:
        found = target.ask("bigquery.googleapis.com", Call("bigquery", "GET", f"{where}/tables/{VIEW}"), {})
    except NotThereError:
        return
    except NoAccessError as error:
        yield _kept(f"view {VIEW}", f"it cannot be read: {error.cause}")
        return
    if _is_ours(found):
        yield _gone(f"view {VIEW}", Call("bigquery", "DELETE", f"{where}/tables/{VIEW}"))
        yield _kept(f"dataset {DATASET}", "it stays, because others may have added views")


def _readers(target: Target) -> Iterator[Step]:
    """Yield the step that removes the access of Benchkeeper's accounts to the dataset of the cost view.

    Yield only a note if the dataset's access list cannot be read.
    """
    if target.deployment.options.billing_export is None:
        return
    where = f"bigquery/v2/projects/{target.project}/datasets/{DATASET}"
    try:
        held = readers(target, target.ask("bigquery.googleapis.com", Call("bigquery", "GET", where), {}))
    except NotThereError:
        return
    except NoAccessError as error:
        yield _kept(
            f"access on dataset {DATASET}", f"the roles of Benchkeeper's accounts there cannot be read: {error.cause}"
        )
        return
    if held:
        key = f"access {', '.join(email.split('@')[0] for email in held)} on dataset {DATASET}"
        yield _gone(key, lambda: shut_out(target, held), needs=("function",), lane=DATASET)


def _subscriptions(target: Target) -> Iterator[Step]:
    listed = target.read("pubsub.googleapis.com", "pubsub", "subscriptions", "list", otherwise=[])
    for each in listed:
        name = _last(each["name"])
        if name in target.deployment.subscriptions and _is_ours(each):
            yield _gone(f"subscription {name}", ("pubsub", "subscriptions", "delete", name), needs=("function",))


def _topics(target: Target) -> Iterator[Step]:
    for each in target.read("pubsub.googleapis.com", "pubsub", "topics", "list", otherwise=[]):
        name = _last(each["name"])
        if name not in target.deployment.topics:
            continue
        if _is_ours(each):
            work: Do = ("pubsub", "topics", "delete", name)
            yield _gone(
                f"topic {name}",
                work,
                because="messages published from now on are lost",
                needs=("function", "sink", "subscription"),
            )
        else:
            yield _kept(f"topic {name}", "it stays, because it lacks Benchkeeper's label")


def _secrets(target: Target) -> Iterator[Step]:
    """Yield the steps that remove the secrets that a deployment created, even if the settings no longer name the secrets.

    If the settings name a secret without Benchkeeper's label, the secret stays, and only the grants of Benchkeeper's
    accounts on it are removed. If the secrets cannot be listed, yield only a note.
    """
    try:
        listed = target.read(API, "secrets", "list", otherwise=[])
    except NoAccessError as error:
        yield _kept("secrets", f"they cannot be read: {error.cause}")
        return
    for each in listed:
        name = _last(each["name"])
        if _is_ours(each):
            filled = target.read(API, "secrets", "versions", "list", name, otherwise=[])
            because = (
                "with the password that an administrator added: it cannot be restored" if filled else "it is empty"
            )
            yield _gone(f"secret {name}", ("secrets", "delete", name), because=because, needs=("function",))
        elif name in named(target):
            yield _kept(f"secret {name}", "it stays with its content, because it lacks Benchkeeper's label")
            policy = target.read(API, "secrets", "get-iam-policy", name, otherwise={})
            ours = {f"serviceAccount:{target.account(key)}" for key in target.deployment.accounts}
            held = {(member, each["role"]) for each in policy.get("bindings", []) for member in each["members"]}
            for member, role in sorted(each for each in held if each[0] in ours):
                key = f"access {member.split(':')[1].split('@')[0]} {_last(role)} on secret {name}"
                work: Do = ("secrets", "remove-iam-policy-binding", name, f"--member={member}", f"--role={role}")
                yield _gone(key, work, needs=("function",), lane=f"secret {name}")


def _bindings(target: Target) -> Iterator[Step]:
    """Yield a step for each role of Benchkeeper's accounts on the project, the buckets, the environments' agent and the accounts of clusters.

    On the agent, only the role to act as the agent is removed. If a policy cannot be read, yield a note instead.
    """
    ours = {f"serviceAccount:{target.account(key)}" for key in target.deployment.accounts}
    agent = target.agent("notebooks-vm")
    account = ("iam", "service-accounts")
    scopes: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...], str], ...] = (
        ("project", "project", ("projects",), (target.project,), "--all"),
        *(
            (f"bucket {name}", "storage.googleapis.com", ("storage", "buckets"), (f"gs://{name}",), "--all")
            for name in target.deployment.buckets
        ),
        ("agent", "iam.googleapis.com", account, (agent,), ""),
        *((email, "iam.googleapis.com", account, (email,), "") for email in cluster_accounts(target)),
    )
    for scope, api, group, where, all_conditions in scopes:
        try:
            policy = target.read(api, *group, "get-iam-policy", *where, otherwise={}, project=group == account)
        except NotThereError:
            continue
        except NoAccessError as error:
            yield _kept(
                f"access on {scope}", f"the roles of Benchkeeper's accounts there cannot be read: {error.cause}"
            )
            continue
        # One command removes a role under two conditions.
        held = {(member, binding["role"]) for binding in policy.get("bindings", []) for member in binding["members"]}
        for member, role in sorted(held):
            if member in ours and (scope != "agent" or role == USER_ROLE):
                words = (
                    f"--member={member}",
                    f"--role={role}",
                    *((all_conditions,) if all_conditions else ()),
                )
                key = f"access {member.split(':')[1].split('@')[0]} {_last(role)} on {scope}"
                work: Do = (*group, "remove-iam-policy-binding", *where, *words)
                yield _gone(key, work, needs=("function",), lane=scope)


def _data_roles(target: Target) -> Iterator[Step]:
    """Yield a step for each role of a data group on the project. A binding with a condition was made by others, so it stays."""
    if not target.deployment.data_roles:
        return
    try:
        policy = target.read("project", "projects", "get-iam-policy", target.project, otherwise={}, project=False)
    except NoAccessError:
        return  # `_bindings` reports this error already
    for group, roles in target.deployment.data_roles.items():
        for role in roles:
            if has(policy, role, f"group:{group}"):
                words = (f"--member=group:{group}", f"--role={role}", "--condition=None")
                yield _gone(
                    f"data {group}: {role}", ("projects", "remove-iam-policy-binding", target.project, *words),
                    because="code in the remaining environments can no longer read data with it", lane="project",
                )  # fmt: skip


def _roles(target: Target) -> Iterator[Step]:
    listed = target.read("iam.googleapis.com", "iam", "roles", "list", otherwise=[])
    known = {*target.deployment.roles, *target.deployment.dormant_roles}
    for name in sorted({_last(each["name"]) for each in listed} & known):
        yield _gone(
            f"role {name}", ("iam", "roles", "delete", name), because="kept by Google for 7 days", needs=("access",)
        )


def _accounts(target: Target) -> Iterator[Step]:
    listed = target.read("iam.googleapis.com", "iam", "service-accounts", "list", otherwise=[])
    emails = {target.account(key) for key in target.deployment.accounts}
    personal = sum(str(each.get("description", "")).startswith(_PERSONAL) for each in listed)
    if personal:
        yield _kept("accounts people's", f"{personal} stay, because environments run as them")
    for email in sorted({each["email"] for each in listed} & emails):
        work: Do = ("iam", "service-accounts", "delete", email)
        yield _gone(f"account {email.split('@')[0]}", work, needs=("access", "function"))
