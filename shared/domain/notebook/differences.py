"""The differences between an observed and a wanted instance, and the kind of change that each difference needs.

Only fields that we own count: Google writes dozens of labels and metadata keys of its own.
docs/platform-facts.md#27-what-a-patch-may-change lists the fields that can be patched always, only while stopped, or
never. The module also plans two changes without a patch, a stop or a replacement: a requested restart, and larger disks.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from shared.domain.notebook.actions import ResetInstance, ResizeDisk
from shared.domain.plan.plan import Policy
from shared.domain.plan.step import VERB_TEXT, Step
from shared.domain.record.record import UserRecord
from shared.domain.record.status import ConditionStatus, Verb
from shared.domain.things.catalog import Disk, Identity, VmImage
from shared.domain.things.errors import Reason
from shared.domain.things.late import late
from shared.domain.things.notebook import LABEL_COST_CENTER, NotebookSpec, NotebookState, ObservedNotebook, Patch

OWNER = "owner"
# Metadata that the API takes only while the instance is stopped (docs/platform-facts.md#27-what-a-patch-may-change).
STOPPED_ONLY_METADATA = frozenset(
    {
        "disable-mixer",
        "notebook-disable-terminal",
        "notebook-disable-downloads",
        "notebook-disable-nbconvert",
        "notebook-disable-root",
        "enable-jupyterlab4",
    }
)


class Change(StrEnum):
    """The kind of change that removes a difference."""

    PATCH = "patch in place"
    GROW = "a larger disk"
    RESTART = "stop, patch, start"
    REPLACE = "replace, files kept"
    LEFT = "left: it was made so and reads otherwise"


class Difference(Struct, frozen=True, kw_only=True):
    """A property of an instance whose value differs from the wanted value."""

    what: str
    have: str
    want: str
    change: Change

    def __str__(self) -> str:
        """Return the difference for people: the property, the present and the wanted value, and the kind of change."""
        return f"{self.what} {self.have or 'nothing'} to {self.want or 'nothing'} ({self.change.value})"


class Differences(Struct, frozen=True, kw_only=True):
    """The differences of an instance from its wanted spec, and the patches that remove them.

    `patch` can be sent in any state, `patch_at_rest` needs a stopped instance.

    `held` are the differences that wait for the user's turn in a rollout; `items` and the patches do not contain them.
    """

    items: tuple[Difference, ...]
    patch: Patch
    patch_at_rest: Patch
    held: tuple[Difference, ...] = ()

    def of(self, change: Change) -> tuple[Difference, ...]:
        """Return the differences that need this kind of change."""
        return tuple([item for item in self.items if item.change is change]) if self.items else ()

    @property
    def disruptive(self) -> tuple[Difference, ...]:
        """Return the differences for which the instance must be stopped."""
        return self.of(Change.RESTART) + self.of(Change.REPLACE) if self.items else ()

    def without_disruptive(self) -> Differences:
        """Return the differences that can be removed before the user's turn. Disruptive differences become `held`."""
        rest = tuple(item for item in self.items if item not in self.disruptive)
        return Differences(items=rest, patch=self.patch, patch_at_rest=Patch(), held=self.disruptive)


NO_DIFFERENCES = Differences(items=(), patch=Patch(), patch_at_rest=Patch())


def say(items: tuple[Difference, ...]) -> str:
    """Return the differences in words, as a list with semicolons."""
    return "; ".join(str(item) for item in items)


def digest(items: tuple[Difference, ...]) -> str:
    """Return a digest over the names and wanted values of the differing properties; "" for no differences.

    The present values do not change the digest.
    """
    if not items:
        return ""
    wanted = json.dumps(sorted([item.what, item.want] for item in items))
    return hashlib.sha256(wanted.encode()).hexdigest()[:16]


def is_refused(items: tuple[Difference, ...], remembered: str) -> bool:
    """Return True if the cloud refused exactly these changes. `remembered` is the digest of refused changes, "" for none."""
    return bool(items and remembered) and remembered in {digest(items), _as_once_remembered(items)}


def _as_once_remembered(items: tuple[Difference, ...]) -> str:
    """Return the text by which records of versions before 0.2 remember refused changes. The format must never change."""
    how = {Change.RESTART: "stop, patch, start", Change.REPLACE: "replace, files kept"}
    kept = [(item.what, item.have or "nothing", item.want or "nothing", how.get(item.change, "")) for item in items]
    return "; ".join(f"{what} {have} to {want} ({change})" for what, have, want, change in kept)


