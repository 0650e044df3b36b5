"""The read-only access to the bucket of Google's Terraform example, for `benchkeeper import seed`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from msgspec import Struct

from shared.cloud.http.clients import Clients
from shared.domain.things.errors import AccessDeniedError, InvalidSpecError

_ENDINGS = (".yaml", ".yml")


class SeedObject(Struct, frozen=True):
    """A template of the example: its name without folder and suffix, its content, and the time at which it was written."""

    name: str
    content: bytes
    written_at: datetime


class SeedBucket:
    """The reader of the bucket of one installation of the example."""

    def __init__(self, clients: Clients, bucket: str) -> None:
        self._clients = clients
        self._bucket = bucket

    def templates(self, folder: str) -> Iterator[SeedObject]:
        """Yield the YAML objects of a folder by name, one read each. If the bucket cannot be read, raise an error that says what to do."""
        prefix = f"{folder.strip('/')}/"
        try:
            bucket, what = self._clients.bucket(self._bucket), f"read gs://{self._bucket}/{prefix}"
            for listed in bucket.objects(prefix=prefix, fields="name,timeCreated", what=what):
                stem = listed.name.removeprefix(prefix)
                ending = next((e for e in _ENDINGS if stem.endswith(e)), None)
                found = bucket.get(listed.name, what=what) if ending is not None else None
                if ending is not None and found is not None and listed.created_at is not None:
                    yield SeedObject(stem.removesuffix(ending), found.content, listed.created_at)
        except AccessDeniedError as error:
            raise AccessDeniedError(
                user_message=f"gs://{self._bucket} cannot be read. Your account needs storage.objects.list and "
                "storage.objects.get on it (roles/storage.objectViewer).",
                detail=error.detail,
            ) from error
        except InvalidSpecError as error:
            raise InvalidSpecError(
                user_message=f"There is no bucket gs://{self._bucket}, or it cannot be seen from here: {error}.",
                detail=str(error),
            ) from error
