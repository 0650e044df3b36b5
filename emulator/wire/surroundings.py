"""The control API that declares networks, subnetworks, images, and accounts of other projects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emulator.wire.http import Call, Route, route

if TYPE_CHECKING:
    from emulator.model.surroundings import Surroundings
    from emulator.world import World


def routes(world: World, model: Surroundings) -> list[Route]:
    """Return `GET` and `POST /_emulator/surroundings`."""

    def declared(_call: Call) -> Any:
        with world.lock:
            return model.dump()

    def declare(call: Call) -> Any:
        with world.lock:
            state = model.declare(call.json())
            world.touch()
        return state

    path = "/_emulator/surroundings"
    return [route("GET", path, None, declared), route("POST", path, None, declare)]
