"""What is uploaded to Cloud Functions: exactly what `.gcloudignore` lets through, and that it runs alone."""

from __future__ import annotations

import importlib.metadata
import json
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

from cli.deploy.archive import allowed_files, stage
from shared.settings import ConfigError

ROOT = Path(__file__).resolve().parents[2]
GCLOUD = shutil.which("gcloud")
ENTRY_POINTS = ["dead_letter", "lifecycle", "notify", "tick"]  # of what hears messages
PAGE = "hub"
NEVER_LOOKED_AT = {".git", ".venv", ".venv-jupyter"}
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
    return {_plain(re.split(r"[=<>;\[ ]", line, maxsplit=1)[0]) for line in lines if line and line[0].isalnum()}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def not_at_run_time() -> set[str]:
    """Top-level modules that are installed here and not by requirements.txt, and our own folders that are not uploaded."""
    runtime = pinned("requirements.txt")
    by_module = importlib.metadata.packages_distributions()
    foreign = {module for module, owners in by_module.items() if runtime.isdisjoint(map(_plain, owners))}
    return (foreign | {"cli", "emulator", "tests", "bench"}) - {"functions", "portal", "shared", "main"}


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
        "main.py", "requirements.txt", "functions", "portal", "shared", "config",
    }  # fmt: skip
    assert {name for name in names if name.startswith("config/")} == {
        "config/profiles.yaml",
        "config/sources.yaml",
        *(f"config/{path.name}" for path in (ROOT / "config").glob("settings.*.yaml")),
        *(path.relative_to(ROOT).as_posix() for path in (ROOT / "config/messages").rglob("*.*")),
        *(f"config/templates/{path.name}" for path in (ROOT / "config/templates").glob("*.yaml")),
    }
    assert [name for name in names if "__pycache__" in name or name.endswith(".pyc")] == []


def test_a_file_that_nobody_allowed_stays_here() -> None:
    spec = pathspec.GitIgnoreSpec.from_lines((ROOT / ".gcloudignore").read_text().splitlines())
    stay = [
        "key.json", ".env", ".venv-jupyter/bin/python", "config/secret.yaml", "config/examples/1-ana.json", "config/schema/x.json", "cli/main.py",
        "tests/unit/test_x.py", "emulator/app.py", "shared/.env", "config/templates/notes.txt",
        "config/templates/.gpu.yaml.swp", "config/templates/old/cpu.yaml", "functions/__pycache__/tick.cpython-311.pyc", "new/shared/x.py",
    ]  # fmt: skip
    assert [name for name in stay if not spec.match_file(name)] == []


@pytest.mark.gcloud
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


def test_the_page_finds_its_templates_and_every_file_that_they_name(unpacked: Path) -> None:
    code = r"""
        import functions_framework, json, re
        browser = functions_framework.create_app("hub", source + "/main.py", "http").test_client()
        page = browser.get("/")
        named = re.findall(r'(?:href|src)="(/[^"]+[?]v=[^"]+)"', page.get_data(as_text=True))
        print(json.dumps([page.status_code, {name: browser.get(name).status_code for name in named}]))
    """
    said = python(code, unpacked).splitlines()[-1]  # before it, the log's line about each request
    status, files = json.loads(said)
    assert status == 401  # nobody is signed in; the page that says so is a whole one
    assert {name.rpartition("/")[2].partition("?")[0] for name in files} >= {"hub.css", "hub.js", "htmx.min.js"}
    assert set(files.values()) == {200}


def test_everything_of_the_page_is_uploaded() -> None:
    there = {path.relative_to(ROOT).as_posix() for path in (ROOT / "portal").rglob("*") if path.is_file()}
    ours = {name for name in there if "__pycache__" not in name}
    assert any(name.endswith(".html") for name in ours)
    assert ours == {name for name in uploaded() if name.startswith("portal/")}


def test_main_offers_the_entry_points_and_nothing_else(unpacked: Path) -> None:
    assert python("import main; print(*sorted(main.__all__))", unpacked).split() == sorted([*ENTRY_POINTS, PAGE])


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
        print(settings.config_dir, type(clients.bucket()).__name__)
        print(type(clients.clusters("europe-west1")).__name__, type(clients.publisher()).__name__, len(settings.catalog.masters))
        clients.publisher().stop()
    """
    said = python(code, unpacked).split()
    assert said[:2] == [str(unpacked / "config"), "Bucket"]
    assert said[2:4] == ["ClusterControllerClient", "Client"] or said[2:4] == [
        "ClusterControllerClient",
        "PublisherClient",
    ]
    assert int(said[4]) == len(list((ROOT / "config/templates").glob("*.yaml")))


def test_a_module_that_is_not_in_requirements_would_be_noticed(unpacked: Path) -> None:
    code = """
        try:
            import rich
        except ImportError as error:
            print(error)
    """
    assert python(code, unpacked).strip() == "rich is not in requirements.txt"


# ---- what ./deploy.sh gcp stages


def config_of(folder: Path) -> Path:
    """A configuration of a person's own, with an environment that can be deployed."""
    copy = shutil.copytree(ROOT / "config", folder / "mine" / "config", ignore=shutil.ignore_patterns("checked.*"))
    shutil.copyfile(copy / "settings.example.yaml", copy / "settings.prod.yaml")
    return copy


def staged(config: Path, folder: Path) -> tuple[dict[str, bytes], str]:
    """Every staged file with its content, and the digest."""
    folder.mkdir()
    made = stage("prod", config, folder)
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return files, made.digest


