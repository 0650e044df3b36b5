"""The role of a user, by the present members of the groups of the settings."""

from __future__ import annotations

from shared.domain.intent.roles import Role
from shared.domain.things.identity import UserEmail
from shared.engine.ports.deps import Deps


def role_of(email: UserEmail, deps: Deps) -> Role | None:
    """Return the first role in whose group the user is a direct member; None if there is none.

    Raise `BenchkeeperError` if an earlier group could not be read: the role is then unknown, and an unknown role gives
    no right.
    """
    return next((role for role, group in deps.roles.groups() if deps.groups.has(group, email)), None)
