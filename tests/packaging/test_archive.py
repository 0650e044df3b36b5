"""What is uploaded to Cloud Functions: exactly what `.gcloudignore` lets through, and that it runs alone."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import textwrap
import zipfile
from pathlib import Path

import pathspec
import pytest

ROOT = Path(__file__).resolve().parents[2]
GCLOUD = shutil.which("gcloud")
ENTRY_POINTS = ["dead_letter", "lifecycle", "tick"]
NEVER_LOOKED_AT = {".git", ".venv"}
# Put before the code of a child: nothing but the standard library, what requirements.txt installs, and the folder that the
# framework appends last. `-S` keeps an editable install of this very repository out, which production does not have either.
PRELUDE = """
import importlib.abc, sys
source, blocked, site = sys.argv[1], set(filter(None, sys.argv[2].split(","))), sys.argv[3].split(",")
class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ImportError(f"{name} is not in requirements.txt")
sys.meta_path.insert(0, Block())
sys.path += [*site, source]
"""


def tree() -> list[str]:
    found = []
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in NEVER_LOOKED_AT]
        found += [Path(folder, name).relative_to(ROOT).as_posix() for name in files]
    return found


def uploaded() -> list[str]:
    spec = pathspec.GitIgnoreSpec.from_lines((ROOT / ".gcloudignore").read_text().splitlines())
    return sorted(name for name in tree() if not spec.match_file(name))


def pinned(path: str) -> set[str]:
    lines = (ROOT / path).read_text().splitlines()
    return {_plain(re.split(r"[=<>;\[ ]", line, maxsplit=1)[0]) for line in lines if line and line[0] not in "#-"}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def not_at_run_time() -> set[str]:
    """Top-level modules that are installed here and not by requirements.txt, and our own folders that are not uploaded."""
    runtime = pinned("requirements.txt")
    by_module = importlib.metadata.packages_distributions()
    foreign = {module for module, owners in by_module.items() if runtime.isdisjoint(map(_plain, owners))}
    return (foreign | {"cli", "emulator", "tests", "bench"}) - {"functions", "shared", "main"}


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("upload")
    archive = folder / "source.zip"
    with zipfile.ZipFile(archive, "w") as made:
        for name in uploaded():
            made.write(ROOT / name, name)
    with zipfile.ZipFile(archive) as made:
        made.extractall(folder / "workspace")
    return folder / "workspace"


def python(code: str, unpacked: Path, *more: str, environment: dict[str, str] | None = None) -> str:
    """Run code as the framework runs ours; its output."""
    site = ",".join(sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}))
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-W", "ignore", "-c", PRELUDE + textwrap.dedent(code),
         str(unpacked), ",".join(sorted(not_at_run_time())), site, *more],
        cwd=unpacked.parent, env={"PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1", **(environment or {})},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_only_what_a_function_runs_on_is_uploaded() -> None:
    names = uploaded()
    assert {name.partition("/")[0] for name in names} == {
        "main.py", "requirements.txt", "functions", "shared", "config",
    }  # fmt: skip
    assert {name for name in names if name.startswith("config/")} == {
        "config/profiles.yaml",
        *(f"config/{path.name}" for path in (ROOT / "config").glob("settings.*.yaml")),
        *(f"config/templates/{path.name}" for path in (ROOT / "config/templates").glob("*.yaml")),
    }
    assert [name for name in names if "__pycache__" in name or name.endswith(".pyc")] == []


def test_a_file_that_nobody_allowed_stays_here() -> None:
    spec = pathspec.GitIgnoreSpec.from_lines((ROOT / ".gcloudignore").read_text().splitlines())
    stay = [
        "key.json", ".env", "config/secret.yaml", "config/examples/1-ana.json", "config/schema/x.json", "cli/main.py",
        "tests/unit/test_x.py", "emulator/app.py", "shared/.env", "functions/__pycache__/tick.cpython-311.pyc", "new/shared/x.py",
    ]  # fmt: skip
    assert [name for name in stay if not spec.match_file(name)] == []


@pytest.mark.skipif(GCLOUD is None, reason="the Google Cloud SDK is not installed: `gcloud` is not on the PATH")
def test_gcloud_reads_the_list_as_we_do(tmp_path: Path) -> None:
    # A copy of the names: other tests of this run make and remove files in the real tree.
    for name in {*tree(), "key.json", "shared/.env", "config/secret.yaml"}:
        copy = tmp_path / "tree" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((ROOT / name).read_bytes() if name == ".gcloudignore" else b"")
    spec = pathspec.GitIgnoreSpec.from_lines((tmp_path / "tree/.gcloudignore").read_text().splitlines())
    files = [
        path.relative_to(tmp_path / "tree").as_posix() for path in (tmp_path / "tree").rglob("*") if path.is_file()
    ]
    environment = {
        "PATH": os.environ["PATH"],  # noqa: TID251 - a command of the machine is to be found
        "HOME": str(tmp_path), "CLOUDSDK_CONFIG": str(tmp_path / "gcloud"),
        "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "true", "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "true",
    }  # fmt: skip
    done = subprocess.run(
        ["gcloud", "meta", "list-files-for-upload", str(tmp_path / "tree")],
        env=environment, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert sorted(done.stdout.split()) == sorted(name for name in files if not spec.match_file(name))


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_every_entry_point_loads_alone_through_the_framework(unpacked: Path, entry_point: str) -> None:
    code = """
        import functions_framework
        app = functions_framework.create_app(sys.argv[4], source + "/main.py", "http")
        import functions, shared
        assert sys.path[-1] == source, sys.path  # the framework's own order: an installed `shared` would win
        print(shared.__file__, functions.__file__, app.test_client().get("/").status_code)
    """
    where = [str(unpacked / "shared/__init__.py"), str(unpacked / "functions/__init__.py")]
    # 405: the decorated function is a CloudEvent function, whatever signature was asked for.
    assert python(code, unpacked, entry_point).split() == [*where, "405"]


def test_main_offers_the_entry_points_and_nothing_else(unpacked: Path) -> None:
    assert python("import main; print(*sorted(main.__all__))", unpacked).split() == ENTRY_POINTS


def test_every_uploaded_module_needs_only_what_is_installed_there(unpacked: Path) -> None:
    code = """
        import importlib, pathlib
        for path in sorted(pathlib.Path(source).rglob("*.py")):
            importlib.import_module(".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__"))
        foreign = sorted(name for name in sys.modules if name.partition(".")[0] in blocked)
        print(*foreign)
    """
    assert python(code, unpacked).split() == []


def test_the_uploaded_configuration_is_read_and_every_client_can_be_built(unpacked: Path) -> None:
    code = """
        from shared.wiring import checked_settings, make_clients
        settings = checked_settings()
        clients = make_clients(settings)
        print(settings.config_dir, type(clients.storage_bucket()).__name__)
        print(type(clients.notebooks()).__name__, type(clients.publisher()).__name__, len(settings.catalog.masters))
        clients.publisher().stop()
    """
    said = python(code, unpacked).split()
    assert said[:2] == [str(unpacked / "config"), "Bucket"]
    assert said[2:4] == ["NotebookServiceClient", "Client"] or said[2:4] == ["NotebookServiceClient", "PublisherClient"]
    assert int(said[4]) == len(list((ROOT / "config/templates").glob("*.yaml")))


def test_a_module_that_is_not_in_requirements_would_be_noticed(unpacked: Path) -> None:
    code = """
        try:
            import rich
        except ImportError as error:
            print(error)
    """
    assert python(code, unpacked).strip() == "rich is not in requirements.txt"
