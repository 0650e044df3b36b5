"""What `./deploy.sh local` decides before anything runs: ports, people, the environment of JupyterLab."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from cli.demo import demo
from cli.local.__main__ import main as local
from cli.local.errors import LocalError
from cli.local.jupyter import REQUIREMENTS, ensure_jupyter
from cli.local.people import ADMINISTRATORS, NOBODY, name_of, offered
from cli.local.ports import Ports
from cli.local.running import data_folder
from emulator.iap.sign_in import read_people
from shared.domain.intent.roles import Roles
from shared.settings import load_settings

# --- ports


@pytest.mark.parametrize(
    ("asked", "ports"),
    [
        ((8900, None, None), (8900, 8901, 8902)),
        ((8900, 8950, None), (8900, 8950, 8951)),
        ((8900, 8800, None), (8900, 8800, 8901)),
        ((8900, None, 7000), (8900, 8901, 7000)),
    ],
)
def test_what_was_not_said_is_the_next_port(
    asked: tuple[int, int | None, int | None], ports: tuple[int, int, int]
) -> None:
    made = Ports.chosen(*asked)
    assert (made.cloud, made.hub, made.jupyter) == ports


@pytest.mark.parametrize("asked", [(8900, 8900, None), (8900, None, 8901), (65535, None, None), (65534, None, None)])
def test_ports_that_cannot_be_are_one_clear_line(asked: tuple[int, int | None, int | None]) -> None:
    with pytest.raises(
        LocalError, match=r"three different numbers up to 65535 are needed\. Give --port, --hub-port, --jupyter-port"
    ):
        Ports.chosen(*asked)


@pytest.mark.parametrize(
    ("which", "option"), [("cloud", "--port"), ("hub", "--hub-port"), ("jupyter", "--jupyter-port")]
)
def test_a_used_port_names_its_option(which: str, option: str) -> None:
    with socket.socket() as taken, socket.socket() as first, socket.socket() as second:
        free = []
        for each in (first, second):
            each.bind(("127.0.0.1", 0))
            free.append(each.getsockname()[1])
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        first.close()
        second.close()
        numbers = {"cloud": free[0], "hub": free[1], "jupyter": 1}
        ports = Ports(**{**numbers, which: port, **({} if which == "jupyter" else {"jupyter": free[0]})})
        with pytest.raises(LocalError, match=f"Port {port} of 127.0.0.1 is in use.* benchkeeper demo {option} \\d+$"):
            ports.refuse_used(with_jupyter=True, command="benchkeeper demo")


def test_the_jupyter_port_does_not_matter_without_jupyter() -> None:
    with socket.socket() as taken, socket.socket() as one, socket.socket() as two:
        for each in (taken, one, two):
            each.bind(("127.0.0.1", 0))
        taken.listen()
        ports = Ports(one.getsockname()[1], two.getsockname()[1], taken.getsockname()[1])
        one.close()
        two.close()
        ports.refuse_used(with_jupyter=False, command="")


# --- what was typed


@pytest.mark.parametrize("command", [local, demo])
@pytest.mark.parametrize(
    ("words", "says"),
    [
        *((["--speed", speed], f"'{speed}' is not a valid speed: a number above 0 and up to 1000000, for example 60.")
          for speed in ("0", "-1", "nan", "inf", "x", "1e7", "", "-0.0")),
        *((["--port", port], f"'{port}' is not a port: a whole number from 1 to 65535, for example 8900.")
          for port in ("0", "-1", "65536", "x", "8900.0", "", "٨٩٠٠", "9" * 5000)),
        (["--hub-port", "0"], "'0' is not a port"),
        (["--data", ""], "the folder's name is empty"),
        (["--sped", "3"], "Did you mean '--speed'?"),
        (["surplus"], "Got unexpected extra argument (surplus)"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line_with_what_is_valid(command: click.Command, words: list[str], says: str) -> None:
    done = CliRunner().invoke(command, words, prog_name="./deploy.sh local")
    assert (done.exit_code, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert says in line
    assert line.endswith("(./deploy.sh local --help tells more.)")


@pytest.mark.parametrize("words", [["--port", "8900", "--hub-port", "8900"], ["--port", "65535"]])
def test_ports_that_do_not_go_together_are_one_line(words: list[str]) -> None:
    done = CliRunner().invoke(demo, words)
    assert (done.exit_code, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "three different numbers up to 65535" in line


# --- the folder of --data

WAY_OUT = "Name a folder that you may write to, or omit --data for a new temporary one."


@pytest.mark.parametrize(
    ("name", "says"),
    [("file", "is a file."), ("file/below", "cannot be created: Not a directory."), ("file/a/b", "cannot be created")],
)
def test_a_folder_that_cannot_be_is_one_clear_line(tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(LocalError) as caught, data_folder(tmp_path / name):
        pass
    assert str(caught.value).startswith(f"--data {tmp_path / name} {says}")
    assert str(caught.value).endswith(WAY_OUT)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    folder = tmp_path / "read-only"
    folder.mkdir(mode=0o500)
    if os.access(folder, os.W_OK):
        folder = Path("/proc/self/task")  # root may write anywhere but where the kernel says no
        if not folder.exists():
            pytest.skip("root writes into every folder here")
    with (
        pytest.raises(LocalError, match=f"^--data {folder} cannot be written: .*{re.escape(WAY_OUT)}$"),
        data_folder(folder),
    ):
        pass


def test_two_runs_do_not_share_a_folder_and_one_after_the_other_may(tmp_path: Path) -> None:
    folder = tmp_path / "not/yet/there"
    for _ in range(2):
        with data_folder(folder) as held:
            assert held == folder
            with (
                pytest.raises(LocalError, match=r"is in use by another run\. End that one with Ctrl-C"),
                data_folder(folder),
            ):
                pass


def test_without_a_name_it_is_a_fresh_one_that_goes() -> None:
    with data_folder(None) as one, data_folder(None) as other:
        assert one != other
        (one / "logs").mkdir()
    assert not one.exists()


# --- people


def test_the_people_of_the_examples_an_administrator_and_somebody_without_anything_are_offered() -> None:
    settings = replace(load_settings(env="local", environ={}), roles=Roles(owner="admins@example.com"))
    people = offered(settings, examples=True)
    told = {person["email"]: (person["name"], person["note"]) for person in people}
    assert told["ana.silva@example.com"] == ("Ana Silva", "Analyst")
    assert told["b.okafor@example.com"] == ("B Okafor", "Data engineer")  # the higher priority of two groups
    assert told["chi.lee@example.com"] == ("Chi Lee", "Analyst")  # named by the message
    assert len([email for email in told if email.endswith("@sub.example.co")]) == 1
    assert list(told)[-3:] == [*ADMINISTRATORS, NOBODY]
    assert len(read_people(json.loads(json.dumps(people)))) == len(people)  # the sign-in page takes them all


def test_without_examples_and_a_group_of_administrators_there_is_one_person() -> None:
    settings = replace(load_settings(env="local", environ={}), roles=Roles())
    assert [person["email"] for person in offered(settings, examples=False)] == [NOBODY]


@pytest.mark.parametrize(
    ("email", "name"), [("ana.silva@x.com", "Ana Silva"), ("b_o+tag@x.com", "B O"), (".@x.com", ".@x.com")]
)
def test_a_name_is_made_of_an_address(email: str, name: str) -> None:
    assert name_of(email) == name


# --- JupyterLab's environment


@pytest.fixture
def path_without_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is first on the path, which has no uv: what is made by the fakes below has the shape of pip's work."""
    folder = tmp_path / "path"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def fake_environment(folder: Path, code: str) -> Path:
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\n{code}\n")
    python.chmod(0o755)
    return python


