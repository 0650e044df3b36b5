"""The limits of the members of a group: settings under `assignments` in config/profiles.yaml."""

from __future__ import annotations

import sys
from typing import Annotated

from msgspec import Meta, Struct


class GroupLimits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The limits of all members of a group together.

    `max_environments` is the number of members who may have an environment at once, `max_monthly_cost` their limit of
    cost in a calendar month, in the billing currency; None: no limit.
    """

    max_environments: (
        Annotated[
            int,
            Meta(
                ge=0,
                le=100_000,
                description="How many members may have a notebook at once. Who finds no place waits; nobody loses one.",
            ),
        ]
        | None
    ) = None
    max_monthly_cost: (
        Annotated[
            float,
            Meta(
                ge=0,
                le=sys.float_info.max,  # finite
                description="What members may cost in a month, as metered. Once it is used up, nothing is started for them "
                "until the next month; what runs goes on.",
            ),
        ]
        | None
    ) = None
