"""The wheel, built here and installed where nothing else is: `benchkeeper demo` runs without the tree."""

from __future__ import annotations

import shutil
import subprocess
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.local_run import ROOT, clean_environment, running_local, until
from tests.emulator.iap_kit import Browser

pytestmark = [
    pytest.mark.slow,
    pytest.mark.e2e,
    pytest.mark.waits("for packages and the clock of a whole system"),
    pytest.mark.timeout(600),
]
PARTS = ("cli", "config", "emulator", "functions", "portal", "shared")


def pip(environment: Path, *words: str) -> None:
    """Install with pip; skipped where the package index cannot be reached."""
    done = subprocess.run(
        [environment / "bin/python", "-m", "pip", "--disable-pip-version-check", *words],
        env=clean_environment(), cwd=environment, capture_output=True, text=True, check=False, timeout=500,
    )  # fmt: skip
    if done.returncode and ("No matching distribution" in done.stderr or "ConnectionError" in done.stderr):
        pytest.skip(f"the package index cannot be reached: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    venv.create(folder / "build", with_pip=True)
    tree = folder / "tree"
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).exists():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tree / name)
    (tree / "config/settings.prod.yaml").write_text("project: not-for-others\n")  # of whoever builds it
    pip(folder / "build", "wheel", "--no-deps", "--wheel-dir", str(folder), str(tree))
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("empty")
    venv.create(folder, with_pip=True)
    pip(folder, "install", "--no-compile", "-r", str(ROOT / "cli/requirements.txt"))
    pip(folder, "install", "--no-index", str(wheel))  # what the wheel asks for is there: the pins are complete
    yield folder
    shutil.rmtree(folder)


def test_everything_lies_in_one_package_and_nothing_is_missing(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.split("/")[0] for name in names} == {"benchkeeper", f"{wheel.name.rsplit('-', 3)[0]}.dist-info"}
    assert wheel.name.endswith("-py3-none-any.whl")
    listed = subprocess.run(["git", "ls-files", *PARTS], cwd=ROOT, capture_output=True, text=True, check=True)
    wanted = [name for name in listed.stdout.splitlines() if not name.startswith("emulator/admin/")]
    tree = {f"benchkeeper/{name}" for name in wanted if (ROOT / name).exists()}
    assert tree | {"benchkeeper/__init__.py", "benchkeeper/main.py"} == {
        name for name in names if name.startswith("benchkeeper/")
    }


def test_the_demo_runs_without_the_tree(installed: Path, tmp_path: Path) -> None:
    command = installed / "bin/benchkeeper"
    environment = {"TMPDIR": str(tmp_path), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    with running_local(
        "--speed", "240", command=(str(command), "demo"), environment=environment, folder=tmp_path
    ) as local:
        until(lambda: bool(local.said("Try it in another")), seconds=120, what=lambda: f"all is told: {local.lines}")
        with local.world() as world:
            assert len(world.owners("ACTIVE")) == len(list((ROOT / "config/examples").glob("*.json")))
        front, browser = f"http://localhost:{local.port + 1}", Browser()
        assert "ana.silva@example.com" in browser.arrive(f"{front}/").text
        browser.sign_in(front, "ana.silva@example.com")
        page = browser.get(f"{front}/")
        assert page.status == 200
        assert "Open JupyterLab" in page.text
        told = subprocess.run(
            [command, "show", "ana.silva@example.com"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
            env=clean_environment(**environment, BENCHKEEPER_API_ENDPOINT=local.url),
        )  # fmt: skip
        assert told.returncode == 0, told.stderr
        assert any("benchkeeper show ana.silva@example.com" in line for line in local.lines)
        assert not any(".venv/bin" in line or str(ROOT) in line for line in local.lines)
    files = [path for path in installed.rglob("*.py") if path.name == "main.py" and path.parent.name == "site-packages"]
    assert files == []


def test_what_is_wrong_is_one_line_there_too(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for words, code in ((["demo", "--data", "file"], 1), (["demo", "--speed", "0"], 2), (["dmeo"], 2)):
        done = subprocess.run(
            [installed / "bin/benchkeeper", *words], cwd=tmp_path, env=clean_environment(), capture_output=True, text=True,
            check=False, timeout=60,
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (code, "")
        assert len(done.stderr.splitlines()) == 1, done.stderr
