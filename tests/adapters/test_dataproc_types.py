"""The kept message types are those of the installed google-cloud-dataproc."""

from __future__ import annotations

import pytest

from shared.cloud.dataproc import types as dataproc_types


def test_the_kept_types_are_those_of_the_installed_client():
    assert dataproc_types.FILE.read_bytes() == dataproc_types.from_client(), (
        "run: python -m shared.cloud.dataproc.types"
    )


def test_the_kept_fields_are_those_of_the_kept_types():
    assert dataproc_types.FIELDS_FILE.read_text(encoding="utf-8") == dataproc_types.fields_text(), (
        "run: python -m shared.cloud.dataproc.types"
    )


@pytest.mark.parametrize("name", dataproc_types.TYPES)
def test_without_the_kept_file_the_client_gives_the_same_fields(monkeypatch, tmp_path, name):
    with_file = dataproc_types.message_type(name).DESCRIPTOR
    monkeypatch.setattr(dataproc_types, "FILE", tmp_path / "missing.binpb")
    monkeypatch.setattr(dataproc_types, "_pool", dataproc_types._pool.__wrapped__)
    without = dataproc_types.message_type.__wrapped__(name).DESCRIPTOR
    assert without is not with_file
    assert [field.json_name for field in without.fields] == [field.json_name for field in with_file.fields]
