"""The settings, `Settings`, read from config/*.yaml and the environment variables `BENCHKEEPER_…`.

All faults of all files are found at once, each with file, line, field and the nearest valid key (`load_settings` raises
`ConfigError` with the whole list). No call to Google is made here: the templates' own fields are checked by
`shared.cloud.dataproc.masters`, and `shared.checking` joins both lists.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

from shared.domain.people.domains import People
from shared.domain.people.sources import SHIPPED
from shared.domain.things.catalog import Catalog, MasterTemplate
from shared.domain.things.times import parse_time
from shared.faults import ConfigFault, Place, in_order, unreadable
from shared.settings import checked
from shared.settings.values import ConfigError, MailSettings, Security, Settings

if TYPE_CHECKING:
    from shared.settings.models import ProfilesFile, SettingsFile
    from shared.settings.sources import SourcesFile

ENV_NAME = "BENCHKEEPER_ENV"
ENV_CONFIG = "BENCHKEEPER_CONFIG_DIR"
ENV_ENDPOINT = "BENCHKEEPER_API_ENDPOINT"
ENV_AUDIENCE = "BENCHKEEPER_IAP_AUDIENCE"
ENV_MOVE_LOGS = "BENCHKEEPER_MOVE_LOGS_UNTIL"
ENV_DEPLOYED_AT, ENV_DEPLOYED_BY = "BENCHKEEPER_DEPLOYED_AT", "BENCHKEEPER_DEPLOYED_BY"
ENV_MAIL_SINK = "BENCHKEEPER_MAIL_SINK"
DEFAULT_ENV = "local"
SOURCES_FILE = "sources.yaml"
_TEMPLATE_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")  # the name becomes part of an object's name
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class Files(Struct, frozen=True, kw_only=True):
    """The files of a configuration as they were read: all faults and, if there are no faults, the settings.

    `order` has the paths of all files, in the order in which their faults are reported.
    """

    faults: list[ConfigFault]
    settings_file: Place
    profiles_file: Place
    masters: Mapping[str, MasterTemplate]
    endpoint: str | None
    order: tuple[str, ...]
    settings: Settings | None = None


def config_dir_from(environ: Mapping[str, str] | None = None) -> Path:
    """Return the folder of the configuration: `BENCHKEEPER_CONFIG_DIR`, or else `config/` beside the package `shared`."""
    env = os.environ if environ is None else environ
    return Path(env.get(ENV_CONFIG) or Path(__file__).resolve().parents[2] / "config")


def env_from(environ: Mapping[str, str] | None = None) -> str:
    """Return the name of the environment: `BENCHKEEPER_ENV`, or else `local`."""
    return (os.environ if environ is None else environ).get(ENV_NAME) or DEFAULT_ENV


def project_override_variables(settings: Settings) -> dict[str, str]:
    """Return the environment variables that a child process needs to read the same settings."""
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
    """Return the settings of one environment. Raise `ConfigError` with every fault of every file.

    With `trust_checked`, files that a deployment has checked are not checked again unless they were changed since.
    """
    environ = os.environ if environ is None else environ
    env = env or env_from(environ)
    folder = config_dir or config_dir_from(environ)
    kept = checked.read(folder, env) if trust_checked else None
    if kept is None:
        return _check_all(env, folder, environ)
    endpoint = environ.get(ENV_ENDPOINT) or kept.api_endpoint
    faults = _endpoint_faults(
        endpoint, folder / f"settings.{env}.yaml", from_environment=bool(environ.get(ENV_ENDPOINT))
    )
    if faults:
        raise ConfigError(faults)
    return with_sink(replace(kept, api_endpoint=_trimmed(endpoint), **_said_by(environ)), environ)


def with_sink(settings: Settings, environ: Mapping[str, str]) -> Settings:
    """Return the settings with the mail sink of this machine, for the embedded cloud.

    The environment variable `BENCHKEEPER_MAIL_SINK` has the ports of the sink and of the page, `2525 8080`. Without the variable,
    with Google Cloud, or if messages are configured, the settings are returned unchanged.
    """
    mail, _, page = environ.get(ENV_MAIL_SINK, "").partition(" ")
    if settings.messages is not None or settings.api_endpoint is None or not (mail.isdigit() and page.isdigit()):
        return settings
    domain = next(iter(settings.people.domains), "example.com")
    sink = MailSettings(
        sender=f"notebooks@{domain}",
        host="127.0.0.1",
        port=int(mail),
        security=Security.NONE,
        user="",
        secret="",
        chat_secret="",
        about_leavers=(f"notebooks-managers@{domain}",),
        language="en",
        page=f"http://127.0.0.1:{page}",
    )
    return replace(settings, messages=sink)


def _said_by(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings that come only from environment variables, which a deployment sets, by field name."""
    return {
        "iap_audience": environ.get(ENV_AUDIENCE, ""),
        "move_logs_until": _time_in(environ, ENV_MOVE_LOGS),
        "deployed_at": _time_in(environ, ENV_DEPLOYED_AT),
        "deployed_by": environ.get(ENV_DEPLOYED_BY, ""),
    }


