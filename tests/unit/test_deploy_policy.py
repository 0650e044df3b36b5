"""A deployment says whom its files change something for, before anybody agrees to it."""

from __future__ import annotations

from typing import Any

import pytest
from kit.inprocess import Bench, local_settings, make_bench
from kit.policies import in_force
from msgspec.structs import replace

from cli.deploy import policy
from cli.deploy.failures import DeployError
from shared.domain.people.events import Joined
from shared.domain.things.catalog import Assignment
from shared.domain.things.identity import parse_email
from shared.engine.news.deliver import deliver
from shared.settings import Settings

GROUP = "analysts@example.com"


class Google:
    """Stands for gcloud."""

    def __init__(self, *, real: bool = True, fault: str = "") -> None:
        self.real, self.fault = real, fault

    def goes_to_google(self, _service: str) -> bool:
        return self.real

    def token(self) -> str:
        if self.fault:
            raise DeployError(self.fault, "Log in.")
        return "token"


def settings(group: str = GROUP) -> Settings:
    made = local_settings()
    assigned = (Assignment(group=group, profile="analyst", priority=1),)
    return replace(made, catalog=replace(made.catalog, assignments=assigned))


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = make_bench(settings=settings())
    in_force(made.deps)
    for number in range(7):
        email = parse_email(f"person.{number}@example.com")
        event = Joined(
            event_id=f"e{number}", user=email, occurred_at=made.now, effective_at=made.now, groups=frozenset({GROUP})
        )
        deliver(event, made.deps)
    monkeypatch.setattr(policy, "make_clients", lambda *_args, **_more: made.clients)
    return made


def lines(files: Settings, gcloud: Any = None) -> list[str]:
    return list(policy.impact_lines(files, gcloud or Google()))


def test_files_in_force_are_not_spoken_of(bench: Bench) -> None:
    assert lines(settings()) == []


def test_a_typo_is_counted_before_it_is_deployed(bench: Bench) -> None:
    said = lines(settings("analyst@example.com"))
    assert any("7  lose access" in line for line in said)
    assert any("Above the limit: 7 people, at most 3" in line for line in said)


def test_what_touches_nobody_is_one_line(bench: Bench) -> None:
    files = settings()
    catalog = files.catalog
    profiles = {name: replace(each, title="Another") for name, each in catalog.profiles.items()}
    assert len(lines(replace(files, catalog=replace(catalog, profiles=profiles)))) == 1


def test_what_cannot_be_looked_at_holds_up_no_deployment(bench: Bench) -> None:
    (said,) = lines(settings("x@example.com"), Google(fault="You are not logged in."))
    assert "was not computed: You are not logged in." in said
    assert lines(settings("x@example.com"), Google(real=False)) == []
