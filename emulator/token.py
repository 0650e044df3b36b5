"""The token for calls that start processes. Each run has a new token, known only to programs that can read its file.

A call that starts a function can run any code on this machine as the user. All users of the machine can reach a
loopback port, so access to the port alone must not be enough to start a function.
"""

from __future__ import annotations

import hmac
import os
import secrets
from typing import TYPE_CHECKING

from emulator.errors import ApiError

if TYPE_CHECKING:
    from pathlib import Path

    from werkzeug.wrappers import Request

HEADER = "X-Emulator-Token"
FILE_NAME = "token"


class ProcessToken:
    """The token of a run."""

    def __init__(self) -> None:
        self.value = secrets.token_urlsafe(32)
        self._where = "the file that `python -m emulator` names"

    @property
    def headers(self) -> dict[str, str]:
        """The header that proves that the caller has read the token."""
        return {HEADER: self.value}

    def write(self, folder: Path) -> Path:
        """Write the token to `folder/token`, readable by the user alone, replacing an earlier run's token. Return the file."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / FILE_NAME
        fresh = folder / f".{FILE_NAME}.{os.getpid()}"
        fresh.unlink(missing_ok=True)
        # O_EXCL: never write to a link or a file that another user put there beforehand.
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as out:
            out.write(self.value)
        fresh.replace(file)
        self._where = str(file)
        return file

    def check(self, request: Request) -> None:
        """Raise `ApiError` (401) if the request does not carry the token."""
        if not hmac.compare_digest(request.headers.get(HEADER, "").encode(), self.value.encode()):
            raise ApiError(
                "UNAUTHENTICATED",
                f"A call that starts or ends a process needs this run's token in the header {HEADER}. The token is in {self._where}, which"
                f' only the user who started the embedded cloud can read. Valid: -H "{HEADER}: $(cat FILE)".',
            )
