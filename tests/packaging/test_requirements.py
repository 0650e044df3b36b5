"""The lists of packages agree: what pyproject.toml asks for is pinned, everywhere the same, and complete."""

from __future__ import annotations

import importlib.metadata
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
    "runtime": PROJECT["project"]["dependencies"],
    "cli": PROJECT["project"]["dependencies"] + PROJECT["project"]["optional-dependencies"]["cli"],
    "tests": [
        *PROJECT["project"]["dependencies"],
        *PROJECT["project"]["optional-dependencies"]["cli"],
        *PROJECT["project"]["optional-dependencies"]["dev"],
    ],
}


def pins(name: str) -> dict[str, Requirement]:
    lines = [line.strip() for line in (ROOT / LISTS[name]).read_text().splitlines()]
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert len(found) == len({canonicalize_name(pin.name) for pin in found})
    return {canonicalize_name(pin.name): pin for pin in found}


def version(pin: Requirement) -> Version:
    (only,) = pin.specifier
    return Version(only.version)


@pytest.mark.parametrize("name", LISTS)
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


def test_the_runtime_list_has_nothing_that_nobody_needs() -> None:
    """Everything in requirements.txt is asked for by the project or by something that it needs."""
    needed = closure([Requirement(text) for text in WANTED["runtime"]])
    assert sorted(set(pins("runtime")) - needed - not_for_this_machine("runtime")) == []


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
    assert scripts == {"benchkeeper": "cli.main:main"}
    asked = {
        canonicalize_name(Requirement(text).name) for text in said.requires or [] if "extra ==" not in text.lower()
    }
    assert asked == {canonicalize_name(Requirement(text).name) for text in WANTED["runtime"]}


def test_the_distribution_has_every_package_and_data_file() -> None:
    """A folder that nobody lists would be missing from a wheel, and a data file beside the code too."""
    tops = ("cli", "emulator", "functions", "portal", "shared")
    folders = {path.parent.relative_to(ROOT) for top in tops for path in (ROOT / top).rglob("*.py")}
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == sorted(".".join(folder.parts) for folder in folders)
    listed = PROJECT["tool"]["setuptools"].get("package-data", {})
    beside = [path for folder in folders for path in (ROOT / folder).iterdir()]
    below = [path for name in ("static", "templates") for path in (ROOT / "portal" / name).rglob("*")]
    data = {
        path.relative_to(ROOT).as_posix()
        for path in [*beside, *below]
        if path.is_file() and path.suffix not in {".py", ".pyc"} and path.name != "requirements.txt"
    }
    covered = {
        path.relative_to(ROOT).as_posix()
        for package, patterns in listed.items()
        for pattern in patterns
        for path in (ROOT / package.replace(".", "/")).glob(pattern)
    }
    assert sorted(data - covered) == []
