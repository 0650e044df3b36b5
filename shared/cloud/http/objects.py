"""The objects of Cloud Storage by its JSON API, over the transport: only the calls that the adapters need.

Every error becomes a `BenchkeeperError`. Each write sends a CRC32C, and each read is compared with Cloud Storage's CRC32C.
Google's own client (`tests/kit/official.py`) is the reference: tests check that both make the same calls and read answers alike.
"""

from __future__ import annotations

import base64
import functools
import json
import secrets
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import google_crc32c
from msgspec import Struct, field
from msgspec.json import Decoder

from shared.cloud.http.translate import error_of, from_status, translated
from shared.cloud.http.transport import Answer, Headers, Transport
from shared.cloud.http.words import Service
from shared.domain.things.errors import AccessDeniedError, CloudUnavailableError
from shared.domain.things.times import parse_time

_NOT_MODIFIED, _NOT_FOUND, _PRECONDITION_FAILED = 304, 404, 412
_PAGE = 1000
T = TypeVar("T")


class Content(Struct, frozen=True, kw_only=True):
    """The bytes of an object and its generation."""

    content: bytes
    generation: int


class Unchanged:
    """The result of a read of an object that is still at the generation which the caller named."""


class Listed(
    Struct, frozen=True, kw_only=True, rename={"md5": "md5Hash", "created": "timeCreated", "deleted": "timeDeleted"}
):
    """An object's properties from a listing: those that `fields` requested, decoded directly from Cloud Storage's JSON."""

    name: str
    bucket: str = ""
    generation: int = 0
    created: str = ""
    deleted: str = ""
    size: int = 0
    md5: str = ""
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def created_at(self) -> datetime | None:
        """The time at which the object was created; None if the listing did not request it."""
        return parse_time(self.created) if self.created else None

    @property
    def deleted_at(self) -> datetime | None:
        """The time at which this version was deleted; None for the live version, or if the listing did not request it."""
        return parse_time(self.deleted) if self.deleted else None


class _Page(Struct):
    """A page of a listing."""

    items: list[Listed] = []
    prefixes: list[str] = []
    nextPageToken: str = ""  # noqa: N815 - as Cloud Storage writes it


# Not strict, because numbers come as texts.
_PAGES, _OBJECT = Decoder(_Page, strict=False), Decoder(Listed, strict=False)


