"""The manager's page: everybody, what needs a person, one person's whole story, costs. For members of the admin group only."""

from __future__ import annotations

from portal.manage import acts, attention, costs, fleet, letters, person
from portal.manage.base import blueprint

ROUTES = (*fleet.ROUTES, *person.ROUTES, *acts.ROUTES, *attention.ROUTES, *letters.ROUTES, *costs.ROUTES)

__all__ = ["ROUTES", "blueprint"]
