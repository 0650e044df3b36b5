"""config/*.yaml and the environment -> `Settings`. The only module that reads the environment.

All faults of all files are found in one go, each with file, line, field and the nearest valid key (`load_settings` raises
`ConfigError` with the whole list). Nothing here speaks to Google: the templates' own fields are checked by
`shared.cloud.dataproc.masters`, and `shared.wiring` joins both lists.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from msgspec import Struct, field

from shared.domain.catalog import Catalog, Environment, MasterTemplate
from shared.domain.guard_settings import GuardSettings
from shared.domain.notebook import Network
from shared.domain.people import People
from shared.domain.plan import Policy
from shared.domain.sessions import MAX_LABELS, OUR_LABELS
from shared.domain.sources import DIRECTORY, HR, OPERATOR, SHIPPED, WAKE, Source
from shared.domain.times import parse_time
from shared.faults import ConfigFault, Loc, dotted, line_of, nearest
from shared.settings import checked

if TYPE_CHECKING:
    from pydantic import BaseModel

    from shared.settings.models import ProfilesFile
    from shared.settings.sources import SourcesFile

ENV_NAME = "BENCHKEEPER_ENV"
ENV_CONFIG = "BENCHKEEPER_CONFIG_DIR"
ENV_ENDPOINT = "BENCHKEEPER_API_ENDPOINT"
ENV_AUDIENCE = "BENCHKEEPER_IAP_AUDIENCE"
ENV_MOVE_LOGS = "BENCHKEEPER_MOVE_LOGS_UNTIL"
ENV_DEPLOYED_AT, ENV_DEPLOYED_BY = "BENCHKEEPER_DEPLOYED_AT", "BENCHKEEPER_DEPLOYED_BY"
DEFAULT_ENV = "local"
SOURCES_FILE = "sources.yaml"
COST_DATASET, COST_VIEW = "benchkeeper", "cost_by_user"
_TEMPLATE_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")  # it becomes part of an object's name
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class ConfigError(Exception):
    """The configuration cannot be used; `faults` says everything that is wrong with it."""

    def __init__(self, faults: list[ConfigFault]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = faults


class Settings(Struct, frozen=True, kw_only=True):
    """Everything that the administrator set. `api_endpoint` is set for the embedded cloud only.

    `sources` are by name. `move_logs_until`: until then log entries on HR's topic are moved to the directory's; a deployment sets it
    when it gives an older installation's sink its new destination.
    `iap_audience` is what a signed header must be made for, on the page and in a wish; the deployment sets it.
    `named_inbox` and `named_letters` are buckets that the administrator named himself. `deployed_at` and `deployed_by` are when and with
    which account these files were deployed, if the deployment said so.
    """

    env: str
    config_dir: Path
    project: str
    zones: tuple[str, ...]
    bucket: str
    topic_tick: str
    topic_dead_letter: str
    network: Network
    retention: timedelta
    snapshot_retention: timedelta
    api_endpoint: str | None
    max_message_bytes: int
    catalog: Catalog
    admin_group: str | None = None
    contact: str = ""
    currency: str = "USD"
    billing_export: str | None = None
    iap_audience: str = ""
    personal_data: timedelta = timedelta(days=365)
    sources: Mapping[str, Source] = field(default_factory=lambda: SHIPPED)
    people: People = field(default_factory=People)
    move_logs_until: datetime | None = None
    named_inbox: str | None = None
    named_letters: str | None = None
    guard: GuardSettings = field(default_factory=GuardSettings)
    deployed_at: datetime | None = None
    deployed_by: str = ""

    @property
    def inbox_bucket(self) -> str:
        """The bucket into which the page writes wishes."""
        return self.named_inbox or f"{self.bucket}-inbox"

    @property
    def letters_bucket(self) -> str:
        """The bucket in which dead letters are kept; older ones are in the bucket of records."""
        return self.named_letters or f"{self.bucket}-letters"

    @property
    def all_buckets(self) -> tuple[str, str, str]:
        """All buckets of an installation, that of the records first."""
        return (self.bucket, self.inbox_bucket, self.letters_bucket)

    @property
    def topic_lifecycle(self) -> str:
        """The topic of HR."""
        return self.sources[HR].topic

    @property
    def topic_directory(self) -> str:
        """The topic of the organization's logs."""
        return self.sources[DIRECTORY].topic

    @property
    def topic_operator(self) -> str:
        """The topic of what is said by hand."""
        return self.sources[OPERATOR].topic

    @property
    def topic_wake(self) -> str:
        """The topic of wake-ups, which state nothing."""
        return self.sources[WAKE].topic

    def policy(self) -> Policy:
        """Return what planning needs of the settings."""
        return Policy(
            catalog=self.catalog,
            zones=self.zones,
            network=self.network,
            retention=self.retention,
            snapshot_retention=self.snapshot_retention,
            personal_data=self.personal_data,
            project=self.project,
            template_context=f"{self.project}|{self.bucket}|{self.network.subnet}",
            people=self.people,
            sources=self.sources,
            guard=self.guard,
            cuts_wait=True,
        )

    @property
    def cost_view(self) -> str | None:
        """The view of cost by person, which a deployment makes in this project; None without a billing export."""
        return None if self.billing_export is None else f"{self.project}.{COST_DATASET}.{COST_VIEW}"

    @property
    def region(self) -> str:
        """The region of the preferred zone."""
        return self.zones[0].rpartition("-")[0]


