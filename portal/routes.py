"""How a route is described. Each module with routes has a tuple `ROUTES`; the OpenAPI description and the tests are made of them.

A test holds the tuples against the application's own map: a route that nobody described fails it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from msgspec import Struct, field

HTML, JSON, CSV, SVG = "text/html", "application/json", "text/csv", "image/svg+xml"
FORM = "application/x-www-form-urlencoded"


class Access(StrEnum):
    """Who gets an answer. Everybody else gets 401 (nobody), or 403 (somebody, but no administrator)."""

    ANYONE = "anyone"
    SIGNED_IN = "signed in"
    ADMIN = "administrators"


class Place(StrEnum):
    """Where a parameter stands."""

    PATH = "path"
    QUERY = "query"
    FORM = "form"


class Param(Struct, frozen=True, kw_only=True):
    """One parameter; `schema` is its JSON Schema."""

    name: str
    place: Place
    text: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    required: bool = False


class Route(Struct, frozen=True, kw_only=True):
    """One method of one rule (as Flask writes it: `/spark/<template>/start`).

    `name` is the operation's id and the Flask endpoint's. `media` is what it answers with when all is well, `schema` the JSON
    Schema of that for JSON. `takes` is the type of a POST's body: a form's, or JSON from scripts. `answers` are its statuses with their meaning, beyond those that every route has.
    """

    method: str
    rule: str
    name: str
    summary: str
    access: Access = Access.SIGNED_IN
    params: tuple[Param, ...] = ()
    media: str = HTML
    takes: str = FORM
    schema: Mapping[str, Any] | None = None
    answers: Mapping[int, str] = field(default_factory=lambda: {200: "The page."})