@pytest.mark.usefixtures("path_without_uv")
def test_it_is_installed_once_and_anew_when_the_pins_change(tmp_path: Path) -> None:
    said: list[str] = []
    python = fake_environment(tmp_path / "env", f'echo "$@" >>{tmp_path}/ran')
    assert ensure_jupyter(said.append, folder=tmp_path / "env") == python
    assert (tmp_path / "ran").read_text().split()[-2:] == ["-r", str(REQUIREMENTS)]
    assert ensure_jupyter(said.append, folder=tmp_path / "env") == python
    assert len((tmp_path / "ran").read_text().splitlines()) == len(said) == 1
    assert (tmp_path / "env/.benchkeeper").read_text() == hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    (tmp_path / "env/.benchkeeper").write_text("other pins")
    ensure_jupyter(said.append, folder=tmp_path / "env")
    assert len((tmp_path / "ran").read_text().splitlines()) == len(said) == 2


@pytest.mark.usefixtures("path_without_uv")
def test_one_that_cannot_be_installed_says_why_and_is_tried_again(tmp_path: Path) -> None:
    fake_environment(tmp_path / "env", "echo 'no route to the index' >&2; exit 1")
    for _ in range(2):
        with pytest.raises(
            LocalError, match=r"(?s)could not be installed\. Is the package index reachable\?.*no route to the index"
        ):
            ensure_jupyter(lambda _text: None, folder=tmp_path / "env")
    assert not (tmp_path / "env/.benchkeeper").exists()


