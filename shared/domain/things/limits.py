"""The limits of the members of a group: settings under `assignments` in config/profiles.yaml."""

from __future__ import annotations

import sys
from typing import Annotated

from msgspec import Meta, Struct


class GroupLimits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The limits of all members of a group together.

    `max_environments` is the number of members who may have an environment at once. `max_monthly_cost` is the highest cost of
    all members in a calendar month, in the billing currency. None means no limit.
    """

    max_environments: (
        Annotated[
            int,
            Meta(
                ge=0,
                le=100_000,
                description="The number of members who may have a notebook at once. Others wait for a free place; nobody loses a notebook.",
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
                description="The metered cost of the members in a month, at most. Once it is used up, nothing is started for them "
                "until the next month; running notebooks are not stopped.",
            ),
        ]
        | None
    ) = None
