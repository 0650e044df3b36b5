"""The composition of the embedded cloud: one world, all its services, one port.

`EmbeddedCloud.build(...)` starts no thread and opens no socket; its `wsgi` serves calls in-process. `start()` opens the port
and starts the background work (pushes, due jobs, functions).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

from emulator.clock import VirtualClock
from emulator.host import FunctionHost
from emulator.iap.front import IapFront
from emulator.jupyter.gateway import Gateway
from emulator.pace import Pace
from emulator.services import Services
from emulator.token import ProcessToken
from emulator.wire import control
from emulator.wire.access import routes as access_routes
from emulator.wire.bigquery import routes as bigquery_routes
from emulator.wire.cloudidentity import routes as cloudidentity_routes
from emulator.wire.compute import routes as compute_routes
from emulator.wire.dataproc import DataprocGrpc
from emulator.wire.dataproc import routes as dataproc_routes
from emulator.wire.guest_attributes import routes as guest_routes
from emulator.wire.http import HttpFront
from emulator.wire.iam import routes as iam_routes
from emulator.wire.jobs import routes as job_routes
from emulator.wire.logging import routes as logging_routes
from emulator.wire.monitoring import routes as monitoring_routes
from emulator.wire.notebooks import routes as notebooks_routes
from emulator.wire.notebooks_grpc import NotebooksGrpc
from emulator.wire.operations_grpc import OperationsGrpc
from emulator.wire.pubsub import PubSubRuntime
from emulator.wire.pubsub import routes as pubsub_routes
from emulator.wire.scheduler import SchedulerRuntime
from emulator.wire.scheduler import routes as scheduler_routes
from emulator.wire.secrets import routes as secret_routes
from emulator.wire.server import Server
from emulator.wire.storage import routes as storage_routes
from emulator.wire.surroundings import routes as surroundings_routes
from emulator.world import World

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path
    from types import TracebackType

DEFAULT_PROJECT = "benchkeeper-local"


class Runtime(Protocol):
    """A part of the cloud that works in the background between `start` and `stop`."""

    def start(self) -> None:
        """Start the part's threads or processes."""

    def stop(self) -> None:
        """Stop the part's threads or processes; safe to call twice."""


class EmbeddedCloud(Services):
    """All services of a world on one port of 127.0.0.1; a context manager that starts and stops.

    Functions write their output to `log_folder/<name>.log`, or to stderr without a log folder. `names` are host names, in
    addition to those of loopback, by which the port may be called. Calls that start processes need the `token`.
    """

    def __init__(self, world: World, *, log_folder: Path | None = None, names: Collection[str] = ()) -> None:
        super().__init__(world)
        self.pubsub_runtime = PubSubRuntime(world, self.pubsub)
        issuer = self.pubsub_runtime.issuer
        scheduler_runtime = SchedulerRuntime(world, self.scheduler, self.pubsub.publish, signer=issuer.token)
        self.token = ProcessToken()
        self.functions = FunctionHost(
            world, self.pubsub_runtime, self.token, log_folder=log_folder, heard=self.log_entries.add
        )
        self.iap = IapFront(self.functions.destination, project_number=world.project_number, clock=world.clock)
        self.gateway = Gateway(self, self.iap)
        self._runtimes: list[Runtime] = [
            self.functions, self.pubsub_runtime, scheduler_runtime, self.iap, self.gateway, Pace(self),
        ]  # fmt: skip
        self.wsgi = HttpFront(
            world,
            [
                *control.routes(world),
                *surroundings_routes(world, self.surroundings),
                *issuer.routes(),
                *self.iap.routes(),
                *self.gateway.routes(),
                *self.functions.routes(),
                *storage_routes(world, self.storage),
                *notebooks_routes(world, self.notebooks),
                *compute_routes(world, self.compute, self.surroundings),
                *guest_routes(world, self.guest_attributes),
                *iam_routes(world, self.iam),
                *access_routes(self.access),
                *cloudidentity_routes(self.cloudidentity),
                *dataproc_routes(self.dataproc),
                *monitoring_routes(world, self.monitoring),
                *pubsub_routes(world, self.pubsub),
                *scheduler_routes(self.scheduler),
                *logging_routes(self.log_entries, self.log_sinks),
                *bigquery_routes(world, self.bigquery),
                *secret_routes(self.secrets),
                *job_routes(world, self.bigquery_jobs, self.dataproc),
            ],
            names=names,
        )
        self._server: Server | None = None

    @classmethod
    def build(
        cls,
        *,
        clock: VirtualClock | None = None,
        project: str = DEFAULT_PROJECT,
        log_folder: Path | None = None,
        names: Collection[str] = (),
    ) -> Self:
        """Return a cloud with an empty world. Without a given clock, its clock runs in real time."""
        return cls(World(clock=clock or VirtualClock(), project=project), log_folder=log_folder, names=names)

    @property
    def port(self) -> int:
        """The port of the API. Raise `RuntimeError` before `start` and after `stop`."""
        if self._server is None:
            raise RuntimeError("the embedded cloud is not started")
        return self._server.port

    @property
    def url(self) -> str:
        """The URL `http://127.0.0.1:PORT`."""
        return f"http://127.0.0.1:{self.port}"

    def start(self, port: int = 0, *, token_folder: Path | None = None) -> None:
        """Serve on `port` (0 = a free port) and start the background work.

        The file with the token is written to `token_folder` before the first call is answered, and only once the port
        is ours. So a second run that finds the port taken does not overwrite the file of the first run. Raise
        `PortInUseError` if the port is taken, `OSError` if the file cannot be written, and `RuntimeError` if the cloud
        is already started.
        """
        if self._server is not None:
            raise RuntimeError("the embedded cloud is already started")
        grpc_handlers = [
            *self.pubsub_runtime.grpc_handlers(),
            DataprocGrpc(self.world, self.dataproc),
            NotebooksGrpc(self.world, self.notebooks),
            OperationsGrpc(self.world, self.dataproc, self.notebooks),
        ]
        server = Server(self.wsgi.respond, port=port, grpc_handlers=grpc_handlers)
        if token_folder is not None:
            try:
                self.token.write(token_folder)
            except OSError:
                server.stop()
                raise
        self._server = server
        server.start()
        for runtime in self._runtimes:
            runtime.start()

    def stop(self) -> None:
        """Stop all threads and processes; the world stays. Safe to call twice."""
        for runtime in reversed(self._runtimes):
            runtime.stop()
        if self._server is not None:
            self._server.stop()
            self._server = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