def test_exactly_what_the_list_allows_is_staged(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    (config / "secret.yaml").write_text("key: 1\n")
    (config / "deploy" / "more.yaml").write_text("")
    files, _ = staged(config, tmp_path / "upload")
    ours = {name for name in uploaded() if not name.startswith("config/")}
    theirs = {
        "config/profiles.yaml", "config/sources.yaml", "config/checked.prod.json", *(f"config/{path.name}" for path in config.glob("settings.*.yaml")),
        *(f"config/templates/{path.name}" for path in (config / "templates").glob("*.yaml")),
        *(f"config/{path.relative_to(config).as_posix()}" for path in (config / "messages").rglob("*.*")),
    }  # fmt: skip
    assert set(files) == ours | theirs
    assert [path.as_posix() for path in allowed_files(ROOT)] == uploaded()
    for name in ours:
        assert files[name] == (ROOT / name).read_bytes()
    for name in theirs - {"config/checked.prod.json"}:
        assert files[name] == (config.parent / name).read_bytes()


def test_a_hidden_file_among_the_templates_stays_here(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    (config / "templates" / ".gpu.yaml.swp").write_text("half a file")
    assert "config/templates/.gpu.yaml.swp" not in staged(config, tmp_path / "upload")[0]


def test_a_folder_among_the_templates_is_no_template(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    before, _ = staged(config, tmp_path / "first")
    (config / "templates" / "old").mkdir()
    (config / "templates" / "old" / "cpu.yaml").write_text("disk_gb: 1\n")
    assert staged(config, tmp_path / "second")[0] == before


def test_the_digest_is_that_of_the_files_and_of_nothing_else(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    files, digest = staged(config, tmp_path / "first")
    os.utime(config / "profiles.yaml", (0, 0))
    (config / "secret.yaml").write_text("key: 1\n")
    (config / "deploy" / "jobs.yaml").write_text("jobs: {}\n")
    assert staged(config, tmp_path / "second") == (files, digest)
    assert re.fullmatch(r"[0-9a-f]{1,63}", digest)  # a label's value


@pytest.mark.parametrize(
    "name",
    ["profiles.yaml", "sources.yaml", "settings.prod.yaml", "settings.example.yaml", "templates/single-node.yaml"],
)
def test_the_digest_changes_with_the_configuration(tmp_path: Path, name: str) -> None:
    config = config_of(tmp_path)
    _, before = staged(config, tmp_path / "first")
    with (config / name).open("a") as file:
        file.write("# a remark\n")
    assert staged(config, tmp_path / "second")[1] != before


@pytest.mark.parametrize("name", ["main.py", "requirements.txt", "functions/tick.py", "shared/messages/parse.py"])
def test_the_digest_changes_with_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    config = config_of(tmp_path)
    root = tmp_path / "root"
    for allowed in [*uploaded(), ".gcloudignore"]:
        (root / allowed).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / allowed, root / allowed)
    monkeypatch.setattr("cli.deploy.archive.ROOT", root)
    _, before = staged(config, tmp_path / "first")
    with (root / name).open("a") as file:
        file.write("\n# a remark\n")
    assert staged(config, tmp_path / "second")[1] != before


def test_a_file_that_was_moved_changes_the_digest(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    _, before = staged(config, tmp_path / "first")
    (config / "settings.example.yaml").rename(config / "settings.sample.yaml")
    assert staged(config, tmp_path / "second")[1] != before


def test_the_endpoint_of_this_machine_is_not_uploaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(tmp_path)
    clean = staged(config, tmp_path / "first")
    monkeypatch.setenv("BENCHKEEPER_API_ENDPOINT", "http://127.0.0.1:8900")
    monkeypatch.setenv("BENCHKEEPER_CONFIG_DIR", str(ROOT / "config"))
    monkeypatch.setenv("BENCHKEEPER_ENV", "local")
    assert staged(config, tmp_path / "second") == clean
    assert json.loads(clean[0]["config/checked.prod.json"])["settings"]["api_endpoint"] is None


def test_an_environment_of_this_machine_is_not_deployed(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    with (config / "settings.prod.yaml").open("a") as file:
        file.write("api_endpoint: http://127.0.0.1:8900\n")
    with pytest.raises(
        ConfigError,
        match=r"config/settings\.prod\.yaml: api_endpoint: it is set, so this environment is only for this machine",
    ):
        staged(config, tmp_path / "upload")


def test_a_settings_file_that_is_only_planned_is_staged_and_not_written(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    text = (config / "settings.prod.yaml").read_text()
    (config / "settings.prod.yaml").unlink()
    folder = tmp_path / "upload"
    folder.mkdir()
    stage("prod", config, folder, more={"settings.prod.yaml": text})
    assert (folder / "config/settings.prod.yaml").read_text() == text
    assert not (config / "settings.prod.yaml").exists()


def test_the_checked_settings_are_those_of_the_staged_files(tmp_path: Path) -> None:
    """In a function they are read instead of the checker, which is not even imported."""
    config = config_of(tmp_path)
    folder = tmp_path / "upload"
    folder.mkdir()
    stage("prod", config, folder)
    code = """
        from shared.settings import load_settings
        found = load_settings(env="prod")
        print(found.project, found.api_endpoint, sorted({"shared.settings.file", "yaml"} & set(sys.modules)))
    """
    assert python(code, folder).split() == ["acme-analytics", "None", "[]"]


def test_sources_of_ones_own_reach_the_functions(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    path = config / "sources.yaml"
    path.write_text(path.read_text().replace("topic: workbench-lifecycle", "topic: people-of-acme"))
    folder = tmp_path / "upload"
    folder.mkdir()
    stage("prod", config, folder)
    code = """
        from shared.settings import load_settings
        print(load_settings(env="prod").sources["hr"].topic)
    """
    assert python(code, folder).split() == ["people-of-acme"]
