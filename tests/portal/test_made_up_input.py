"""Every route asked with made-up input, by the page's own description: nothing breaks, and every answer is as described."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from kit.hub import ANA, MIA, Hub, make_hub

from portal import app as app_module
from portal.app import ROUTES, create_app
from portal.openapi import describe, path_of
from portal.roles import NEEDED

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed: pip install -e '.[dev]'")
ignored_auth = pytest.importorskip("schemathesis.specs.openapi.checks").ignored_auth


@pytest.fixture(scope="module")
def world() -> Iterator[Hub]:
    """One person who has a notebook, one administrator, and a page that does not mind being asked a thousand times."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("CHANGES_PER_MINUTE", "CHANGES_AT_ONCE", "READS_PER_MINUTE", "READS_AT_ONCE"):
            patch.setattr(app_module, name, 10**9)
        hub = make_hub()
        hub.joined(ANA)
        hub.swept()
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
    # Who gets in is test_access.py's; here the signed header is put over whatever was made up for it.
    case.validate_response(answer, excluded_checks=[ignored_auth])
    assert answer.status_code < 500


PATHS = sorted({(route.method, path_of(route.rule)) for route in ROUTES})


@pytest.mark.parametrize(("method", "path"), PATHS, ids=lambda value: value)
def test_no_made_up_input_breaks_a_route(world: Hub, described: Any, method: str, path: str) -> None:
    from hypothesis import HealthCheck, given, settings  # noqa: PLC0415 - beside schemathesis, which may be missing

    operation = described[path][method]
    admin = next(route for route in ROUTES if (route.method, path_of(route.rule)) == (method, path)).access in NEEDED

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(case=operation.as_strategy())
    def every(case: Any) -> None:
        send(world, case, MIA if admin else ANA)

    every()
