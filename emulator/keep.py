"""The storage of a world on disk: one JSON file, replaced atomically, written soon after a change and at the end."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Any

from emulator.errors import ApiError

if TYPE_CHECKING:
    from pathlib import Path

    from emulator.world import World

_log = logging.getLogger(__name__)
_EVERY_REAL_S = 2.0
_REST = 10.0  # after a save, so many times as long as it took: a world of many people would else be saved all the time


class BadDataError(Exception):
    """The error of a data folder that does not hold a saved world of this project."""


class Keeper:
    """The keeper of `folder/world.json`: it loads the file at once if it exists, and saves changes between `start` and `stop`.

    If `World.changes` has grown, the world is saved, about every 2 real seconds; saving takes at most a tenth of the
    time. A change that only time causes (an instance becomes ACTIVE) is saved with the next change and by `stop`. After
    a crash, the changes of the last two seconds may be missing. If a save takes long, that time is ten times the
    duration of a save.
    """

    def __init__(self, world: World, folder: Path) -> None:
        self._world = world
        self._file = folder / "world.json"
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        folder.mkdir(parents=True, exist_ok=True)
        if self._file.exists():
            self._load()
        self._saved = world.changes

    def start(self) -> None:
        """Save changes from now on, in a thread."""
        self._ending.clear()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, then save once more. Do nothing if the thread does not run."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            self.save()

    def save(self) -> None:
        """Write the world to a new file in the same folder, flush it, and rename it over the old file."""
        with self._world.lock:
            changes, state = self._world.changes, self._world.save()
        new = self._file.with_suffix(".json.new")
        with new.open("w", encoding="utf-8") as out:
            out.write(json.dumps(state, separators=(",", ":")))  # in C; `json.dump` takes twenty times as long
            out.flush()
            os.fsync(out.fileno())
        new.replace(self._file)
        self._saved = changes

    def _run(self) -> None:
        rest_s = _EVERY_REAL_S
        while not self._ending.wait(rest_s):
            if self._world.changes != self._saved:
                begun = time.monotonic()
                try:
                    self.save()
                except OSError:
                    _log.exception("World could not be saved")
                rest_s = max(_EVERY_REAL_S, _REST * (time.monotonic() - begun))

    def _load(self) -> None:
        try:
            state: Any = json.loads(self._file.read_text(encoding="utf-8"))
            project = state["project"]
            if project != self._world.project:
                raise BadDataError(
                    f"{self._file} holds the project {project}, not {self._world.project}: give --project {project} or another --data"
                )
            self._world.load(state)
        except (ApiError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadDataError(
                f"{self._file} cannot be read as a saved world ({error}): move it away, or give another --data"
            ) from error
