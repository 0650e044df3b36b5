"""The roles of users who look after others, and the rights of each role.

A role is membership in a Google group that the settings name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum

from msgspec import Struct

from shared.domain.intent.wish import WishKind


class Role(StrEnum):
    """The roles, the most powerful first. A user in the groups of several roles has the first of these roles."""

    OWNER = "owner"
    OPERATOR = "operator"
    HELP_DESK = "help_desk"
    AUDITOR = "auditor"


class Right(StrEnum):
    """A right that a role may have.

    `FIND`: find a person and see the state of the notebook. `READ`: see all data of all people. `HELP`: start, stop and
    restart notebooks of others. `ACT`: perform all other acts. `DECIDE`: approve or reject waiting changes. `OWN`: lift
    a block.
    """

    FIND = "find"
    READ = "read"
    HELP = "help"
    ACT = "act"
    DECIDE = "decide"
    OWN = "own"


MAY: Mapping[Role, frozenset[Right]] = {
    Role.OWNER: frozenset(Right),
    Role.OPERATOR: frozenset(Right) - {Right.OWN},
    Role.HELP_DESK: frozenset({Right.FIND, Right.HELP}),
    Role.AUDITOR: frozenset({Right.FIND, Right.READ}),
}
_HELP = frozenset({WishKind.START, WishKind.STOP, WishKind.RESTART})


class Roles(Struct, frozen=True, kw_only=True):
    """The address of each role's group; None if the settings name no group for the role."""

    owner: str | None = None
    operator: str | None = None
    help_desk: str | None = None
    auditor: str | None = None

    def groups(self) -> Iterator[tuple[Role, str]]:
        """Yield each role that has a group, with the group's address, the most powerful role first."""
        for role in Role:
            group: str | None = getattr(self, role.value)
            if group is not None:
                yield role, group


def needed_for(kind: WishKind) -> Right:
    """Return the right that a user needs to make this kind of request for another user."""
    if kind is WishKind.LIFT:
        return Right.OWN
    return Right.HELP if kind in _HELP else Right.ACT