@pytest.mark.usefixtures("path_without_uv")
def test_one_that_was_interrupted_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its Python is there, but nobody knows what else is."""
    half = fake_environment(tmp_path / "env", f"echo half made >>{tmp_path}/ran")
    (tmp_path / "env/.unfinished").touch()
    maker = fake_environment(
        tmp_path / "base",
        f'mkdir -p "$3/bin"; printf "#!/bin/sh\necho whole >>{tmp_path}/ran\n" >"$3/bin/python"; chmod +x "$3/bin/python"',
    )
    monkeypatch.setattr(sys, "executable", str(maker))
    assert ensure_jupyter(lambda _text: None, folder=tmp_path / "env") == half
    assert (tmp_path / "ran").read_text() == "whole\n"
    assert not (tmp_path / "env/.unfinished").exists()


@pytest.mark.parametrize(("answer", "pip_runs"), [(0, False), (2, True)])
def test_uv_installs_it_if_it_is_there_and_pip_if_uv_cannot(
    tmp_path: Path, path_without_uv: Path, answer: int, pip_runs: bool
) -> None:
    python = fake_environment(tmp_path / "env", f'echo "$@" >>{tmp_path}/pip')
    uv = path_without_uv / "uv"
    # uv locks the environment that it changes: it would wait for ever for a lock of the same name that its caller holds.
    uv.write_text(
        f"#!{sys.executable}\nimport fcntl, sys\nopen('{tmp_path}/uv', 'w').write(' '.join(sys.argv))\n"
        f"fcntl.flock(open('{tmp_path}/env/.lock', 'w'), fcntl.LOCK_EX | fcntl.LOCK_NB)\nsys.exit({answer})\n"
    )
    uv.chmod(0o755)
    assert ensure_jupyter(lambda _text: None, folder=tmp_path / "env") == python
    assert (tmp_path / "uv").read_text().split()[-4:] == ["--python", str(python), "-r", str(REQUIREMENTS)]
    assert (tmp_path / "pip").exists() is pip_runs
    assert (tmp_path / "env/.benchkeeper").exists()


def test_jupyterlab_itself_is_pinned() -> None:
    lines = REQUIREMENTS.read_text().splitlines()
    assert {"jupyterlab==4.6.6 \\", "jupyter-server==2.21.1 \\"} <= set(lines)
    assert [line for line in lines if line.startswith(("ipykernel==", "psutil=="))] != []
