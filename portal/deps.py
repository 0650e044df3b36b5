"""What the page works with, and what it keeps while the process lives. Nothing here is module state."""

from __future__ import annotations

from collections.abc import Mapping

import flask
from msgspec import Struct, field

from portal.admins import Admins
from portal.assets import Assets
from portal.limits import Buckets, Flights
from shared.cloud.dataproc.template_size import ClusterSize, size_of
from shared.engine.ports.deps import Deps
from shared.engine.ports.inbox import SignIn, Wake
from shared.settings import Settings

_EXTENSION = "benchkeeper"


class PortalDeps(Struct, frozen=True, kw_only=True):
    """Everything that the page needs from the outside; put together by `functions.hub`, or by a test.

    `contact` is whom people are told to ask, "" when nobody is named. `sizes` has the size of each cluster template.
    """

    engine: Deps
    sign_in: SignIn
    wake: Wake
    contact: str = ""
    admin_group: str | None = None
    currency: str = "USD"
    env: str = ""
    sizes: Mapping[str, ClusterSize] = field(default_factory=dict)


def portal_deps(settings: Settings, engine: Deps, *, sign_in: SignIn, wake: Wake) -> PortalDeps:
    """Return what the settings make of it. The sizes are read once: a template changes with a deployment only."""
    sizes = {name: size_of(master) for name, master in settings.catalog.masters.items()}
    return PortalDeps(
        engine=engine,
        sign_in=sign_in,
        wake=wake,
        contact=settings.contact,
        admin_group=settings.admin_group,
        currency=settings.currency,
        env=settings.env,
        sizes={name: size for name, size in sizes.items() if size is not None},
    )


class Portal(Struct, frozen=True, kw_only=True):
    """One running page: its dependencies, and the little that it remembers between requests. Safe for several threads."""

    deps: PortalDeps
    admins: Admins
    changes: Buckets
    reads: Buckets
    flights: Flights
    assets: Assets


def attach(app: flask.Flask, portal: Portal) -> None:
    """Make `portal` what requests of this application work with."""
    app.extensions[_EXTENSION] = portal


def current() -> Portal:
    """Return what the present request's application works with."""
    portal: Portal = flask.current_app.extensions[_EXTENSION]
    return portal
