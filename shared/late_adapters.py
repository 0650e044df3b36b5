"""The factories of the adapters that most Cloud Function instances never use.

A factory imports the module of its adapter only when the factory is called, which keeps cold starts short (docs/adr/0047).
`shared.wiring` calls most factories only when the engine first uses the adapter.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from shared.domain.things.late import late
from shared.engine.ports.mail import MailPorts
from shared.messages.addresses import parse_person

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.cloud.costs import BigQueryCosts
    from shared.cloud.dataproc.clusters import DataprocClusters
    from shared.cloud.dataproc.live_sessions import DataprocLiveSessions
    from shared.cloud.dataproc.sessions import DataprocSessions
    from shared.cloud.dataproc.target import RenderTarget
    from shared.cloud.http.clients import Clients
    from shared.cloud.identity.accounts import IamAccounts
    from shared.cloud.identity.groups import CloudIdentityGroups, CloudIdentityRoster
    from shared.cloud.identity.iap import IapSignIn
    from shared.cloud.mail.chat import ChatRoom
    from shared.cloud.mail.smtp import SmtpServer
    from shared.cloud.notebook.activity import GuestReports, MonitoringActivity
    from shared.cloud.notebook.snapshots import ComputeSnapshots
    from shared.cloud.outside_jobs import RestOutsideJobs
    from shared.cloud.storage.dead_letters import PubSubDeadLetters
    from shared.cloud.storage.fleet_index import StorageFleetIndex
    from shared.cloud.storage.rosters import StorageRosterFile, StorageRosters
    from shared.domain.fleet.roster import Reading
    from shared.domain.people.domains import People
    from shared.domain.things.catalog import Catalog
    from shared.domain.things.identity import UserEmail
    from shared.engine.ports.deps import Clock, Log
    from shared.settings import MailSettings, Settings


def accounts(clients: Clients, project: str) -> IamAccounts:
    from shared.cloud.identity.accounts import IamAccounts

    return IamAccounts(clients, project=project)


def groups(clients: Clients) -> CloudIdentityGroups:
    from shared.cloud.identity.groups import CloudIdentityGroups

    return CloudIdentityGroups(clients)


def snapshots(clients: Clients, project: str) -> ComputeSnapshots:
    from shared.cloud.notebook.snapshots import ComputeSnapshots

    return ComputeSnapshots(clients, project=project)


def clusters(
    clients: Clients, settings: Settings, catalog: Callable[[], Catalog], target: Callable[[], RenderTarget]
) -> DataprocClusters:
    from shared.cloud.dataproc.clusters import DataprocClusters

    return DataprocClusters(clients, project=settings.project, region=settings.region, catalog=catalog, target=target)


def sessions(
    clients: Clients, settings: Settings, catalog: Callable[[], Catalog], target: Callable[[], RenderTarget]
) -> DataprocSessions:
    from shared.cloud.dataproc.sessions import DataprocSessions

    return DataprocSessions(clients, project=settings.project, region=settings.region, catalog=catalog, target=target)


def live_sessions(clients: Clients, settings: Settings) -> DataprocLiveSessions:
    from shared.cloud.dataproc.live_sessions import DataprocLiveSessions

    return DataprocLiveSessions(clients, project=settings.project, region=settings.region)


def fleet(clients: Clients) -> StorageFleetIndex:
    from shared.cloud.storage.fleet_index import StorageFleetIndex

    return StorageFleetIndex(clients)


def costs(clients: Clients, settings: Settings, log: Log) -> BigQueryCosts:
    from shared.cloud.costs import BigQueryCosts

    return BigQueryCosts(
        clients, project=settings.project, view=settings.cost_view, currency=settings.currency, log=log
    )


def activity(clients: Clients, project: str) -> MonitoringActivity:
    from shared.cloud.notebook.activity import MonitoringActivity

    return MonitoringActivity(clients, project=project)


def reports(clients: Clients, project: str) -> GuestReports:
    from shared.cloud.notebook.activity import GuestReports

    return GuestReports(clients, project=project)


def outside_jobs(clients: Clients, settings: Settings, canonical: Callable[[object], UserEmail]) -> RestOutsideJobs:
    from shared.cloud.outside_jobs import RestOutsideJobs

    return RestOutsideJobs(
        clients,
        project=settings.project,
        region=settings.region,
        bigquery_projects=settings.bigquery_projects,
        canonical=canonical,
    )


def dead_letters(clients: Clients, settings: Settings) -> PubSubDeadLetters:
    from shared.cloud.storage.dead_letters import PubSubDeadLetters

    return PubSubDeadLetters(
        clients, project=settings.project, topic=settings.topic_dead_letter, bucket=settings.letters_bucket
    )


def rosters(clients: Clients, inbox: str) -> StorageRosters:
    from shared.cloud.storage.rosters import StorageRosters

    return StorageRosters(clients, inbox=inbox)


def sign_in(
    clients: Clients, settings: Settings, *, clock: Clock, log: Log, canonical: Callable[[object], UserEmail]
) -> IapSignIn:
    from shared.cloud.identity.iap import IapSignIn

    return IapSignIn(clients, audience=settings.iap_audience, clock=clock, log=log, canonical=canonical)


def mail_ports(settings: Settings, chosen: MailSettings, clients: Clients) -> MailPorts:
    """Return the ports of messages to users. The mail server and the chat room are connected on first use."""
    from shared.cloud.mail.notifications import PubSubNotifications
    from shared.messages.mail_words import MailWords
    from shared.messages.notification import notification

    return MailPorts(
        notifications=PubSubNotifications(
            clients,
            project=settings.project,
            topic=settings.topic_notifications,
            event=partial(notification, project=settings.project),
        ),
        words=MailWords(
            settings.config_dir / "messages",
            language=chosen.language,
            zone=settings.people.time_zone,
            page=chosen.page,
            contact=settings.contact,
        ),
        server=late(lambda: _server(clients, settings.project, chosen)) if chosen.host else None,
        chat=late(lambda: _chat(clients, settings.project, chosen.chat_secret)) if chosen.chat_secret else None,
        about_leavers=chosen.about_leavers,
    )


def _server(clients: Clients, project: str, chosen: MailSettings) -> SmtpServer:
    from shared.cloud.mail.secrets import read_secret
    from shared.cloud.mail.smtp import Server, SmtpServer

    server = Server(
        host=chosen.host, port=chosen.port, security=chosen.security.value, user=chosen.user, sender=chosen.sender
    )
    return SmtpServer(server, lambda: read_secret(clients, project, chosen.secret))


def _chat(clients: Clients, project: str, secret: str) -> ChatRoom:
    from shared.cloud.mail.chat import ChatRoom
    from shared.cloud.mail.secrets import read_secret

    return ChatRoom(clients, lambda: read_secret(clients, project, secret))


def group_roster(clients: Clients, people: Callable[[], People]) -> CloudIdentityRoster:
    from shared.cloud.identity.groups import CloudIdentityRoster

    return CloudIdentityRoster(clients, people=people, person=parse_person)


def employee_roster(clients: Clients, bucket: str, people: Callable[[], People]) -> StorageRosterFile:
    from shared.cloud.storage.rosters import StorageRosterFile

    return StorageRosterFile(clients, bucket=bucket, parse=partial(_read_roster, people))


def _read_roster(people: Callable[[], People], raw: bytes, **about: Any) -> Reading:
    from shared.messages.roster_file import read_roster

    now = people()
    return read_roster(raw, person=lambda address: parse_person(address, now), **about)
