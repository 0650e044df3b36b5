"""Who is entitled to what, and which statement makes it so."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from shared.domain.catalog import Catalog
from shared.domain.facts import ACCOUNT, EMPLOYMENT, REQUEST, Facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Entitlement:
    """`profile` is the profile's name, None when the person is entitled to nothing; `because` says which fact decides.

    `unknown_profile` names a profile that was asked for and that the catalog does not have.
    """

    profile: str | None
    because: str
    unknown_profile: str | None = None

    @property
    def entitled(self) -> bool:
        """True when the person is to have an environment."""
        return self.profile is not None


def judge_entitlement(facts: Facts, catalog: Catalog, now: datetime) -> Entitlement:
    """What the facts give at `now`.

    In this order: who left or whose account is not usable gets nothing; a request by hand decides the profile; else the
    group with the highest priority among those held (ties by name); else nothing.
    """
    employment = facts.at(EMPLOYMENT, now)
    if employment is not None and employment.value is not True:
        return Entitlement(profile=None, because=f"left (event {employment.event_id})")
    account = facts.at(ACCOUNT, now)
    if account is not None and account.value is not True:
        return Entitlement(profile=None, because=f"account suspended or deleted (event {account.event_id})")
    request = facts.at(REQUEST, now)
    if request is not None and isinstance(request.value, str):
        return _requested(request.value, request.event_id, catalog, facts, now)
    return _by_group(facts, catalog, now)


def _requested(name: str, event_id: str, catalog: Catalog, facts: Facts, now: datetime) -> Entitlement:
    if name == "":
        if catalog.default_profile is None:
            by_group = _by_group(facts, catalog, now)
            if by_group.entitled:
                return by_group
            return Entitlement(profile=None, because=f"asked for no profile and there is no default (event {event_id})")
        # A group says more than the default does.
        by_group = _by_group(facts, catalog, now)
        if by_group.entitled:
            return by_group
        return Entitlement(profile=catalog.default_profile, because=f"default profile (event {event_id})")
    if name not in catalog.profiles:
        return Entitlement(
            profile=None,
            because=f"asked for profile '{name}', which does not exist (event {event_id})",
            unknown_profile=name,
        )
    return Entitlement(profile=name, because=f"asked for by hand (event {event_id})")


def _by_group(facts: Facts, catalog: Catalog, now: datetime) -> Entitlement:
    held = facts.groups(now)
    entitling = [a for a in catalog.assignments if a.group in held]
    if not entitling:
        groups = "no group" if not held else f"{len(held)} group{'s' if len(held) > 1 else ''}, none of which entitles"
        return Entitlement(profile=None, because=f"member of {groups}")
    best = min(entitling, key=lambda a: (-a.priority, a.group))
    return Entitlement(profile=best.profile, because=f"member of {best.group} (event {held[best.group].event_id})")
