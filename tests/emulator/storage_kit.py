"""A world with Cloud Storage alone, and the official client for it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from emulator.clock import VirtualClock
from emulator.model.storage import StorageModel
from emulator.world import World

if TYPE_CHECKING:
    from emulator.wire.server import Server

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)


@dataclass
class StorageCloud:
    """Cloud Storage and the control API alone: what its tests need, started in milliseconds."""

    world: World
    model: StorageModel
    server: Server

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def client(self) -> storage.Client:
        return storage_client(self.url)


def storage_client(url: str) -> storage.Client:
    return storage.Client(
        project="benchkeeper-local", credentials=AnonymousCredentials(), client_options={"api_endpoint": url}
    )


def storage_world(clock: VirtualClock | None = None) -> tuple[World, StorageModel]:
    world = World(clock=clock or VirtualClock(start=START, speed=0))
    model = StorageModel(world)
    world.models["storage"] = model
    return world, model
