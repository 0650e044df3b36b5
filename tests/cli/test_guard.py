"""`benchkeeper guard`, `approve` and `reject`, over a real port: the page behind a proxy that signs for whoever signed in."""

from __future__ import annotations

import json
import re
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
import requests
from click.testing import CliRunner
from kit.hub import ADMINS, MIA, Hub, hub_settings, make_hub
from kit.inprocess import ROOT
from kit.life import ANA, Life
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

from cli import hub_door
from cli.hub_door import HubError
from cli.main import main
from cli.notes import notes, unseen_note
from shared.cloud.identity.iap import HEADER
from shared.domain.intent.batches import Batch, batches_of
from shared.domain.intent.decision import Verdict
from shared.domain.people.events import Joined, Left, Renamed
from shared.domain.plan.guard_settings import GuardSettings
from shared.domain.record.record import Presence
from shared.domain.things.catalog import Identity
from shared.domain.things.identity import parse_email, user_key_for
from shared.engine.sweeps.sweeps import sweep

FEW = GuardSettings(per_hour=3, share=0.0)
TOM = parse_email("tom.berger@example.com")
PEOPLE = [parse_email(f"user{number}@example.com") for number in range(9)]


@dataclass
class Behind:
    """The page behind a sign-in like the embedded cloud's: a cookie says who, and the proxy signs for them."""

    hub: Hub
    url: str = ""

    def __call__(self, environ: Any, start_response: Any) -> Any:
        request = Request(environ)
        if request.path == "/_emulator/iap":
            return Response(json.dumps({"url": self.url}), content_type="application/json")(environ, start_response)
        if request.path.startswith(("/storage/", "/upload/", "/download/", "/_emulator/clock")):
            return self.hub.bench.cloud.wsgi(environ, start_response)
        if request.path == "/_sign_in":
            return self._sign_in(request)(environ, start_response)
        email = request.cookies.get("who", "")
        if not email:
            return Response("Sign in first.\n", 401, content_type="text/plain")(environ, start_response)
        environ[f"HTTP_{HEADER.upper().replace('-', '_')}"] = self.hub.token(email)
        return self.hub.app(environ, start_response)

    @staticmethod
    def _sign_in(request: Request) -> Response:
        if request.method == "GET":
            return Response('<input type="hidden" name="mark" value="m1">')
        if request.form.get("mark") != "m1" or "@" not in request.form.get("email", ""):
            return Response("no", 200)
        made = Response("", 303, headers={"Location": "/"})
        made.set_cookie("who", request.form["email"])
        return made


@dataclass
class Typing:
    """Runs commands as a person types them."""

    hub: Hub
    environ: dict[str, str]

    def run(self, *words: str, code: int = 0, answer: str | None = None):
        result = CliRunner().invoke(main, list(words), env=self.environ, input=answer)
        assert result.exit_code == code, f"{result.output}\n{result.stderr}\n{result.exception!r}"
        return result

    def given(self) -> list[tuple[str, Verdict]]:
        return [(each.shown.by, each.shown.verdict) for each in self.hub.bench.deps.decisions.waiting() if each.shown]

    @property
    def batch(self) -> Batch:
        (found,) = batches_of(self.hub.bench.deps.guard.waiting())
        return found

    def ticks(self, minutes: int) -> None:
        for _ in range(minutes):
            self.hub.bench.advance(minutes=1)
            sweep("due", self.hub.bench.deps)


@pytest.fixture
def quiet() -> Iterator[Typing]:
    """Nothing waits."""
    hub = make_hub(settings=hub_settings(guard=FEW))
    hub.bench.deps.groups.join(ADMINS, TOM)
    behind = Behind(hub)
    server = make_server("127.0.0.1", 0, behind, threaded=False)
    behind.url = f"http://localhost:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    environ = {
        "BENCHKEEPER_ENV": "local",
        "BENCHKEEPER_CONFIG_DIR": str(ROOT / "config"),
        "BENCHKEEPER_API_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "COLUMNS": "80",
    }
    yield Typing(hub, environ)
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def flood(quiet: Typing) -> Typing:
    lives = [Life(quiet.hub.bench, email) for email in PEOPLE]
    for life in lives:
        life.tell(Joined, profile="analyst")
    quiet.ticks(7)
    quiet.hub.swept()
    for life in lives:
        life.tell(Left, source="hr")
    return quiet