class Bucket:
    """A bucket of Cloud Storage. `what` is the name of the call in an error's detail. A missing object is a result, never an error."""

    def __init__(self, transport: Transport, base: str, name: str) -> None:
        self._transport = transport
        self._base = base.rstrip("/")
        self.name = name
        self._objects = f"{self._base}/storage/v1/b/{quote(name, safe='')}/o"

    def read(
        self, name: str, *, what: str, generation: int | None = None, known: int | None = None
    ) -> Content | Unchanged | None:
        """Return the object, of `generation` if given; None if there is none, `Unchanged` if the object is still at generation `known`."""
        query = {"alt": "media"}
        if generation is not None:
            query["generation"] = str(generation)
        if known is not None:
            query["ifGenerationNotMatch"] = str(known)
        url = f"{self._base}/download{self._path(name)}?{_encoded(**query)}"
        answer = self._sent("GET", url, what=what)
        if answer.status == _NOT_FOUND:
            return None
        if answer.status == _NOT_MODIFIED:
            return Unchanged()
        self._check(answer, what)
        _compare(answer, what)
        return Content(content=answer.content, generation=int(answer.headers.get("x-goog-generation", 0)))

    def get(self, name: str, *, what: str, generation: int | None = None) -> Content | None:
        """Return the object; None if there is none."""
        found = self.read(name, what=what, generation=generation)
        return found if isinstance(found, Content) else None

    def write(
        self,
        name: str,
        content: bytes,
        *,
        what: str,
        content_type: str = "application/json",
        metadata: Mapping[str, str] | None = None,
        expected: int | None = None,
        again: bool = True,
    ) -> int | None:
        """Write the object and return its new generation. Return None, without writing, if the object is not at generation `expected` (0: missing)."""
        query = {"uploadType": "multipart"}
        if expected is not None:
            query["ifGenerationMatch"] = str(expected)
        about: dict[str, Any] = {"name": name, "crc32c": _crc32c(content)}
        if metadata is not None:
            about["metadata"] = dict(metadata)
        boundary = f"=={secrets.token_hex(16)}=="
        head = (
            f"--{boundary}\r\ncontent-type: application/json; charset=UTF-8\r\n\r\n{json.dumps(about)}\r\n"
            f"--{boundary}\r\ncontent-type: {content_type}\r\n\r\n"
        )
        body = head.encode() + content + f"\r\n--{boundary}--".encode()
        url = f"{self._base}/upload/storage/v1/b/{quote(self.name, safe='')}/o?{_encoded(**query)}"
        headers = {"content-type": f'multipart/related; boundary="{boundary}"'}
        answer = self._sent("POST", url, what=what, body=body, headers=headers, again=again)
        if answer.status == _PRECONDITION_FAILED:
            return None
        self._check(answer, what)
        return _decoded(_OBJECT, answer, what).generation

    def create(
        self, name: str, content: bytes, *, what: str, content_type: str = "application/json",
        metadata: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        """Create the object unless it exists, for an account that may not delete.

        Without the right to delete, Cloud Storage may answer 403 for an existing object before it checks the precondition. Such an object
        is usual if a write is sent again because the first answer was lost. A listing then shows whether the object exists.
        """
        try:
            self.write(name, content, what=what, content_type=content_type, metadata=metadata, expected=0)
        except AccessDeniedError:
            if not any(found.name == name for found in self.objects(prefix=name, what=what, most=1)):
                raise

    def delete(self, name: str, *, what: str, expected: int | None = None) -> None:
        """Delete the object; with `expected`, only if the object is at that generation.

        An object that is missing or at another generation is not an error.
        """
        query = f"?ifGenerationMatch={expected}" if expected is not None else ""
        answer = self._sent("DELETE", f"{self._base}{self._path(name)}{query}", what=what)
        if answer.status not in {_NOT_FOUND, _PRECONDITION_FAILED}:
            self._check(answer, what)

    def look(self, name: str, *, what: str) -> Listed | None:
        """Return the object's properties without its bytes; None if there is none."""
        url = f"{self._base}{self._path(name)}?projection=noAcl"
        answer = self._sent("GET", url, what=what)
        if answer.status == _NOT_FOUND:
            return None
        self._check(answer, what)
        return _decoded(_OBJECT, answer, what)

    def note(self, name: str, metadata: Mapping[str, str], *, what: str) -> None:
        """Change only these keys of the object's metadata, without retries. A missing object is not an error."""
        url = f"{self._base}{self._path(name)}?projection=full"
        body = json.dumps({"metadata": dict(metadata)}).encode()
        headers = {"content-type": "application/json"}
        answer = self._sent("PATCH", url, what=what, body=body, headers=headers, again=False)
        if answer.status != _NOT_FOUND:
            self._check(answer, what)

    def objects(
        self, *, prefix: str, what: str, fields: str = "name", most: int | None = None, versions: bool = False,
        start_offset: str = "", end_offset: str = "", if_missing: bool = False,
    ) -> Iterator[Listed]:  # fmt: skip
        """Yield the objects below a prefix by name, page by page; `fields` are the requested properties of each.

        With `if_missing` a missing bucket has no objects; otherwise it is an error.
        """
        query = {"prefix": prefix, "fields": f"items({fields}),nextPageToken", "projection": "noAcl"}
        query |= {"startOffset": start_offset} if start_offset else {}
        query |= {"endOffset": end_offset} if end_offset else {}
        query |= {"versions": "true"} if versions else {}
        left = most
        for page in self._pages(query, most=most, what=what, if_missing=if_missing):
            yield from page.items if left is None else page.items[:left]
            left = None if left is None else max(0, left - len(page.items))
            if left == 0:
                return

    def folders(self, prefix: str, *, what: str) -> list[str]:
        """Return the folders directly below a prefix, sorted; the number of objects in a folder does not change the cost."""
        query = {"prefix": prefix, "delimiter": "/", "fields": "prefixes,nextPageToken", "projection": "noAcl"}
        return sorted({found for page in self._pages(query, most=None, what=what) for found in page.prefixes})

    def _pages(
        self, query: Mapping[str, str], *, most: int | None, what: str, if_missing: bool = False
    ) -> Iterator[_Page]:
        token, size = "", str(_PAGE if most is None else min(most, _PAGE))
        while True:
            asked = {**query, "maxResults": size, **({"pageToken": token} if token else {})}
            answer = self._sent("GET", f"{self._objects}?{_encoded(**asked)}", what=what)
            if answer.status == _NOT_FOUND and if_missing:
                return
            self._check(answer, what)
            page = _decoded(_PAGES, answer, what)
            yield page
            token = page.nextPageToken
            if not token or (most is not None and most <= _PAGE):
                return

    def _path(self, name: str) -> str:
        return f"/storage/v1/b/{quote(self.name, safe='')}/o/{quote(name, safe='')}"

    def _sent(
        self, method: str, url: str, *, what: str, body: bytes | None = None, headers: Headers | None = None,
        again: bool = True,
    ) -> Answer:  # fmt: skip
        with translated(what):
            return self._transport.send(method, url, headers=headers, body=body, again=again)

    @staticmethod
    def _check(answer: Answer, what: str) -> None:
        if not answer.ok:
            raise error_of(answer, what, service=Service.STORAGE)


@functools.lru_cache(512)  # most calls repeat an earlier query
def _encoded(**query: str) -> str:
    return urlencode(query)


def _decoded(decoder: Decoder[T], answer: Answer, what: str) -> T:
    try:
        return decoder.decode(answer.content)
    except ValueError as error:
        raise from_status(502, f"no JSON as documented: {error}", what) from error


def _crc32c(content: bytes) -> str:
    return base64.b64encode(int(google_crc32c.value(content)).to_bytes(4, "big")).decode()


def _compare(answer: Answer, what: str) -> None:
    """Raise an error if the content's CRC32C differs from Cloud Storage's.

    An answer without a CRC32C, or with one of the compressed bytes, is not checked.
    """
    said = dict(part.strip().split("=", 1) for part in answer.headers.get("x-goog-hash", "").split(",") if "=" in part)
    if "crc32c" not in said or answer.headers.get("x-goog-stored-content-encoding", "identity") != "identity":
        return
    if said["crc32c"] != _crc32c(answer.content):
        raise CloudUnavailableError(
            user_message="Data from Google Cloud arrived damaged. Benchkeeper tries again.",
            detail=f"{what}: CRC32C differs",
        )
