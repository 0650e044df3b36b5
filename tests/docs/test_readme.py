"""The commands of the README and of three guides, run as they stand there, against the system that the first command starts."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.local_run import ROOT, Local, clean_environment, running_local, until

DOCUMENTS = ("README.md", "docs/start-here.md", "docs/using.md", "docs/operations.md")
FENCE = re.compile(r"(?m)^ *```(bash[^\n]*)\n(.*?)^ *```$", flags=re.DOTALL)
RUN, NOT_RUN = "bash", "bash not-run"
# The commands that start everything: this test is inside the second, and running_local is the first.
ELSEWHERE = {"./deploy.sh local\n", "./tests/run.sh\n"}
BIN = Path(sys.executable).parent


def blocks(document: str) -> list[tuple[str, str]]:
    """Return each block of shell commands with what its fence says."""
    return [(said, body) for said, body in FENCE.findall((ROOT / document).read_text(encoding="utf-8"))]


def test_the_first_command_of_the_readme_starts_the_system():
    assert next(body for _, body in blocks("README.md")) == "./deploy.sh local\n"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_block_is_run_or_says_that_it_is_not(document: str):
    assert {said for said, _ in blocks(document)} <= {RUN, NOT_RUN}
    assert [body for said, body in blocks(document) if said == RUN] != []


def test_no_other_document_has_a_block_that_looks_as_if_it_were_run():
    others = {path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]}
    assert {name for name in others - set(DOCUMENTS) for said, _ in blocks(name) if said != NOT_RUN} == set()


def test_only_what_needs_a_project_is_not_run():
    assert [body for document in DOCUMENTS[:-1] for said, body in blocks(document) if said == NOT_RUN] == []
    reading = {"show", "plan", "list", "history", "impact", "policy", "waves"}
    left_out = [
        body
        for said, body in blocks("docs/operations.md")
        if said == NOT_RUN
        and all(re.match(r"benchkeeper (\w+)(?! ID)", line) for line in body.splitlines())
        and {line.split()[1] for line in body.splitlines()} <= reading
    ]
    assert left_out == []


@pytest.fixture(scope="module")
def local() -> Iterator[Local]:
    """The system that the README's first command starts, with its example people there."""
    with running_local("--speed", "600") as system:
        until(lambda: system.said("Try it in another terminal"), seconds=120, what="the examples to be ready")
        yield system


@pytest.mark.e2e
@pytest.mark.waits("for the clock of a whole system")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_example_works_as_it_stands(document: str, local: Local, tmp_path: Path):
    to_run = [body for said, body in blocks(document) if said == RUN and body not in ELSEWHERE]
    assert to_run
    for block in to_run:
        if "gcloud" in block and shutil.which("gcloud") is None:
            continue
        script = block.replace("http://127.0.0.1:8900", local.url).replace(".venv/bin/", f"{BIN}/")
        if document == "docs/operations.md":
            script = script.replace("USER", "ana.silva@example.com").replace("benchkeeper ", f"{BIN}/benchkeeper ")
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=ROOT,
            env=clean_environment(BENCHKEEPER_API_ENDPOINT=local.url, CLOUDSDK_CONFIG=str(tmp_path / "gcloud")),
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        assert done.returncode == 0, f"{document}: {block}\n{done.stdout}\n{done.stderr}"
    if document == "docs/using.md":
        listed = local.benchkeeper("list", "--output", "json").stdout
        assert "dana.cruz@example.com" in listed
        assert "eli.novak@example.com" in listed


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md")), ids=lambda p: p.name
)
def test_no_link_points_nowhere(path: Path):
    text = path.read_text(encoding="utf-8")
    for target, anchor in re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", text):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        file = path.parent / target if target else path
        assert file.exists(), f"{path.name} links to {target}"
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), f"{path.name} links to {target}#{anchor}"


def anchors(path: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a document."""
    text = re.sub(r"(?ms)^ *```.*?^ *```", "", path.read_text(encoding="utf-8"))
    heads = (re.sub(r"[`*]", "", head).lower() for head in re.findall(r"(?m)^#+ (.+)$", text))
    return {re.sub(r"[^\w -]", "", head).replace(" ", "-") for head in heads}
