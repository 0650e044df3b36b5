"""Every route for every role: a member, somebody who is none, and a group that cannot be read. Routes come from the application."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kit.hub import ADMINS, ANA, BEN, MIA, Browser, Hub, ask, hub_settings, make_hub, plain

from emulator.faults import Faults
from portal.app import ROUTES, portal_of
from portal.deps import attach
from portal.manage.acts import Act
from portal.roles import NEEDED
from portal.routes import Access, Route
from shared.domain.intent.roles import MAY, Right, Role, Roles
from shared.domain.intent.wish import WishKind
from shared.domain.things.identity import parse_email, user_key_for
from shared.settings.models import HubFile

ROLES = Roles(
    owner=ADMINS, operator="hub-ops@example.com", help_desk="hub-help@example.com", auditor="hub-audit@example.com"
)
GROUPS = dict(ROLES.groups())
WHO = {
    Role.OWNER: MIA,
    Role.OPERATOR: parse_email("olga.petrov@example.com"),
    Role.HELP_DESK: parse_email("hana.novak@example.com"),
    Role.AUDITOR: parse_email("omar.haddad@example.com"),
}
OF_ROLES = [route for route in ROUTES if route.access in NEEDED]
ACTS = {Act.START: Right.HELP, Act.STOP: Right.HELP, Act.RESTART: Right.HELP, Act.LIFT: Right.OWN}


@pytest.fixture(scope="module")
def world() -> Hub:
    hub = make_hub(hub_settings(roles=ROLES))
    for role, email in WHO.items():
        hub.bench.deps.groups.join(GROUPS[role], email)
    for email in (ANA, BEN):
        hub.joined(email, minutes=0)
    hub.life(ANA).minutes(8)
    hub.swept()
    return hub


@pytest.fixture
def hub(world: Hub) -> Iterator[Hub]:
    """The same world, and a page that knows nobody yet."""
    attach(world.app, portal_of(world.deps))
    world.loses_wake_ups = True  # what is asked for here is not done: the next case finds the same world
    yield world
    for key in (user_key_for(ANA), user_key_for(BEN)):
        for waiting in world.bench.deps.inbox.waiting(key):
            world.bench.deps.inbox.remove(waiting)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("route", OF_ROLES, ids=lambda route: f"{route.method} {route.name}")
def test_a_member_has_what_the_role_has_and_no_more(hub: Hub, route: Route, role: Role) -> None:
    status = ask(hub.browser(WHO[role]), route).status_code
    allowed = NEEDED[route.access] in MAY[role]
    if route.name in {"manage.confirm", "manage.perform"}:  # the sample is an act for operators
        allowed = Right.ACT in MAY[role]
    assert (status != 403) is allowed, status


@pytest.mark.parametrize("route", OF_ROLES, ids=lambda route: f"{route.method} {route.name}")
def test_who_has_no_role_is_let_in_nowhere(hub: Hub, route: Route) -> None:
    assert ask(hub.browser(BEN), route).status_code == 403


@pytest.mark.parametrize("group", GROUPS.values())
@pytest.mark.parametrize("route", OF_ROLES, ids=lambda route: f"{route.method} {route.name}")
def test_a_group_that_cannot_be_read_is_no_role(hub: Hub, route: Route, group: str) -> None:
    """Whose role is of a group before that one keeps it; for all others nobody knows, and they are told to try again."""
    unread = list(GROUPS.values()).index(group)
    for role, email in WHO.items():
        attach(hub.app, portal_of(hub.deps))
        name = hub.bench.control("GET", f"/v1/groups:lookup?groupKey.id={group}")["name"]
        for call in ("lookup", "list"):
            hub.bench.fault(
                call=f"cloudidentity.memberships.{call}",
                error={"code": "PERMISSION_DENIED"},
                times=0,
                resource=f"{name}*",
            )
        answer = ask(hub.browser(email), route)
        hub.bench.cloud.world.faults = Faults()
        if list(Role).index(role) < unread:
            assert answer.status_code != 503
        else:
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "60")


@pytest.mark.parametrize("act", [act for act in Act if act not in {Act.RESTORE, Act.UNDO_RESTORE, Act.DELETE_CLUSTER}])
@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_each_act_for_each_role(hub: Hub, act: Act, role: Role, method: str) -> None:
    browser = hub.browser(WHO[role])
    path = f"/manage/people/{user_key_for(ANA)}/acts/{act.value}"
    answer = browser.get(path) if method == "GET" else browser.post(path, reason="case 4711")
    assert (answer.status_code != 403) is (ACTS.get(act, Right.ACT) in MAY[role]), answer.status_code


def test_the_first_role_counts_and_is_asked_for_once_a_minute(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = [0.0]
    monkeypatch.setattr(type(hub.bench.deps.clock), "monotonic_s", lambda _self: seconds[0])
    both = WHO[Role.AUDITOR]
    browser = hub.browser(both)
    assert "no another" not in browser.text("/manage/help")
    hub.bench.cloud.world.journal.clear()
    for _ in range(5):
        assert browser.get("/manage/help").status_code == 200
    assert [call for call in hub.bench.calls() if call["call"].startswith("cloudidentity")] == []
    hub.bench.deps.groups.join(GROUPS[Role.OPERATOR], both)
    path = f"/manage/people/{user_key_for(ANA)}/acts/stop"
    assert browser.get(path).status_code == 403
    seconds[0] = 61
    assert browser.get(path).status_code == 200
    hub.bench.deps.groups.leave(GROUPS[Role.OPERATOR], both)


def test_whoever_lacks_a_role_is_told_which_is_needed(hub: Hub) -> None:
    text = plain(hub.browser(WHO[Role.HELP_DESK]).text(f"/manage/people/{user_key_for(ANA)}/acts/block"))
    assert "You are signed in as help desk, and this needs another role: owner or operator." in text


class TestHelpDesk:
    def desk(self, hub: Hub) -> Browser:
        return hub.browser(WHO[Role.HELP_DESK])

    def test_finds_a_person_and_sees_how_the_notebook_stands(self, hub: Hub) -> None:
        desk = self.desk(hub)
        found = desk.post("/manage/help", who=f" {str(ANA).upper()} ")
        assert (found.status_code, found.headers["Location"]) == (303, f"/manage/people/{user_key_for(ANA)}")
        html = desk.text(found.headers["Location"])
        text = plain(html)
        assert "Running" in text
        line = text.partition("For the ticket")[2]
        assert str(user_key_for(ANA)) in line
        assert "@" not in line.partition("Times in UTC")[0]
        assert "begins with the user key, which contains parts of the name" in line
        assert 'The person sees: <q class="quoted" dir="auto">Your notebook is running.</q>' in html
        for word in ("Stop …", "Restart …"):
            assert word in text
        for word in ("End access", "Put on hold", "/audit", "EUR", "costs"):
            assert word not in html

    @pytest.mark.parametrize(
        ("typed", "said", "says"),
        [
            ("nobody@example.com", "no-one", "No one has this address"),
            ("no address", "not-whole", "not by a part of it"),
            ("NANDU", "not-whole", "not by a part of it"),
            ("", "not-whole", "not by a part of it"),
            ("@", "not-whole", "not by a part of it"),
            ("ana.silva@example.com, x@example.com", "not-whole", "not by a part of it"),
        ],
    )
    def test_nobody_of_that_address(self, hub: Hub, typed: str, said: str, says: str) -> None:
        desk = self.desk(hub)
        found = desk.post("/manage/help", who=typed)
        assert found.headers["Location"] == f"/manage/help?said={said}"
        assert says in plain(desk.text(found.headers["Location"]))
        assert 'type="email"' not in desk.text("/manage/help")  # a browser would refuse an address like Ñandú's there

    def test_stops_a_notebook(self, hub: Hub) -> None:
        desk = self.desk(hub)
        done = desk.post(f"/manage/people/{user_key_for(ANA)}/acts/stop")
        assert done.headers["Location"] == f"/manage/people/{user_key_for(ANA)}?said=stop"
        assert "Stopping. The files are kept." in plain(desk.text(done.headers["Location"]))

    def test_has_one_link_and_the_manager_has_the_others(self, hub: Hub) -> None:
        html = self.desk(hub).text("/manage/help")
        assert ">Help desk</a>" in html
        assert "/manage/costs" not in html

    def test_of_a_blocked_person(self) -> None:
        hub = make_hub(hub_settings(roles=ROLES))
        hub.bench.deps.groups.join(GROUPS[Role.HELP_DESK], WHO[Role.HELP_DESK])
        hub.joined(ANA)
        done = hub.browser(MIA).post(f"/manage/people/{user_key_for(ANA)}/acts/block", reason="case 4711")
        assert done.headers["Location"].endswith("?said=block")
        text = plain(self.desk(hub).text(f"/manage/people/{user_key_for(ANA)}"))
        assert "An operator ended the access. Only an owner can restore it." in text
        assert "4711" not in text


@pytest.mark.parametrize("key", [Act.BLOCK, Act.LIFT])
def test_nobody_ends_or_gives_back_their_own(key: Act) -> None:
    hub = make_hub(hub_settings(roles=ROLES))
    hub.joined(MIA)
    mia, path = hub.browser(MIA), f"/manage/people/{user_key_for(MIA)}/acts/{key.value}"
    for answer in (mia.get(path), mia.post(path, reason="case 4711")):
        assert answer.status_code == 409
        assert "You cannot end or restore your own access here." in plain(answer.get_data(as_text=True))


@pytest.mark.parametrize("reason", ["", " ", "x" * 201, "ask ana.silva@example.com", "two\u0007bells"])
def test_a_block_needs_a_reason_that_may_be_logged(hub: Hub, reason: str) -> None:
    answer = hub.browser(MIA).post(f"/manage/people/{user_key_for(ANA)}/acts/block", reason=reason)
    assert answer.status_code == 409


def test_every_kind_of_request_for_others_has_a_right() -> None:
    from shared.domain.intent.roles import needed_for  # noqa: PLC0415 - only here
    from shared.domain.intent.wish import ADMINISTRATORS  # noqa: PLC0415

    helped = {kind for kind in ADMINISTRATORS if needed_for(kind) is Right.HELP}
    assert helped == {WishKind.START, WishKind.STOP, WishKind.RESTART}
    assert {kind for kind in ADMINISTRATORS if needed_for(kind) is Right.OWN} == {WishKind.LIFT}


def test_one_group_for_two_roles_is_a_fault() -> None:
    file = HubFile(admin_group="a@example.com", operator_group="b@example.com", auditor_group="a@example.com")
    assert [field for field, _ in file.contradictions()] == ["auditor_group"]
    assert list(HubFile().contradictions()) == []


def test_open_routes_ask_for_no_role() -> None:
    assert {route.name for route in ROUTES if route.access is Access.ANYONE} == {"static"}
