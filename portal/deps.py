"""The page's dependencies, and the state that it keeps while the process lives. No state is kept in the module."""

from __future__ import annotations

from collections.abc import Mapping

import flask
from msgspec import Struct, field

from portal.assets import Assets
from portal.limits import Buckets, Flights
from portal.roles import RolesSeen
from shared.cloud.dataproc.template_size import ClusterSize, size_of
from shared.engine.ports.deps import Deps
from shared.engine.ports.inbox import SignIn, Wake
from shared.settings import Settings

_EXTENSION = "benchkeeper"


class PortalDeps(Struct, frozen=True, kw_only=True):
    """The outside dependencies of the page, put together by `functions.hub` or by a test.

    `sign_in` verifies the caller's assertion. `wake` requests a pass over a user now. `contact` is the contact that the page
    names to users, "" if none is configured. `sizes` has the size of each cluster template whose size is known.
    """

    engine: Deps
    sign_in: SignIn
    wake: Wake
    contact: str = ""
    currency: str = "USD"
    env: str = ""
    sizes: Mapping[str, ClusterSize] = field(default_factory=dict)


def portal_deps(settings: Settings, engine: Deps, *, sign_in: SignIn, wake: Wake) -> PortalDeps:
    """Return the dependencies for the settings.

    The sizes of templates are read once, because a template only changes with a deployment.
    """
    sizes = {name: size_of(master) for name, master in settings.catalog.masters.items()}
    return PortalDeps(
        engine=engine,
        sign_in=sign_in,
        wake=wake,
        contact=settings.contact,
        currency=settings.currency,
        env=settings.env,
        sizes={name: size for name, size in sizes.items() if size is not None},
    )


class Portal(Struct, frozen=True, kw_only=True):
    """A running page: its dependencies and the state that it keeps between requests. Thread-safe.

    `changes` and `reads` limit each user's rate of POST and of GET requests.
    """

    deps: PortalDeps
    roles: RolesSeen
    changes: Buckets
    reads: Buckets
    flights: Flights
    assets: Assets


def attach(app: flask.Flask, portal: Portal) -> None:
    """Make `portal` available to all requests of this application."""
    app.extensions[_EXTENSION] = portal


def current() -> Portal:
    """Return the portal of the present request's application."""
    portal: Portal = flask.current_app.extensions[_EXTENSION]
    return portal
