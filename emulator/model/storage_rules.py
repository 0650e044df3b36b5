"""The stateless rules of Cloud Storage: names, preconditions, globs, checksums and the error bodies."""

from __future__ import annotations

import base64
import functools
import hashlib
import ipaddress
import re
from dataclasses import dataclass
from typing import Protocol

import google_crc32c

from emulator.errors import ApiError

MAX_NAME_BYTES = 1024
_BUCKET_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{1,220}[a-z0-9])")
_BUCKET_PART_BYTES = 63
_LABEL_KEY = re.compile(r"[a-z\u00df-\uffff][a-z0-9_\-\u00df-\uffff]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_\-\u00df-\uffff]{0,63}")
_NOT_MET = "At least one of the pre-conditions you specified did not hold."


def not_found(bucket: str, name: str | None = None) -> ApiError:
    """Return the error 404 for a bucket, or for an object in it."""
    message = "The specified bucket does not exist." if name is None else f"No such object: {bucket}/{name}"
    return ApiError("NOT_FOUND", message, reason="notFound")


def invalid(message: str) -> ApiError:
    """Return the error 400 `invalid`."""
    return ApiError("INVALID_ARGUMENT", message, reason="invalid")


def condition_not_met() -> ApiError:
    """Return the error 412 `conditionNotMet`."""
    return ApiError("FAILED_PRECONDITION", _NOT_MET, http_status=412, reason="conditionNotMet")


def not_modified() -> ApiError:
    """Return the error 304 for a read whose NotMatch condition does not hold. The response has no body."""
    return ApiError("FAILED_PRECONDITION", "Not Modified", http_status=304, reason="notModified")


class Versioned(Protocol):
    """An object or a bucket with the two version numbers that preconditions compare."""

    @property
    def generation(self) -> int:
        """The version of the content."""

    @property
    def metageneration(self) -> int:
        """The version of that content's metadata."""


@dataclass(frozen=True, slots=True)
class Preconditions:
    """The four conditions of a request; None = not given. Generation 0 means "there is no live object"."""

    generation_match: int | None = None
    generation_not_match: int | None = None
    metageneration_match: int | None = None
    metageneration_not_match: int | None = None

    def check(self, found: Versioned | None, *, reading: bool = False) -> None:
        """Raise 412 if a condition does not hold. For a read, a NotMatch condition that does not hold raises 304 instead."""
        generation = 0 if found is None else found.generation
        metageneration = None if found is None else found.metageneration
        if self.generation_match is not None and generation != self.generation_match:
            raise condition_not_met()
        if self.metageneration_match is not None and metageneration != self.metageneration_match:
            raise condition_not_met()
        same_generation = self.generation_not_match is not None and generation == self.generation_not_match
        same_meta = self.metageneration_not_match is not None and metageneration == self.metageneration_not_match
        if same_generation or same_meta:
            raise not_modified() if reading else condition_not_met()


ANY = Preconditions()


def check_bucket_name(name: str) -> None:
    """Raise 400 for an invalid bucket name: 3-63 characters (222 with dots), lower case, no `goog` prefix, no IP address."""
    good = _BUCKET_NAME.fullmatch(name) is not None and ".." not in name
    good = good and all(len(part) <= _BUCKET_PART_BYTES for part in name.split("."))
    good = good and not name.startswith("goog") and "google" not in name and "g00gle" not in name
    try:
        ipaddress.IPv4Address(name)
        good = False
    except ValueError:
        pass
    if not good:
        raise invalid(f"Invalid bucket name: '{name}'")


def check_object_name(name: str) -> None:
    """Raise 400 for an invalid object name."""
    if not name:
        raise ApiError("INVALID_ARGUMENT", "Required", reason="required")
    try:
        size = len(name.encode())
    except UnicodeEncodeError as error:
        raise invalid(f"Disallowed unicode characters present in object name {name!r}") from error
    if size > MAX_NAME_BYTES:
        raise invalid(
            f"The maximum object length is {MAX_NAME_BYTES} characters, but got a name with {size} characters: ''{name[:64]}...''"
        )
    if "\r" in name or "\n" in name:
        raise invalid(f"Disallowed unicode characters present in object name {name!r}")
    if name in {".", ".."} or name.startswith(".well-known/acme-challenge/"):
        raise invalid(f"Invalid object name: '{name}'")


def check_labels(labels: dict[str, str]) -> None:
    """Raise 400 for invalid labels: at most 64, keys of 1-63 and values of 0-63 lower-case characters."""
    if len(labels) > 64:  # noqa: PLR2004 - the documented limit
        raise invalid("A bucket may have at most 64 labels.")
    for key, value in labels.items():
        if _LABEL_KEY.fullmatch(key) is None:
            raise invalid(f"Invalid label key: '{key}'")
        if _LABEL_VALUE.fullmatch(value) is None:
            raise invalid(f"Invalid label value: '{value}'")


def crc32c_of(content: bytes) -> str:
    """Return the CRC32C as the API writes it: base64 of four big-endian bytes."""
    return base64.b64encode(int(google_crc32c.value(content)).to_bytes(4, "big")).decode()


def md5_of(content: bytes) -> str:
    """Return the MD5 as the API writes it: base64."""
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


def check_declared(content: bytes, *, crc32c: str | None, md5: str | None) -> None:
    """Raise 400 if a checksum that the sender declared does not match the content."""
    if crc32c and crc32c != crc32c_of(content):
        raise invalid(f'Provided CRC32C "{crc32c}" doesn\'t match calculated CRC32C "{crc32c_of(content)}".')
    if md5 and md5 != md5_of(content):
        raise invalid(f'Provided MD5 hash "{md5}" doesn\'t match calculated MD5 hash "{md5_of(content)}".')


@functools.lru_cache(maxsize=256)
def glob_pattern(glob: str) -> re.Pattern[str]:
    """Return `matchGlob` as a regular expression: `*` and `?` stop at `/`, `**` does not, `[a-z]`, `[!x]` and `{a,b}`.

    Raise 400 for an invalid glob.
    """
    out, index, depth = "", 0, 0
    while index < len(glob):
        char = glob[index]
        if glob.startswith("**/", index):
            out, index = out + "(?:.*/)?", index + 3
            continue
        if glob.startswith("**", index):
            out, index = out + ".*", index + 2
            continue
        if char == "[":
            end = glob.find("]", index + 2)
            if end < 0:
                raise invalid(f"Invalid match glob: '{glob}'")
            body = glob[index + 1 : end].replace("\\", "\\\\").replace("[", "\\[")
            out, index = out + ("[^" + body[1:] if body[0] in "!^" else "[" + body) + "]", end + 1
            continue
        if char == "\\" and index + 1 < len(glob):
            out, index = out + re.escape(glob[index + 1]), index + 2
            continue
        depth += {"{": 1, "}": -1}.get(char, 0)
        special = {"*": "[^/]*", "?": "[^/]", "{": "(?:", "}": ")"}
        out += "|" if char == "," and depth else special.get(char) or re.escape(char)
        index += 1
    try:
        return re.compile(out, re.DOTALL)
    except re.error as error:
        raise invalid(f"Invalid match glob: '{glob}'") from error
