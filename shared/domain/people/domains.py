"""The domains of the users' addresses, and the time zone in which their days begin and end."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field


class People(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The administrator's settings about users. Without `domains` every domain is accepted (embedded cloud only).

    `alias_domains` maps an alias domain to its main domain. `time_zone` is a name of the IANA database. `organization` is the
    number of the Google Cloud organization whose logs are accepted; if it is None, no such logs are accepted.
    """

    domains: tuple[str, ...] = ()
    alias_domains: Mapping[str, str] = field(default_factory=dict)
    time_zone: str = "UTC"
    organization: str | None = None

    def main_domain(self, domain: str) -> str:
        """Return the main domain of an alias domain; return any other domain unchanged."""
        return self.alias_domains.get(domain, domain)

    def knows_domain(self, domain: str) -> bool:
        """Return True if users of that domain may get access."""
        return not self.domains or self.main_domain(domain) in self.domains
