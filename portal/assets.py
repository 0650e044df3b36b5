"""The static files. Each URL carries a digest of the file's content, so that a browser may cache the file for ever."""

from __future__ import annotations

import hashlib
from pathlib import Path

FOLDER = Path(__file__).parent / "static"


class Assets:
    """The digests of all static files, read once."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._digests = {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()[:12]
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    def url(self, name: str) -> str:
        """Return `/assets/<name>?v=<digest>`. Raise `KeyError` if there is no such file."""
        return f"/assets/{name}?v={self._digests[name]}"

    def is_current(self, name: str, digest: str | None) -> bool:
        """Return True if `digest` is the digest of the present file."""
        return digest is not None and self._digests.get(name) == digest
