"""What the import contracts refuse, proven on a copy of the tree in which somebody imports what must not be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("functions", "cli", "portal", "shared", "emulator")
# Of `shared`: the adapters are the ones that speak to Google; domain and engine have a contract of their own, which names more.
SPEAKS_TO_GOOGLE, INNER = "cloud", ("domain", "engine")
LINT = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(cache_dir=None, no_logo=True))"


def _copy(folder: Path) -> Path:
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name, ignore=lambda _, names: [n for n in names if n == "__pycache__"])
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def _add(folder: Path, module: str, line: str) -> None:
    path = folder / f"{module.replace('.', '/')}.py"
    path = path if path.exists() else path.with_suffix("") / "__init__.py"
    path.write_text(f"{path.read_text()}\n\n{line}\n")


def _lint(folder: Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", LINT], cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "COLUMNS": "200", "PYTHONPATH": str(folder)},  # noqa: TID251 - of a child
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def _modules_of_shared() -> set[str]:
    entries = (ROOT / "shared").iterdir()
    return {e.stem for e in entries if e.suffix == ".py" or (e / "__init__.py").exists()} - {"__init__"}


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The linter's words on a copy with every violation at once."""
    folder = _copy(tmp_path_factory.mktemp("planted"))
    for name in sorted(_modules_of_shared() - {SPEAKS_TO_GOOGLE, *INNER}):
        _add(folder, f"shared.{name}", "import google.auth")
    _add(folder, "portal.assets", "def late():\n    import google.auth")
    _add(folder, "shared.domain.things.times", "from shared.faults import ConfigFault")
    _add(folder, "shared.domain.plan.step", "import google.auth")
    _add(folder, "shared.engine.news.deliver", "import yaml")
    _add(folder, "shared.faults", "import shared.yaml_lines")
    _add(folder, "shared.messages.hr", "from shared.messages import parse")
    _add(folder, "shared.cloud.dataproc.session_check", "def late():\n    import shared.cloud.dataproc.masters")
    _add(folder, "shared.sheet", "import shared.visible")
    _add(folder, "shared.telemetry", "import portal.assets")
    _add(folder, "shared.cloud.http.clock", "import emulator.clock")
    _add(folder, "shared.domain.things.power", "import shared.domain.people.facts")
    _add(folder, "shared.engine.ports.deps", "import shared.engine.news.intake")
    _add(folder, "shared.cloud.http.clients", "import shared.cloud.publish")
    code, said = _lint(folder)
    assert code == 1, said
    assert "0 kept, 10 broken" in said, said
    return said


@pytest.mark.parametrize("name", sorted(_modules_of_shared() - {SPEAKS_TO_GOOGLE, *INNER}))
def test_google_is_refused_in_every_module_that_is_no_adapter(planted, name):
    assert f"shared.{name} -> google (l." in planted


@pytest.mark.parametrize(
    "refused",
    [
        "portal.assets -> google (l.",
        "shared.domain.things.times -> shared.faults (l.",
        "shared.domain.things.power -> shared.domain.people.facts (l.",
        "shared.engine.ports.deps -> shared.engine.news.intake (l.",
        "shared.cloud.http.clients -> shared.cloud.publish (l.",
        "shared.domain.plan.step -> google (l.",
        "shared.engine.news.deliver -> yaml (l.",
        "shared.faults -> shared.yaml_lines (l.",
        "No cycles are allowed in shared.messages.",
        "No cycles are allowed in shared.cloud.dataproc.",
        "shared.cloud.dataproc.session_check -> shared.cloud.dataproc.masters (l.",
        "shared.sheet -> shared.visible (l.",
        "shared.telemetry -> portal.assets (l.",
        "shared.cloud.http.clock -> emulator.clock (l.",
    ],
)
def test_what_no_layer_allows_is_refused(planted, refused):
    assert refused in planted


def test_a_module_of_shared_without_a_layer_is_refused(tmp_path):
    folder = _copy(tmp_path)
    (folder / "shared" / "unheard_of.py").write_text('"""Nothing."""\n')
    code, said = _lint(folder)
    assert code == 1
    assert "shared.unheard_of" in said


def test_the_contract_about_google_names_every_module():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (google,) = (each for each in contracts if each["name"] == "Only shared.cloud speaks to Google")
    named = {each.removeprefix("shared.") for each in google["source_modules"] if each.startswith("shared.")}
    assert named == _modules_of_shared() - {SPEAKS_TO_GOOGLE, *INNER}
