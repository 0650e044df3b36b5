"""Workbench instances through the Notebooks API v2.

The official client over REST where it knows the fields; plain authorised REST where it does not: creating (managed end-user
credentials) and listing (the VM's numeric id, `unreachable`). Facts: the client 1.18.0 drops unknown fields silently.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.api_core.exceptions import NotFound

from shared.cloud.clients import Clients
from shared.cloud.translate import from_operation, translated
from shared.domain.catalog import Identity
from shared.domain.errors import BusyError, ConflictError, NotOursError
from shared.domain.identity import InstanceId, UserKey
from shared.domain.notebook import LABEL_USER as _LABEL_USER
from shared.domain.notebook import (
    Absent,
    InstanceRef,
    NotebookSpec,
    NotebookState,
    ObservedNotebook,
    is_ours,
)
from shared.domain.plan import OperationSeen
from shared.domain.record import OperationRef, Verb
from shared.domain.times import parse_time
from shared.engine.ports import Clock, NotebookListing

_PAGE = 500


class WorkbenchNotebooks:
    """The port `Notebooks`."""

    def __init__(self, clients: Clients, *, project: str, clock: Clock) -> None:
        self._clients = clients
        self._project = project
        self._clock = clock

    def get(self, ref: InstanceRef) -> ObservedNotebook | Absent:
        """One GET. Plain REST: the typed client has no field for the VM's numeric id."""
        raw = self._clients.json("notebooks").call_or_none("GET", f"/v2/{self._name(ref)}")
        return Absent() if raw is None else observed_from(raw)

    def listing(self) -> NotebookListing:
        """All pages over all zones. A zone in `unreachable` was not asked: absence there means nothing."""
        notebooks: list[ObservedNotebook] = []
        unreachable: set[str] = set()
        token = ""
        while True:
            page = self._clients.json("notebooks").call(
                "GET",
                f"/v2/projects/{self._project}/locations/-/instances",
                params={"pageSize": _PAGE, **({"pageToken": token} if token else {})},
            )
            notebooks += [observed_from(raw) for raw in page.get("instances", [])]
            unreachable |= {str(name).rpartition("/")[2] for name in page.get("unreachable", [])}
            token = page.get("nextPageToken", "")
            if not token:
                return NotebookListing(tuple(notebooks), frozenset(unreachable))

    def operation(self, ref: OperationRef) -> OperationSeen | Absent:
        """An operation by name; absent when Google has forgotten it."""
        raw = self._clients.json("notebooks").call_or_none("GET", f"/v2/{ref.name}")
        if raw is None:
            return Absent()
        error = raw.get("error")
        return OperationSeen(
            ref=ref,
            done=bool(raw.get("done")),
            error=from_operation(error, f"{ref.verb.value} instance") if error else None,
        )

    def latest_operation(self, ref: InstanceRef) -> OperationRef | None:
        """The newest operation whose target is this instance. The filter's syntax is not documented, so it is done here."""
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
        """Create means ensure: there already and ours is success; not ours raises `NotOursError`."""
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
                raise  # it went away between the two calls; the next pass sees what is there
            raise NotOursError(
                user_message=f"An instance named {spec.instance_id} exists in {zone} that Benchkeeper did not make. "
                "An administrator must rename or remove it.",
                detail=f"{zone}/{spec.instance_id} exists without our labels",
            ) from conflict
        return self._operation_ref(raw)

    def start(self, ref: InstanceRef) -> OperationRef | None:
        """Start a stopped instance."""
        with translated(f"start {ref.instance_id}"):
            return self._started(
                self._clients.notebooks().start_instance(request={"name": self._name(ref)}), Verb.START
            )

    def stop(self, ref: InstanceRef) -> OperationRef | None:
        """Stop; an instance that is gone is stopped."""
        with translated(f"stop {ref.instance_id}"):
            try:
                future = self._clients.notebooks().stop_instance(request={"name": self._name(ref)})
            except NotFound:
                return None
            return self._started(future, Verb.STOP)

    def delete(self, ref: InstanceRef, request_id: str) -> OperationRef | None:
        """Delete with its disks; gone already is done."""
        with translated(f"delete {ref.instance_id}"):
            try:
                future = self._clients.notebooks().delete_instance(
                    request={"name": self._name(ref), "request_id": request_id}
                )
            except NotFound:
                return None
            return self._started(future, Verb.DELETE)

    def update(
        self,
        ref: InstanceRef,
        *,
        labels: Mapping[str, str],
        metadata: Mapping[str, str],
        machine_type: str | None,
        request_id: str,
    ) -> OperationRef | None:
        """Patch exactly these; the API merges maps, and an empty text removes a key. `gce_setup` alone is no valid mask."""
        setup: dict[str, Any] = {}
        mask = []
        if labels:
            mask.append("labels")
        if metadata:
            mask.append("gce_setup.metadata")
            setup["metadata"] = dict(metadata)
        if machine_type is not None:
            mask.append("gce_setup.machine_type")
            setup["machine_type"] = machine_type
        instance: dict[str, Any] = {"name": self._name(ref), "labels": dict(labels)}
        if setup:
            instance["gce_setup"] = setup
        with translated(f"update {ref.instance_id}"):
            future = self._clients.notebooks().update_instance(
                request={"instance": instance, "update_mask": {"paths": mask}, "request_id": request_id}
            )
            return self._started(future, Verb.UPDATE)

    def _name(self, ref: InstanceRef) -> str:
        return f"projects/{self._project}/locations/{ref.zone}/instances/{ref.instance_id}"

    def _operation_ref(self, raw: dict[str, Any]) -> OperationRef:
        metadata = raw.get("metadata", {})
        return OperationRef(
            name=str(raw["name"]),
            verb=_verb(str(metadata.get("verb", "create"))),
            started_at=parse_time(metadata["createTime"]) if metadata.get("createTime") else self._clock.now(),
        )

    def _started(self, future: Any, verb: Verb) -> OperationRef:
        """The reference of the client's operation future; nobody waits on it here."""
        return OperationRef(name=str(future.operation.name), verb=verb, started_at=self._clock.now())


