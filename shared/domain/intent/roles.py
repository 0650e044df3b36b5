"""The roles of those who look after others, and what each may do. A role is membership in a Google group that the settings name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum

from msgspec import Struct

from shared.domain.intent.wish import WishKind


class Role(StrEnum):
    """A role, the mightiest first: somebody in several groups has the first of these."""

    OWNER = "owner"
    OPERATOR = "operator"
    HELP_DESK = "help_desk"
    AUDITOR = "auditor"


class Right(StrEnum):
    """A right that a role may have.

    `FIND`: find a person and see how the notebook stands. `READ`: see everything of everybody. `HELP`: start, stop and restart for
    others. `ACT`: all other acts. `DECIDE`: approve or reject what waits. `OWN`: lift a block.
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
    """The group of each role; None: nobody has the role."""

    owner: str | None = None
    operator: str | None = None
    help_desk: str | None = None
    auditor: str | None = None

    def groups(self) -> Iterator[tuple[Role, str]]:
        """Yield each role that has a group, with the group, in the order in which they are asked."""
        for role in Role:
            group: str | None = getattr(self, role.value)
            if group is not None:
                yield role, group


def needed_for(kind: WishKind) -> Right:
    """Return what somebody must be allowed to request this for another user."""
    if kind is WishKind.LIFT:
        return Right.OWN
    return Right.HELP if kind in _HELP else Right.ACT
