"""The embedded cloud's administrative services, as tests use them: with the real gcloud, scripted faults, and rows to look at."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emulator.admin.cloud import AdminServices
from emulator.admin.door import SERVICES
from emulator.faults import Fault
from tests.kit.gcp import sdk
from tests.kit.gcp.snapshot import snapshot
from tests.kit.gcp.warm import warm_path

if TYPE_CHECKING:
    from types import TracebackType

    from emulator.errors import ApiError


class UnfiredFaultsError(AssertionError):
    """A test scripted a fault that never happened: it did not test what it says."""


@dataclass(frozen=True, slots=True)
class Row:
    """One call: `path` without the service's prefix and query; `command` is gcloud's (`gcloud.pubsub.topics.create`)."""

    service: str
    verb: str
    path: str
    status: int
    command: str
    mutates: bool


class AdminCloud(AdminServices):
    """See the package's docstring, its manual."""

    def environment(self, folder: Path, *, warm: bool = True) -> dict[str, str]:
        """All that a child process needs for its gcloud to reach this cloud and no other; `folder` is to be fresh.

        With `warm` the PATH begins with a gcloud that starts fast (see `warm`); it is the real one all the same.
        """
        folder.mkdir(parents=True, exist_ok=True)
        token = folder / "access-token"
        token.write_text(self.token)
        overrides = {
            f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{service.upper()}": self.endpoint(service)
            for service in (*SERVICES, "storage")
        }
        overrides["CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE"] = f"{self.embedded.url}/compute/v1/"
        # Everything goes through a proxy, which is this server too: what has no override is refused instead of leaving the
        # machine, and `gcloud run`, which puts a region before the override's host, needs no name service.
        environment = sdk.plain_environment(
            HOME=str(folder),
            CLOUDSDK_PROXY_TYPE="http",
            CLOUDSDK_PROXY_ADDRESS="127.0.0.1",
            CLOUDSDK_PROXY_PORT=self.url.rpartition(":")[2],
            CLOUDSDK_CONFIG=str(folder / "gcloud"),
            CLOUDSDK_AUTH_ACCESS_TOKEN_FILE=str(token),
            CLOUDSDK_CORE_DISABLE_FILE_LOGGING="true",
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
        rows = self.embedded.world.journal.listing(mutating_only=False)
        return [
            Row(
                service=row["method"].partition(".")[0],
                verb=row["resource"].partition(" ")[0],
                path=row["resource"].partition(" ")[2],
                status=row["status"],
                command=row["principal"],
                mutates=row["mutates"],
            )
            for row in rows
            if row["service"] == "admin"
        ]

    def writes(self) -> list[Row]:
        """The calls that asked for a change and got it."""
        return [row for row in self.journal if row.mutates and row.status < 400]

    def fail(
        self, match: tuple[str, str], error: ApiError, *, times: int | None = 1, skip: int = 0, after: bool = False
    ) -> None:
        """Refuse the next `times` calls of `(service, glob for "VERB path")`, `skip` of them let through first.

        `times` None is from then on always (gcloud tries some calls again); it has to happen once. With `after` the call is
        carried out and only its answer is lost.
        """
        service, resource = match
        self._fail(f"admin.{service}.*", resource, error, times=times or 0, skip=skip, after=after)

    def fail_call(self, number: int, error: ApiError, *, after: bool = False) -> None:
        """Refuse the `number`th call from now on that asks for a change (1 = the next one)."""
        self._fail("admin.*.write", "*", error, times=1, skip=number - 1, after=after)

    def _fail(self, call: str, resource: str, error: ApiError, *, times: int, skip: int, after: bool) -> None:
        said = {
            "code": error.code, "message": error.message, "http_status": error.http_status, "reason": error.reason,
            "details": error.details,
        }  # fmt: skip
        phase = "after" if after else "before"
        self.embedded.world.faults.add(Fault(call, resource, times, skip, phase, error=said))

    def unfired(self) -> list[str]:
        """The scripted faults that did not happen, in words."""
        return [str(row) for row in self.embedded.world.faults.unfired()]

    def state(self) -> dict[str, Any]:
        """Everything that exists, as plain data without times, etags and numbers that differ between two equal worlds."""
        return snapshot(self)

    # ---- life

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        if kind is None and self.unfired():
            raise UnfiredFaultsError("; ".join(self.unfired()))