def test_nothing_waits(quiet: Typing) -> None:
    assert quiet.run("guard").stdout == "Nothing waits.\n"
    assert json.loads(quiet.run("guard", "--output", "json").stdout)["changes"] == []


def test_what_waits_in_a_table_that_fits(flood: Typing) -> None:
    said = flood.run("guard").stdout
    assert flood.batch.digest[:12] in said
    assert re.search(r"Employment +hr +6 +0 ", said)
    assert max(map(len, said.splitlines())) <= 80
    (found,) = json.loads(flood.run("guard", "-o", "json").stdout)["changes"]
    assert found["digest"] == flood.batch.digest


def test_one_list_by_the_first_digits_of_its_digest(flood: Typing) -> None:
    said = flood.run("guard", "show", flood.batch.digest[:6]).stdout
    assert "without a decision: people lose access one by one, as the limits of the hour" in " ".join(said.split())
    assert "the notebooks of those who still wait are stopped" in " ".join(said.split())
    assert "People are reported to have left (Employment, said by hr): 6 people" in said
    assert "6 people lose access." in said
    assert "if rejected:" in said
    assert all(len(line) <= 80 for line in said.splitlines() if "@" in line)
    rows = json.loads(flood.run("guard", "show", flood.batch.digest, "-o", "json").stdout)["rows"]
    assert {row["user_key"] for row in rows} == flood.batch.people


def test_who_waits_is_not_said_to_be_without_access(flood: Typing) -> None:
    waits = flood.batch.people
    for email in PEOPLE:
        said = flood.run("show", email).stdout
        assert ("stays for now, although: left" in said, "none: left" in said) == (
            (True, False) if user_key_for(email) in waits else (False, True)
        )


def test_two_administrators_approve(flood: Typing) -> None:
    people = flood.batch.people
    assert "processed within a minute" in flood.run("approve", flood.batch.digest[:12], "--yes").stdout
    assert "already decided this" in flood.run("approve", flood.batch.digest[:12], "--yes").stdout
    assert "1 approved" in flood.run("guard").stdout
    assert "takes effect at" in flood.run("guard", "show", flood.batch.digest).stdout
    flood.run("approve", flood.batch.digest, "--yes", "--as", TOM)
    assert sorted(flood.given()) == [(user_key_for(MIA), Verdict.APPROVE), (user_key_for(TOM), Verdict.APPROVE)]
    flood.ticks(3)
    rows = {row.user_key: row.presence for row in flood.hub.bench.deps.records.rows()}
    assert {rows[key] for key in people} == {Presence.ABSENT}
    assert flood.run("guard").stdout == "Nothing waits.\n"


def test_a_rejection_as_json(flood: Typing) -> None:
    done = json.loads(flood.run("reject", flood.batch.digest, "--yes", "-o", "json").stdout)
    assert (done["outcome"], done["verdict"]) == ("rejected", "REJECT")
    assert flood.given() == [(user_key_for(MIA), Verdict.REJECT)]


def test_a_person_is_asked_and_may_say_no(flood: Typing, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "use --yes" in flood.run("approve", flood.batch.digest, code=2).stderr
    monkeypatch.setattr("cli.guard.has_somebody", lambda: True)
    said = flood.run("approve", flood.batch.digest, code=1, answer="n\n").stderr
    assert "6 people lose access." in said
    assert "Nothing was changed." in said
    assert flood.given() == []
    flood.run("approve", flood.batch.digest, answer="y\n")
    assert len(flood.given()) == 1


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("guard", "show", "ffff"), 1, "No waiting change begins with ffff. See those that wait: benchkeeper guard"),
        (("approve", "f" * 32, "--yes"), 1, "No list with that digest was ever shown."),
        (("guard", "--as", "ana.silva@example.com"), 1, "This page is for administrators."),
        (("guard", "--as", "nobody"), 1, "nobody could not sign in"),
        (("guard", "--hub", "http://127.0.0.1:1"), 1, "http://127.0.0.1:1 does not answer"),
        (("guard", "--hub", "https://hub.example.com"), 1, "is not on this machine"),
        (("approve",), 2, "Missing argument"),
    ],
)
def test_what_goes_wrong_says_what_to_do(flood: Typing, words: tuple[str, ...], code: int, said: str) -> None:
    result = flood.run(*words, code=code)
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_whoever_is_on_the_list_is_told(flood: Typing) -> None:
    email = next(email for email in PEOPLE if user_key_for(email) in flood.batch.people)
    flood.hub.bench.deps.groups.join(ADMINS, email)
    said = flood.run("approve", flood.batch.digest, "--yes", "--as", email, code=1).stderr
    assert "You are on this list yourself, so others must decide about it. Nothing was changed." in said
    assert flood.given() == []


