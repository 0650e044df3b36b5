"""The error of a local system that cannot start."""

from __future__ import annotations


class LocalError(Exception):
    """The error of a local system that cannot start; its text says why and what to do."""