def compare(seen: ObservedNotebook, spec: NotebookSpec, built_from: Mapping[str, str]) -> Differences:
    """Return the differences between the observed instance `seen` and the wanted `spec`.

    `built_from` are the immutable properties with which the instance was created (see `immutables`), empty if unknown.
    """
    found: list[Difference] = []
    now, at_rest = _maps(seen, spec, found)
    missing = [tag for tag in spec.tags if tag not in seen.tags]
    if missing:
        found.append(_difference("network tags", "", ", ".join(missing), Change.PATCH))
        now = replace(now, tags=(*seen.tags, *missing))
    if seen.has_public_ip:
        found.append(_difference("public IP", "one", "none", Change.PATCH))
        now = replace(now, disable_public_ip=True)
    at_rest = _machine(seen, spec, at_rest, found)
    found += _immutable(seen, spec, built_from)
    return Differences(items=tuple(found), patch=now, patch_at_rest=at_rest)


def _maps(seen: ObservedNotebook, spec: NotebookSpec, found: list[Difference]) -> tuple[Patch, Patch]:
    """Return the patches of labels and metadata: for now, and for a stopped instance. Append the differences to `found`.

    The only key that we remove is a cost-center label that is no longer wanted.
    """
    labels = {name: value for name, value in spec.labels.items() if seen.labels.get(name) != value}
    if LABEL_COST_CENTER in seen.labels and LABEL_COST_CENTER not in spec.labels:
        labels[LABEL_COST_CENTER] = ""
    found += [_difference(f"label {k}", seen.labels.get(k, ""), v, Change.PATCH) for k, v in sorted(labels.items())]
    metadata = {name: value for name, value in spec.metadata.items() if seen.metadata.get(name, "") != value}
    for name, value in sorted(metadata.items()):
        how = Change.RESTART if name in STOPPED_ONLY_METADATA else Change.PATCH
        found.append(_difference(f"metadata {name}", seen.metadata.get(name, ""), value, how))
    return (
        Patch(labels=labels, metadata={k: v for k, v in metadata.items() if k not in STOPPED_ONLY_METADATA}),
        Patch(metadata={k: v for k, v in metadata.items() if k in STOPPED_ONLY_METADATA}),
    )


def _machine(seen: ObservedNotebook, spec: NotebookSpec, at_rest: Patch, found: list[Difference]) -> Patch:
    if seen.machine_type != spec.machine_type:
        found.append(_difference("machine type", seen.machine_type, spec.machine_type, Change.RESTART))
        at_rest = replace(at_rest, machine_type=spec.machine_type)
    wanted = (spec.accelerator,) if spec.accelerator is not None else ()
    if seen.accelerators != wanted:
        have, want = (", ".join(f"{a.count} x {a.type}" for a in each) for each in (seen.accelerators, wanted))
        found.append(_difference("accelerators", have, want, Change.RESTART))
        at_rest = replace(at_rest, accelerators=wanted)
    if seen.shielded is not None and seen.shielded != spec.shielded:
        found.append(_difference("shielded VM", str(seen.shielded), str(spec.shielded), Change.RESTART))
        at_rest = replace(at_rest, shielded=spec.shielded)
    return at_rest


def immutables(spec: NotebookSpec) -> dict[str, str]:
    """Return the properties that can only be set at creation, as texts that can be compared.

    An empty text stands for any value.
    """
    return {
        OWNER: spec.owner,
        "identity": _identity(managed_euc=spec.identity is Identity.END_USER_CREDENTIALS, account=spec.service_account),
        "network": spec.network.network,
        "subnetwork": spec.network.subnet,
        "image": _image(spec.image),
        "boot disk": _disk(spec.boot_disk),
        "data disk": _disk(spec.data_disk),
    }


def size_of(disk: str) -> int:
    """Return the size in GB from the text of a disk that `_disk` wrote."""
    return int(disk.rsplit(" ", 2)[1])


def _immutable(seen: ObservedNotebook, spec: NotebookSpec, built_from: Mapping[str, str]) -> list[Difference]:
    """Return the differences in properties that can only be set at creation.

    A property that was created with the wanted value causes no replacement, even if another value is read now. Otherwise the
    replacements would never end.
    """
    found = []
    readings = _readings(seen, spec)
    for what, want in immutables(spec).items():
        built, reading = built_from.get(what), readings[what]
        have = reading if reading is not None else built
        if not want or have is None or have == want:
            continue
        change = Change.LEFT if built == want else Change.GROW if grows(have, want) else Change.REPLACE
        found.append(_difference(what, have, want, change))
    return found


def grows(have: str, want: str) -> bool:
    """Return True if both texts are disks of the same type, and the wanted disk is larger."""
    before, after = _DISK.fullmatch(have), _DISK.fullmatch(want)
    return before is not None and after is not None and before[1] == after[1] and int(before[2]) < int(after[2])


