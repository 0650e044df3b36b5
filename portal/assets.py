"""The static files, each with a digest of its content in its address, so that a browser may keep it for ever."""

from __future__ import annotations

import hashlib
from pathlib import Path

FOLDER = Path(__file__).parent / "static"


class Assets:
    """Digests of all static files, read once."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._digests = {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()[:12]
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    def url(self, name: str) -> str:
        """`/assets/<name>?v=<digest>`. Raises `KeyError` for a file that is not there."""
        return f"/assets/{name}?v={self._digests[name]}"

    def is_current(self, name: str, digest: str | None) -> bool:
        """Return True when `digest` is that of the file as it is."""
        return digest is not None and self._digests.get(name) == digest
