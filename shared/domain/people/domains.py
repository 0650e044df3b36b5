"""Whose addresses are people's: the domains of the organization, and where a day begins and ends for its people."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field


class People(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the administrator says of the people. Without `domains` nobody is refused for the domain (embedded cloud only).

    `alias_domains` leads from an alias to the domain that it stands for. `time_zone` is a name of the IANA database. `organization` is the
    number of the Google Cloud organization whose logs are believed; None: logs of no organization are.
    """

    domains: tuple[str, ...] = ()
    alias_domains: Mapping[str, str] = field(default_factory=dict)
    time_zone: str = "UTC"
    organization: str | None = None

    def main_domain(self, domain: str) -> str:
        """Return the domain that an alias stands for; any other domain as it is."""
        return self.alias_domains.get(domain, domain)

    def knows_domain(self, domain: str) -> bool:
        """Return True if people of that domain may be given something."""
        return not self.domains or self.main_domain(domain) in self.domains
