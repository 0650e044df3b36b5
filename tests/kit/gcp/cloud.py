"""The admin cloud: Google's administrative APIs around an embedded cloud, on one port of 127.0.0.1."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from emulator.wire.server import Server
from tests.kit.gcp import sdk
from tests.kit.gcp.accounts import Accounts
from tests.kit.gcp.domains import Domains
from tests.kit.gcp.front import FORWARDED, MODELLED, Front
from tests.kit.gcp.functions import Functions
from tests.kit.gcp.ground import Ground
from tests.kit.gcp.keys import Keys
from tests.kit.gcp.logs import Logs
from tests.kit.gcp.projects import Projects
from tests.kit.gcp.proxy import Proxy
from tests.kit.gcp.roles import Roles
from tests.kit.gcp.run import Run
from tests.kit.gcp.snapshot import snapshot
from tests.kit.gcp.tables import Tables
from tests.kit.gcp.warm import warm_path
from tests.kit.gcp.watch import Watch

if TYPE_CHECKING:
    from types import TracebackType

    from emulator.app import EmbeddedCloud
    from emulator.errors import ApiError
    from tests.kit.gcp.journal import Row


class UnfiredFaultsError(AssertionError):
    """A test scripted a fault that never happened: it did not test what it says."""


class AdminCloud:
    """See the package's docstring, its manual. `embedded` is started and stopped by the caller, after this one is stopped."""

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
        self.roles = Roles(self.ground)
        self.accounts = Accounts(self.ground, self.roles)
        self.projects = Projects(self.ground, self.roles)
        self.accounts.on_delete.append(self.projects.policy)
        self.run = Run(self.ground, self.roles)
        self.proxy = Proxy(self.ground, self.roles, self.run)
        self.domains = Domains(self.ground, self.run)
        self._folder = tempfile.TemporaryDirectory(prefix="admin-cloud-")
        self.functions = Functions(
            self.ground, self.run, folder=Path(self._folder.name), environment=function_environment or {}
        )
        self.logs = Logs(self.ground)
        self.watch = Watch(self.ground, self.logs)
        self.tables = Tables(self.ground)
        self.keys = Keys(self.ground, self.roles)
        services = (
            self.roles, self.accounts, self.projects, self.run, self.functions, self.logs, self.watch, self.tables, self.keys,
            self.proxy, self.domains,
        )  # fmt: skip
        self.token = f"ya29.{secrets.token_urlsafe(24)}"
        handlers = {method: handler for service in services for method, handler in service.handlers().items()}
        self._front = Front(
            self.ground,
            roles=self.roles,
            keys=self.keys,
            handlers=handlers,
            uploads=self.functions.uploads,
            token=self.token,
        )
        self._server: Server | None = None

    # ---- where it is

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`."""
        if self._server is None:
            raise RuntimeError("the admin cloud is not started")
        return f"http://127.0.0.1:{self._server.port}"

    def endpoint(self, service: str) -> str:
        """The base URL of a service, for REST calls with the token: `<endpoint>v3/projects/...`."""
        return f"{self.url}/storage/v1/" if service == "storage" else f"{self.url}/{service}/"

    def environment(self, folder: Path, *, warm: bool = True) -> dict[str, str]:
        """All that a child process needs for its gcloud to reach this cloud and no other; `folder` is to be fresh.

        With `warm` the PATH begins with a gcloud that starts fast (see `warm`); it is the real one all the same.
        """
        folder.mkdir(parents=True, exist_ok=True)
        token = folder / "access-token"
        token.write_text(self.token)
        overrides = {
            f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{service.upper()}": self.endpoint(service)
            for service in (*MODELLED, *FORWARDED, "storage")
        }
        # Everything goes through a proxy, which is this server too: what has no override is refused instead of leaving the
        # machine, and `gcloud run`, which puts a region before the override's host, needs no name service.
        environment = sdk.plain_environment(
            HOME=str(folder),
            CLOUDSDK_PROXY_TYPE="http",
            CLOUDSDK_PROXY_ADDRESS="127.0.0.1",
            CLOUDSDK_PROXY_PORT=self.url.rpartition(":")[2],
            CLOUDSDK_CONFIG=str(folder / "gcloud"),
            CLOUDSDK_AUTH_ACCESS_TOKEN_FILE=str(token),
            CLOUDSDK_CORE_DISABLE_PROMPTS="1",
            CLOUDSDK_CORE_DISABLE_USAGE_REPORTING="true",
            CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK="true",
            **overrides,
        )
        first = warm_path() if warm else None
        return environment | ({"PATH": f"{first}{os.pathsep}{environment['PATH']}"} if first else {})

    def gcloud(self, folder: Path, *, warm: bool = True) -> sdk.Gcloud:
        """The real gcloud, pointed at this cloud."""
        return sdk.Gcloud(self.environment(folder, warm=warm), folder)

    # ---- what was called, what shall fail, what is there

    @property
    def journal(self) -> list[Row]:
        """Every call, in order."""
        return self._front.journal

    def writes(self) -> list[Row]:
        """The calls that asked for a change and got it."""
        return [row for row in self.journal if row.mutates and row.status < 400]

    @property
    def propagation(self) -> int:
        """How many first uses of a new account or API are refused."""
        return self.ground.propagation

    @propagation.setter
    def propagation(self, calls: int) -> None:
        self.ground.propagation = calls

    @property
    def billing(self) -> bool:
        """Whether the project has a billing account."""
        return self.ground.billing

    @billing.setter
    def billing(self, on: bool) -> None:
        self.ground.billing = on

    def fail(
        self, match: tuple[str, str], error: ApiError, *, times: int | None = 1, skip: int = 0, after: bool = False
    ) -> None:
        """Refuse the next `times` calls of `(service, regular expression for "VERB path")`, `skip` of them let through first.

        `times` None is from then on always (gcloud tries some calls again); it has to happen once. With `after` the call is
        carried out and only its answer is lost.
        """
        self._front.faults.add(error, match, skip=skip, times=times, after=after)

    def fail_call(self, number: int, error: ApiError, *, after: bool = False) -> None:
        """Refuse the `number`th call from now on that asks for a change (1 = the next one)."""
        self._front.faults.add(error, None, skip=number - 1, times=1, after=after)

    def unfired(self) -> list[str]:
        """The scripted faults that did not happen, in words."""
        return self._front.faults.unfired()

    def state(self) -> dict[str, Any]:
        """Everything that exists, as plain data without times, etags and numbers that differ between two equal worlds."""
        return snapshot(self)

    # ---- life

    def start(self) -> None:
        """Serve."""
        if self._server is not None:
            raise RuntimeError("the admin cloud is already started")
        self._server = Server(self._front)
        self._server.start()

    def stop(self) -> None:
        """End it; safe to call twice."""
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
        if kind is None and self.unfired():
            raise UnfiredFaultsError("; ".join(self.unfired()))
