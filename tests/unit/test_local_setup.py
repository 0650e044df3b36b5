"""What `./deploy.sh local` decides before anything runs: ports, people, the environment of JupyterLab."""

from __future__ import annotations

import hashlib
import json
import re
import socket
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from cli.local.errors import LocalError
from cli.local.jupyter import REQUIREMENTS, ensure_jupyter
from cli.local.people import ADMINISTRATORS, NOBODY, name_of, offered
from cli.local.ports import Ports
from emulator.iap.sign_in import read_people
from shared.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path


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
    with pytest.raises(LocalError, match=r"three different ones up to 65535\. Give --port, --hub-port, --jupyter-port"):
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
        with pytest.raises(
            LocalError, match=f"Port {port} of 127.0.0.1 is in use.* ./deploy.sh local {option} {port + 1}$"
        ):
            ports.refuse_used(with_jupyter=True)


def test_the_jupyter_port_does_not_matter_without_jupyter() -> None:
    with socket.socket() as taken, socket.socket() as one, socket.socket() as two:
        for each in (taken, one, two):
            each.bind(("127.0.0.1", 0))
        taken.listen()
        ports = Ports(one.getsockname()[1], two.getsockname()[1], taken.getsockname()[1])
        one.close()
        two.close()
        ports.refuse_used(with_jupyter=False)


# --- people


def test_the_people_of_the_examples_an_administrator_and_somebody_without_anything_are_offered() -> None:
    settings = replace(load_settings(env="local", environ={}), admin_group="admins@example.com")
    people = offered(settings, examples=True)
    told = {person["email"]: (person["name"], person["note"]) for person in people}
    assert told["ana.silva@example.com"] == ("Ana Silva", "Analyst")
    assert told["b.okafor@example.com"] == ("B Okafor", "Data engineer")  # the higher priority of two groups
    assert told["chi.lee@example.com"] == ("Chi Lee", "Analyst")  # named by the message
    assert len([email for email in told if email.endswith("@sub.example.co")]) == 1
    assert list(told)[-3:] == [*ADMINISTRATORS, NOBODY]
    assert len(read_people(json.loads(json.dumps(people)))) == len(people)  # the sign-in page takes them all


def test_without_examples_and_a_group_of_administrators_there_is_one_person() -> None:
    settings = replace(load_settings(env="local", environ={}), admin_group=None)
    assert [person["email"] for person in offered(settings, examples=False)] == [NOBODY]


@pytest.mark.parametrize(
    ("email", "name"), [("ana.silva@x.com", "Ana Silva"), ("b_o+tag@x.com", "B O"), (".@x.com", ".@x.com")]
)
def test_a_name_is_made_of_an_address(email: str, name: str) -> None:
    assert name_of(email) == name


# --- JupyterLab's environment


def fake_environment(folder: Path, code: str) -> Path:
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\n{code}\n")
    python.chmod(0o755)
    return python


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


def test_one_that_cannot_be_installed_says_why_and_is_tried_again(tmp_path: Path) -> None:
    fake_environment(tmp_path / "env", "echo 'no route to the index' >&2; exit 1")
    for _ in range(2):
        with pytest.raises(
            LocalError, match=r"(?s)could not be installed\. Is the package index reachable\?.*no route to the index"
        ):
            ensure_jupyter(lambda _text: None, folder=tmp_path / "env")
    assert not (tmp_path / "env/.benchkeeper").exists()


def test_every_package_of_it_is_pinned() -> None:
    lines = [line for line in REQUIREMENTS.read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+( ; .+)?", line)] == []
    assert {"jupyterlab==4.6.6", "jupyter_server==2.21.1"} <= set(lines)
    assert [line for line in lines if line.startswith(("ipykernel==", "psutil=="))] != []
