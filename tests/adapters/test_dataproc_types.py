"""The kept message type is the one of the installed google-cloud-dataproc."""

from __future__ import annotations

from shared.cloud import dataproc_types


def test_the_kept_cluster_type_is_that_of_the_installed_client():
    assert dataproc_types.FILE.read_bytes() == dataproc_types.from_client(), (
        "run: python -m shared.cloud.dataproc_types"
    )


def test_without_the_kept_file_the_client_gives_the_same_fields(monkeypatch, tmp_path):
    with_file = dataproc_types.cluster_type().DESCRIPTOR
    monkeypatch.setattr(dataproc_types, "FILE", tmp_path / "missing.binpb")
    without = dataproc_types.cluster_type.__wrapped__().DESCRIPTOR
    assert [field.json_name for field in without.fields] == [field.json_name for field in with_file.fields]
