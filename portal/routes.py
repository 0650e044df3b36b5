"""The description of a route.

Each module with routes has a tuple `ROUTES`; the OpenAPI description and the tests are generated from these tuples.
A test compares the tuples with Flask's URL map, and fails if a route has no description.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from msgspec import Struct, field

HTML, JSON, CSV, SVG = "text/html", "application/json", "text/csv", "image/svg+xml"
FORM = "application/x-www-form-urlencoded"


class Access(StrEnum):
    """The visitors whom a route admits: all, those who are signed in, or the roles with a right (`shared.domain.intent.roles`).

    Other visitors get 401 if they are not signed in, and 403 if their role lacks the right.
    """

    ANYONE = "anyone"
    SIGNED_IN = "signed in"
    FIND = "roles that may find a person"
    READ = "roles that may see everything"
    HELP = "roles that may start and stop for others"
    ACT = "roles that may act for others"
    DECIDE = "roles that may decide"
    OWN = "owners"


class Place(StrEnum):
    """The place of a parameter in the request."""

    PATH = "path"
    QUERY = "query"
    FORM = "form"


class Param(Struct, frozen=True, kw_only=True):
    """A parameter; `schema` is its JSON Schema."""

    name: str
    place: Place
    text: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    required: bool = False


class Route(Struct, frozen=True, kw_only=True):
    """The description of a route: an HTTP method of a URL rule in Flask's form, such as `/spark/<template>/start`.

    `name` is both the operation's id and the Flask endpoint. `media` is the type of a successful response, `schema` its JSON
    Schema if it is JSON. `takes` is the type of a POST's body: a form, or JSON from scripts. `answers` are the statuses with
    their meaning, in addition to those that every route has.
    """

    method: str
    rule: str
    name: str
    summary: str
    access: Access
    params: tuple[Param, ...] = ()
    media: str = HTML
    takes: str = FORM
    schema: Mapping[str, Any] | None = None
    answers: Mapping[int, str] = field(default_factory=lambda: {200: "The page."})
