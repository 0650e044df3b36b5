"""Why the local system cannot start."""

from __future__ import annotations


class LocalError(Exception):
    """The local system cannot start; the text says why and what to do."""
