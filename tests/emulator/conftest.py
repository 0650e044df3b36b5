"""Running embedded clouds for the tests of the embedded cloud: a fresh world a test, real HTTP on a free loopback port."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import requests

from emulator.wire import control
from emulator.wire import storage as storage_wire
from emulator.wire.http import HttpFront
from emulator.wire.server import Server
from tests.emulator.storage_kit import StorageCloud, storage_world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.cloud import storage


@pytest.fixture
def storage_cloud() -> Iterator[StorageCloud]:
    world, model = storage_world()
    server = Server(HttpFront(world, [*storage_wire.routes(world, model), *control.routes(world)]).respond)
    server.start()
    try:
        yield StorageCloud(world, model, server)
    finally:
        server.stop()


@pytest.fixture
def client(storage_cloud: StorageCloud) -> Iterator[storage.Client]:
    made = storage_cloud.client()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def bucket(client: storage.Client) -> storage.Bucket:
    return client.create_bucket("records-local", location="europe-west1")


@pytest.fixture
def http() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session
