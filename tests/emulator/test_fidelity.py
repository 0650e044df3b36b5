"""The embedded cloud's fields against Google's discovery documents: at least 98 % agree, each miss is known, and the list only grows."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from tests.kit.acme import ROOT
from tests.kit.fidelity import TABLE, Used, discovery, miss, table

# The field, and who would notice.
MISSES = {
    "compute.disks.aggregatedList query returnPartialSuccess": "nobody: gcloud 528 sends it, the newer document dropped it",
}


def test_at_least_98_of_100_fields_are_as_google_documents_them_and_each_miss_is_named():
    rows, known = table(), {method.id: method for method in discovery()}
    misses = {f"{row.method} {row.part} {row.field}": why for row in rows if (why := miss(row, known)) is not None}
    assert misses.keys() == MISSES.keys()
    assert len(misses) / len(rows) <= 0.02


@pytest.mark.parametrize(
    "row",
    [
        Used("notebooks.projects.locations.instances.get", "answer", "colour", "string"),
        Used("notebooks.projects.locations.instances.get", "answer", "gceSetup.machineType", "integer"),
        Used("notebooks.projects.locations.instances.get", "query", "colour", "string"),
        Used("notebooks.projects.locations.instances.paint", "answer", "name", "string"),
    ],
)
def test_a_wrong_field_type_parameter_or_method_is_a_miss(row):
    assert miss(row, {method.id: method for method in discovery()}) is not None


def test_the_table_is_in_order_and_has_as_many_rows_as_it_says():
    rows = table()
    assert rows == sorted(set(rows))
    assert re.findall(r"\d+", TABLE.read_text(encoding="utf-8").splitlines()[0]) == [str(len(rows))]


@pytest.mark.skipif(shutil.which("git") is None or not (ROOT / ".git").exists(), reason="this is no checkout")
def test_no_row_was_taken_away():
    path = TABLE.relative_to(ROOT).as_posix()
    before = subprocess.run(["git", "show", f"HEAD:{path}"], cwd=ROOT, capture_output=True, text=True, check=False)
    if before.returncode:
        pytest.skip("the last commit has no table")
    lines = {line for line in before.stdout.splitlines() if not line.startswith("#")}
    assert lines - set(TABLE.read_text(encoding="utf-8").splitlines()) == set()
