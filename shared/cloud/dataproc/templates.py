"""The adapter to the users' rendered templates in Cloud Storage: `templates/<user_key>/<template>.yaml`.

Custom metadata has the digest of an object's inputs and of its content when written, so that a listing shows if the
object is unchanged.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping

from shared.cloud.dataproc.cluster_render import render
from shared.cloud.dataproc.target import RenderTarget
from shared.cloud.http.clients import Clients
from shared.domain.plan.plan import TemplatesSeen
from shared.domain.record.record import UserRecord
from shared.domain.template.wanted import PutTemplate
from shared.domain.things.catalog import Catalog
from shared.domain.things.identity import UserKey
from shared.domain.things.late import late

_PREFIX = "templates/"
_NAME = late(lambda: re.compile(r"^templates/([a-z0-9-]+)/([A-Za-z0-9._-]+)\.yaml$"))
_DIGEST = "benchkeeper-digest"
_CONTENT = "benchkeeper-md5"  # of the content as it was written, as Cloud Storage lists it; objects of 0.1 have none
_LIST_FIELDS = "name,metadata,md5Hash"


class StorageTemplates:
    """The adapter of the port `Templates`. A prefix ends in `/`, so that a listing for one user cannot show another user's objects.

    `catalog` and `target` are called each time: the policy in force may change while the process lives.
    """

    def __init__(self, clients: Clients, *, catalog: Callable[[], Catalog], target: Callable[[], RenderTarget]) -> None:
        self._clients = clients
        self._catalog, self._target = catalog, target

    def seen(self, user_key: UserKey) -> TemplatesSeen:
        """Return the user's templates by one listing call."""
        return TemplatesSeen({name: digest for _, name, digest in self._list(f"{_PREFIX}{user_key}/")})

    def put(self, record: UserRecord, action: PutTemplate) -> None:
        """Render the template and write the object. Idempotent: the same content gives the same object."""
        master = self._catalog().masters[action.template]
        content = render(master, record, self._target())
        self._clients.bucket().write(
            _object(record.user_key, action.template),
            content,
            content_type="application/yaml",
            metadata={_DIGEST: action.digest, _CONTENT: _md5(content), "user": record.user_key},
            what=f"write template {action.template}",
        )

    def remove(self, user_key: UserKey, template: str) -> None:
        """Delete the object; a missing one is not an error."""
        self._clients.bucket().delete(_object(user_key, template), what=f"remove template {template}")

    def read(self, user_key: UserKey, template: str) -> str | None:
        """Return the rendered text; None if there is none."""
        found = self._clients.bucket().get(_object(user_key, template), what=f"read template {template}")
        return None if found is None else found.content.decode()

    def rows(self) -> Iterator[tuple[UserKey, str, str]]:
        """Yield (user, template, digest) by pages of a listing; the digest is empty if the content was edited by hand."""
        yield from self._list(_PREFIX)

    def _list(self, prefix: str) -> Iterator[tuple[UserKey, str, str]]:
        for listed in self._clients.bucket().objects(prefix=prefix, fields=_LIST_FIELDS, what="list templates"):
            match = _NAME.match(listed.name)
            if match is not None:
                yield UserKey(match[1]), match[2], _digest(listed.metadata, listed.md5)


def _object(user_key: UserKey, template: str) -> str:
    return f"{_PREFIX}{user_key}/{template}.yaml"


def _digest(metadata: Mapping[str, str], md5: str) -> str:
    """Return the digest of the object's inputs.

    Empty if the content was edited since, because a manual edit keeps the metadata.
    """
    edited = _CONTENT in metadata and metadata[_CONTENT] != md5
    return "" if edited else metadata.get(_DIGEST, "")


def _md5(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
