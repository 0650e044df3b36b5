"""The part of the settings that rendering needs, for clusters and for sessions. `shared.wiring` makes it from the policy in force."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct


def not_parsed(_digest: str) -> Any:
    """Return None, because no master was parsed before. The default of `RenderTarget.parsed`."""
    return None


class RenderTarget(Struct, frozen=True, kw_only=True):
    """The settings for rendering: the project and subnetwork of the users' clusters ("": the default network), and Benchkeeper's own bucket.

    Clusters must not stage their files in that bucket: they use the bucket that the master names, or else Dataproc's own
    bucket of the region. `own_accounts` are the profiles whose users' clusters run as the user's own service account. `parsed`
    returns the content of a master by its digest, if the deployment parsed it, else None; a cold start then needs no
    parser. The content is shared: copy it before changing it.
    """

    project: str
    bucket: str
    subnet: str
    own_accounts: frozenset[str] = frozenset()
    parsed: Callable[[str], Any] = not_parsed
