"""The description of the page is that of the page, by the map of its routes."""

from __future__ import annotations

import re

from kit.hub import ANA, Hub

from portal.app import ROUTES
from portal.openapi import describe, path_of
from portal.routes import JSON, Place


def test_every_route_is_described_and_every_description_is_a_route(hub: Hub) -> None:
    mapped = {
        (method, rule.rule, rule.endpoint)
        for rule in hub.app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    assert mapped == {(route.method, route.rule, route.name) for route in ROUTES}


def test_every_parameter_of_a_path_is_described() -> None:
    for route in ROUTES:
        named = {param.name for param in route.params if param.place is Place.PATH}
        assert set(re.findall(r"\{([a-z_]+)\}", path_of(route.rule))) == named, route.name


def test_json_routes_have_a_schema_and_names_are_unique() -> None:
    assert [route.name for route in ROUTES if route.media == JSON and route.schema is None] == []
    assert len({route.name for route in ROUTES}) == len(ROUTES)


def test_the_page_serves_its_description(two: Hub) -> None:
    answer = two.browser(ANA).get("/openapi.json")
    assert answer.json == describe(ROUTES)
    assert answer.json["openapi"] == "3.1.0"
