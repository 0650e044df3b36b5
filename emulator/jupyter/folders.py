"""The content of data disks as folders: `disks/ID`, `snapshots/ID` and `clusters/UUID`, by the ids of Compute Engine.

A disk from a snapshot starts with the snapshot's files; the files of a deleted disk, snapshot or cluster are removed. The
folders follow the models by polling: a snapshot has the files of the first poll after its request, at most half a real second
later.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from emulator.model.disks import DATA

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from emulator.model.disks import Disks


_log = logging.getLogger(__name__)
_KINDS = ("disks", "snapshots", "clusters")


@dataclass(frozen=True, slots=True)
class Held:
    """The wanted folders: a mapping from each folder to the folder from which its files are copied first, None for an empty folder."""

    snapshots: dict[str, str | None]
    disks: dict[str, str | None]


def held(disks: Disks, now: datetime) -> Held:
    """Return the folders of the data disks and their snapshots at this virtual time. Call it while holding the world's lock."""
    disks.sweep(now)
    data = [disk for disk in disks.disks.values() if disk.role == DATA]
    return Held(
        snapshots={
            f"snapshots/{each.gce_id}": f"disks/{each.disk_id}"
            for each in disks.snapshots.values()
            if each.role == DATA
        },
        disks={f"disks/{disk.gce_id}": f"snapshots/{disk.source_id}" if disk.source_id else None for disk in data},
    )


class Folders:
    """The folders of disks, snapshots and clusters below `root`, and their creation and removal."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, folder: str) -> Path:
        """Return the folder's path. Raise `OSError` unless the name is `disks/ID`, `snapshots/ID` or `clusters/UUID`.

        The name is checked because a saved world is a file that others may have written.
        """
        kind, _, name = folder.partition("/")
        if kind not in _KINDS or not name or "/" in name or name in {".", ".."}:
            raise OSError(f"The folder {folder!r} of a disk leads out of {self.root}")
        return self.root / kind / name

    def follow(self, wanted: Held, clusters: Iterable[str], *, in_use: Iterable[str]) -> None:
        """Create missing folders, then remove unwanted folders.

        Folders `in_use` stay, because a JupyterLab that is ending may still write.
        """
        # Snapshots first: the files of a disk that was deleted since the last poll are still here.
        for folder, source in (wanted.snapshots | wanted.disks).items():
            self._make(folder, source)
        keep = {*wanted.snapshots, *wanted.disks, *clusters, *in_use}
        for each in [found for kind in _KINDS for found in (self.root / kind).glob("*")]:
            if each.relative_to(self.root).as_posix() not in keep:
                shutil.rmtree(each, ignore_errors=True)

    def _make(self, folder: str, source: str | None) -> None:
        path = self.path(folder)
        if path.exists():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        origin = self.path(source) if source is not None else None
        if origin is None or not origin.is_dir():
            path.mkdir(exist_ok=True)
            return
        # Under another name first: after a crash, a partial copy must not be mistaken for the disk.
        half = path.with_name(f"{path.name}.part")
        shutil.rmtree(half, ignore_errors=True)
        try:
            shutil.copytree(origin, half, symlinks=True, ignore=_no_sockets)
        except shutil.Error:  # files that vanished in the meantime: the disk is being written to, as a real one may be
            _log.warning("Not every file could be copied from %s", source)
        half.rename(path)


def _no_sockets(folder: str, names: list[str]) -> set[str]:
    """Return the names of entries that are neither file nor folder (sockets, pipes), which cannot be copied."""
    return {
        name
        for name in names
        if not (path := Path(folder, name)).is_symlink() and not path.is_file() and not path.is_dir()
    }
