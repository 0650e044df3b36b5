"""Wishes of the page in a bucket of their own: `wishes/<user_key>/<time>-<id>.json`.

The page's account may create, read and list there, and nothing else: without the right to delete nothing can be overwritten.
Metadata carries the wish without its assertion, so that one listing tells the page what waits.
"""

from __future__ import annotations

import re
from typing import Any

from google.api_core.exceptions import Forbidden, NotFound, PreconditionFailed

from shared.cloud.clients import Clients
from shared.cloud.translate import translated
from shared.domain.errors import InvalidMessageError
from shared.domain.identity import UserKey, parse_user_key
from shared.domain.wish import Wish, from_json, to_json, to_text
from shared.engine.ports import InboxFolders, WaitingWish

_PREFIX = "wishes/"
DECISIONS = f"{_PREFIX}_decisions/"  # no person's key begins so
_LIST_FIELDS = "items(name,metadata,timeCreated,size),nextPageToken"
_PEOPLE_FIELDS = "prefixes,nextPageToken"
_MOST = 50  # a person clicks a few times; whoever floods the inbox costs one pass no more than this
_METADATA = "wish"
_PERSON = re.compile(r"^wishes/([a-z0-9-]+)/$")


class StorageInbox:
    """The port `Inbox` over google-cloud-storage."""

    def __init__(self, clients: Clients, *, bucket: str) -> None:
        self._clients = clients
        self._bucket_name = bucket

    def put(self, wish: Wish) -> None:
        """One create-only write: a second one of the same name finds the first.

        The account may not delete, so Cloud Storage may answer 403 for an object that is there: when the client writes again
        because the first answer was lost. A listing tells.
        """
        name = f"{_PREFIX}{wish.user_key}/{wish.name}.json"
        blob = self._bucket().blob(name)
        blob.metadata = {_METADATA: to_text(wish)}
        with translated(f"write wish of {wish.user_key}"):
            try:
                blob.upload_from_string(
                    to_json(wish),
                    content_type="application/json",
                    if_generation_match=0,
                    retry=self._clients.storage_retry(),
                )
            except PreconditionFailed:
                return
            except Forbidden:
                if not any(found.name == name for found in self._bucket().list_blobs(prefix=name, max_results=1)):
                    raise

    def waiting(self, user_key: UserKey) -> tuple[WaitingWish, ...]:
        """One listing."""
        prefix = f"{_PREFIX}{user_key}/"
        with translated(f"list wishes of {user_key}"):
            blobs = list(self._bucket().list_blobs(prefix=prefix, fields=_LIST_FIELDS, max_results=_MOST))
        found = [
            WaitingWish(
                user_key=user_key,
                name=blob.name.removeprefix(prefix).removesuffix(".json"),
                created_at=blob.time_created,
                size=int(blob.size or 0),
                shown=_shown(blob.metadata),
                place=blob.name,
            )
            for blob in blobs
        ]
        return tuple(sorted(found, key=lambda each: (each.created_at, each.name)))

    def read(self, waiting: WaitingWish) -> bytes | None:
        """One read."""
        with translated(f"read wish of {waiting.user_key}"):
            try:
                raw = self._bucket().blob(waiting.place).download_as_bytes(retry=self._clients.storage_retry())
            except NotFound:
                return None
        return bytes(raw)

    def remove(self, waiting: WaitingWish) -> None:
        """One delete."""
        with translated(f"remove wish of {waiting.user_key}"):
            try:
                self._bucket().blob(waiting.place).delete()
            except NotFound:
                return

    def folders(self) -> InboxFolders:
        """One listing that names the folders only, so that many wishes of one person cost no more than one."""
        with translated("list wishes"):
            listing = self._bucket().list_blobs(prefix=_PREFIX, delimiter="/", fields=_PEOPLE_FIELDS, page_size=1000)
            for _ in listing:
                pass  # the client collects prefixes page by page
            folders = sorted(listing.prefixes)
        people = []
        for folder in folders:
            match = _PERSON.match(folder)
            if match is None:
                continue
            try:
                people.append(parse_user_key(match[1]))
            except InvalidMessageError:
                continue  # nobody's: no person has such a key
        return InboxFolders(people=tuple(people), has_decisions=DECISIONS in folders)

    def _bucket(self) -> Any:
        return self._clients.storage_bucket(self._bucket_name)


def _shown(metadata: dict[str, str] | None) -> Wish | None:
    try:
        return from_json((metadata or {}).get(_METADATA, ""))
    except InvalidMessageError:
        return None
