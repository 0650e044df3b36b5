"""The reader of config/deploy/*.yaml and of the settings' part `deployment`, for all deployments, local or on Google Cloud."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from string import Template
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from cli.deploy.models import (
    AccountModel,
    AccountsFile,
    AlertsFile,
    ApisFile,
    BucketModel,
    BucketsFile,
    DashboardFile,
    FunctionModel,
    FunctionsFile,
    GrantModel,
    JobModel,
    JobsFile,
    MetricsFile,
    RoleModel,
    RolesFile,
    SinkModel,
    SinksFile,
    SubscriptionModel,
    TopicModel,
    TopicsFile,
)
from shared.faults import ConfigFault, nearest
from shared.messages.table import render_people_filter
from shared.settings import ConfigError, Settings
from shared.settings.file import parse_file, parse_text
from shared.settings.models import DeploymentFile, ProfilesFile, SettingsFile

M = TypeVar("M")
P = TypeVar("P", AccountModel, TopicModel, FunctionModel)
FOLDER = "deploy"
# The service agents of Google that roles.yaml and code may name, by project number.
AGENTS = {
    "pubsub": "service-{number}@gcp-sa-pubsub.iam.gserviceaccount.com",
    "notebooks-vm": "service-{number}@gcp-sa-notebooks-vm.iam.gserviceaccount.com",
    "storage": "service-{number}@gs-project-accounts.iam.gserviceaccount.com",
    "iap": "service-{number}@gcp-sa-iap.iam.gserviceaccount.com",
}


# The filters of sinks that say `filter: rendered`: by the sink's name, from the number of the organization.
RENDERED: dict[str, Callable[[str], str]] = {"benchkeeper-people": render_people_filter}
_BY_CODE = "rendered"


class Deployment(Struct, frozen=True, kw_only=True):
    """The content of a deployment. `options` is the part `deployment` of the settings file.

    `data_roles` are the roles on the project of each group that a profile names as its `data_group`. `dormant_grants`
    and `dormant_roles` are grants and roles that this configuration does not need: a deployment does not create them,
    and `destroy` removes existing ones. `withdrawn` are grants of an earlier version that are no longer needed.
    `buckets` maps names to buckets.
    """

    settings: Settings
    options: DeploymentFile
    apis: Mapping[str, str]
    accounts: Mapping[str, AccountModel]
    roles: Mapping[str, RoleModel]
    grants: tuple[GrantModel, ...]
    dormant_roles: frozenset[str]
    dormant_grants: tuple[GrantModel, ...]
    withdrawn: tuple[GrantModel, ...]
    data_roles: Mapping[str, tuple[str, ...]]
    buckets: Mapping[str, BucketModel]
    topics: Mapping[str, TopicModel]
    subscriptions: Mapping[str, SubscriptionModel]
    functions: Mapping[str, FunctionModel]
    build_account: str
    push_account: str
    jobs: Mapping[str, JobModel]
    sinks: Mapping[str, SinkModel]
    metrics: Mapping[str, Mapping[str, Any]]
    alerts: Mapping[str, Mapping[str, Any]]
    dashboard: Mapping[str, Any]
    cost_view: str

    def wanted(self, parts: Mapping[str, P]) -> dict[str, P]:
        """Return those accounts, topics or functions that this configuration needs. `destroy` removes all, needed or not."""
        holds = {"messages": self.settings.messages is not None}
        return {name: part for name, part in parts.items() if part.when is None or holds[part.when]}

    def bucket_named(self, key: str) -> str:
        """Return the name of the bucket `records`, `inbox`, `letters` or `audit`."""
        return dict(zip(("records", "inbox", "letters", "audit"), self.settings.all_buckets, strict=True))[key]

    @property
    def page(self) -> str | None:
        """The name of the function that serves the hub page; None if no function of the deployment does."""
        return next((name for name, function in self.functions.items() if function.http), None)


def _by_name(settings: Settings, file: BucketsFile) -> Mapping[str, BucketModel]:
    wanted = file.buckets
    return dict(zip(settings.all_buckets, (wanted.records, wanted.inbox, wanted.letters, wanted.audit), strict=True))


def load_deployment(settings: Settings, *, folder: Path | None = None) -> Deployment:
    """Return the deployment for these settings, read from `folder` or else from the settings' own `deploy/`.

    Raise `ConfigError` with every fault of every file. References between files are only checked if these files can be
    read.
    """
    faults: list[ConfigFault] = []
    options = read_options(settings, faults)
    data_roles = read_data_roles(settings, faults)
    values = _placeholders(settings, options)
    folder = folder or settings.config_dir / FOLDER

    def read(name: str, model: type[M]) -> M | None:
        path = folder / name
        text = _filled(path, values, faults)
        return parse_text(path, text, model, faults) if text is not None else None

    apis, accounts = read("apis.yaml", ApisFile), read("accounts.yaml", AccountsFile)
    roles, buckets = read("roles.yaml", RolesFile), read("buckets.yaml", BucketsFile)
    topics, functions = read("topics.yaml", TopicsFile), read("functions.yaml", FunctionsFile)
    jobs, sinks = read("jobs.yaml", JobsFile), read("sinks.yaml", SinksFile)
    metrics, alerts = read("metrics.yaml", MetricsFile), read("alerts.yaml", AlertsFile)
    dashboard, view = read("dashboard.yaml", DashboardFile), _filled(folder / "cost_by_user.sql", values, faults)
    if topics is not None and functions is not None and jobs is not None and accounts is not None:
        faults += _cross_faults(folder, topics, functions, jobs, accounts)
        if roles is not None and sinks is not None:
            faults += _more_cross_faults(folder, topics, accounts, roles, sinks)
    if apis is None or accounts is None or roles is None or buckets is None or topics is None or functions is None:
        raise ConfigError(faults)
    if jobs is None or sinks is None or metrics is None or alerts is None or dashboard is None or faults:
        raise ConfigError(faults)
    holds = _conditions(settings, options)
    grants, dormant, asleep = _given(roles, holds)
    return Deployment(
        settings=settings,
        options=options,
        apis={**apis.apis, **{name: why for name, why in apis.optional.items() if holds[why]}},
        accounts=accounts.accounts,
        roles={name: role for name, role in roles.roles.items() if name not in asleep},
        grants=grants,
        dormant_roles=asleep,
        dormant_grants=dormant,
        withdrawn=tuple(roles.withdrawn),
        data_roles=data_roles,
        buckets=_by_name(settings, buckets),
        topics=topics.topics,
        subscriptions=topics.subscriptions,
        functions=functions.functions,
        build_account=functions.build_account,
        push_account=functions.push_account,
        jobs=jobs.jobs,
        sinks=_rendered(sinks, options.organization or ""),
        metrics=metrics.metrics,
        alerts=alerts.alerts,
        dashboard=dashboard.body,
        cost_view=view or "",
    )


# The result of `_given`: grants whose condition holds, the other grants, and the custom roles that only the others use.
_Grants = tuple[tuple[GrantModel, ...], tuple[GrantModel, ...], frozenset[str]]


def _given(roles: RolesFile, holds: Mapping[str, bool]) -> _Grants:
    """Return the grants that apply, the grants whose condition does not hold, and the custom roles that only the latter use."""
    grants = tuple(grant for grant in roles.grants if grant.when is None or holds[grant.when])
    dormant = tuple(grant for grant in roles.grants if grant not in grants)
    return grants, dormant, frozenset(_custom_roles(dormant) - _custom_roles(grants))


def read_options(settings: Settings, faults: list[ConfigFault]) -> DeploymentFile:
    """Return the part `deployment` of the settings file; the defaults if the file has faults, which are added to `faults`."""
    parsed = parse_file(settings.config_dir / f"settings.{settings.env}.yaml", SettingsFile, faults)
    return parsed.deployment if parsed is not None else DeploymentFile()


def read_data_roles(settings: Settings, faults: list[ConfigFault]) -> dict[str, tuple[str, ...]]:
    """Return the roles of every group that profiles name as their `data_group`: the union over all these profiles.

    If `profiles.yaml` has faults, add them to `faults` and return an empty dict.
    """
    parsed = parse_file(settings.config_dir / "profiles.yaml", ProfilesFile, faults)
    found: dict[str, set[str]] = {}
    for profile in parsed.profiles.values() if parsed is not None else ():
        if profile.data_group is not None:
            found.setdefault(profile.data_group, set()).update(profile.data_roles)
    return {group: tuple(sorted(roles)) for group, roles in sorted(found.items())}


def _conditions(settings: Settings, options: DeploymentFile) -> dict[str, bool]:
    """Return the conditions of optional parts: True for each part that is configured."""
    profiles = settings.catalog.profiles.values()
    return {
        "billing_export": options.billing_export is not None,
        "kms_key": options.kms_key is not None,
        "personal_accounts": any(each.needs_account for each in profiles),
        "messages": settings.messages is not None,
        "groups": any(settings.roles.groups()) or any(each.data_group is not None for each in profiles),
    }


def _rendered(file: SinksFile, organization: str) -> dict[str, SinkModel]:
    """Return the sinks, each with its complete filter: some filters are made by code, for the organization."""
    return {
        name: replace(sink, filter=RENDERED[name](organization)) if sink.filter == _BY_CODE else sink
        for name, sink in file.sinks.items()
    }


def _custom_roles(grants: Iterable[GrantModel]) -> frozenset[str]:
    return frozenset(name for kind, _, name in (grant.role.partition("/") for grant in grants) if kind == "custom")


def _placeholders(settings: Settings, options: DeploymentFile) -> dict[str, str]:
    return {
        "project": settings.project,
        "region": settings.region,
        "bucket": settings.bucket,
        "topic_lifecycle": settings.topic_lifecycle,
        "topic_directory": settings.topic_directory,
        "topic_operator": settings.topic_operator,
        "topic_wake": settings.topic_wake,
        "topic_tick": settings.topic_tick,
        "topic_dead_letter": settings.topic_dead_letter,
        "topic_notifications": settings.topic_notifications,
        "organization": options.organization or "",
        "billing_export": options.billing_export or "",
    }


def _filled(path: Path, values: Mapping[str, str], faults: list[ConfigFault]) -> str | None:
    """Return the file's text with `${name}` filled in. A literal `$` is written `$$`.

    On a fault, the fault is added to `faults` and the result is None.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        faults.append(
            ConfigFault(str(path), 0, "", f"cannot be read: {error}", "It is part of Benchkeeper: restore it.")
        )
        return None
    before = len(faults)
    for match in Template.pattern.finditer(text):
        name = match["named"] or match["braced"]
        if match["escaped"] is None and name not in values:
            line = text.count("\n", 0, match.start()) + 1
            faults.append(ConfigFault(str(path), line, "", f"no value '{match.group()}'", nearest(name or "", values)))
    return Template(text).substitute(values) if len(faults) == before else None