def _time_in(environ: Mapping[str, str], name: str) -> datetime | None:
    """Return the time in an environment variable; None if the variable is unset or not a time."""
    try:
        return parse_time(environ.get(name, ""))
    except ValueError:
        return None


def _trimmed(endpoint: str | None) -> str | None:
    return endpoint.rstrip("/") if endpoint else None


def _check_all(env: str, folder: Path, environ: Mapping[str, str]) -> Settings:
    read = read_files(env, folder, environ)
    if read.settings is None:
        raise ConfigError(read.faults)
    return read.settings


def read_files(env: str, folder: Path, environ: Mapping[str, str]) -> Files:
    """Return the files of one environment as they were read: all faults and, if there are no faults, the settings."""
    from shared.settings.across import cross_faults, source_faults  # noqa: PLC0415 - a cold start has no use for these
    from shared.settings.file import parse_file  # noqa: PLC0415 - same
    from shared.settings.models import ProfilesFile, SettingsFile  # noqa: PLC0415 - same
    from shared.settings.sources import SourcesFile  # noqa: PLC0415 - same

    faults: list[ConfigFault] = []
    path = folder / f"settings.{env}.yaml"
    ours, offered, said = Place(path), Place(folder / "profiles.yaml"), Place(folder / SOURCES_FILE)
    raw = parse_file(path, SettingsFile, faults, missing_hint=_known_envs(folder), place=ours)
    endpoint = environ.get(ENV_ENDPOINT) or ours.at("api_endpoint") or None
    faults += _endpoint_faults(endpoint, path, from_environment=bool(environ.get(ENV_ENDPOINT)))
    if ours.data and not endpoint and not ours.at("people", "domains"):
        faults.append(_no_domains(ours))
    profiles = parse_file(offered.path, ProfilesFile, faults, place=offered)
    masters = read_masters(folder / "templates", faults)
    faults += cross_faults(offered, masters)
    sources = None
    if said.path.exists():
        sources = parse_file(said.path, SourcesFile, faults, place=said)
        faults += source_faults(said, offered)
    order = [
        path,
        offered.path,
        said.path,
        folder / "templates",
        *(folder / "templates" / f"{name}.yaml" for name in masters),
    ]
    files = Files(
        faults=in_order([faults], [str(each) for each in order]),
        settings_file=ours,
        profiles_file=offered,
        masters=masters,
        endpoint=endpoint if isinstance(endpoint, str) else None,
        order=tuple(str(each) for each in order),
    )
    if files.faults or raw is None or profiles is None:
        return files
    settings = _settings_of(
        env, folder, raw, endpoint=files.endpoint, catalog=_catalog(profiles, masters), sources=sources
    )
    return replace(files, settings=with_sink(replace(settings, **_said_by(environ)), environ))


