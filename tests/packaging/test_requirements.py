"""The lists of packages agree: what pyproject.toml asks for is pinned with its hashes, everywhere the same, and complete.

`./tests/lock.sh` makes the lists. That they are current is held by the metadata of what is installed: no index is asked.
"""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
LISTS = {"runtime": "requirements.txt", "cli": "cli/requirements.txt", "tests": "tests/requirements.txt"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
WANTED = {
    "runtime": PROJECT["dependency-groups"]["functions"],
    "cli": PROJECT["project"]["dependencies"],
    "tests": [*PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"]["dev"]],
}
APART = {
    "sbom": "cli/sbom/requirements.txt",
    "jupyter": "emulator/jupyter/requirements.txt",
}  # environments of their own
_HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def locked(path: str) -> dict[str, list[str]]:
    """Each pin of a list with its hashes."""
    found = {}
    for entry in (ROOT / path).read_text().replace("\\\n", "").splitlines():
        pin, *hashes = re.split(r"\s+(?=--hash)", entry.strip())
        assert pin not in found
        found[pin] = hashes
    return found


def pins(name: str) -> dict[str, Requirement]:
    found = [Requirement(line) for line in locked({**LISTS, **APART}[name])]
    if name in LISTS:  # JupyterLab's have two IPythons, for older and newer Pythons
        assert len(found) == len({canonicalize_name(pin.name) for pin in found})
    return {canonicalize_name(pin.name): pin for pin in found}


def version(pin: Requirement) -> Version:
    (only,) = pin.specifier
    return Version(only.version)


@pytest.mark.parametrize("path", [*LISTS.values(), *APART.values()])
def test_every_pin_has_the_hashes_of_its_files(path: str) -> None:
    """Without one pip would take any file of that version; a package has one for the source and one for each wheel."""
    entries = locked(path)
    assert len(entries) > 30
    assert [pin for pin, hashes in entries.items() if not hashes or not all(map(_HASH.fullmatch, hashes))] == []


@pytest.mark.parametrize("name", APART)
def test_an_environment_of_its_own_has_what_its_group_asks_for(name: str) -> None:
    pinned = pins(name)
    for text in PROJECT["dependency-groups"][name]:
        asked = Requirement(text)
        assert version(pinned[canonicalize_name(asked.name)]) in asked.specifier, text


def test_what_the_functions_need_is_a_part_of_what_the_command_needs() -> None:
    assert set(WANTED["runtime"]) <= set(WANTED["cli"])


@pytest.mark.parametrize("name", [*LISTS, *APART])
def test_every_line_is_one_exact_version(name: str) -> None:
    assert [str(pin) for pin in pins(name).values() if [part.operator for part in pin.specifier] != ["=="]] == []


@pytest.mark.parametrize(("smaller", "larger"), [("runtime", "cli"), ("cli", "tests")])
def test_a_larger_list_has_the_smaller_one_in_it(smaller: str, larger: str) -> None:
    more = {key: str(pin) for key, pin in pins(larger).items()}
    assert {key: more.get(key) for key in pins(smaller)} == {key: str(pin) for key, pin in pins(smaller).items()}


@pytest.mark.parametrize("name", LISTS)
def test_what_the_project_asks_for_is_pinned_within_its_bounds(name: str) -> None:
    pinned = pins(name)
    wrong = []
    for text in WANTED[name]:
        asked = Requirement(text)
        pin = pinned.get(canonicalize_name(asked.name))
        if pin is None or version(pin) not in asked.specifier:
            wrong.append((text, str(pin)))
    assert wrong == []


def test_what_is_installed_for_users_has_nothing_that_nobody_needs() -> None:
    """Everything in a list is asked for by the project or by something that it needs."""
    for name in ("runtime", "cli"):
        needed = closure([Requirement(text) for text in WANTED[name]])
        assert sorted(set(pins(name)) - needed - not_for_this_machine(name)) == []


@pytest.mark.parametrize("name", LISTS)
def test_what_the_packages_need_is_pinned_too(name: str) -> None:
    needed = closure([Requirement(text) for text in WANTED[name]])
    assert sorted(needed - set(pins(name))) == []


@pytest.mark.parametrize("name", LISTS)
def test_the_tests_run_with_the_versions_that_are_pinned(name: str) -> None:
    differ = {}
    for key, pin in pins(name).items():
        if pin.marker is None or pin.marker.evaluate():
            installed = importlib.metadata.version(key)
            if Version(installed) != version(pin):
                differ[key] = (installed, str(pin))
    assert differ == {}


def not_for_this_machine(name: str) -> set[str]:
    return {key for key, pin in pins(name).items() if pin.marker is not None and not pin.marker.evaluate()}


def closure(asked: list[Requirement]) -> set[str]:
    """All packages that these need on this machine, by the metadata of what is installed."""
    found: set[str] = set()
    pending = [(requirement, extra) for requirement in asked for extra in ("", *requirement.extras)]
    seen: set[tuple[str, str]] = set()
    while pending:
        requirement, extra = pending.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        key = str(canonicalize_name(requirement.name))
        found.add(key)
        if (key, extra) in seen:
            continue
        seen.add((key, extra))
        for text in importlib.metadata.requires(key) or []:
            further = Requirement(text)
            if further.marker is None or further.marker.evaluate({"extra": extra}):
                further.marker = None
                pending += [(further, wanted) for wanted in ("", *further.extras)]
    return found


def test_the_distribution_says_what_it_is() -> None:
    said = importlib.metadata.distribution("benchkeeper")
    assert said.version == PROJECT["project"]["version"]
    assert said.metadata["Requires-Python"] == ">=3.11"
    scripts = {point.name: point.value for point in said.entry_points if point.group == "console_scripts"}
    assert scripts == {"benchkeeper": "benchkeeper:run"}
    asked = {
        canonicalize_name(Requirement(text).name) for text in said.requires or [] if "extra ==" not in text.lower()
    }
    assert asked == {canonicalize_name(Requirement(text).name) for text in WANTED["cli"]}
