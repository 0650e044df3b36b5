"""The composition root: settings and adapters put together, once per process."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from shared.cloud.accounts import IamAccounts
from shared.cloud.activity import MonitoringActivity
from shared.cloud.clients import Clients, CloudConfig
from shared.cloud.clock import EndpointClock, SystemClock
from shared.cloud.clusters import DataprocClusters
from shared.cloud.dead_letters import PubSubDeadLetters
from shared.cloud.groups import CloudIdentityGroups
from shared.cloud.notebooks import WorkbenchNotebooks
from shared.cloud.records import StorageRecords
from shared.cloud.render import RenderTarget, check_masters
from shared.cloud.snapshots import ComputeSnapshots
from shared.cloud.templates import StorageTemplates
from shared.engine.ports import Clock, Deps, Log
from shared.faults import ConfigFault
from shared.settings import ConfigError, Settings, config_dir_from, load_settings, read_masters
from shared.telemetry import JsonLog

if TYPE_CHECKING:
    from pathlib import Path

_LOCK = threading.Lock()
_CACHED: dict[str, tuple[Settings, Deps]] = {}


def make_clients(settings: Settings) -> Clients:
    """The Google clients for these settings; nothing is imported or connected yet."""
    return Clients(CloudConfig(project=settings.project, bucket=settings.bucket, api_endpoint=settings.api_endpoint))


def wire(settings: Settings, *, log: Log, clients: Clients | None = None) -> Deps:
    """The engine's dependencies for these settings."""
    clients = clients or make_clients(settings)
    clock: Clock = EndpointClock(clients.json("clock")) if settings.api_endpoint else SystemClock()
    return Deps(
        records=StorageRecords(clients),
        notebooks=WorkbenchNotebooks(clients, project=settings.project, clock=clock),
        templates=StorageTemplates(
            clients,
            masters=settings.catalog.masters,
            target=RenderTarget(project=settings.project, bucket=settings.bucket, subnet=settings.network.subnet),
        ),
        accounts=IamAccounts(clients, project=settings.project),
        groups=CloudIdentityGroups(clients),
        snapshots=ComputeSnapshots(clients, project=settings.project),
        clusters=DataprocClusters(clients, project=settings.project, region=settings.region),
        activity=MonitoringActivity(clients, project=settings.project),
        dead_letters=PubSubDeadLetters(clients, project=settings.project, topic=settings.topic_dead_letter),
        clock=clock,
        log=log,
        policy=settings.policy(),
    )


def process_deps(component: str) -> tuple[Settings, Deps]:
    """What this process works with, built on first use and kept; safe from several threads.

    A broken configuration raises `ConfigError` at the first delivery, which is then retried: a new revision mends it and
    nothing was lost.
    """
    with _LOCK:
        if component not in _CACHED:
            log = JsonLog(component)
            try:
                settings = load_settings()
            except ConfigError as error:
                log.error("Configuration is broken", faults=[str(fault) for fault in error.faults])
                raise
            _CACHED[component] = (settings, wire(settings, log=log))
        return _CACHED[component]


def checked_settings(*, env: str | None = None, config_dir: Path | None = None) -> Settings:
    """The settings, with the master templates checked against the Dataproc API too. Raises `ConfigError` with all faults."""
    try:
        settings = load_settings(env=env, config_dir=config_dir, trust_checked=False)
    except ConfigError as error:
        raise ConfigError([*error.faults, *_template_faults(config_dir)]) from error
    faults = check_masters(settings.catalog.masters, str(settings.config_dir / "templates"))
    if faults:
        raise ConfigError(faults)
    return settings


def _template_faults(config_dir: Path | None) -> list[ConfigFault]:
    folder = (config_dir or config_dir_from()) / "templates"
    return check_masters(read_masters(folder, []), str(folder))