def _readings(seen: ObservedNotebook, spec: NotebookSpec) -> dict[str, str | None]:
    """Return the immutable properties of the observed instance, as texts like `immutables`; None for an unknown property."""
    identity = None
    if seen.managed_euc:
        identity = _identity(managed_euc=True, account="")
    elif seen.service_account and (seen.managed_euc is False or spec.identity is not Identity.END_USER_CREDENTIALS):
        identity = _identity(managed_euc=False, account=seen.service_account)
    same_kind = seen.image is not None and (seen.image.family is None) == (spec.image.family is None)
    return {
        OWNER: None if seen.owners is None else ", ".join(owner.lower() for owner in seen.owners),
        "identity": identity,
        "network": seen.network.network or None,
        "subnetwork": seen.network.subnet or None,
        "image": _image(seen.image) if seen.image is not None and same_kind else None,
        "boot disk": _enough(seen.boot_disk, spec.boot_disk),
        "data disk": _enough(seen.data_disk, spec.data_disk),
    }


def _identity(*, managed_euc: bool, account: str) -> str:
    return Identity.END_USER_CREDENTIALS.value if managed_euc else f"service account {account}"


def _image(image: VmImage) -> str:
    return f"{image.project}/{image.family or image.name}"


def _enough(have: Disk | None, want: Disk) -> str | None:
    """Return the disk as a text, or the wanted disk's text if the type is equal and the size sufficient.

    Return None if the disk was not read. A larger disk counts as the wanted disk, because a disk is never made smaller.
    """
    if have is None:
        return None
    return _disk(want if have.type == want.type and have.size_gb >= want.size_gb else have)


_DISK = late(lambda: re.compile(r"(\w+) of (\d+) GB"))  # as `_disk` writes it


def _disk(disk: Disk) -> str:
    return f"{disk.type} of {disk.size_gb} GB"


def _difference(what: str, have: str, want: str, change: Change) -> Difference:
    return Difference(what=what, have=have, want=want, change=change)


# A restart that could not be sent by then is not wanted any more: the user has found another way, or started it anew.
RESTART_LAPSES = timedelta(hours=1)
DISKS = {"boot disk": "boot", "data disk": "data"}  # the differences that can grow, and the API's names


def restart_step(record: UserRecord, notebook: ObservedNotebook, policy: Policy, now: datetime) -> Step | None:
    """Return the step that restarts a running instance at its user's request.

    Return None if there is no recent request, or if the restart was already sent.

    The machine is kept, because after a stop the zone might have no machine for the start.
    """
    asked = record.spec.restart_at
    if asked is None or asked == record.status.notebook.restarted_for or now - asked > RESTART_LAPSES:
        return None
    return Step(
        record=record.with_status(restarted_for=asked, unwell_since=None),
        actions=(ResetInstance(ref=notebook.ref),),
        condition=ConditionStatus.FALSE,
        reason=Reason.STARTING,
        message=VERB_TEXT[Verb.RESET],
        requeue_after=policy.poll,
        because=("A restart was requested.",),
    )


def with_grown(record: UserRecord, notebook: ObservedNotebook, spec: NotebookSpec) -> UserRecord:
    """Return the record with the new sizes of disks that were enlarged.

    Drift sweeps need the sizes in the record, because listings show no disk type.
    """
    built, wanted = dict(record.status.notebook.built_from), immutables(spec)
    for what, have, want in (
        ("boot disk", notebook.boot_disk, spec.boot_disk),
        ("data disk", notebook.data_disk, spec.data_disk),
    ):
        is_enough = have is not None and have.type == want.type and have.size_gb >= want.size_gb
        if is_enough and grows(built.get(what, ""), wanted[what]):
            built[what] = wanted[what]
    return record.with_status(built_from=built)


def growing(differences: Differences, refused: str) -> bool:
    """Return True if a disk should be enlarged, and Google Cloud has not refused exactly this change."""
    grow = differences.of(Change.GROW)
    return bool(grow) and not is_refused(grow, refused)


def growth_step(record: UserRecord, notebook: ObservedNotebook, differences: Differences, policy: Policy) -> Step:
    """Return the step that enlarges the first disk that should be larger. A running notebook stays ready meanwhile."""
    wanted = differences.of(Change.GROW)
    grow = wanted[0]
    disk = DISKS[grow.what]
    runs = notebook.state is NotebookState.ACTIVE
    return Step(
        record=record,
        actions=(ResizeDisk(ref=notebook.ref, disk=disk, size_gb=size_of(grow.want), change=digest(wanted)),),
        condition=ConditionStatus.TRUE if runs else ConditionStatus.FALSE,
        reason=Reason.READY if runs else Reason.UPDATING,
        message=f"Your notebook is running. Its {disk} disk is made larger: the space is available after the next start."
        if runs
        else VERB_TEXT[Verb.RESIZE],
        requeue_after=policy.poll,
        because=(f"Out of line: {say((grow,))}.",),
    )


def joined(now: Patch, at_rest: Patch) -> Patch:
    """Return one patch with the changes of both patches: those for any state, and those for a stopped instance."""
    return replace(
        now,
        metadata={**now.metadata, **at_rest.metadata},
        machine_type=at_rest.machine_type,
        accelerators=at_rest.accelerators,
        shielded=at_rest.shielded,
    )
