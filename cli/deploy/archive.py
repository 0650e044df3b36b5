"""The upload of the functions: the files that `.gcloudignore` does not exclude, and the checked settings."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace
from pathspec import GitIgnoreSpec

from shared.settings import ConfigError, checked, load_settings

ROOT = Path(__file__).resolve().parents[2]
_TOP = ("main.py", "requirements.txt", "functions", "portal", "shared", "config")


class Archive(Struct, frozen=True):
    """A folder with exactly the files to upload, and a digest that changes with any file."""

    folder: Path
    digest: str


def allowed_files(root: Path) -> list[Path]:
    """Return the files under `root` that its `.gcloudignore` does not exclude, as sorted relative paths."""
    spec = GitIgnoreSpec.from_lines((root / ".gcloudignore").read_text(encoding="utf-8").splitlines())
    found = [path for top in _TOP for path in ([root / top] if (root / top).is_file() else (root / top).rglob("*"))]
    names = [path.relative_to(root) for path in found if path.is_file()]
    return sorted(name for name in names if not spec.match_file(name.as_posix()))


def stage(env: str, config_dir: Path, folder: Path, *, more: dict[str, str] | None = None) -> Archive:
    """Copy all files of the upload to `folder`, and add the checked settings to them. `more` are new files of `config/` by name.

    Raise `ConfigError` for faults in the settings, and for an environment of the embedded cloud.
    """
    for name in allowed_files(ROOT):
        if name.parts[0] == "config":
            continue
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    _stage_config(config_dir, folder / "config", more or {})
    settings = load_settings(env=env, config_dir=folder / "config", environ={}, trust_checked=False)
    if settings.api_endpoint:
        raise _is_local(env)
    checked.write(settings)
    return Archive(folder, _digest(folder))


@contextmanager
def of_the_original(copied: Path, original: Path) -> Iterator[None]:
    """Raise a `ConfigError` of the `with` body again, with the copy's path in each fault replaced by the path of the original."""
    try:
        yield
    except ConfigError as error:
        faults = [replace(f, file=f.file.replace(str(copied), str(original))) for f in error.faults]
        raise ConfigError(faults) from error


def _stage_config(source: Path, folder: Path, more: dict[str, str]) -> None:
    (folder / "templates").mkdir(parents=True)
    for path in [*source.glob("settings.*.yaml"), source / "profiles.yaml", *source.glob("sources.yaml")]:
        shutil.copyfile(path, folder / path.name)
    for path in (source / "templates").glob("*.yaml"):
        shutil.copyfile(path, folder / "templates" / path.name)
    for path in [*(source / "messages").glob("*/*.txt"), *(source / "messages").glob("*.html")]:
        copy = folder / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    for name, text in more.items():
        (folder / name).write_text(text, encoding="utf-8")


def _is_local(env: str) -> ConfigError:
    from shared.faults import ConfigFault  # noqa: PLC0415 - only for this fault

    return ConfigError(
        [
            ConfigFault(
                f"config/settings.{env}.yaml", 0, "api_endpoint", "it is set, so this environment is only for this machine",
                "Deploy another environment: --env prod",
            )
        ]
    )  # fmt: skip


def _digest(folder: Path) -> str:
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        raw = path.read_bytes()
        total.update(f"{path.relative_to(folder).as_posix()} {len(raw)}\n".encode() + raw)
    return total.hexdigest()[:32]
