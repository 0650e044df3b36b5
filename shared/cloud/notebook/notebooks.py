"""The adapter to Workbench instances through the Notebooks API v2.

Plain authorised REST. The official client 1.18.0 does not know managed end-user credentials, newer GPUs, the method
`restore`, and the field `unreachable`. It silently drops unknown fields, and its import costs a third of a second. Tests
compare its calls with those of this adapter (tests/adapters/test_oracles.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct
from msgspec.json import Decoder
from msgspec.structs import replace

from shared.cloud.http.clients import Clients
from shared.cloud.http.translate import from_operation
from shared.cloud.http.words import Service
from shared.cloud.notebook.instance_json import InstanceJson, instance_body, observed, observed_from, patch_body
from shared.domain.plan.plan import OperationSeen
from shared.domain.record.status import OperationRef, Verb
from shared.domain.things.errors import (
    BusyError,
    CloudUnavailableError,
    ConflictError,
    InvalidSpecError,
    NotOursError,
    PermanentError,
    Reason,
)
from shared.domain.things.identity import UserKey
from shared.domain.things.notebook import LABEL_USER as _LABEL_USER
from shared.domain.things.notebook import Absent, InstanceRef, NotebookSpec, ObservedNotebook, Patch, is_ours
from shared.domain.things.times import parse_time
from shared.engine.ports.deps import Clock
from shared.engine.ports.resources import NotebookListing

_PAGE = 500


class _Page(Struct):
    """A page of a listing."""

    instances: list[InstanceJson] = []
    unreachable: list[str] = []
    nextPageToken: str = ""  # noqa: N815 - as the API writes it


_PAGES = Decoder(_Page, strict=False)  # numbers come as texts


class WorkbenchNotebooks:
    """The adapter of the port `Notebooks`."""

    def __init__(self, clients: Clients, *, project: str, clock: Clock) -> None:
        self._clients = clients
        self._project = project
        self._clock = clock

    def get(self, ref: InstanceRef) -> ObservedNotebook | Absent:
        """Return the instance by one GET; `Absent` if there is none.

        This is plain REST, because the typed client has no field for the VM's numeric id.
        """
        raw = self._clients.json("notebooks").call_or_none("GET", f"/v2/{self._name(ref)}")
        return Absent() if raw is None else observed_from(raw)

    def listing(self) -> NotebookListing:
        """Return all pages as one listing."""
        pages = list(self.pages())
        return NotebookListing(
            tuple(notebook for page in pages for notebook in page.notebooks),
            frozenset[str]().union(*(page.unreachable for page in pages)),
        )

    def pages(self) -> Iterator[NotebookListing]:
        """Yield all pages over all zones. A zone in `unreachable` did not answer: an instance missing there may still exist."""
        token = ""
        while True:
            page = self._clients.json("notebooks").page(
                _PAGES,
                f"/v2/projects/{self._project}/locations/-/instances",
                params={"pageSize": _PAGE, **({"pageToken": token} if token else {})},
            )
            yield NotebookListing(
                tuple(map(observed, page.instances)), frozenset(name.rpartition("/")[2] for name in page.unreachable)
            )
            token = page.nextPageToken
            if not token:
                return

    def operation(self, ref: OperationRef) -> OperationSeen | Absent:
        """Return the operation with this name; `Absent` if Google no longer has it."""
        raw = self._clients.json("notebooks").call_or_none("GET", f"/v2/{ref.name}")
        if raw is None:
            return Absent()
        error = raw.get("error")
        return OperationSeen(
            ref=ref,
            done=bool(raw.get("done")),
            error=from_operation(error, f"{ref.verb.value} instance", service=Service.NOTEBOOKS) if error else None,
        )

    def latest_operation(self, ref: InstanceRef) -> OperationRef | None:
        """Return the newest operation on this instance; None if there is none.

        All operations of the zone are read, because the syntax of the API's filter is not documented.
        """
        path = f"/v2/projects/{self._project}/locations/{ref.zone}/operations"
        found: list[OperationRef] = []
        token = ""
        while True:
            page = self._clients.json("notebooks").call(
                "GET", path, params={"pageSize": _PAGE, **({"pageToken": token} if token else {})}
            )
            found += [
                self._operation_ref(raw)
                for raw in page.get("operations", [])
                if raw.get("metadata", {}).get("target") == self._name(ref)
            ]
            token = page.get("nextPageToken", "")
            if not token:
                return max(found, key=lambda operation: operation.started_at, default=None)

    def create(self, spec: NotebookSpec, zone: str, request_id: str) -> OperationRef | None:
        """Create the instance and return the operation. Return None if it exists and is ours; raise `NotOursError` if it is not ours."""
        ref = InstanceRef(instance_id=spec.instance_id, zone=zone)
        try:
            raw = self._clients.json("notebooks").call(
                "POST",
                f"/v2/projects/{self._project}/locations/{zone}/instances",
                params={"instanceId": spec.instance_id, "requestId": request_id},
                body=instance_body(spec),
            )
        except BusyError:
            raise
        except ConflictError as conflict:
            seen = self.get(ref)
            if isinstance(seen, ObservedNotebook) and is_ours(seen, UserKey(spec.labels[_LABEL_USER]), ""):
                return None
            if isinstance(seen, Absent):
                raise  # the instance was deleted between the two calls; the next pass observes the new state
            raise NotOursError(
                user_message=f"An instance named {spec.instance_id} exists in {zone} that Benchkeeper did not make. "
                "An administrator must rename or remove it.",
                detail=f"{zone}/{spec.instance_id} exists without our labels",
            ) from conflict
        except InvalidSpecError as error:
            if not spec.service_account or not error.names_account:
                raise
            # IAM is eventually consistent: a new account may be refused as unknown.
            raise CloudUnavailableError(
                user_message="Google Cloud does not know this person's new service account everywhere yet; Benchkeeper tries again.",
                detail=error.detail,
            ) from error
        return self._operation_ref(raw)

    def start(self, ref: InstanceRef) -> OperationRef | None:
        """Start the instance and return the operation, never None."""
        return self._started(f"/v2/{self._name(ref)}:start", Verb.START, what=f"start {ref.instance_id}")

    def stop(self, ref: InstanceRef) -> OperationRef | None:
        """Stop the instance and return the operation; None if the instance is missing."""
        path = f"/v2/{self._name(ref)}:stop"
        return self._started(path, Verb.STOP, what=f"stop {ref.instance_id}", missing_is_done=True)

    def reset(self, ref: InstanceRef) -> OperationRef | None:
        """Restart the instance and return the operation, never None."""
        return self._started(f"/v2/{self._name(ref)}:reset", Verb.RESET, what=f"reset {ref.instance_id}")

    def resize(self, ref: InstanceRef, disk: str, size_gb: int) -> OperationRef | None:
        """Make a disk larger and return the operation, never None; `disk` is "boot" or "data"."""
        raw = self._clients.json("notebooks").call(
            "POST",
            f"/v2/{self._name(ref)}:resizeDisk",
            body={f"{disk}Disk": {"diskSizeGb": str(size_gb)}},
            what=f"resize the {disk} disk of {ref.instance_id}",
        )
        return self._begun(raw, Verb.RESIZE)

    def delete(self, ref: InstanceRef, request_id: str) -> OperationRef | None:
        """Delete the instance with its disks and return the operation; None if the instance is missing."""
        raw = self._clients.json("notebooks").call_or_none(
            "DELETE", f"/v2/{self._name(ref)}", params={"requestId": request_id}, what=f"delete {ref.instance_id}"
        )
        return None if raw is None else self._begun(raw, Verb.DELETE)

    def update(self, ref: InstanceRef, patch: Patch, request_id: str) -> OperationRef | None:
        """Patch exactly these fields and return the operation; None if the patch is empty.

        The API merges maps, and an empty text removes a key.
        """
        body, mask = patch_body(patch)
        if not mask:
            return None
        raw = self._clients.json("notebooks").call(
            "PATCH",
            f"/v2/{self._name(ref)}",
            params={"updateMask": ",".join(mask), "requestId": request_id},
            body=body,
        )
        return self._operation_ref(raw)

    def restore(self, ref: InstanceRef, snapshot: str) -> OperationRef | None:
        """Restore the data disk and return the operation, never None.

        The API deletes the disk and makes a new one from the snapshot. The call has no request id. Raise `PermanentError` if the instance or
        the snapshot is missing.
        """
        raw = self._clients.json("notebooks").call_or_none(
            "POST",
            f"/v2/{self._name(ref)}:restore",
            body={"snapshot": {"projectId": self._project, "snapshotId": snapshot}},
        )
        if raw is None:
            raise PermanentError(
                user_message=f"The files cannot be restored: the snapshot {snapshot} or its notebook does not exist. "
                "An administrator must find out why.",
                detail=f"restore {ref.zone}/{ref.instance_id} from {snapshot}: one of them is not there",
                reason=Reason.DATA_MISSING,
            )
        return self._operation_ref(raw)

    def _name(self, ref: InstanceRef) -> str:
        return f"projects/{self._project}/locations/{ref.zone}/instances/{ref.instance_id}"

    def _operation_ref(self, raw: dict[str, Any]) -> OperationRef:
        metadata = raw.get("metadata", {})
        return OperationRef(
            name=str(raw["name"]),
            verb=_verb(str(metadata.get("verb", "create"))),
            started_at=parse_time(metadata["createTime"]) if metadata.get("createTime") else self._clock.now(),
        )

    def _started(self, path: str, verb: Verb, *, what: str, missing_is_done: bool = False) -> OperationRef | None:
        """Send a custom method without arguments and return the operation; None for a missing instance if `missing_is_done`."""
        ask = self._clients.json("notebooks")
        raw = (ask.call_or_none if missing_is_done else ask.call)("POST", path, body={}, what=what)
        return None if raw is None else self._begun(raw, verb)

    def _begun(self, raw: dict[str, Any], verb: Verb) -> OperationRef:
        return replace(self._operation_ref(raw), verb=verb)


def _verb(text: str) -> Verb:
    try:
        return Verb(text)
    except ValueError:
        return (
            Verb.UPDATE
        )  # an upgrade or a rollback, started from outside: Benchkeeper waits for its end as for an update
