"""`./deploy.sh local` as a person uses it: what it says, what it leaves, and that it leaves no process."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import termios
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.local_run import (
    HEARS_CTRL_C,
    ROOT,
    Local,
    alive,
    clean_environment,
    free_port,
    news,
    processes_naming,
    running_local,
    until,
)

pytestmark = [pytest.mark.e2e, pytest.mark.waits("for the clock of a whole system"), pytest.mark.timeout(180)]
BASH = shutil.which("bash") or "/bin/bash"
DEPLOY = (BASH, str(ROOT / "deploy.sh"), "local")


@pytest.fixture
def set_up_already() -> None:
    """Tell deploy.sh that its packages are here, as they are in a .venv that runs the tests: installing needs more than loopback."""
    if Path(sys.prefix).resolve() != (ROOT / ".venv").resolve():
        pytest.skip("the tests do not run in this tree's own .venv, which deploy.sh would set up: use ./tests/run.sh")
    parts = b"".join(
        (ROOT / name).read_bytes() for name in ("requirements.txt", "cli/requirements.txt", "pyproject.toml")
    )
    stamp = subprocess.run(["cksum"], input=parts, capture_output=True, check=True).stdout
    (ROOT / ".venv" / ".benchkeeper").write_bytes(stamp.replace(b" ", b"").strip())


def everything_of(local: Local) -> list[int]:
    """All processes of a running system: the launcher, the embedded cloud, each function's master."""
    found = {local.process.pid, *processes_naming(f"--port {local.port}"), *local.function_pids()}
    assert len(found) >= 5 or not Path("/proc/self").exists()
    return sorted(found)


def test_deploy_local_brings_the_examples_up_says_so_and_ends_without_a_trace(
    tmp_path: Path, set_up_already: None
) -> None:
    with running_local("--speed", "240", command=DEPLOY, environment={"TMPDIR": str(tmp_path)}) as local:
        until(lambda: bool(local.said("Try it in another")), seconds=60, what=lambda: f"all is told: {local.lines}")
        assert len(local.said("Benchkeeper is running")) == 1
        assert local.lines[0].startswith(f"Benchkeeper is running at {local.url}")
        with local.world() as world:
            people = world.owners("ACTIVE")
            urls = {f"https://{instance.proxy_uri}" for instance in world.instances()}
        text = "\n".join(local.lines)
        assert len(people) == len(list((ROOT / "config/examples").glob("*.json")))
        for person in people:
            told = [line for line in local.lines if person in line]
            assert any(re.match(r" *\d+m\d\ds +Being created ", line) for line in told), told  # a line for each change
            assert any("Running" in line for line in told), told
        assert all(url in text for url in urls)
        assert "\x1b" not in text  # no terminal: plain lines
        everything = everything_of(local)
        local.process.send_signal(signal.SIGINT)
        assert local.process.wait(30) == 0
    assert [pid for pid in everything if alive(pid)] == []
    assert list(tmp_path.iterdir()) == []  # its temporary folder is gone


def test_a_used_port_is_one_clear_line(tmp_path: Path, set_up_already: None) -> None:
    port = free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with running_local("--no-examples", port=port, ready=False, command=DEPLOY) as local:
            assert local.process.wait(60) != 0
    (line,) = [line for line in local.lines if line.strip()]
    assert f"Port {port} of 127.0.0.1 is in use" in line
    assert int(line.strip().rpartition("--port ")[2]) > port + 2  # the page and the gateway take the next ones


