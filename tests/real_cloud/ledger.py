"""The ledger of a run: what it asks for is noted, on the disk, before it is asked for; so a crash forgets nothing.

One JSON object a line: first the run itself, then the states of each resource. The last line about a resource counts.
It names the project: it stays on this machine and is not among the recorded answers.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ASKED, GONE, REFUSED = "asked", "gone", "refused"


@dataclass(frozen=True)
class Kind:
    """A kind of resource: the service and path by which it is read and deleted, and gcloud's command for a person."""

    service: str
    path: str
    gcloud: str


KINDS = {
    "instance": Kind("notebooks", "/v2/{name}", "gcloud workbench instances delete {id} --location={place} --project={project}"),
    "snapshot": Kind("compute", "/compute/v1/{name}", "gcloud compute snapshots delete {id} --project={project}"),
    "disk": Kind("compute", "/compute/v1/{name}", "gcloud compute disks delete {id} --zone={place} --project={project}"),
    "session": Kind("dataproc", "/v1/{name}", "gcloud beta dataproc sessions delete {id} --location={place} --project={project}"),
}  # fmt: skip


@dataclass(frozen=True)
class Resource:
    """A resource by its kind and full name, such as `projects/P/locations/Z/instances/ID`."""

    kind: str
    name: str

    @property
    def path(self) -> str:
        """The path of its address."""
        return KINDS[self.kind].path.format(name=self.name)

    @property
    def service(self) -> str:
        """The service that keeps it."""
        return KINDS[self.kind].service

    @property
    def by_hand(self) -> str:
        """The command that deletes it."""
        parts = self.name.split("/")
        return KINDS[self.kind].gcloud.format(id=parts[-1], place=parts[3], project=parts[1])


class Ledger:
    """The ledger in `folder`. `begin` makes a new one."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "ledger.jsonl"

    @classmethod
    def begin(cls, folder: Path, **run: str) -> Ledger:
        """Make the folder and the ledger of a new run. Raises `FileExistsError` if there is one."""
        folder.mkdir(parents=True)
        ledger = cls(folder)
        ledger._write({"run": run})
        return ledger

    def run(self) -> dict[str, str]:
        """Return what the run was begun with: its id, project, zone. Raises `FileNotFoundError`."""
        return {str(key): str(value) for key, value in self._rows()[0]["run"].items()}

    def note(self, resource: Resource, state: str) -> None:
        """Note a resource's state; it is on the disk when this returns."""
        self._write({"kind": resource.kind, "name": resource.name, "state": state})

    def left(self) -> list[Resource]:
        """Return what was asked for and is not known to be gone, the newest first."""
        states: dict[Resource, str] = {}
        for row in self._rows()[1:]:
            states[Resource(row["kind"], row["name"])] = row["state"]
        return [resource for resource, state in reversed(states.items()) if state != GONE]

    def _rows(self) -> list[dict[str, Any]]:
        lines = self._file.read_text(encoding="utf-8").split("\n")
        return [json.loads(line) for line in lines[:-1]]  # a line that a crash cut short was not asked for yet

    def _write(self, row: dict[str, Any]) -> None:
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())
