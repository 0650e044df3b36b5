"""The composition root, which builds the engine's dependencies from the settings and the adapters.

The entry points call `process_deps`, which keeps the dependencies for the life of the process.
"""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

from shared import late_adapters
from shared.cloud.dataproc.target import RenderTarget, not_parsed
from shared.cloud.dataproc.templates import StorageTemplates
from shared.cloud.http.clients import Clients, CloudConfig
from shared.cloud.http.clock import EndpointClock, SystemClock
from shared.cloud.notebook.notebooks import WorkbenchNotebooks
from shared.cloud.publish import publish
from shared.cloud.storage.audit import StorageAudit
from shared.cloud.storage.guard import StorageGuard, StorageSeats
from shared.cloud.storage.inbox import StorageInbox
from shared.cloud.storage.policies import StorageDecisions, StoragePolicies
from shared.cloud.storage.records import StorageGroupBooks, StoragePersons, StorageRecords
from shared.cloud.workers import ThreadWorkers
from shared.domain.people.domains import People
from shared.domain.people.events import News
from shared.domain.plan.plan import Policy
from shared.domain.policy.policy_change import Noted
from shared.domain.policy.policy_codec import policy_digest
from shared.domain.things.catalog import Catalog, ClusterIdentity
from shared.domain.things.errors import BenchkeeperError, InvalidMessageError
from shared.domain.things.identity import UserEmail, UserKey, parse_email
from shared.domain.things.late import late
from shared.engine.ports.deps import Clock, Deps, Log
from shared.engine.ports.inbox import DeadLetter, SignIn, Wake
from shared.engine.ports.roster import RosterSource
from shared.messages.addresses import parse_address
from shared.messages.parse import wake_message
from shared.settings import ConfigError, Settings, load_settings
from shared.settings.checked import parsed_masters
from shared.telemetry import JsonLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from typing import Any


_LOCK = threading.Lock()
_PATIENCE_S = 120.0
_PATIENCES_S = {
    "hub": 8.0
}  # a user waits for the page, so fail early and ask the user to come back; messages and ticks have time
_WAKE_S = 5.0  # a user waits for the page; if the message fails, the tick handles the request anyway
_CACHED: dict[str, tuple[Settings, Deps]] = {}


def patience_s(component: str) -> float:
    """Return the number of seconds for which a process of this component retries a call to Cloud Storage."""
    return _PATIENCES_S.get(component, _PATIENCE_S)


def make_clients(settings: Settings, *, patience_s: float = _PATIENCE_S, token: str = "") -> Clients:
    """Return the Google clients for these settings, not connected yet. `token` is an access token to use, "" for none."""
    return Clients(
        CloudConfig(
            project=settings.project,
            bucket=settings.bucket,
            api_endpoint=settings.api_endpoint,
            patience_s=patience_s,
            token=token,
        )
    )


def wire(settings: Settings, *, log: Log, clients: Clients | None = None, strict: bool = False) -> Deps:
    """Return the engine's dependencies. With `strict`, a policy in force that a newer program wrote raises an error."""
    clients = clients or make_clients(settings)
    clock: Clock = (
        EndpointClock(clients.json("clock"), clients.answered_time) if settings.api_endpoint else SystemClock()
    )
    own, policies = settings.policy(), StoragePolicies(clients, clock=clock, log=log, strict=strict)

    def catalog() -> Catalog:
        return policies.in_force(own).catalog

    parsed = parsed_masters(settings.config_dir, settings.env).get

    def target() -> RenderTarget:
        return _render_target(policies.in_force(own), settings.bucket, parsed)

    project, chosen = settings.project, settings.messages
    return Deps(
        records=StorageRecords(clients),
        notebooks=WorkbenchNotebooks(clients, project=project, clock=clock),
        templates=StorageTemplates(clients, catalog=catalog, target=target),
        accounts=late(lambda: late_adapters.accounts(clients, project)),
        groups=late(lambda: late_adapters.groups(clients)),
        snapshots=late(lambda: late_adapters.snapshots(clients, project)),
        clusters=late(lambda: late_adapters.clusters(clients, settings, catalog, target)),
        fleet=late(lambda: late_adapters.fleet(clients)),
        sessions=late(lambda: late_adapters.sessions(clients, settings, catalog, target)),
        live_sessions=late(lambda: late_adapters.live_sessions(clients, settings)),
        costs=late(lambda: late_adapters.costs(clients, settings, log)),
        activity=late(lambda: late_adapters.activity(clients, project)),
        reports=late(lambda: late_adapters.reports(clients, project)),
        outside_jobs=late(lambda: late_adapters.outside_jobs(clients, settings, partial(_canonical, own.people))),
        dead_letters=late(lambda: late_adapters.dead_letters(clients, settings)),
        inbox=StorageInbox(clients, bucket=settings.inbox_bucket),
        decisions=StorageDecisions(clients, bucket=settings.inbox_bucket),
        sign_in=sign_in(settings, clients, clock=clock, log=log),
        roles=settings.roles,
        clock=clock,
        log=log,
        workers=ThreadWorkers(),
        books=StorageGroupBooks(clients, clock=clock),
        guard=StorageGuard(clients, clock=clock),
        seats=StorageSeats(clients, clock=clock),
        persons=StoragePersons(clients),
        audit=StorageAudit(
            clients, bucket=settings.audit_bucket, records=settings.bucket, project=settings.project, clock=clock
        ),
        relay=partial(_relay, clients, project),
        policies=policies,
        mail=None if chosen is None else late_adapters.mail_ports(settings, chosen, clients),
        rosters=late(lambda: late_adapters.rosters(clients, settings.inbox_bucket)),
        roster_sources=tuple(_roster_sources(settings, clients, lambda: policies.in_force(own).people)),
        base_policy=own,
        parse_letter=partial(_parse_letter, settings.max_message_bytes),
        deployed=_deployed(settings, own),
    )


