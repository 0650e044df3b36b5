"""The listing of objects (`objects.list`): prefixes, delimiters, offsets, globs, versions and pages."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from emulator.model.storage_rules import glob_pattern, invalid

if TYPE_CHECKING:
    import re
    from collections.abc import Iterator

    from emulator.model.storage_records import Bucket, StoredObject

PAGE = 1000


@dataclass(frozen=True, slots=True)
class ListQuery:
    """The query of a listing. `start` is inclusive, `end` exclusive; `limit` counts objects and prefixes together."""

    prefix: str = ""
    delimiter: str = ""
    start: str = ""
    end: str = ""
    glob: str = ""
    limit: int = PAGE
    token: str = ""
    versions: bool = False
    trailing_delimiter: bool = False
    soft_deleted: bool = False

    @property
    def all_generations(self) -> bool:
        """Return True if noncurrent generations are listed, as in a listing of soft-deleted objects."""
        return self.versions or self.soft_deleted


@dataclass(slots=True)
class Listing:
    """A page of a listing; `token` is empty on the last page."""

    items: list[StoredObject] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    token: str = ""

    @property
    def size(self) -> int:
        """The number of objects and prefixes together."""
        return len(self.items) + len(self.prefixes)


def list_objects(bucket: Bucket, query: ListQuery) -> Listing:
    """Return a page of `bucket`, in byte order of the names (and of generations, for versions)."""
    after_name, after_generation = _read_token(query.token)
    first = max(query.prefix, query.start, after_name)
    glob = glob_pattern(query.glob) if query.glob else None
    page = Listing()
    last: tuple[str, int] = ("", 0)
    for name, prefix in _names(bucket, query, first, glob):
        found = [] if prefix and not query.trailing_delimiter else _generations(bucket, name, query)
        if name == after_name:
            found = [s for s in found if query.all_generations and s.generation > after_generation]
        if prefix and prefix not in page.prefixes:
            if page.size >= query.limit:
                page.token = _write_token(*last)
                return page
            page.prefixes.append(prefix)
            last = (bucket.skip_prefix(prefix), 0)
        for stored in found:
            if page.size >= query.limit:
                page.token = _write_token(*last)
                return page
            page.items.append(stored)
            last = (name, stored.generation)
    return page


def _names(bucket: Bucket, query: ListQuery, first: str, glob: re.Pattern[str] | None) -> Iterator[tuple[str, str]]:
    """Yield `(name, "")` for each object and, with a delimiter, `(prefix, prefix)` once for all names with this prefix."""
    names = bucket.names_from(first)
    skip = ""
    for name in names:
        if not name.startswith(query.prefix) or (query.end and name >= query.end):
            return
        if (skip and name.startswith(skip)) or not _visible(bucket, name, query):
            continue
        if glob is not None and glob.fullmatch(name) is None:
            continue
        cut = name.find(query.delimiter, len(query.prefix)) if query.delimiter else -1
        if cut < 0:
            yield name, ""
            continue
        skip = name[: cut + len(query.delimiter)]
        # Only an object whose name is the prefix itself is listed in addition to it (includeTrailingDelimiter).
        yield (name if name == skip else skip), skip


def _visible(bucket: Bucket, name: str, query: ListQuery) -> bool:
    return query.all_generations or name in bucket.live


def _generations(bucket: Bucket, name: str, query: ListQuery) -> list[StoredObject]:
    live = [bucket.live[name]] if name in bucket.live else []
    return [*bucket.archived.get(name, []), *live] if query.all_generations else live


def _write_token(name: str, generation: int) -> str:
    return base64.urlsafe_b64encode(json.dumps([name, generation]).encode()).decode()


def _read_token(token: str) -> tuple[str, int]:
    if not token:
        return "", 0
    try:
        name, generation = json.loads(base64.urlsafe_b64decode(token))
        return str(name), int(generation)
    except (ValueError, TypeError) as error:
        raise invalid(f"Invalid value for field 'pageToken': {token!r}") from error
