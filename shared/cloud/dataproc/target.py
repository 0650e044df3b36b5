"""The part of the settings that rendering needs, for clusters and for sessions. `shared.wiring` makes it from the policy in force."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct


def not_parsed(_digest: str) -> Any:
    """Return None: no master was parsed before."""
    return None


class RenderTarget(Struct, frozen=True, kw_only=True):
    """The place of the users' clusters: project, subnetwork ("" = the default network), and Benchkeeper's own bucket.

    Clusters must not stage their files in that bucket: they use the master's, or else Dataproc's own bucket of the region. `own_accounts`
    are the profiles whose users' clusters run as the user's own service account. `parsed` gives the content of a master by its digest, as
    a deployment parsed it, so that a cold start need not import a parser; None if it did not. Who changes the content takes a copy.
    """

    project: str
    bucket: str
    subnet: str
    own_accounts: frozenset[str] = frozenset()
    parsed: Callable[[str], Any] = not_parsed
