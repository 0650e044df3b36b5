"""The adapter to the page's requests, in a bucket of their own: `wishes/<user_key>/<time>-<id>.json`.

The page's account may only create, read and list objects there: without the right to delete, nothing can be overwritten.
Metadata carries the request without its assertion, so that one listing shows the page all waiting requests.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from shared.cloud.http.clients import Clients
from shared.cloud.http.objects import Bucket
from shared.domain.intent.wish import Wish, from_json, to_json, to_text
from shared.domain.things.errors import InvalidMessageError
from shared.domain.things.identity import UserKey, parse_user_key
from shared.engine.ports.inbox import InboxFolders, WaitingWish

_PREFIX = "wishes/"
DECISIONS = f"{_PREFIX}_decisions/"  # no user key begins with an underscore
_LIST_FIELDS = "name,metadata,timeCreated,size"
_MOST = 50  # a user makes a few requests; a flood of objects costs one pass no more than this
_METADATA = "wish"
_PERSON = re.compile(r"^wishes/([a-z0-9-]+)/$")


class StorageInbox:
    """The adapter of the port `Inbox` over Cloud Storage."""

    def __init__(self, clients: Clients, *, bucket: str) -> None:
        self._clients = clients
        self._bucket_name = bucket

    def put(self, wish: Wish) -> None:
        """Create the request by one create-only write: a second write under the same name changes nothing."""
        self._bucket().create(
            f"{_PREFIX}{wish.user_key}/{wish.name}.json",
            to_json(wish),
            metadata={_METADATA: to_text(wish)},
            what=f"write wish of {wish.user_key}",
        )

    def waiting(self, user_key: UserKey) -> tuple[WaitingWish, ...]:
        """Return the requests by one listing."""
        prefix = f"{_PREFIX}{user_key}/"
        what = f"list wishes of {user_key}"
        listed = self._bucket().objects(prefix=prefix, fields=_LIST_FIELDS, most=_MOST, what=what)
        found = [
            WaitingWish(
                user_key=user_key,
                name=each.name.removeprefix(prefix).removesuffix(".json"),
                created_at=each.created_at,
                size=each.size,
                shown=_shown(each.metadata),
                place=each.name,
            )
            for each in listed
            if each.created_at is not None
        ]
        return tuple(sorted(found, key=lambda each: (each.created_at, each.name)))

    def read(self, waiting: WaitingWish) -> bytes | None:
        """Return the content with one read; None if there is no object."""
        found = self._bucket().get(waiting.place, what=f"read wish of {waiting.user_key}")
        return None if found is None else found.content

    def remove(self, waiting: WaitingWish) -> None:
        """Delete the request by one call."""
        self._bucket().delete(waiting.place, what=f"remove wish of {waiting.user_key}")

    def folders(self) -> InboxFolders:
        """Return the users with requests by one listing of folders, whose cost does not depend on the number of requests."""
        folders = self._bucket().folders(_PREFIX, what="list wishes")
        people = []
        for folder in folders:
            match = _PERSON.match(folder)
            if match is None:
                continue
            try:
                people.append(parse_user_key(match[1]))
            except InvalidMessageError:
                continue  # not a valid user key, so no user's folder
        return InboxFolders(people=tuple(people), has_decisions=DECISIONS in folders)

    def _bucket(self) -> Bucket:
        return self._clients.bucket(self._bucket_name)


def _shown(metadata: Mapping[str, str]) -> Wish | None:
    try:
        return from_json(metadata.get(_METADATA, ""))
    except InvalidMessageError:
        return None