def _verb(text: str) -> Verb:
    try:
        return Verb(text)
    except ValueError:
        return Verb.UPDATE  # reset, upgrade, rollback: somebody else's, waited for like an update


def instance_body(spec: NotebookSpec) -> dict[str, Any]:
    """The create request's JSON. The API's own defaults are a public IP and a shared service account; ours are neither."""
    setup: dict[str, Any] = {
        "machineType": spec.machine_type,
        "vmImage": {
            "project": spec.image.project,
            **({"family": spec.image.family} if spec.image.family is not None else {"name": spec.image.name}),
        },
        "bootDisk": {"diskSizeGb": str(spec.boot_disk.size_gb), "diskType": spec.boot_disk.type},
        "dataDisks": [{"diskSizeGb": str(spec.data_disk.size_gb), "diskType": spec.data_disk.type}],
        "shieldedInstanceConfig": {
            "enableSecureBoot": spec.shielded.secure_boot,
            "enableVtpm": spec.shielded.vtpm,
            "enableIntegrityMonitoring": spec.shielded.integrity_monitoring,
        },
        "disablePublicIp": True,
        "metadata": dict(spec.metadata),
    }
    if spec.accelerator is not None:
        setup["acceleratorConfigs"] = [{"type": spec.accelerator.type, "coreCount": str(spec.accelerator.count)}]
        setup["gpuDriverConfig"] = {"enableGpuDriver": True}
    if spec.network.network or spec.network.subnet:
        setup["networkInterfaces"] = [{"network": spec.network.network, "subnet": spec.network.subnet}]
    if spec.tags:
        setup["tags"] = list(spec.tags)
    body: dict[str, Any] = {"instanceOwners": [spec.owner], "labels": dict(spec.labels), "gceSetup": setup}
    match spec.identity:
        case Identity.END_USER_CREDENTIALS:
            body["enableManagedEuc"] = True
        case Identity.PERSONAL_SERVICE_ACCOUNT:
            raise NotOursError(
                user_message="identity: personal-service-account is not built in this version.",
                detail="personal-service-account asked for",
            )
    return body


def observed_from(raw: dict[str, Any]) -> ObservedNotebook:
    """An instance's JSON in the domain's words. `updateTime` moves with health reports and says nothing about use."""
    parts = str(raw["name"]).split("/")
    setup = raw.get("gceSetup", {})
    interfaces = setup.get("networkInterfaces", [])
    return ObservedNotebook(
        ref=InstanceRef(instance_id=InstanceId(parts[5]), zone=parts[3]),
        state=_state(str(raw.get("state", ""))),
        machine_type=str(setup.get("machineType", "")).rpartition("/")[2],
        labels=dict(raw.get("labels", {})),
        metadata=dict(setup.get("metadata", {})),
        proxy_uri=str(raw.get("proxyUri", "")),
        health=str(raw.get("healthState", "")),
        gce_instance_id=str(setup.get("instanceId", "")),
        uid=str(raw.get("id", "")),
        create_time=parse_time(raw["createTime"]) if raw.get("createTime") else None,
        has_public_ip=any(interface.get("accessConfigs") for interface in interfaces),
    )


def _state(text: str) -> NotebookState:
    try:
        return NotebookState(text)
    except ValueError:
        return NotebookState.UNSPECIFIED  # a state newer than this product: treated as "in transition"
