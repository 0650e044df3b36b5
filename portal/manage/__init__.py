"""The manager's pages: all users, cases that need attention, a user's history, and costs.

Each route names the roles that it admits.
"""

from __future__ import annotations

from portal.manage import (
    acts,
    announcing,
    attention,
    audit,
    changes,
    changes_api,
    costs,
    evidence,
    helping,
    limits,
    messages,
    people,
    person,
    person_tables,
    releases,
    rosters,
    today,
)
from portal.manage.base import blueprint

_PARTS = (
    today,
    people,
    helping,
    person,
    announcing,
    person_tables,
    acts,
    attention,
    changes,
    changes_api,
    releases,
    messages,
    rosters,
    costs,
    limits,
    audit,
    evidence,
)
ROUTES = tuple(route for part in _PARTS for route in part.ROUTES)

__all__ = ["ROUTES", "blueprint"]