def _settings_of(
    env: str, folder: Path, raw: SettingsFile, *, endpoint: str | None, catalog: Catalog, sources: SourcesFile | None
) -> Settings:
    return Settings(
        env=env,
        config_dir=folder,
        project=raw.project,
        zones=raw.zones,
        bucket=raw.bucket,
        topic_tick=raw.topics.tick,
        topic_dead_letter=raw.topics.dead_letter,
        topic_notifications=raw.topics.notifications,
        network=raw.network,
        retention=raw.retention.instance,
        snapshot_retention=raw.retention.snapshot,
        personal_data=raw.retention.personal_data,
        api_endpoint=_trimmed(endpoint),
        max_message_bytes=raw.limits.message_bytes,
        catalog=catalog,
        roles=raw.hub.roles(),
        contact=raw.hub.contact,
        currency=raw.hub.currency,
        billing_export=raw.deployment.billing_export,
        bigquery_projects=raw.idle.bigquery_projects,
        roster_groups=raw.roster.groups,
        roster_employees=raw.roster.employees,
        messages=raw.messages.to_values() if raw.messages is not None else None,
        sources=SHIPPED if sources is None else {name: s.to_domain(name) for name, s in sources.sources.items()},
        people=People(
            domains=raw.people.domains,
            alias_domains=raw.people.alias_domains,
            time_zone=raw.people.time_zone,
            organization=raw.deployment.organization,
        ),
        named_inbox=raw.buckets.inbox,
        named_letters=raw.buckets.letters,
        named_audit=raw.buckets.audit,
        guard=raw.guard,
    )


def _catalog(profiles: ProfilesFile, masters: Mapping[str, MasterTemplate]) -> Catalog:
    return Catalog(
        profiles={name: p.to_domain(name) for name, p in profiles.profiles.items()},
        assignments=profiles.assignments,
        default_profile=profiles.default,
        masters=masters,
        environments=profiles.environments,
        prices=profiles.prices,
    )


def _no_domains(place: Place) -> ConfigFault:
    fix = "Name the domains of your people, for example people: {domains: [example.com]}. Only they can get access."
    return place.fault(("people", "domains"), "is missing", fix)


def _known_envs(folder: Path) -> str:
    names = sorted(p.name.removeprefix("settings.").removesuffix(".yaml") for p in folder.glob("settings.*.yaml"))
    return f"The environments that exist here are: {', '.join(names) or 'none'}."


def read_masters(folder: Path, faults: list[ConfigFault]) -> dict[str, MasterTemplate]:
    """Return the master templates of a folder by name.

    Add a fault to `faults` for each file that cannot be read or whose name is not allowed, and for a missing folder.
    """
    if not folder.is_dir():
        faults.append(ConfigFault(str(folder), 0, "", "the folder does not exist", "Create it; it may be empty."))
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
            faults.append(unreadable(path, error))
    return masters


def _endpoint_faults(endpoint: Any, path: Path, *, from_environment: bool) -> list[ConfigFault]:
    """Return a fault if an endpoint is not on this machine, because credentials must not be sent in clear text elsewhere."""
    if not endpoint:
        return []
    try:
        parts = urlsplit(str(endpoint))
        if parts.scheme == "http" and parts.hostname in _LOOPBACK:
            return []
    except ValueError:
        pass  # not a URL
    where = f"${ENV_ENDPOINT}" if from_environment else str(path)
    return [
        ConfigFault(
            where, 0, "api_endpoint", f"'{endpoint}' is not http:// on this machine",
            "The setting is for the embedded cloud, for example http://127.0.0.1:8900; remove it for Google Cloud.",
        )
    ]  # fmt: skip


__all__ = [
    "DEFAULT_ENV", "ENV_AUDIENCE", "ENV_CONFIG", "ENV_DEPLOYED_AT", "ENV_DEPLOYED_BY", "ENV_ENDPOINT", "ENV_MAIL_SINK", "ENV_MOVE_LOGS", "ENV_NAME",
    "SOURCES_FILE", "ConfigError", "Files", "MailSettings", "Settings", "checked", "config_dir_from", "env_from", "load_settings",
    "project_override_variables", "read_files", "read_masters", "with_sink",
]  # fmt: skip
