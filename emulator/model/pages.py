"""The pages of a list, by a cursor.

A page continues after the last item of the previous page, even if items were added or removed in between.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any, TypeVar

from emulator.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

# The API does not document its page sizes; these are the usual sizes of Google's APIs.
MAX_PAGE, DEFAULT_PAGE = 1000, 500


def listed(
    name: str,
    items: list[T],
    *,
    size: int,
    token: str,
    scope: str,
    key: Callable[[T], int | str],
    descending: bool = False,
    view: Callable[[T], Any] = lambda item: item,
) -> dict[str, Any]:
    """Return one page of a list as `{name: [...], "nextPageToken": ...}`: the views of the items after the cursor in `token`, ordered by `key`.

    A key is missing if there are no items, or no next page. A `size` of 0 means the default. Raise 400 for a negative size,
    and for a token of another listing (`scope`).
    """
    if size < 0:
        raise ApiError("INVALID_ARGUMENT", f"Invalid page_size: {size}. It must not be negative.")
    ordered = sorted(items, key=key, reverse=descending)
    if token:
        last = read_token(token, scope)
        ordered = [item for item in ordered if (_beyond(key(item), last, descending=descending))]
    count = min(size or DEFAULT_PAGE, MAX_PAGE)
    page = ordered[:count]
    found: dict[str, Any] = {name: [view(item) for item in page]} if page else {}
    if len(ordered) > count:
        found["nextPageToken"] = base64.urlsafe_b64encode(json.dumps([scope, key(page[-1])]).encode()).decode()
    return found


def _beyond(value: int | str, last: int | str, *, descending: bool) -> bool:
    if isinstance(value, int) and isinstance(last, int):
        return value > last
    return str(value) < str(last) if descending else str(value) > str(last)


def read_token(token: str, scope: str) -> int | str:
    """Return the key of the last item before the page; raise 400 for a token of another listing (`scope`)."""
    try:
        of, last = json.loads(base64.urlsafe_b64decode(token.encode()))
    except (ValueError, binascii.Error, TypeError) as error:
        raise ApiError("INVALID_ARGUMENT", "Invalid page_token.") from error
    if of != scope or not isinstance(last, int | str):
        raise ApiError("INVALID_ARGUMENT", "Invalid page_token: it belongs to another request.")
    return last
