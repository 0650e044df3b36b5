"""The query parameters of the Storage JSON API, and the links in its resources."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from werkzeug.sansio.utils import get_current_url

from emulator.model.storage_listing import PAGE, ListQuery
from emulator.model.storage_rules import Preconditions, invalid

if TYPE_CHECKING:
    from collections.abc import Iterable

    from emulator.errors import ApiError
    from emulator.model.storage_records import Bucket, StoredObject
    from emulator.wire.http import Call


def number(call: Call, name: str) -> int | None:
    """Return a whole number from the query; None if it is absent. Raise `ApiError` (400) if it is not a number."""
    raw = call.query(name)
    if not raw:
        return None
    try:
        return int(raw)
    except ValueError as error:
        raise invalid(f"Invalid value for parameter '{name}': '{raw}'") from error


def flag(call: Call, name: str) -> bool:
    """Return a boolean from the query; clients write `true`, `True` and `1`. Raise `ApiError` (400) for another text."""
    raw = call.query(name).lower()
    if raw not in {"", "true", "false", "1", "0"}:
        raise invalid(f"Invalid value for parameter '{name}': '{raw}'")
    return raw in {"true", "1"}


def conditions(call: Call, prefix: str = "if") -> Preconditions:
    """Return the four preconditions of the query. `prefix` is `ifSource` for the preconditions on the source of a copy."""
    return Preconditions(
        generation_match=number(call, f"{prefix}GenerationMatch"),
        generation_not_match=number(call, f"{prefix}GenerationNotMatch"),
        metageneration_match=number(call, f"{prefix}MetagenerationMatch"),
        # The official Python client's uploads write it with a capital G (google-cloud-storage 3.17, blob.py).
        metageneration_not_match=_either(
            number(call, f"{prefix}MetagenerationNotMatch"), number(call, f"{prefix}MetaGenerationNotMatch")
        ),
    )


def _either(first: int | None, second: int | None) -> int | None:
    return second if first is None else first


def page_size(call: Call) -> int:
    """Return the query's `maxResults`, by default and at most 1000; raise 400 for a negative number."""
    asked = number(call, "maxResults")
    if asked is not None and asked < 0:
        raise invalid(f"Invalid value for parameter 'maxResults': '{asked}'")
    return min(asked or PAGE, PAGE)


def list_query(call: Call) -> ListQuery:
    """Return the parameters of `objects.list`; raise 400 for parameters that contradict each other."""
    if flag(call, "softDeleted") and flag(call, "versions"):
        raise invalid("You cannot specify both softDeleted and versions.")
    return ListQuery(
        prefix=call.query("prefix"),
        delimiter=call.query("delimiter"),
        start=call.query("startOffset"),
        end=call.query("endOffset"),
        glob=call.query("matchGlob"),
        limit=page_size(call),
        token=call.query("pageToken"),
        versions=flag(call, "versions"),
        trailing_delimiter=flag(call, "includeTrailingDelimiter"),
        soft_deleted=flag(call, "softDeleted"),
    )


def object_json(call: Call, stored: StoredObject) -> dict[str, Any]:
    """Return the object resource with its links."""
    return stored.resource() | _links(call, stored)


def _links(call: Call, stored: StoredObject) -> dict[str, str]:
    base = _origin(call.request.scheme, call.request.host)
    path = f"b/{stored.bucket}/o/{quote(stored.name, safe='')}"
    return {
        "selfLink": f"{base}/storage/v1/{path}",
        "mediaLink": f"{base}/download/storage/v1/{path}?generation={stored.generation}&alt=media",
    }


@functools.lru_cache(64)  # a client uses one, and werkzeug parses it each time
def _origin(scheme: str, host: str) -> str:
    return get_current_url(scheme, host).rstrip("/")


def object_list(call: Call, found: Iterable[StoredObject]) -> list[dict[str, Any]]:
    """Return the object resources of a listing, with at least the fields that `fields` requests."""
    text = call.query("fields")
    wanted = _parsed(text).get("items", {}) if text else {}
    if not wanted or wanted.keys() & {"*", "selfLink", "mediaLink"}:
        return [object_json(call, stored) for stored in found]
    return [stored.part(wanted) for stored in found]


def bucket_json(call: Call, bucket: Bucket, project_number: str) -> dict[str, Any]:
    """Return the bucket resource with its link."""
    link = f"{call.request.host_url.rstrip('/')}/storage/v1/b/{bucket.name}"

    full = call.query("projection", "noAcl") == "full"
    lists = bucket.acl(project_number) if full else {}
    return lists | bucket.resource(project_number) | {"selfLink": link}


def partial(call: Call, body: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a response that `fields` requests (`items(name,metadata/user),nextPageToken`); the whole without `fields`."""
    text = call.query("fields")
    if not text:
        return body
    found: dict[str, Any] = _selected(body, _parsed(text))
    return found


_Selection = dict[str, Any]  # name -> the selection within it; an empty selection = all


@functools.lru_cache(256)  # the product repeats the same few texts
def _parsed(text: str) -> _Selection:
    tokens = re.findall(r"[(),/]|[^(),/\s]+", text)
    wanted = _selection(tokens, text)
    if tokens:
        raise _bad_fields(text)
    return wanted


def _selection(tokens: list[str], text: str) -> _Selection:
    wanted: _Selection = {}
    while True:
        if not tokens or tokens[0] in "(),/":
            raise _bad_fields(text)
        place = wanted.setdefault(tokens.pop(0), {})
        while tokens[:1] == ["/"]:
            tokens.pop(0)
            if not tokens or tokens[0] in "(),/":
                raise _bad_fields(text)
            place = place.setdefault(tokens.pop(0), {})
        if tokens[:1] == ["("]:
            tokens.pop(0)
            place.update(_selection(tokens, text))
            if tokens[:1] != [")"]:
                raise _bad_fields(text)
            tokens.pop(0)
        if tokens[:1] != [","]:
            return wanted
        tokens.pop(0)


def _selected(value: Any, wanted: _Selection) -> Any:
    if not wanted or "*" in wanted:
        return value
    if isinstance(value, list):
        return [_selected(each, wanted) for each in value]
    if isinstance(value, dict):
        return {key: _selected(held, wanted[key]) for key, held in value.items() if key in wanted}
    return value


def _bad_fields(text: str) -> ApiError:
    return invalid(f"Invalid field selection {text}")
