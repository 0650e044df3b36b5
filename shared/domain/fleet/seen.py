"""The compact storage of one listing's instances, for a sweep that streams the records of a hundred thousand users.

Most values of an instance follow from its profile. So the shared values (the shape) are stored once, and each instance has
only its own values. Only fields that a sweep needs are stored: no times, no proxy address, and only the labels and
metadata keys that we own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol

from shared.domain.plan.plan import Policy
from shared.domain.things.catalog import Accelerator, Disk, ShieldedVm, VmImage
from shared.domain.things.identity import InstanceId, UserKey
from shared.domain.things.notebook import (
    LABEL_COST_CENTER,
    LABEL_MANAGED_BY,
    LABEL_USER,
    InstanceRef,
    Network,
    NotebookState,
    ObservedNotebook,
    labels_for,
    metadata_for,
)


class Seen(Protocol):
    """The port for looking up listed instances by zone and instance id."""

    def get(self, key: tuple[str, str], /) -> ObservedNotebook | None:
        """Return the instance; None if the listing has none under this key."""


class _Shape(NamedTuple):
    """The values that many instances share."""

    zone: str
    state: NotebookState
    machine_type: str
    labels: tuple[tuple[str, str], ...]
    metadata: tuple[tuple[str, str], ...]
    health: str
    has_public_ip: bool
    managed_euc: bool | None
    network: Network
    image: VmImage | None
    boot_disk: Disk | None
    data_disk: Disk | None
    accelerators: tuple[Accelerator, ...]
    shielded: ShieldedVm | None
    tags: tuple[str, ...]


class SeenNotebook(ObservedNotebook, frozen=True, kw_only=True):
    """An instance of a listing.

    Instances with the same `shape` differ at most in the id, the user's label, the owner, the service account and the VM.
    """

    shape: object


class Labelled(NamedTuple):
    """The labels of an instance that identify its owner."""

    ref: InstanceRef
    labels: Mapping[str, str]


class _Packed(NamedTuple):
    """An instance: its shape and its own values. `user` is the value of the user label, None without that label."""

    shape: _Shape
    user: str | None
    owners: tuple[str, ...] | None
    service_account: str
    vm: str


class Instances:
    """The instances of a listing, with the fields that a sweep under this policy needs."""

    def __init__(self, notebooks: Iterable[ObservedNotebook], policy: Policy) -> None:
        self._labels, self._metadata = _owned(policy)
        self._shapes: dict[_Shape, _Shape] = {}
        self._packed: dict[str, _Packed] = {}
        for notebook in notebooks:
            self._packed[f"{notebook.ref.zone}/{notebook.ref.instance_id}"] = self._pack(notebook)

    def __len__(self) -> int:
        """Return the number of instances."""
        return len(self._packed)

    def labelled(self) -> Iterator[Labelled]:
        """Yield all instances with the labels that identify their owner, in the order of the listing."""
        for name, packed in self._packed.items():
            zone, _, instance_id = name.partition("/")
            labels = {label: text for label, text in packed.shape.labels if label == LABEL_MANAGED_BY}
            if packed.user is not None:
                labels[LABEL_USER] = packed.user
            yield Labelled(InstanceRef(instance_id=InstanceId(instance_id), zone=zone), labels)

    def get(self, key: tuple[str, str], /) -> ObservedNotebook | None:
        """Return the instance of this zone and id; None if it was not listed."""
        name = f"{key[0]}/{key[1]}"
        packed = self._packed.get(name)
        return None if packed is None else _unpacked(name, packed)

    def _pack(self, seen: ObservedNotebook) -> _Packed:
        shape = _Shape(
            zone=seen.ref.zone,
            state=seen.state,
            machine_type=seen.machine_type,
            labels=_kept(seen.labels, self._labels),
            metadata=_kept(seen.metadata, self._metadata),
            health=seen.health,
            has_public_ip=seen.has_public_ip,
            managed_euc=seen.managed_euc,
            network=seen.network,
            image=seen.image,
            boot_disk=seen.boot_disk,
            data_disk=seen.data_disk,
            accelerators=seen.accelerators,
            shielded=seen.shielded,
            tags=seen.tags,
        )
        shape = self._shapes.setdefault(shape, shape)
        return _Packed(shape, seen.labels.get(LABEL_USER), seen.owners, seen.service_account, seen.gce_instance_id)


def _owned(policy: Policy) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of labels and metadata that any notebook should have, by this policy or by an earlier one.

    The user's own label is kept separately.
    """
    labels, metadata = {LABEL_MANAGED_BY, LABEL_COST_CENTER}, set[str]()
    for each in (policy, *policy.earlier):
        for profile in each.catalog.profiles.values():
            labels |= labels_for(profile, UserKey(""), "x").keys()
            metadata |= metadata_for(profile).keys()
    return tuple(sorted(labels - {LABEL_USER})), tuple(sorted(metadata))


def _kept(texts: Mapping[str, str], names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    return tuple([(name, texts[name]) for name in names if name in texts])


def _unpacked(name: str, packed: _Packed) -> SeenNotebook:
    shape, user, owners, service_account, vm = packed
    zone, _, instance_id = name.partition("/")
    labels = dict(shape.labels)
    if user is not None:
        labels[LABEL_USER] = user
    return SeenNotebook(
        shape=shape,
        ref=InstanceRef(instance_id=InstanceId(instance_id), zone=zone),
        state=shape.state,
        machine_type=shape.machine_type,
        labels=labels,
        metadata=dict(shape.metadata),
        health=shape.health,
        gce_instance_id=vm,
        has_public_ip=shape.has_public_ip,
        owners=owners,
        service_account=service_account,
        managed_euc=shape.managed_euc,
        network=shape.network,
        image=shape.image,
        boot_disk=shape.boot_disk,
        data_disk=shape.data_disk,
        accelerators=shape.accelerators,
        shielded=shape.shielded,
        tags=shape.tags,
    )
