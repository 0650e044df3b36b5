"""`publish` and `state`: looked up, shown, asked, and only then sent."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import sys
import termios
from pathlib import Path

import pytest

from emulator.faults import Fault
from tests.e2e.local_run import clean_environment

ANA, SLIP = "ana.silva@example.com", "ana.slva@example.com"


@pytest.fixture
def joined(terminal):
    """Ana has a notebook."""
    terminal.run("publish", "joiner", ANA, "--profile", "analyst")
    assert terminal.deliver() == 1
    for _ in range(6):
        terminal.advance(minutes=1)
        terminal.run("sweep", "due")
    return terminal


def sent(terminal, *words: str) -> dict:
    """What was published, as JSON."""
    return json.loads(terminal.run(*words, "-o", "json").stdout)


@pytest.mark.parametrize(
    "words",
    [
        ("publish", "leaver", SLIP),
        ("publish", "mover", SLIP, "--profile", "engineer"),
        ("publish", "leave-cancelled", SLIP),
        ("publish", "renamed", SLIP, "ana.lima@example.com"),
        ("state", SLIP, "account", "usable", "--because", "a slip of the directory"),
    ],
)
def test_of_whom_nothing_is_known_nothing_is_sent(joined, words):
    said = joined.run(*words, "--yes", code=1).stderr
    assert "Did you mean ana.silva@example.com?" in said
    assert joined.deliver() == 0
    joined.run(*words, "--yes", "--new")
    assert joined.deliver() == 1


def test_a_leaver_of_a_misspelt_domain_is_asked_about_first(joined):
    assert (
        "Did you mean ana.silva@example.com?" in joined.run("publish", "leaver", "ana.silva@exmple.com", code=1).stderr
    )


def test_where_nobody_can_be_asked_nothing_is_sent(joined):
    result = joined.run("publish", "leaver", ANA, code=2)
    assert "nothing was sent" in result.stderr
    assert "stop instance nb-ana-silva-" in result.stdout
    assert joined.deliver() == 0


def test_a_joiner_goes_at_once_unless_a_known_address_is_near(joined):
    joined.run("publish", "joiner", "ben.ng@example.com")
    assert joined.deliver() == 1
    assert "Did you mean ana.silva@example.com?" in joined.run("publish", "joiner", SLIP, code=2).stderr
    assert joined.deliver() == 0
    joined.run("publish", "joiner", SLIP, "--yes")
    joined.run("publish", "joiner", "ben.ngo@example.com", "--new")
    assert joined.deliver() == 2


@pytest.mark.parametrize("option", ["--add-group", "--remove-group", "--groups"])
def test_a_group_that_nobody_knows_is_refused(joined, option):
    said = joined.run("publish", "mover", ANA, option, "data-analyst@example.com", "--yes", code=1).stderr
    assert "Did you mean data-analysts@example.com?" in said
    assert joined.deliver() == 0
    joined.run("publish", "mover", ANA, option, "data-analysts@example.com", "--yes")
    assert joined.deliver() == 1


def test_a_group_that_somebody_holds_is_known(joined):
    joined.run("publish", "joiner", "ben.ng@example.com", "--group", "team@example.com", "--new")
    joined.deliver()
    joined.run("publish", "mover", ANA, "--add-group", "Team@Example.com", "--yes")
    assert joined.deliver() == 1
    shown = json.loads(joined.run("show", ANA, "-o", "json").stdout)
    assert shown["groups"] == ["team@example.com"]


def test_groups_are_added_removed_and_replaced(joined):
    assigned = "data-analysts@example.com", "data-engineers@example.com"
    body = sent(joined, "publish", "mover", ANA, "--groups", ",".join(assigned), "--yes")["message"]
    assert body["attributes"] == {"groups": list(assigned)}
    joined.deliver()
    body = sent(joined, "publish", "mover", ANA, "--remove-group", assigned[0], "--yes")["message"]
    assert body["attributes"] == {"remove_groups": [assigned[0]]}
    joined.deliver()
    assert json.loads(joined.run("show", ANA, "-o", "json").stdout)["groups"] == [assigned[1]]
    assert "--add-group" in joined.run("publish", "mover", ANA, "--group", assigned[0], code=2).stderr
    joined.run("publish", "mover", ANA, "--groups", assigned[0], "--add-group", assigned[1], code=2)
    joined.run("publish", "mover", ANA, "--add-group", assigned[0], "--remove-group", assigned[0], code=2)
    joined.run("publish", "mover", ANA, "--groups", "", "--yes")
    joined.deliver()
    assert json.loads(joined.run("show", ANA, "-o", "json").stdout)["groups"] == []


def test_what_is_known_already_is_not_sent_again(joined):
    result = sent(joined, "publish", "joiner", ANA, "--profile", "analyst")
    assert result["message_id"] is None
    assert result["looked_up"]["nothing_new"]
    joined.run("publish", "leaver", ANA, "--yes")
    assert joined.deliver() == 1
    joined.advance(minutes=1)
    assert "already known" in joined.run("publish", "leaver", ANA).stdout
    assert joined.deliver() == 0
    joined.run("publish", "leaver", ANA, "--yes")
    assert joined.deliver() == 1


def test_json_says_what_was_looked_up(joined):
    result = sent(joined, "publish", "leaver", ANA, "--yes")
    (change,) = result["looked_up"]["changes"]
    assert (result["looked_up"]["known"], change["kind"]) == (True, "leaves")
    assert change["actions"][0].startswith("stop instance nb-ana-silva-")
    assert result["message_id"]
    assert result["topic"] == "workbench-operator"


def test_dates_ends_and_numbers_are_sent_as_the_intake_reads_them(joined):
    body = sent(joined, "publish", "mover", ANA, "--access-until", "2026-12-31", "--person-id", "4711", "--yes")[
        "message"
    ]
    assert (body["access_until"], body["person_id"]) == ("2026-12-31", "4711")
    joined.deliver()
    text = joined.run("show", ANA).stdout
    assert "Access ends on 2027-01-01 00:00 UTC." in text
    assert "4711" in text
    joined.advance(minutes=1)
    assert sent(joined, "publish", "mover", ANA, "--access-until", "never", "--yes")["message"]["access_until"] is None
    joined.deliver()
    assert json.loads(joined.run("show", ANA, "-o", "json").stdout)["access_until"] is None
    late = sent(joined, "publish", "leaver", ANA, "--effective-time", "2026-11-30", "--yes")
    assert late["message"]["effective_time"] == "2026-11-30"
    assert late["looked_up"]["changes"][0]["kind"] == "later"
    joined.run("publish", "leaver", ANA, "--effective-time", "30.11.2026", code=2)


def test_who_may_only_publish_says_so(joined):
    def refuse() -> None:
        for call in ("storage.objects.get", "storage.objects.list"):
            denied = {"call": call, "times": 0, "error": {"code": "PERMISSION_DENIED", "message": "no"}}
            joined.cloud.world.faults.add(Fault.parse(denied))

    refuse()
    said = joined.run("publish", "leaver", ANA, "--yes", code=1).stderr
    assert "could not be looked up" in said
    assert "--blind" in said
    assert joined.deliver() == 0
    result = joined.run("publish", "leaver", ANA, "--blind", "-o", "json")
    assert json.loads(result.stdout)["looked_up"] is None
    assert "could not be looked up" in result.stderr


def test_an_account_is_stated_to_be_usable(joined):
    entry = {"schema": "workbench.lifecycle/v1", "event_id": "x", "type": "account", "user": ANA, "account": "gone"}
    path = Path(joined.environ["BENCHKEEPER_CONFIG_DIR"]).parent / "x.json"
    path.write_text(json.dumps(entry))
    assert "usable" in joined.run("publish", "file", str(path), "--yes", code=2).stderr
    result = sent(joined, "state", ANA, "account", "usable", "--because", "HR says so", "--yes")
    assert (result["message"]["type"], result["message"]["account"]) == ("account", "usable")
    assert result["message"]["reason"] == "HR says so"
    joined.run("state", ANA, "account", "usable", code=2)
    joined.run("state", ANA, "account", "gone", "--because", "x", code=2)


def test_a_user_key_is_as_good_as_the_address(joined):
    key = json.loads(joined.run("show", ANA, "-o", "json").stdout)["user_key"]
    assert sent(joined, "publish", "leaver", key, "--yes")["message"]["user"] == ANA
    assert "is not known" in joined.run("publish", "leaver", "nobody-0123456789ab", "--yes", code=1).stderr


# --- on a terminal


def typed(terminal, *words: str, answer: bytes) -> tuple[str, int]:
    """What a terminal of 80 columns shows, and the exit code; `answer` is typed where it asks."""
    pid, fd = pty.fork()
    if pid == 0:
        fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
        environ = clean_environment(
            **{n: v for n, v in terminal.environ.items() if n != "COLUMNS"}, TERM="xterm", COLUMNS="80"
        )
        command = str(Path(sys.executable).with_name("benchkeeper"))
        os.execve(command, [command, *words], environ)  # noqa: S606 - the console command itself
    seen, answered = b"", False
    while True:
        try:
            piece = os.read(fd, 65536)
        except OSError:  # Linux says so when the other side is gone
            break
        if not piece:
            break
        seen += piece
        if not answered and b"[y/N]" in seen:
            os.write(fd, answer)
            answered = True
    os.close(fd)
    return seen.decode().replace("\r\n", "\n"), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize(("answer", "code", "count"), [(b"n\n", 1, 0), (b"y\n", 0, 1)])
def test_a_terminal_is_asked_after_it_was_shown_the_plan(joined, answer, code, count):
    said, ended = typed(joined, "publish", "leaver", ANA, answer=answer)
    assert ended == code, said
    assert said.index("stop instance nb-ana-silva-") < said.index("[y/N]")
    assert joined.deliver() == count
    shown = said[: said.index("[y/N]")].splitlines()[:-1]
    assert all(len(line.rstrip()) <= 80 for line in shown)