def test_what_could_not_be_read_is_said(flood: Typing) -> None:
    error = {"code": "PERMISSION_DENIED", "message": "no"}
    flood.hub.bench.fault(call="storage.objects.list", resource="*", error=error, times=1)
    result = flood.run("guard")
    assert "not complete: the list of waiting people could not be read" in result.stderr
    assert "Nothing waits." not in result.stdout


class TestOnGoogleCloud:
    """gcloud is a script that says what a person's account, or a robot's, is told."""

    def gcloud(self, folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> Path:
        script = folder / "gcloud"
        script.write_text(f'#!/bin/sh\necho "$@" >> {folder}/asked\n{body}\n', encoding="utf-8")
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
        return folder / "asked"

    def app(self, domain: str | None = "hub.acme.com") -> Any:
        settings = SimpleNamespace(api_endpoint=None)
        return SimpleNamespace(settings=settings, domain=domain)

    @pytest.fixture(autouse=True)
    def _deployment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            hub_door, "load_deployment", lambda _: SimpleNamespace(options=SimpleNamespace(hub_domain=self.domain))
        )

    domain: str | None = "hub.acme.com"

    def test_a_robots_token_is_for_the_page_alone(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = self.gcloud(tmp_path, monkeypatch, "echo robot-token")
        door = hub_door.open_door(self.app(), None, None)
        assert door.url == "https://hub.acme.com"
        assert door.session.headers["Authorization"] == "Bearer robot-token"
        assert asked.read_text().split() == [
            "auth", "print-identity-token", "--audiences=https://hub.acme.com", "--quiet",
        ]  # fmt: skip

    def test_a_persons_token_has_no_audience_of_choice(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        body = (
            'case "$*" in *audiences*) echo "ERROR: (gcloud.auth.print-identity-token) Invalid account type for \\`--audiences\\`. '
            'Requires valid service account." >&2; exit 1;; esac\necho person-token'
        )
        self.gcloud(tmp_path, monkeypatch, body)
        door = hub_door.open_door(self.app(), "https://other.acme.com/", None)
        assert (door.url, door.session.headers["Authorization"]) == ("https://other.acme.com", "Bearer person-token")

    def test_without_a_sign_in(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gcloud(
            tmp_path, monkeypatch, 'echo "ERROR: You do not currently have an active account selected." >&2; exit 1'
        )
        with pytest.raises(HubError, match=r"active account selected\. Sign in with: gcloud auth login"):
            hub_door.open_door(self.app(), None, None)

    def test_without_gcloud(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(HubError, match="gcloud is not installed"):
            hub_door.open_door(self.app(), None, None)

    def test_without_an_address(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(TestOnGoogleCloud, "domain", None)
        with pytest.raises(HubError, match=r"set deployment\.hub_domain"):
            hub_door.open_door(self.app(), None, None)

    def test_a_token_never_goes_in_clear_text(self) -> None:
        with pytest.raises(HubError, match="only sent over https"):
            hub_door.open_door(self.app(), "http://hub.acme.com", None)

    def test_nobody_is_somebody_else_there(self) -> None:
        with pytest.raises(HubError, match="only for the embedded cloud"):
            hub_door.open_door(self.app(), None, "mia.chen@example.com")

    @pytest.mark.parametrize(
        ("status", "said"), [(302, "did not let you in"), (401, "did not let you in"), (500, "so it is not a hub page")]
    )
    def test_a_proxy_that_turns_one_away(self, monkeypatch: pytest.MonkeyPatch, status: int, said: str) -> None:
        answer = requests.Response()
        answer.status_code = status
        monkeypatch.setattr(hub_door, "_sent", lambda *_words, **_more: answer)
        door = hub_door.Door(url="https://hub.acme.com", session=requests.Session())
        with pytest.raises(HubError, match=said):
            door.get("/api/changes")


def test_a_team_of_one_is_named_by_validate_config() -> None:
    assert notes(hub_settings()) == []
    (line,) = notes(hub_settings(guard=GuardSettings(approvers=1)))
    assert line.startswith("guard.approvers is 1:")
    assert isinstance(main, click.Group)


def test_profiles_that_can_have_no_reporter_are_named_with_what_is_not_seen() -> None:
    line = unseen_note(hub_settings())
    assert line.startswith("Profiles analyst, engineer: with identity end-user-credentials no reporter can run")
    assert all(words in line for words in ("GPU", "tab is closed", "memory that ran out", "full disk", "Extend"))
    own = {"identity": Identity.PERSONAL_SERVICE_ACCOUNT}
    assert unseen_note(hub_settings({"analyst": own})).startswith("Profile engineer: ")
    assert unseen_note(hub_settings({"analyst": own, "engineer": own})) == ""


class TestRelease:
    def held(self, quiet: Typing, reason: str = "case 4711") -> str:
        """Somebody on hold; return the address."""
        if quiet.hub.bench.deps.records.load(user_key_for(ANA)) is None:
            Life(quiet.hub.bench, ANA).tell(Joined, profile="analyst")
        assert quiet.run("hold", ANA, "--reason", reason).exit_code == 0
        return ANA

    def is_held(self, quiet: Typing) -> bool:
        quiet.ticks(1)
        return quiet.hub.record(ANA).hold is not None

    def test_another_administrator_has_to_agree(self, quiet: Typing) -> None:
        user = self.held(quiet)
        said = quiet.run("release", user)
        found = re.search(r"benchkeeper approve ([0-9a-f]{32})", said.stdout)
        assert found is not None
        assert "nothing is deleted before" in " ".join(said.stdout.split())
        assert "No other administrator was asked" not in said.stderr
        assert self.is_held(quiet)
        assert "waits for another administrator" in quiet.run("release", user).stdout
        assert re.search(r"Release +- +1 +0 .* 1 approved", quiet.run("guard").stdout)
        shown = quiet.run("guard", "show", found[1][:8]).stdout
        assert "takes effect once another administrator approves it" in shown
        assert "case 4711" in shown
        assert "already decided this" in quiet.run("approve", found[1], "--yes").stdout
        assert self.is_held(quiet)
        quiet.run("approve", found[1], "--yes", "--as", TOM)
        assert not self.is_held(quiet)
        assert quiet.run("guard").stdout == "Nothing waits.\n"

    def test_a_rejected_release_and_one_whose_hold_is_another_by_now_change_nothing(self, quiet: Typing) -> None:
        user = self.held(quiet)
        asked = json.loads(quiet.run("release", user, "-o", "json").stdout)
        assert (asked["user"], asked["hold"]) == (user, "case 4711")
        quiet.run("reject", asked["waits"], "--yes", "--as", TOM)
        assert self.is_held(quiet)
        again = json.loads(quiet.run("release", user, "-o", "json").stdout)
        assert again["waits"] == asked["waits"]
        self.held(quiet, "case 4712")
        quiet.run("approve", again["waits"], "--yes", "--as", TOM)
        assert self.is_held(quiet)

    def test_who_is_not_on_hold_and_who_is_not_known(self, quiet: Typing) -> None:
        assert "No such person" in quiet.run("release", ANA, code=1).stderr
        Life(quiet.hub.bench, ANA).tell(Joined, profile="analyst")
        assert "is not on hold" in quiet.run("release", ANA).stdout
        assert quiet.given() == []


def test_what_only_a_person_can_know_is_decided_from_the_command_line(quiet: Typing) -> None:
    bench = quiet.hub.bench
    life = Life(bench, ANA)
    life.join(profile="analyst")
    new = parse_email("Ñandú O'Neil+new@sub.example.co")
    life.tell(Renamed, new_user=new, confirmed=False, source="hr")
    quiet.hub.swept()
    said = quiet.run("guard").stdout
    assert re.search(r"NewAddress +hr +1 ", said)
    assert max(map(len, said.splitlines())) <= 80
    (found,) = json.loads(quiet.run("guard", "-o", "json").stdout)["changes"]
    shown = " ".join(quiet.run("guard", "show", found["digest"][:8]).stdout.split())
    assert f"{ANA} becomes {new}" in shown
    quiet.run("reject", found["digest"], "--yes")
    quiet.ticks(1)
    assert quiet.hub.record(ANA).rename is None
    assert quiet.run("guard").stdout == "Nothing waits.\n"
