"""The description of the page is that of the page: by the map of its routes, and by asking every route with made-up input."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from kit.hub import ANA, MIA, Hub, make_hub

from portal import app as app_module
from portal.app import ROUTES, create_app
from portal.openapi import describe, path_of
from portal.routes import JSON, Access, Place


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


schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed: pip install -e '.[dev]'")


@pytest.fixture(scope="module")
def world() -> Iterator[Hub]:
    """One person who has a notebook, one administrator, and a page that does not mind being asked a thousand times."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("CHANGES_PER_MINUTE", "CHANGES_AT_ONCE", "READS_PER_MINUTE", "READS_AT_ONCE"):
            patch.setattr(app_module, name, 10**9)
        hub = make_hub()
        hub.joined(ANA)
        hub.app = create_app(hub.deps)
        yield hub


@pytest.fixture(scope="module")
def described(world: Hub) -> Any:
    schema = schemathesis.openapi.from_dict(describe(ROUTES))
    schema.app = world.app
    return schema


def send(hub: Hub, case: Any, email: Any) -> None:
    """Send one made-up case as somebody with a true token, and hold the answer against the description."""
    browser = hub.browser(email)
    browser.get("/")
    if isinstance(case.body, dict):
        case.body["csrf"] = browser.token
    cookie = browser.client.get_cookie("hub-csrf")
    assert cookie is not None
    answer = case.call(headers=browser.headers, cookies={"hub-csrf": cookie.value})
    case.validate_response(answer)
    assert answer.status_code < 500


PATHS = sorted({(route.method, path_of(route.rule)) for route in ROUTES})


@pytest.mark.parametrize(("method", "path"), PATHS, ids=lambda value: value)
def test_no_made_up_input_breaks_a_route(world: Hub, described: Any, method: str, path: str) -> None:
    from hypothesis import HealthCheck, given, settings  # noqa: PLC0415 - beside schemathesis, which may be missing

    operation = described[path][method]
    admin = (
        next(route for route in ROUTES if (route.method, path_of(route.rule)) == (method, path)).access is Access.ADMIN
    )

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(case=operation.as_strategy())
    def every(case: Any) -> None:
        send(world, case, MIA if admin else ANA)

    every()
