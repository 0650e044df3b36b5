"""A dry run without a login, or without gcloud: the plan is against nothing and says so. A deployment needs the login as before."""

from __future__ import annotations

import shutil

import pytest
from click.testing import CliRunner
from kit.inprocess import ROOT

from cli.deploy.__main__ import main
from cli.deploy.failures import NotThereError
from cli.deploy.gcloud import Call, NothingThere

WORDS = ("gcp", "--project", "acme-analytics", "--region", "europe-west1")


@pytest.fixture
def run(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "config", tmp_path / "config")
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    monkeypatch.setenv("PATH", str(bin_folder))
    monkeypatch.setenv("BENCHKEEPER_CONFIG_DIR", str(tmp_path / "config"))

    def command(*words: str, gcloud: str = ""):
        if gcloud:
            (bin_folder / "gcloud").write_text(gcloud, encoding="utf-8")
            (bin_folder / "gcloud").chmod(0o755)
        return CliRunner().invoke(main, [*WORDS, *words])

    yield command
    assert not (tmp_path / "config" / "settings.prod.yaml").exists()


LOGGED_OUT = """#!/bin/sh
case "$1" in version) echo '{"Google Cloud SDK": "550.0.0"}';; *)
echo 'ERROR: (gcloud) You do not currently have an active account selected.' >&2; exit 1;; esac
"""


@pytest.mark.parametrize(
    ("gcloud", "cause"),
    [("", "gcloud is not installed."), (LOGGED_OUT, "You are not logged in to Google Cloud.")],
    ids=["no gcloud", "no login"],
)
def test_a_dry_run_plans_against_nothing_and_says_so(run, gcloud, cause):
    found = run("--dry-run", gcloud=gcloud)
    assert found.exit_code == 0, found.output
    assert f"{cause} So this plan is made as if project acme-analytics were empty." in found.output
    lines = found.output.splitlines()
    assert any(line.startswith("+ account benchkeeper-tick") for line in lines)
    assert any(line.startswith("+ function ") for line in lines)
    assert not any(line.startswith(("~ ", "- ")) for line in lines)
    assert "The directory knows no group" not in found.output


def test_a_deployment_without_a_login_changes_nothing(run):
    found = run("--yes", gcloud=LOGGED_OUT)
    assert found.exit_code == 1
    assert "gcloud auth login" in f"{found.output}{found.stderr}"


def test_nothing_is_there():
    empty = NothingThere("p")
    assert empty.read("services", "list") is None
    assert empty.account() == ""
    for ask in (
        lambda: empty.read("run", "services", "describe", "x"),
        lambda: empty.call(Call("compute", "GET", "x")),
    ):
        with pytest.raises(NotThereError):
            ask()
