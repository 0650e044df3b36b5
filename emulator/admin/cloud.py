"""The administrative APIs of Google around an embedded cloud, on a port of their own: the APIs that a deployment calls."""

from __future__ import annotations

import secrets
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

from emulator.admin.domains import Domains
from emulator.admin.door import Door
from emulator.admin.functions import Functions
from emulator.admin.ground import Ground
from emulator.admin.keys import Keys
from emulator.admin.logs import Logs
from emulator.admin.projects import Projects
from emulator.admin.proxy import Proxy
from emulator.admin.run import Run
from emulator.admin.secrets import Secrets
from emulator.admin.tables import Tables
from emulator.admin.watch import Watch
from emulator.model.machine_types import ZONES
from emulator.wire.http import HttpFront
from emulator.wire.server import Server

if TYPE_CHECKING:
    from types import TracebackType

    from emulator.app import EmbeddedCloud


class AdminServices:
    """The administrative services; the package's docstring is their manual.

    The caller starts `embedded`, and stops it after this one.
    """

    def __init__(
        self,
        embedded: EmbeddedCloud,
        *,
        project: str = "acme-analytics",
        number: str = "123456789012",
        organization: str | None = None,
        function_environment: dict[str, str] | None = None,
    ) -> None:
        self.embedded = embedded
        embedded.world.project = project
        embedded.world.project_number = number
        self.ground = Ground(embedded, project, number, organization)
        self.projects = Projects(self.ground)
        self.run = Run(self.ground)
        self.proxy = Proxy(self.ground, self.run)
        self.domains = Domains(self.ground, self.run)
        self._folder = tempfile.TemporaryDirectory(prefix="admin-cloud-")
        self.functions = Functions(
            self.ground, self.run, folder=Path(self._folder.name), environment=function_environment or {}
        )
        self.logs = Logs(self.ground)
        self.watch = Watch(self.ground, self.logs)
        self.tables = Tables(self.ground)
        self.keys = Keys(self.ground)
        self.secrets = Secrets(self.ground)
        services = (
            self.projects, self.run, self.functions, self.logs, self.watch, self.tables, self.keys, self.proxy, self.domains,
            self.secrets,
        )  # fmt: skip
        self.token = f"ya29.{secrets.token_urlsafe(24)}"
        handlers = {method: handler for service in services for method, handler in service.handlers().items()}
        door = Door(self.ground, keys=self.keys, handlers=handlers, uploads=self.functions.uploads, token=self.token)
        # `gcloud run` puts a region before the configured host.
        names = {f"{zone.rpartition('-')[0]}-127.0.0.1" for zone in ZONES}
        self._front = HttpFront(embedded.world, door.routes(), names=names)
        self._server: Server | None = None

    @property
    def url(self) -> str:
        """The URL `http://127.0.0.1:PORT`."""
        if self._server is None:
            raise RuntimeError("the administrative services are not started")
        return f"http://127.0.0.1:{self._server.port}"

    def endpoint(self, service: str) -> str:
        """Return the base URL of a service, for REST calls with the token: `<endpoint>v3/projects/...`."""
        return f"{self.url}/storage/v1/" if service == "storage" else f"{self.url}/{service}/"

    def start(self) -> None:
        """Start to serve."""
        if self._server is not None:
            raise RuntimeError("the administrative services are already started")
        self._server = Server(self._front.respond)
        self._server.start()

    def stop(self) -> None:
        """Stop serving; safe to call twice."""
        if self._server is not None:
            self._server.stop()
            self._server = None
        self._folder.cleanup()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