class _Names:
    """A checker of references between the files. It collects a fault for each reference to an unknown name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.faults: list[ConfigFault] = []

    def check(self, file: str, where: str, name: str, valid: Mapping[str, Any], kind: str) -> None:
        """Add a fault unless the name is among `valid`."""
        if name not in valid:
            path = str(self._folder / file)
            self.faults.append(ConfigFault(path, 0, where, f"no {kind} '{name}'", nearest(name, valid)))


def _cross_faults(
    folder: Path, topics: TopicsFile, functions: FunctionsFile, jobs: JobsFile, accounts: AccountsFile
) -> list[ConfigFault]:
    names = _Names(folder)
    for name, function in functions.functions.items():
        names.check("functions.yaml", f"functions.{name}.account", function.account, accounts.accounts, "account")
        heard = function.heard
        if heard is None:
            continue
        names.check("functions.yaml", f"functions.{name}.topic", heard.topic, topics.topics, "topic")
        dead = heard.delivery.dead_letter_topic
        if dead is not None:
            where = f"functions.{name}.delivery.dead_letter_topic"
            names.check("functions.yaml", where, dead, topics.topics, "topic")
    for key in ("build_account", "push_account"):
        names.check("functions.yaml", key, getattr(functions, key), accounts.accounts, "account")
    for name, job in jobs.jobs.items():
        names.check("jobs.yaml", f"jobs.{name}.topic", job.topic, topics.topics, "topic")
    return names.faults


def _more_cross_faults(
    folder: Path, topics: TopicsFile, accounts: AccountsFile, roles: RolesFile, sinks: SinksFile
) -> list[ConfigFault]:
    names = _Names(folder)
    for part, grants in (("grants", roles.grants), ("withdrawn", roles.withdrawn)):
        for index, grant in enumerate(grants):
            holder, _, name = grant.to.partition("/")
            known: Mapping[str, Any] = accounts.accounts if holder == "account" else AGENTS
            names.check("roles.yaml", f"{part}[{index}].to", name, known, holder)
            scope, _, topic = grant.on.partition("/")
            if scope == "topic":
                names.check("roles.yaml", f"{part}[{index}].on", topic, topics.topics, "topic")
    for name, sink in sinks.sinks.items():
        names.check("sinks.yaml", f"sinks.{name}.topic", sink.topic, topics.topics, "topic")
        if sink.filter == _BY_CODE:
            names.check("sinks.yaml", f"sinks.{name}.filter", name, RENDERED, "rendered filter of the sink")
    return names.faults