def config_dir_from(environ: Mapping[str, str] | None = None) -> Path:
    """Where the configuration is: `BENCHKEEPER_CONFIG_DIR`, else `config/` beside this package."""
    env = os.environ if environ is None else environ
    return Path(env.get(ENV_CONFIG) or Path(__file__).resolve().parents[2] / "config")


def env_from(environ: Mapping[str, str] | None = None) -> str:
    """Which environment is meant: `BENCHKEEPER_ENV`, else `local`."""
    return (os.environ if environ is None else environ).get(ENV_NAME) or DEFAULT_ENV


def project_override_variables(settings: Settings) -> dict[str, str]:
    """Variables that a child process needs to see the same settings."""
    found = {ENV_NAME: settings.env, ENV_CONFIG: str(settings.config_dir)}
    if settings.api_endpoint:
        found[ENV_ENDPOINT] = settings.api_endpoint
    return found


def load_settings(
    *,
    env: str | None = None,
    config_dir: Path | None = None,
    environ: Mapping[str, str] | None = None,
    trust_checked: bool = True,
) -> Settings:
    """Return the settings of one environment. Raises `ConfigError` with every fault of every file.

    With `trust_checked` files that a deployment has checked, and that did not change since, are not checked again.
    """
    environ = os.environ if environ is None else environ
    env = env or env_from(environ)
    folder = config_dir or config_dir_from(environ)
    kept = checked.read(folder, env) if trust_checked else None
    if kept is None:
        return _check_all(env, folder, environ)
    endpoint = environ.get(ENV_ENDPOINT) or kept["api_endpoint"]
    faults = _endpoint_faults(
        endpoint, folder / f"settings.{env}.yaml", from_environment=bool(environ.get(ENV_ENDPOINT))
    )
    if faults:
        raise ConfigError(faults)
    return Settings(
        **{
            **kept,
            "env": env,
            "config_dir": folder,
            "api_endpoint": _trimmed(endpoint),
            "iap_audience": environ.get(ENV_AUDIENCE, ""),
            "move_logs_until": _time_in(environ, ENV_MOVE_LOGS),
            "deployed_at": _time_in(environ, ENV_DEPLOYED_AT),
            "deployed_by": environ.get(ENV_DEPLOYED_BY, ""),
        }
    )


def _time_in(environ: Mapping[str, str], name: str) -> datetime | None:
    """Return the moment in a variable of the environment; None if it is not set or no time."""
    try:
        return parse_time(environ.get(name, ""))
    except ValueError:
        return None


def _trimmed(endpoint: str | None) -> str | None:
    return endpoint.rstrip("/") if endpoint else None


