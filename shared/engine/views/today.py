"""The cost of this month from the figures that a sweep counted: the first page of a manager reads no rows for it. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from shared.domain.fleet.figures import Used
from shared.domain.things.catalog import Catalog
from shared.domain.things.usage import NOTEBOOK, cluster_usage


def estimate_of(used: Iterable[Used], catalog: Catalog) -> tuple[float, float]:
    """Return the estimate for what ran, and the seconds that are not in it because their profile or template has no price."""
    templates = {cluster_usage(name): name for name in (*catalog.masters, *catalog.environments)}
    total, unpriced = 0.0, 0.0
    for each in used:
        if each.use == NOTEBOOK:
            profile = catalog.profiles.get(each.profile)
            price = profile.hourly_cost if profile is not None else None
        else:
            price = catalog.environment(templates.get(each.use, each.use)).hourly_cost
        if price is None:
            unpriced += each.ran_s
        else:
            total += each.ran_s / 3600 * price
    return total, unpriced
