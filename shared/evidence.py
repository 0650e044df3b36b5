"""The files of an evidence package, and their check.

A package has each table as CSV and JSON, a manifest with the SHA-256 of each file, and the manifest's own SHA-256.

`benchkeeper evidence` and the page write packages. `manifest.sha256` reveals a changed byte of the manifest. A copy of that
digest in another place also reveals a replaced package.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from shared.domain.things.times import rfc3339
from shared.engine.views.evidence import TABLES, Cell, Evidence, Period
from shared.sheet import csv_lines

MANIFEST, DIGEST = "manifest.json", "manifest.sha256"
_FORMAT = 1
_DIGEST_LENGTH = 64
_END_LENGTH = 22  # of an archive's last record, without a comment
_MOST_BYTES = 4 << 30  # of one file in a package


def version() -> str:
    """Return the version of this program; "unknown" if it is not installed as a package."""
    try:
        return metadata.version("benchkeeper")
    except metadata.PackageNotFoundError:
        return "unknown"


def package(
    found: Evidence, period: Period, *, about: str, asked_by: str, at: datetime, policy: str, commit: str = ""
) -> dict[str, bytes]:
    """Return the files of an evidence package by name. `about` is the user's key, or "everybody"."""
    files: dict[str, bytes] = {}
    rows: dict[str, int] = {}
    for name, columns in TABLES.items():
        table = found.tables[name]
        files[f"{name}.csv"] = csv_lines([columns, *table]).encode()
        files[f"{name}.json"] = _json([dict(zip(columns, map(_plain, row), strict=True)) for row in table])
        rows[name] = len(table)
    manifest = {
        "format": _FORMAT,
        "about": about,
        "from": period.first.isoformat(),
        "to": period.last.isoformat(),
        "made_at": rfc3339(at),
        "asked_by": asked_by,
        "version": version(),
        "commit": commit or "unknown",
        "policy": policy,
        "population": found.records,
        "rows": rows,
        "files": {name: _digest(content) for name, content in sorted(files.items())},
    }
    files[MANIFEST] = _json(manifest)
    files[DIGEST] = f"{_digest(files[MANIFEST])}  {MANIFEST}\n".encode()
    return files


def digest_of(files: Mapping[str, bytes]) -> str:
    """Return the digest of a package's manifest. A copy in another place later proves that the package was not replaced."""
    return _digest(files[MANIFEST])


def zipped(files: Mapping[str, bytes]) -> bytes:
    """Return the files as one zip archive. Equal files give equal bytes.

    The archive's comment is the SHA-256 of all bytes before the comment.
    """
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = b"0" * _DIGEST_LENGTH
        for name, data in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)
    raw = content.getvalue()[:-_DIGEST_LENGTH]
    return raw + _digest(raw).encode()


def read_package(path: Path) -> dict[str, bytes]:
    """Return the files of a package by name. `path` is a folder or a zip archive. Raise `OSError` or `BadZipFile` otherwise.

    A changed byte between an archive's files raises `BadZipFile`, unless another program repacked the archive. A file of an
    archive that is too large for a package is left out, so that `faults_of` reports it as missing.
    """
    if path.is_dir():
        return {each.name: each.read_bytes() if each.is_file() else b"" for each in sorted(path.iterdir())}
    raw = path.read_bytes()
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            infos, comment = archive.infolist(), archive.comment
            files = {info.filename: archive.read(info) for info in infos if info.file_size < _MOST_BYTES}
    except (zlib.error, struct.error, NotImplementedError, RuntimeError, EOFError, ValueError, OverflowError) as error:
        raise zipfile.BadZipFile(f"it was altered ({type(error).__name__})") from error
    if len({info.filename for info in infos}) != len(infos):
        raise zipfile.BadZipFile("a file is in it twice")
    end = raw[-_END_LENGTH:]
    has_none = end.startswith(b"PK\x05\x06") and end.endswith(b"\0\0")  # the length of a comment that is not there
    if not has_none and comment != _digest(raw[:-_DIGEST_LENGTH]).encode():
        raise zipfile.BadZipFile("a byte between its files was altered")
    return files


def faults_of(files: Mapping[str, bytes], *, digest: str = "") -> list[str]:
    """Return the faults of a package; empty if it has exactly the files that its manifest lists.

    `digest` is the manifest's digest from another place. Only this digest reveals that the whole package was replaced.
    """
    if MANIFEST not in files or DIGEST not in files:
        return [f"{name} is missing" for name in (MANIFEST, DIGEST) if name not in files]
    own = _digest(files[MANIFEST])
    faults = []
    if files[DIGEST] != f"{own}  {MANIFEST}\n".encode():
        faults.append(f"{MANIFEST} or {DIGEST} was altered")
    if digest and own != digest.strip().lower():
        faults.append(f"{MANIFEST} is not the one with the digest {digest}")
    try:
        listed = dict(json.loads(files[MANIFEST])["files"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return [*faults, f"{MANIFEST} cannot be read"]
    for name, said in sorted(listed.items()):
        if name not in files:
            faults.append(f"{name} is missing")
        elif _digest(files[name]) != said:
            faults.append(f"{name} was altered")
    return faults + [f"{name} was added" for name in sorted(set(files) - set(listed) - {MANIFEST, DIGEST})]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _json(value: Sequence[Any] | Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False).encode("utf-8", "replace") + b"\n"


def _plain(value: Cell) -> Any:
    return rfc3339(value) if isinstance(value, datetime) else value