def _check_all(env: str, folder: Path, environ: Mapping[str, str]) -> Settings:
    from shared.settings.file import parse_file  # noqa: PLC0415 - pydantic and the models cost a fifth of a second
    from shared.settings.models import ProfilesFile, SettingsFile  # noqa: PLC0415 - same
    from shared.settings.sources import SourcesFile  # noqa: PLC0415 - same

    faults: list[ConfigFault] = []
    path = folder / f"settings.{env}.yaml"
    raw = parse_file(path, SettingsFile, faults, missing_hint=_known_envs(folder))
    profiles = parse_file(folder / "profiles.yaml", ProfilesFile, faults)
    masters = read_masters(folder / "templates", faults)
    if profiles is not None:
        faults += _cross_faults(folder / "profiles.yaml", profiles, masters)
    endpoint = environ.get(ENV_ENDPOINT) or (raw.api_endpoint if raw is not None else None)
    faults += _endpoint_faults(endpoint, path, from_environment=bool(environ.get(ENV_ENDPOINT)))
    sources = None
    if (folder / SOURCES_FILE).exists():
        sources = parse_file(folder / SOURCES_FILE, SourcesFile, faults)
        if sources is not None and profiles is not None:
            faults += _source_faults(folder / SOURCES_FILE, sources, profiles)
    if raw is not None and not endpoint and not raw.people.domains:
        faults.append(
            ConfigFault(
                str(path), 0, "people.domains", "is missing",
                "Name the domains of your people, for example people: {domains: [example.com]}. Nobody else is given anything.",
            )
        )  # fmt: skip
    if faults or raw is None or profiles is None:
        raise ConfigError(faults)
    return Settings(
        env=env,
        config_dir=folder,
        project=raw.project,
        zones=tuple(raw.zones),
        bucket=raw.bucket,
        topic_tick=raw.topics.tick,
        topic_dead_letter=raw.topics.dead_letter,
        network=Network(network=raw.network.network, subnet=raw.network.subnet),
        retention=raw.retention.instance,
        snapshot_retention=raw.retention.snapshot,
        personal_data=raw.retention.personal_data,
        api_endpoint=_trimmed(endpoint),
        max_message_bytes=raw.limits.message_bytes,
        catalog=Catalog(
            profiles={name: p.to_domain(name) for name, p in profiles.profiles.items()},
            assignments=tuple(a.to_domain() for a in profiles.assignments),
            default_profile=profiles.default,
            masters=masters,
            environments={
                name: Environment(title=e.title, description=e.description, hourly_cost=e.hourly_cost)
                for name, e in profiles.environments.items()
            },
        ),
        admin_group=raw.hub.admin_group,
        contact=raw.hub.contact,
        currency=raw.hub.currency,
        billing_export=raw.deployment.billing_export,
        iap_audience=environ.get(ENV_AUDIENCE, ""),
        sources=SHIPPED if sources is None else {name: s.to_domain(name) for name, s in sources.sources.items()},
        people=People(
            domains=tuple(raw.people.domains),
            alias_domains=dict(raw.people.alias_domains),
            time_zone=raw.people.time_zone,
            organization=raw.deployment.organization,
        ),
        move_logs_until=_time_in(environ, ENV_MOVE_LOGS),
        deployed_at=_time_in(environ, ENV_DEPLOYED_AT),
        deployed_by=environ.get(ENV_DEPLOYED_BY, ""),
        named_inbox=raw.buckets.inbox,
        named_letters=raw.buckets.letters,
        guard=raw.guard.to_domain(),
    )


def _known_envs(folder: Path) -> str:
    names = sorted(p.name.removeprefix("settings.").removesuffix(".yaml") for p in folder.glob("settings.*.yaml"))
    return f"The environments that exist here are: {', '.join(names) or 'none'}."


