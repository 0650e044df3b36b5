"""Every route for every kind of visitor. Routes come from the application's own table, so a new one is in here by itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Blueprint
from kit.hub import ADMINS, ANA, BEN, MIA, NEEDS_ENVIRONMENT, NOBODY, Hub, ask, hub_settings, make_hub, path_of

from emulator.iap.signing import new_key
from portal import guard
from portal.app import ROUTES, portal_of
from portal.deps import attach
from portal.roles import NEEDED
from portal.routes import Access, Route
from shared.cloud.identity.iap import HEADER
from shared.domain.intent.roles import Roles
from shared.domain.things.identity import parse_email

LEO = parse_email("leo.former@example.com")
NOBODYS = ("nobody", "expired", "forged", "wrong audience", "unsigned header")
VISITORS = ("analyst", "other analyst", "admin", "stranger", "left", *NOBODYS)


@pytest.fixture(scope="module")
def world() -> Hub:
    hub = make_hub()
    for email in (ANA, BEN, LEO):
        hub.joined(email, minutes=0)
    hub.life(ANA).minutes(8)
    hub.left(LEO)
    hub.swept()
    hub.keep_letter()
    return hub


@pytest.fixture
def hub(world: Hub) -> Iterator[Hub]:
    """The same world, and a page that nobody has tired yet."""
    attach(world.app, portal_of(world.deps))
    return world


def visit(hub: Hub, visitor: str, route: Route) -> int:
    now = int(hub.bench.now.timestamp())
    browser = {
        "analyst": lambda: hub.browser(ANA),
        "other analyst": lambda: hub.browser(BEN),
        "admin": lambda: hub.browser(MIA),
        "stranger": lambda: hub.browser(NOBODY),
        "left": lambda: hub.browser(LEO),
        "nobody": lambda: hub.browser(None),
        "expired": lambda: hub.browser(ANA, iat=now - 1200, exp=now - 600),
        "forged": lambda: hub.browser(ANA, key=new_key()),
        "wrong audience": lambda: hub.browser(ANA, aud="/projects/1/locations/europe-west1/services/other"),
        "unsigned header": lambda: hub.browser(None),
    }[visitor]()
    if visitor == "unsigned header":
        browser.own = {
            "x-goog-authenticated-user-email": f"accounts.google.com:{ANA}",
            HEADER + "-x": hub.token(ANA),
        }
    return ask(browser, route).status_code


def expected(visitor: str, route: Route) -> set[int]:
    fine = {status for status in route.answers if status < 400}
    if route.name in {"manage.api_announce", "manage.api_release", "manage.perform_announce"}:
        fine = {409}  # a body without anybody in it, once somebody may send one
    if route.name == "home.restart":
        fine = fine | {409}  # nothing runs once somebody has stopped it
    if route.name in {"home.restore", "home.restore_undo"}:
        fine = {409}  # there is no such copy
    if route.access is Access.ANYONE:
        return fine
    if visitor in NOBODYS:
        return {401}
    if route.access in NEEDED:
        return fine if visitor == "admin" else {403}
    if route.name.startswith(NEEDS_ENVIRONMENT) and visitor not in {"analyst", "other analyst"}:
        return {403}
    return fine


@pytest.mark.parametrize("visitor", VISITORS)
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.name}")
def test_every_route_for_every_visitor(hub: Hub, visitor: str, route: Route) -> None:
    assert visit(hub, visitor, route) in expected(visitor, route)


def test_whatever_another_analyst_does_mine_is_neither_seen_nor_changed(hub: Hub) -> None:
    before = hub.record(ANA)
    names = {
        str(before.user_key),
        str(before.status.notebook.instance_id),
        before.status.notebook.proxy_uri,
        str(before.email),
    }
    ben = hub.browser(BEN)
    for route in ROUTES:
        if route.access in NEEDED:
            continue
        text = ask(ben, route).get_data(as_text=True)
        assert [name for name in names if name in text] == [], route.name
    assert hub.record(ANA) == before


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_reading_changes_nothing(hub: Hub, method: str) -> None:
    before = hub.record(ANA)
    hub.bench.cloud.world.journal.clear()
    ana = hub.browser(ANA)
    for route in ROUTES:
        if route.access not in NEEDED:
            ana.client.open(path_of(route), method=method, headers=ana.headers, buffered=True)
    assert hub.record(ANA) == before
    assert hub.bench.cloud.world.journal.listing(mutating_only=True) == []


def test_what_is_not_there_answers_nobody_like_what_is(hub: Hub) -> None:
    nobody = hub.browser(None)
    there, not_there = nobody.get("/api/me"), nobody.get("/api/nothing-of-that-name")
    assert (there.status_code, not_there.status_code) == (401, 401)
    assert {k: v for k, v in there.json.items() if k != "request"} == {
        k: v for k, v in not_there.json.items() if k != "request"
    }


def test_a_foreign_template_is_as_if_it_did_not_exist(hub: Hub) -> None:
    ana = hub.browser(ANA)
    answers = [ana.post(f"/spark/{name}/start") for name in ("no-such-template", "..%2f..", "serverless")]
    assert {answer.status_code for answer in answers} == {404}
    assert all("no-such-template" not in answer.get_data(as_text=True) for answer in answers)


def test_who_gave_an_address_up_is_not_who_has_it_now() -> None:
    """A record still answers to an old address; who signs in with that address today may be somebody else."""
    from shared.domain.people.events import Renamed  # noqa: PLC0415 - only here

    hub = make_hub()
    hub.joined(ANA)
    hub.life(ANA).tell(Renamed, new_user=BEN)
    hub.life(ANA).minutes(2)
    assert hub.browser(BEN).get("/").status_code == 200
    assert hub.browser(ANA).get("/").status_code == 403
    assert hub.browser(ANA).post("/notebook/stop").status_code == 403
    assert hub.lines()[0]["user"] == hub.record(BEN).user_key


class TestAdministrators:
    """The guard that the manager's routes stand behind."""

    @pytest.fixture
    def guarded(self) -> Hub:
        return make_hub()

    def test_members_are_let_in_and_others_told_why_not(self, guarded: Hub) -> None:
        assert guarded.browser(MIA).get("/manage/help").status_code == 200
        refused = guarded.browser(ANA).get("/manage/help")
        assert (refused.status_code, "for administrators" in refused.get_data(as_text=True)) == (403, True)

    def test_the_answer_is_kept_for_a_minute(self, guarded: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        seconds = [0.0]
        monkeypatch.setattr(type(guarded.bench.deps.clock), "monotonic_s", lambda _self: seconds[0])
        assert guarded.browser(MIA).get("/manage/help").status_code == 200
        guarded.bench.deps.groups.leave(ADMINS, MIA)
        seconds[0] = 59
        assert guarded.browser(MIA).get("/manage/help").status_code == 200
        seconds[0] = 61
        assert guarded.browser(MIA).get("/manage/help").status_code == 403

    def test_a_group_that_cannot_be_read_lets_nobody_in_and_takes_nothing_from_others(self, guarded: Hub) -> None:
        guarded.joined(ANA)
        guarded.bench.fault(call="cloudidentity.groups.lookup", error={"code": "PERMISSION_DENIED"}, times=2)
        refused = guarded.browser(MIA).get("/manage/help")
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "60")
        assert guarded.browser(ANA).get("/").status_code == 200
        assert guarded.browser(MIA).get("/manage/help").status_code == 503
        assert guarded.browser(MIA).get("/manage/help").status_code == 200

    def test_without_a_group_nobody_is_an_administrator(self) -> None:
        hub = make_hub(hub_settings(roles=Roles()))
        assert hub.browser(MIA).get("/manage/help").status_code == 403

    def test_a_route_that_says_of_no_role_does_not_start(self) -> None:
        hub = make_hub()
        app = hub.app
        extra = Blueprint("extra", "extra")
        extra.add_url_rule("/extra", "page", lambda: "in", methods=["GET", "POST"])
        app._got_first_request = False  # the application answers already; a part of its own would come before that
        app.register_blueprint(extra)
        with pytest.raises(ValueError, match=r"without a role: GET extra\.page, POST extra\.page"):
            guard.install(app)
