"""The proof of leaving: for each of the eight paths by which a leaver could still get in, when it was cut, and when the cloud said so."""

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
    """A path: `cut_at` is when its end was asked for, or when it was first seen gone; `gone_at` when the cloud was asked and said so.

    `reason` says why it is not gone, or could not be observed: the reason of an error, "" for none.
    """

    path: LeavingPath
    state: PathState
    cut_at: datetime | None = None
    gone_at: datetime | None = None
    reason: str = ""

    @property
    def is_verified(self) -> bool:
        """The result: True if the cloud was asked after the cut, and nothing was there."""
        return self.gone_at is not None


class Leaving(Struct, frozen=True, kw_only=True):
    """The state of a user's leaving. `since` is when the news came; `complete_at` when the last path was verified, None before.

    `keys` is how many keys users had made for the person's account when it was asked for them; None if it never was.
    """

    since: datetime
    paths: tuple[PathCut, ...]
    complete_at: datetime | None = None
    keys: int | None = None

    def path(self, path: LeavingPath) -> PathCut | None:
        """Return what is known of a path; None if the path was not checked."""
        return next((each for each in self.paths if each.path is path), None)
