"""The part of the settings that rendering needs, for clusters and for sessions. `shared.wiring` makes it from the policy in force."""

from __future__ import annotations

from msgspec import Struct


class RenderTarget(Struct, frozen=True, kw_only=True):
    """The place of the users' clusters: project, subnetwork ("" = the default network), and Benchkeeper's own bucket.

    Clusters must not stage their files in that bucket: they use the master's, or else Dataproc's own bucket of the region. `own_accounts`
    are the profiles whose users' clusters run as the user's own service account.
    """

    project: str
    bucket: str
    subnet: str
    own_accounts: frozenset[str] = frozenset()
