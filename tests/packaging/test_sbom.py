"""`./deploy.sh sbom`: what the product is made of, from what is pinned."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.e2e.local_run import ROOT, clean_environment

BASH = shutil.which("bash") or "/bin/bash"
# Stands in for the three tools: writes what they would, and ends as they do for what the test plants.
TOOL = """#!/bin/sh
for word; do [ "$last" = --output-file ] && echo made >"$word"; [ "$last" = --output ] && out=$word; last=$word; done
case "$0" in *pip-audit) %s ;; esac
"""


def sbom(folder: Path, code: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `make_sbom` of deploy.sh in a folder with the lists of packages, with this Python as its .venv."""
    text = (ROOT / "deploy.sh").read_text(encoding="utf-8").removesuffix('main "$@"\n')
    (folder / "functions.sh").write_text(text, encoding="utf-8")
    for name in ("pyproject.toml", "README.md", "LICENSE", "cli/requirements.txt", "cli/sbom/requirements.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(sys.prefix)
    return subprocess.run(
        [BASH, "-c", f"source ./functions.sh; {code} make_sbom"],
        cwd=folder, env=clean_environment(**environment), capture_output=True, text=True, check=False, timeout=500,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("audit", "code", "says"),
    [
        ("echo '{}' >$out", 0, "dist/audit.json is written: no known vulnerability.\n"),
        ("echo '{}' >$out; exit 1", 1, "deploy.sh: there are packages with known vulnerabilities: dist/audit.json names them.\n"),
        ("echo first >&2; echo 'no route to the service' >&2; exit 1", 0,
         "Known vulnerabilities were not looked up: no route to the service\n"),
    ],
)  # fmt: skip
def test_each_outcome_of_the_audit_is_told_apart(tmp_path: Path, audit: str, code: int, says: str) -> None:
    tool = tmp_path / "tool"
    tool.write_text(TOOL % audit)
    tool.chmod(0o755)
    fake = f'install_into() {{ for name in cyclonedx-py pip-licenses pip-audit; do cp {tool} "$1/bin/$name"; done; }};'
    done = sbom(tmp_path, fake)
    assert done.returncode == code, done.stderr
    assert (done.stderr if code else done.stdout).endswith(says)
    assert (tmp_path / "dist/sbom.cdx.json").read_text() == (tmp_path / "dist/licences.csv").read_text() == "made\n"
    assert (tmp_path / "dist/audit.json").exists() == ("audit.json" in says)


@pytest.mark.slow
@pytest.mark.waits("for packages")
@pytest.mark.timeout(600)
def test_every_pinned_package_is_in_the_list_with_its_licence(tmp_path: Path) -> None:
    done = sbom(tmp_path, TMPDIR=str(tmp_path))
    if "No matching distribution" in done.stderr or "ConnectionError" in done.stderr:
        pytest.skip(f"the package index cannot be reached: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "dist/sbom.cdx.json").read_text())
    assert (found["bomFormat"], found["metadata"]["component"]["name"]) == ("CycloneDX", "benchkeeper")
    lines = [
        line.rstrip(" \\") for line in (ROOT / "cli/requirements.txt").read_text().splitlines() if line[0].isalnum()
    ]
    pins = {
        (str(canonicalize_name(pin.name)), str(pin.specifier).removeprefix("=="))
        for pin in map(Requirement, lines)
        if pin.marker is None or pin.marker.evaluate()
    }
    assert {(canonicalize_name(each["name"]), each["version"]) for each in found["components"]} == pins
    with (tmp_path / "dist/licences.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(canonicalize_name(row["Name"]), row["Version"]) for row in rows} == pins
    assert [row["Name"] for row in rows if row["License"] in {"", "UNKNOWN"}] == []
    assert "audit" in done.stdout or "Known vulnerabilities were not looked up: " in done.stdout
    assert [path.name for path in tmp_path.glob("tmp.*")] == []
