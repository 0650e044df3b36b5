"""What rendering needs of the settings, for clusters and for sessions. `shared.wiring` makes it of the policy in force."""

from __future__ import annotations

from msgspec import Struct


class RenderTarget(Struct, frozen=True, kw_only=True):
    """Where the user's clusters will be: project, subnetwork ("" = the default network), and the bucket of Benchkeeper itself.

    Clusters stage their files elsewhere: in what the master names, else in Dataproc's own bucket of the region. `own_accounts`
    are the profiles whose people's clusters run as a service account of their own.
    """

    project: str
    bucket: str
    subnet: str
    own_accounts: frozenset[str] = frozenset()