def fake_python(folder: Path, code: str) -> dict[str, str]:
    """A PATH with what deploy.sh needs and a `python3` of our own."""
    for tool in ("cat", "cksum", "dirname", "tr"):
        found = shutil.which(tool)
        assert found is not None
        (folder / tool).symlink_to(found)
    python = folder / "python3"
    python.write_text(f"#!{BASH}\n{code}\n")
    python.chmod(0o755)
    return {"PATH": str(folder)}


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("exit 1", "Python 3.11 or newer is needed"),
        ('[[ "$*" != *ensurepip* ]]', "python3 has no venv module"),
    ],
)
def test_a_python_that_will_not_do_is_one_clear_line(tmp_path: Path, code: str, says: str) -> None:
    """In a checkout without a .venv: whoever has one needs no other Python."""
    environment = fake_python(tmp_path, code)
    checkout = tmp_path / "checkout"
    for name in ("deploy.sh", "requirements.txt", "cli/requirements.txt", "pyproject.toml"):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, checkout / name)
    done = subprocess.run(
        [BASH, str(checkout / "deploy.sh"), "local"],
        env=environment, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert says in line


def test_the_state_survives_a_restart(tmp_path: Path) -> None:
    people = ["ana.silva@example.com", "ben@example.com"]
    options = ("--no-examples", "--speed", "240", "--data", str(tmp_path / "data"))
    with running_local(*options) as local, local.world() as world:
        local.publish(*[news("joiner", person) for person in people])
        until(lambda: world.owners("ACTIVE") == people, seconds=60, what="both are ACTIVE")
        until(lambda: all(ready(record) for record in world.records()), seconds=60, what="both records say so")
        before = {instance.name: (instance.id, instance.create_time) for instance in world.instances()}
        local.process.send_signal(signal.SIGINT)
        assert local.process.wait(30) == 0
    with running_local(*options) as local, local.world() as world:
        assert {instance.name: (instance.id, instance.create_time) for instance in world.instances()} == before
        assert sorted(record["email"] for record in world.records()) == people
        # It works on: the same news is old news, and a leaver is heard.
        local.publish(news("joiner", people[0]), news("leaver", people[1]))
        until(lambda: world.owners("STOPPED") == people[1:], seconds=60, what="the leaver's is STOPPED")
        assert world.owners("ACTIVE") == people[:1]
        assert {instance.name: (instance.id, instance.create_time) for instance in world.instances()} == before


def ready(record: dict[str, Any]) -> bool:
    return any((c["type"], c["status"]) == ("NotebookReady", "True") for c in record["status"]["conditions"])


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found through /proc")
def test_a_killed_launcher_takes_everything_along() -> None:
    with running_local("--no-examples") as local:
        everything = everything_of(local)
        local.process.kill()
        local.process.wait()
        until(
            lambda: not any(alive(pid) for pid in everything) and not processes_naming(f"--port {local.port}"),
            seconds=20,
            what=lambda: f"all of {everything} ended: {[pid for pid in everything if alive(pid)]} live",
        )


def test_a_terminal_gets_a_live_view_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    port = free_port()
    control, terminal = os.openpty()
    termios.tcsetwinsize(terminal, (40, 160))
    # The terminal becomes the controlling one, so that the Ctrl-C below is the kernel's, as for a person.
    take_it = f"import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); {HEARS_CTRL_C}"
    environment = clean_environment(TERM="xterm-256color", TMPDIR=str(tmp_path))
    environment.pop("COLUMNS")
    process = subprocess.Popen(
        [sys.executable, "-c", take_it, sys.executable, "-m", "cli.local", "--port", str(port), "--speed", "120"],
        cwd=ROOT, env=environment, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True,
    )  # fmt: skip
    os.close(terminal)
    seen = bytearray()
    reader = threading.Thread(target=drain, args=(control, seen), daemon=True)
    reader.start()
    try:
        until(lambda: b"Try it in another" in seen, seconds=90, what=lambda: f"all is told: {seen[-2000:]!r}")
        shown = seen.decode(errors="replace")
        assert shown.count("Benchkeeper is running") == 1
        assert "\x1b[?25l" in shown  # the cursor is hidden while the picture moves
        assert re.search(r"\x1b\[\d*A", shown)  # and the picture is drawn over itself
        assert len(set("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏") & set(shown)) >= 2
        assert shown.count("ana.silva@example.com") > 5
        assert "✔" in shown or "Running" in shown
        os.write(control, b"\x03")
        assert process.wait(30) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        reader.join(10)
        os.close(control)
    until(lambda: not processes_naming(f"--port {port}"), seconds=20, what="no process is left")
    assert "\x1b[?25h" in seen.decode(errors="replace")  # the cursor is back


def drain(control: int, seen: bytearray) -> None:
    while True:
        try:
            some = os.read(control, 65_536)
        except OSError:  # the last process on the terminal has ended
            return
        if not some:
            return
        seen += some
