"""The proof of leaving, for each of the eight paths by which a leaver could still have access.

It has the time of the cut, and the time at which the cloud confirmed it.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from msgspec import Struct


class LeavingPath(StrEnum):
    """A path by which a user has access. The order is that of a certificate."""

    PROXY = "proxy-session"
    VM = "vm"
    ACCOUNT = "account"
    BINDINGS = "keys-and-bindings"
    CLUSTERS = "clusters"
    SESSIONS = "serverless-sessions"
    TEMPLATES = "template-objects"
    PAGE = "page"


class PathState(StrEnum):
    """The result of the last look at a path."""

    GONE = "gone"
    NONE = "none"  # there never was anything
    THERE = "there"
    UNREADABLE = "unreadable"
    NOT_LOOKED = "not-looked"


class PathCut(Struct, frozen=True, kw_only=True):
    """A path: `cut_at` is the time at which its end was requested, or it was first seen gone.

    `gone_at` is the time at which the cloud confirmed that.

    `reason` says why it is not gone, or could not be observed: the reason of an error, "" for none.
    """

    path: LeavingPath
    state: PathState
    cut_at: datetime | None = None
    gone_at: datetime | None = None
    reason: str = ""

    @property
    def is_verified(self) -> bool:
        """Return True if the cloud was asked after the cut and nothing was left."""
        return self.gone_at is not None


class Leaving(Struct, frozen=True, kw_only=True):
    """The state of a user's leaving.

    `since` is the time of the news; `complete_at` is the time at which the last path was verified, None before.

    `keys` is the number of keys that users had made for the person's account at the last check; None if there was none.
    """

    since: datetime
    paths: tuple[PathCut, ...]
    complete_at: datetime | None = None
    keys: int | None = None

    def path(self, path: LeavingPath) -> PathCut | None:
        """Return the state of a path; None if the path was not checked."""
        return next((each for each in self.paths if each.path is path), None)
