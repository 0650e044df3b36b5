"""USER in any accepted form; what is said of somebody unknown; what `show` tells besides."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest

from shared.domain.people.events import AccountChanged, AccountState
from shared.domain.record.status import Notice
from shared.domain.things.identity import parse_email, user_key_for
from shared.engine.news.deliver import deliver
from shared.engine.views.notices import _WORDS, to_know
from shared.settings import load_settings
from shared.telemetry import SilentLog
from shared.wiring import wire

ANA, SLIP, NANDU = "ana.silva@example.com", "ana.slva@example.com", "ñandú@münchen.example"
UNKNOWN = [
    ("show",), ("plan",), ("reconcile",), ("history",), ("activity",), ("spark", "list"), ("start",), ("hold", "--reason", "x"),
    ("release",), ("erase", "--yes"), ("acknowledge",),
]  # fmt: skip


@pytest.fixture
def joined(terminal):
    for user in (ANA, NANDU):
        terminal.run("publish", "joiner", user)
        assert terminal.deliver() == 1
    return terminal


@pytest.mark.parametrize("words", UNKNOWN, ids=" ".join)
def test_a_slip_of_the_pen_is_asked_about_and_never_announced(joined, words):
    said = joined.run(*words, SLIP, code=1).stderr
    assert f"No such person: {SLIP}. Did you mean {ANA}?" in said
    assert "publish joiner" not in said


def test_announcing_is_advised_only_where_it_would_work(joined):
    assert "publish joiner zoe@example.com" in joined.run("show", "zoe@example.com", code=1).stderr
    said = joined.run("show", "zoe@elsewhere.example", code=1).stderr
    assert "publish joiner" not in said
    assert "elsewhere.example" in said
    assert "benchkeeper list" in joined.run("show", "nobody-0123456789ab", code=1).stderr


@pytest.mark.parametrize(
    "form",
    ["ÑANDÚ@MÜNCHEN.example", "ñandú@xn--mnchen-3ya.example", unicodedata.normalize("NFD", NANDU), f"  {NANDU} "],
)
def test_every_form_of_an_address_means_the_person(joined, form):
    assert json.loads(joined.run("show", form, "-o", "json").stdout)["user"] == NANDU
    assert joined.run("plan", form)
    assert joined.run("hold", form, "--reason", "x").stdout.startswith(NANDU)


def test_a_filter_that_can_match_nothing_is_wrong_use(joined):
    said = joined.run("list", "--profile", "analist", code=2).stderr
    assert "Did you mean 'analyst'?" in said
    assert "engineer" in said
    assert "Did you mean 'Ready'?" in joined.run("list", "--state", "redy", code=2).stderr
    assert json.loads(joined.run("list", "--state", "stockout", "-o", "json").stdout) == []  # nobody just now
    assert json.loads(joined.run("list", "--profile", "engineer", "-o", "json").stdout) == []


def test_a_profile_that_is_not_offered_any_more_can_be_listed(joined):
    path = Path(joined.environ["BENCHKEEPER_CONFIG_DIR"]) / "profiles.yaml"
    text = path.read_text()
    for was in ("default: analyst", "  analyst:", "profile: analyst"):
        assert was in text
        text = text.replace(was, was.replace("analyst", "starter"))
    path.write_text(text)
    assert len(json.loads(joined.run("list", "--profile", "analyst", "-o", "json").stdout)) == 2


def test_show_says_who_said_it_and_who_merely_claims_to(joined, tmp_path):
    message = {
        "schema": "workbench.lifecycle/v1", "event_id": "by-1", "type": "mover", "user": ANA, "by": "mallory@example.com",
        "attributes": {"cost_center": "CC-9"},
    }  # fmt: skip
    path = tmp_path / "one.json"
    path.write_text(json.dumps(message))
    joined.run("publish", "file", str(path), "--yes")
    joined.deliver()
    joined.environ["COLUMNS"] = "220"
    text = joined.run("show", ANA).stdout
    assert "operator" in text
    assert "says mallory@example.com" in text
    told = joined.run("history", ANA).stdout
    assert "by an operator; says mallory@example.com" in told
    seen = json.loads(joined.run("show", ANA, "-o", "json").stdout)
    assert seen["facts"]["attribute:cost_center"][0]["source"] == "operator"


def test_a_change_that_waits_is_told_with_what_to_do(joined, tmp_path):
    path = tmp_path / "hr.json"
    body = {
        "schema": "workbench.lifecycle/v1",
        "event_id": "r1",
        "type": "renamed",
        "user": ANA,
        "new_user": "ana.lima@example.com",
    }
    path.write_text(json.dumps(body))
    joined.deliver_file_as_hr(path)
    seen = json.loads(joined.run("show", ANA, "-o", "json").stdout)
    assert seen["notices"] == ["RenameWaits"]
    text = " ".join(joined.run("show", ANA).stdout.split())
    assert "hr announced the new address ana.lima@example.com, the directory has not." in text
    assert "benchkeeper publish renamed ana.silva@example.com ana.lima@example.com" in text
    joined.run("publish", "renamed", ANA, "ana.lima@example.com", "--yes")
    joined.deliver()
    text = " ".join(joined.run("show", "ana.lima@example.com").stdout.split())
    assert "Earlier addresses: ana.silva@example.com." in text
    assert "announced the new address" not in text


def test_an_address_that_was_handed_over_means_its_present_holder(joined):
    settings = load_settings(environ=joined.environ)
    deps = wire(settings, log=SilentLog())
    joined.advance(minutes=1)
    for number, (state, source) in enumerate(
        ((AccountState.DELETED, "directory"), (AccountState.CREATED, "directory"))
    ):
        joined.advance(minutes=1)
        now = deps.clock.now()
        event = AccountChanged(
            event_id=f"d{number}", user=parse_email(ANA), occurred_at=now, effective_at=now, published_at=now, source=source,
            state=state, holds=True,
        )  # fmt: skip
        deliver(event, deps)
    result = joined.run("show", ANA, "-o", "json")
    seen = json.loads(result.stdout)
    former = user_key_for(parse_email(ANA))
    assert seen["user_key"] != former
    assert seen["predecessor"] == former
    assert f"The former one: benchkeeper show {former}" in result.stderr
    gone = json.loads(joined.run("show", former, "-o", "json").stdout)
    assert (gone["user_key"], gone["handed_over_to"]) == (former, seen["user_key"])
    assert seen["user_key"] in " ".join(joined.run("show", former).stdout.split())


@pytest.mark.parametrize("notice", Notice)
def test_each_notice_has_words(notice):
    assert notice in _WORDS
    seen = {
        "user": ANA, "user_key": "k", "notices": [notice.value], "rename": {"new_email": "x@example.com", "source": "hr"},
        "predecessor": "former-key", "access_until": None, "now": "2026-11-28T00:00:00Z", "handed_over_to": None,
        "handed_over_at": None, "former_addresses": [],
    }  # fmt: skip
    (said,) = to_know(seen)
    assert said.endswith((".", "TEXT", ANA, "x@example.com", "former-key", "benchkeeper guard"))
    assert "{" not in said