def _roster_sources(settings: Settings, clients: Clients, people: Callable[[], People]) -> Iterator[RosterSource]:
    if settings.roster_groups:
        yield late(lambda: late_adapters.group_roster(clients, people))
    if settings.roster_employees:
        yield late(lambda: late_adapters.employee_roster(clients, settings.inbox_bucket, people))


def _deployed(settings: Settings, own: Policy) -> Noted | None:
    if settings.deployed_at is None:
        return None
    return Noted(digest=policy_digest(own), by=settings.deployed_by, at=settings.deployed_at)


def _parse_letter(max_bytes: int, letter: DeadLetter, policy: Policy) -> tuple[News, ...]:
    """Return the events in a dead letter, parsed by the sources of `policy`. Raise `PoisonError` if it cannot be used."""
    from shared.messages.letters import parse_letter  # noqa: PLC0415 - most processes never read a dead letter

    return parse_letter(letter, sources=policy.sources, people=policy.people, max_bytes=max_bytes)


def _relay(clients: Clients, project: str, topic: str, body: bytes, attributes: Mapping[str, str]) -> None:
    publish(clients, project=project, topic=topic, body=body, attributes=dict(attributes))


def waker(settings: Settings, clients: Clients, log: Log) -> Wake:
    """Return a function that publishes a wake for a user. If publishing fails, it logs that, and the tick makes the pass."""

    def wake(user_key: UserKey) -> None:
        try:
            publish(
                clients,
                project=settings.project,
                topic=settings.topic_wake,
                body=wake_message(user_key),
                attributes={},
                timeout_s=_WAKE_S,
            )
        except BenchkeeperError as error:
            log.warning("Wake-up could not be published", user=user_key, reason=error.reason.value, detail=error.detail)

    return wake


def sign_in(settings: Settings, clients: Clients, *, clock: Clock, log: Log) -> SignIn:
    """Return the check that identifies the user of a page. With the embedded cloud, the check uses that cloud's own keys."""
    canonical = partial(_canonical, settings.policy().people)
    return late(lambda: late_adapters.sign_in(clients, settings, clock=clock, log=log, canonical=canonical))


def _canonical(people: People, raw: object) -> UserEmail:
    """Return the canonical form of an address, or the form of an address that only earlier versions accepted.

    Raise `InvalidMessageError` for any other text.
    """
    try:
        return parse_address(raw, people)
    except InvalidMessageError:  # an address that earlier versions accepted; today it gets nothing new
        return parse_email(raw)


def render_target(settings: Settings) -> RenderTarget:
    """Return the part of the settings that rendering a user's cluster needs."""
    return _render_target(settings.policy(), settings.bucket, not_parsed)


def _render_target(policy: Policy, bucket: str, parsed: Callable[[str], Any]) -> RenderTarget:
    own = ClusterIdentity.PERSONAL_SERVICE_ACCOUNT
    profiles = policy.catalog.profiles
    return RenderTarget(
        project=policy.project,
        bucket=bucket,
        subnet=policy.network.subnet,
        own_accounts=frozenset(name for name, profile in profiles.items() if profile.spark.identity is own),
        parsed=parsed,
    )


def process_deps(component: str) -> tuple[Settings, Deps]:
    """Return the settings and dependencies of a component in this process, built on first use and cached. Thread-safe.

    Raise `ConfigError` for a broken configuration, at each call. Pub/Sub then delivers the message again, so a new revision
    with a fixed configuration loses nothing.
    """
    with _LOCK:
        if component not in _CACHED:
            log = JsonLog(component)
            try:
                settings = load_settings()
            except ConfigError as error:
                log.error("Refused a broken configuration", faults=[str(fault) for fault in error.faults])
                raise
            clients = make_clients(settings, patience_s=patience_s(component))
            _CACHED[component] = (settings, wire(settings, log=log, clients=clients))
        return _CACHED[component]


def piece_of_work(deps: Deps) -> AbstractContextManager[None]:
    """Return the context in which a thread handles one event.

    With the embedded cloud, the clock reads the time of that cloud's last answer inside the context; otherwise nothing changes.
    """
    return deps.clock.told_by_answers() if isinstance(deps.clock, EndpointClock) else nullcontext()


def checked_settings(
    *,
    env: str | None = None,
    config_dir: Path | None = None,
    environ: Mapping[str, str] | None = None,
    trusts_offers: bool = False,
) -> Settings:
    """Return the settings after all checks, made with the shipped table. Raise `ConfigError` with all faults.

    With `trusts_offers`, values that are missing from the table are accepted, because they may be newer.
    """
    from shared.checking import check_all  # noqa: PLC0415 - a cold start has no use for the checks

    has_all = (lambda _files: lambda _path: True) if trusts_offers else None
    found = check_all(env=env, config_dir=config_dir, environ=environ, ask=has_all)
    if found.settings is None:
        raise ConfigError(found.faults)
    return found.settings