def read_masters(folder: Path, faults: list[ConfigFault]) -> dict[str, MasterTemplate]:
    """Return the master templates of a folder by name; what cannot be read is added to `faults`."""
    if not folder.is_dir():
        faults.append(ConfigFault(str(folder), 0, "", "the folder does not exist", "Create it, it may be empty."))
        return {}
    masters = {}
    for path in sorted(folder.glob("*.yaml")):
        if not _TEMPLATE_NAME.fullmatch(path.stem):
            hint = "Use letters, digits, dots, dashes and underscores, at most 100."
            faults.append(ConfigFault(str(path), 0, "", "a template cannot have this name", hint))
            continue
        try:
            masters[path.stem] = MasterTemplate(name=path.stem, text=path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            faults.append(ConfigFault(str(path), 0, "", f"cannot be read: {error}", "Save it as UTF-8 text."))
    return masters


def _cross_faults(path: Path, profiles: ProfilesFile, masters: Mapping[str, MasterTemplate]) -> list[ConfigFault]:
    """Return what only the whole tells: names that point nowhere, keys that do not go together."""
    faults = []
    for name, profile in profiles.profiles.items():
        for place, problem in profile.contradictions():
            loc = ("profiles", name, place)
            faults.append(ConfigFault(str(path), profiles.line(loc), dotted(loc), problem, ""))
        for index, template in enumerate(profile.templates):
            faults += _template_faults(path, profiles, masters, ("profiles", name, "templates", index), template)
        for index, template in enumerate(profile.session_templates):
            faults += _template_faults(
                path, profiles, masters, ("profiles", name, "session_templates", index), template
            )
        faults += _session_label_faults(path, profiles, name)
    for template in profiles.environments:
        faults += _template_faults(path, profiles, masters, ("environments", template), template)
    for index, assignment in enumerate(profiles.assignments):
        if assignment.profile not in profiles.profiles:
            where = ("assignments", index, "profile")
            faults.append(profiles.fault(path, where, f"no profile '{assignment.profile}'", profiles.profiles))
    if profiles.default is not None and profiles.default not in profiles.profiles:
        faults.append(profiles.fault(path, ("default",), f"no profile '{profiles.default}'", profiles.profiles))
    return faults


def _session_label_faults(path: Path, profiles: ProfilesFile, name: str) -> list[ConfigFault]:
    """Return that a profile's labels fit on its session templates beside ours."""
    profile = profiles.profiles[name]
    if not profile.session_templates:
        return []
    loc: Loc = ("profiles", name, "labels")
    faults = [
        ConfigFault(
            str(path), profiles.line((*loc, key)), dotted((*loc, key)),
            f"the label '{key}' is written by Benchkeeper on session templates", "Remove it.",
        )
        for key in OUR_LABELS if key in profile.labels
    ]  # fmt: skip
    most = MAX_LABELS - len(OUR_LABELS)
    if len(profile.labels) > most:
        problem = f"{len(profile.labels)} labels are too many for session templates"
        faults.append(ConfigFault(str(path), profiles.line(loc), dotted(loc), problem, f"Valid: at most {most}."))
    return faults


def _template_faults(
    path: Path, profiles: ProfilesFile, masters: Mapping[str, MasterTemplate], loc: Loc, template: str
) -> list[ConfigFault]:
    """Return the fault of a template that is named and is not there, or is of the other kind."""
    if template not in masters:
        return [profiles.fault(path, loc, f"no template '{template}'", masters)]
    place = loc[2] if len(loc) > 2 else ""  # noqa: PLR2004 - ("environments", name) takes both kinds
    if place == "templates" and masters[template].is_session:
        problem, hint = f"'{template}' is a template of serverless sessions", "Name it under session_templates."
    elif place == "session_templates" and not masters[template].is_session:
        problem, hint = f"'{template}' is a template of clusters", "Name it under templates."
    else:
        return []
    return [ConfigFault(str(path), profiles.line(loc), dotted(loc), problem, hint)]


def _source_faults(path: Path, sources: SourcesFile, profiles: ProfilesFile) -> list[ConfigFault]:
    """Profiles that a source may ask for and that do not exist."""
    return [
        ConfigFault(
            str(path), line_of(sources.lines, ("sources", name, "profiles", index)),
            dotted(("sources", name, "profiles", index)), f"no profile '{profile}'", nearest(profile, profiles.profiles),
        )
        for name, source in sources.sources.items()
        for index, profile in enumerate(source.profiles if source.profiles != "all" else ())
        if profile not in profiles.profiles
    ]  # fmt: skip


def _endpoint_faults(endpoint: str | None, path: Path, *, from_environment: bool) -> list[ConfigFault]:
    """Credentials never go to another machine in clear text: an endpoint of one's own is for this machine only."""
    if not endpoint:
        return []
    try:
        parts = urlsplit(endpoint)
        if parts.scheme == "http" and parts.hostname in _LOOPBACK:
            return []
    except ValueError:
        pass  # no address at all
    where = f"${ENV_ENDPOINT}" if from_environment else str(path)
    return [
        ConfigFault(
            where, 0, "api_endpoint", f"'{endpoint}' is not http:// on this machine",
            "It is for the embedded cloud, for example http://127.0.0.1:8900; leave it out for Google Cloud.",
        )
    ]  # fmt: skip


def schema_of(model: type[BaseModel]) -> str:
    """Return the JSON Schema of a configuration file, for editors."""
    return json.dumps(model.model_json_schema(), indent=2, sort_keys=True) + "\n"
