"""The services of the embedded cloud: one world with every model in it.

`EmbeddedCloud` serves them. Parts that only read them (the gateway to the JupyterLabs) take `Services`, not the whole
application.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emulator.model.access import AccessModel
from emulator.model.bigquery import BigQueryModel
from emulator.model.bigquery_jobs import BigQueryJobs
from emulator.model.cloudidentity import CloudIdentityModel
from emulator.model.compute import ComputeModel
from emulator.model.dataproc import DataprocModel
from emulator.model.disks import Disks
from emulator.model.guest_attributes import GuestAttributes
from emulator.model.iam import IamModel
from emulator.model.log_entries import LogEntries
from emulator.model.log_sinks import Sinks
from emulator.model.monitoring import MonitoringModel
from emulator.model.notebooks import NotebooksModel
from emulator.model.pubsub import PubSubModel
from emulator.model.scheduler import SchedulerModel
from emulator.model.secrets import SecretsModel
from emulator.model.storage import StorageModel
from emulator.model.surroundings import Surroundings

if TYPE_CHECKING:
    from emulator.world import World


class Services:
    """The models of all services. All models except the log entries are registered in the world, under the names in saved worlds."""

    def __init__(self, world: World) -> None:
        self.world = world
        disks = Disks()  # Notebooks attaches and deletes disks, Compute Engine shows them
        self.storage = StorageModel(world)
        self.iam = IamModel(world)
        self.surroundings = Surroundings(world, lambda email: self.iam.account(email) is not None)
        self.notebooks = NotebooksModel(world, disks, self.surroundings)
        self.compute = ComputeModel(world, disks, self.notebooks.settle)
        self.guest_attributes = GuestAttributes(self.notebooks)
        self.cloudidentity = CloudIdentityModel(world, self.iam)
        self.dataproc = DataprocModel(world, self.surroundings)
        self.monitoring = MonitoringModel(world)
        self.pubsub = PubSubModel(world)
        self.secrets = SecretsModel(world)
        self.access = AccessModel(
            world,
            self.storage,
            self.pubsub,
            self.iam,
            self.cloudidentity,
            lambda name: self.secrets.policy(name).bindings,
        )
        self.scheduler = SchedulerModel(world)
        self.bigquery = BigQueryModel(world)
        self.bigquery_jobs = BigQueryJobs(world)
        self.log_entries = LogEntries(world)
        self.log_sinks = Sinks(
            world, project=world.project, number=world.project_number, organization=None, any_organization=True
        )
        world.access = self.access
        world.models.update(
            storage=self.storage,
            notebooks=self.notebooks,
            compute=self.compute,  # loaded after the instances, whose disks it holds
            guest_attributes=self.guest_attributes,
            iam=self.iam,
            cloudidentity=self.cloudidentity,
            dataproc=self.dataproc,
            monitoring=self.monitoring,
            pubsub=self.pubsub,
            access=self.access,
            scheduler=self.scheduler,
            surroundings=self.surroundings,
            log_sinks=self.log_sinks,
            bigquery=self.bigquery,
            bigquery_jobs=self.bigquery_jobs,
            secrets=self.secrets,
        )
