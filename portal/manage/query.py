"""The query for a part of the table of users, as the page's URL contains it.

The URL never contains an address of a user, because browsers, proxies and logs keep URLs. So the search form is sent with POST
and answered with 303 to a URL without addresses. An address is replaced by these rules:

- A whole address becomes the user key that its user has. The user's address may have changed since the key was made.
- Any other text with an @ is cut to the text before the @: `silva@exam` becomes `silva`. If the @ comes first, the text after it
  remains: `@example.com` becomes `example.com`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

from portal.deps import current
from portal.manage.base import one_line, page_number
from portal.routes import Param, Place
from shared.domain.fleet.fleet import FleetSnapshot, Standing
from shared.domain.record.record import Presence
from shared.domain.things.errors import InvalidMessageError
from shared.domain.things.identity import user_key_for
from shared.engine.views.fleet import Choice, Column, View, key_of_address
from shared.messages.addresses import parse_address

E = TypeVar("E", bound=StrEnum)
SEARCH, STANDING, STATE, PROFILE, COST_CENTER, NEEDS, PRESENCE, VIEW = (
    "q",
    "standing",
    "state",
    "profile",
    "cost_center",
    "needs",
    "presence",
    "view",
)
_UP, _DOWN = "up", "down"


class Query(Struct, frozen=True, kw_only=True):
    """The filters, order and page of the table of users."""

    choice: Choice = field(default_factory=Choice)
    column: Column = Column.PERSON
    descending: bool = False
    page: int = 1

    def args(self, *, page: int | None = None) -> dict[str, Any]:
        """Return the query parameters, without those that have their default value."""
        choice = self.choice
        found = {
            SEARCH: choice.text,
            STANDING: choice.standing.value if choice.standing is not None else "",
            STATE: choice.state,
            PROFILE: choice.profile,
            COST_CENTER: choice.cost_center,
            NEEDS: choice.needs,
            PRESENCE: choice.presence.value if choice.presence is not None else "",
            VIEW: choice.view.value if choice.view is not None else "",
            "sort": "" if self.column is Column.PERSON and not self.descending else self.column.value,
            "order": _DOWN if self.descending else "",
            "page": str(page) if page is not None and page > 1 else "",
        }
        return {name: text for name, text in found.items() if text}

    def sorted_by(self, column: Column) -> Query:
        """Return the query sorted by this column, in the opposite order if it is sorted by this column already."""
        turned = column is self.column and not self.descending
        return replace(self, column=column, descending=turned, page=1)

    def with_view(self, view: View | None) -> Query:
        """Return the query for another view, with the same filters, from the first page."""
        return replace(self, choice=replace(self.choice, view=view), page=1)

    @property
    def is_filtered(self) -> bool:
        """Return True if a filter other than the view limits the rows."""
        return self.choice != Choice(view=self.choice.view)

    def aria_sort(self, column: Column) -> str:
        """Return the sort order of a column for screen readers (`aria-sort`)."""
        if column is not self.column:
            return "none"
        return "descending" if self.descending else "ascending"


def query_of(args: Mapping[str, str], fleet: FleetSnapshot) -> Query:
    """Return the query in the parameters of a URL or form. Invalid parameters are ignored, so that a truncated URL still works."""

    def text(name: str) -> str:
        found = one_line(args.get(name, ""))
        return "" if "@" in found else found

    choice = Choice(
        text=without_address(args.get(SEARCH, ""), fleet),
        standing=_one_of(Standing, args.get(STANDING, "")),
        state=text(STATE),
        profile=text(PROFILE),
        cost_center=text(COST_CENTER),
        needs=text(NEEDS),
        presence=_one_of(Presence, args.get(PRESENCE, "")),
        view=_one_of(View, args.get(VIEW, "")),
    )
    return Query(
        choice=choice,
        column=_one_of(Column, args.get("sort", "")) or Column.PERSON,
        descending=args.get("order") == _DOWN,
        page=page_number(args),
    )


def has_address(args: Mapping[str, str]) -> bool:
    """Return True if the query may contain an address, which then must be removed from the URL."""
    return any("@" in text for text in args.values())


def without_address(typed: str, fleet: FleetSnapshot) -> str:
    """Return the search text without an address, by the rules in the module's docstring."""
    text = one_line(typed)
    if "@" not in text:
        return text
    try:
        address = parse_address(text, current().deps.engine.policy.people)
    except InvalidMessageError:
        before, _, behind = text.partition("@")
        return before.strip() or behind.replace("@", " ").strip()
    return key_of_address(fleet, address) or user_key_for(address)


def _one_of(values: type[E], text: str) -> E | None:
    return next((value for value in values if value.value == text), None)


def _param(name: str, text: str, *, place: Place, values: type[StrEnum] | None = None) -> Param:
    known = {"type": "string", "maxLength": 200}
    schema = known if values is None else {"type": "string", "enum": [value.value for value in values]}
    return Param(name=name, place=place, text=text, schema=schema)


def filter_params(place: Place) -> tuple[Param, ...]:
    """Return the parameters for filters and order, for the OpenAPI description."""
    return (
        _param(SEARCH, "Text in address, user key or instance.", place=place),
        _param(STANDING, "The environment's standing.", place=place, values=Standing),
        _param(STATE, "The value of a state, for example Creating.", place=place),
        _param(PROFILE, "A profile; - for none.", place=place),
        _param(COST_CENTER, "A cost centre; `-` for people without one.", place=place),
        _param(NEEDS, "The reason why attention is needed, for example Stuck; `any` for all reasons.", place=place),
        _param(PRESENCE, "People with access, or without.", place=place, values=Presence),
        _param(VIEW, "A view of the table.", place=place, values=View),
        _param("sort", "The column by which the rows are sorted.", place=place, values=Column),
        Param(
            name="order",
            place=place,
            text="The direction of the order.",
            schema={"type": "string", "enum": [_UP, _DOWN]},
        ),
    )
