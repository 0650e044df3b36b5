"""The secrets of Secret Manager, over REST: the newest enabled version, read at each use and never cached or logged."""

from __future__ import annotations

import base64
import binascii

from shared.cloud.http.clients import Clients
from shared.domain.record.parts import Trouble
from shared.domain.things.errors import BenchkeeperError
from shared.engine.ports.mail import NotAcceptedError


def read_secret(clients: Clients, project: str, name: str) -> str:
    """Return the content of the secret's newest version. Raise `NotAcceptedError` if the secret cannot be read."""
    path = f"/v1/projects/{project}/secrets/{name}/versions/latest:access"
    try:
        found = clients.json("secretmanager").call("GET", path, what="read a secret")
        return base64.b64decode(found["payload"]["data"], validate=True).decode().strip("\r\n")
    except BenchkeeperError as error:
        raise NotAcceptedError(Trouble.SECRET, f"the secret {name} cannot be read: {error.reason.value}") from error
    except (KeyError, TypeError, binascii.Error, UnicodeDecodeError) as error:
        raise NotAcceptedError(Trouble.SECRET, f"the secret {name} is not text") from error
