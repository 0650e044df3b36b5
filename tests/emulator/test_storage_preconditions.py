"""All four preconditions on every verb, judged by what the official client sees and by what is stored afterwards."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from google.api_core import exceptions

if TYPE_CHECKING:
    from google.cloud import storage

CONDITIONS = (
    "if_generation_match",
    "if_generation_not_match",
    "if_metageneration_match",
    "if_metageneration_not_match",
)
READS = {"download", "reload", "exists"}


def _patch(bucket: storage.Bucket, blob: storage.Blob, conditions: dict[str, int]) -> None:
    blob.metadata = {"a": "b"}
    blob.patch(**conditions)


def _update(bucket: storage.Bucket, blob: storage.Blob, conditions: dict[str, int]) -> None:
    blob.metadata = {"a": "b"}
    blob.update(**conditions)


def _exists(bucket: storage.Bucket, blob: storage.Blob, conditions: dict[str, int]) -> None:
    if not blob.exists(**conditions):
        raise exceptions.NotFound("exists() said no")


def _compose(bucket: storage.Bucket, blob: storage.Blob, conditions: dict[str, int]) -> None:
    """By the client's own connection, since its `compose` knows only two of the four conditions."""
    words = {name: "".join(part.title() for part in name.split("_")[1:]) for name in conditions}
    bucket.client._connection.api_request(
        method="POST",
        path=f"{blob.path}/compose",
        query_params={f"if{words[name]}": value for name, value in conditions.items()},
        data={"sourceObjects": [{"name": "other"}]},
    )


# An upload of unknown size is a resumable one.
CALLS = {
    "upload": lambda _, blob, conditions: blob.upload_from_string(b"new", **conditions),
    "resumable": lambda _, blob, conditions: blob.upload_from_file(io.BytesIO(b"new"), size=None, **conditions),
    "download": lambda _, blob, conditions: blob.download_as_bytes(**conditions),
    "reload": lambda _, blob, conditions: blob.reload(**conditions),
    "exists": _exists,
    "patch": _patch,
    "update": _update,
    "delete": lambda _, blob, conditions: blob.delete(**conditions),
    "rewrite": lambda bucket, blob, conditions: blob.rewrite(bucket.blob("other"), **conditions),
    "copy": lambda bucket, _, conditions: bucket.copy_blob(bucket.blob("other"), bucket, "u/one.json", **conditions),
    "compose": _compose,
}


def _run(verb: str, bucket: storage.Bucket, name: str = "u/one.json", **conditions: int) -> None:
    CALLS[verb](bucket, bucket.blob(name), conditions)


def _conditions(name: str, blob: storage.Blob, *, holds: bool) -> dict[str, int]:
    actual = blob.metageneration if "meta" in name else blob.generation
    equal = holds != ("not" in name)
    return {name: actual if equal else actual + 7}


@pytest.mark.parametrize("name", CONDITIONS)
@pytest.mark.parametrize("verb", list(CALLS))
def test_a_condition_that_holds_lets_the_call_through_and_one_that_does_not_changes_nothing(verb, name, bucket):
    bucket.blob("other").upload_from_string(b"other")
    blob = bucket.blob("u/one.json")
    blob.upload_from_string(b"old")

    refusal = exceptions.NotModified if "not" in name and verb in READS else exceptions.PreconditionFailed
    with pytest.raises(refusal):
        _run(verb, bucket, **_conditions(name, blob, holds=False))
    after = bucket.get_blob("u/one.json")
    assert (after.generation, after.metageneration, after.metadata) == (blob.generation, 1, None)
    assert after.download_as_bytes() == b"old"

    _run(verb, bucket, **_conditions(name, blob, holds=True))
    after = bucket.get_blob("u/one.json")
    match verb:
        case "delete":
            assert after is None
        case "patch" | "update":
            assert (after.generation, after.metageneration, after.metadata) == (blob.generation, 2, {"a": "b"})
        case "upload" | "resumable":
            assert after.download_as_bytes() == b"new"
        case "rewrite" | "copy" | "compose":
            assert after.download_as_bytes() == b"other"
        case _:
            assert after.generation == blob.generation


@pytest.mark.parametrize("name", CONDITIONS)
def test_source_conditions_of_a_rewrite(name, bucket):
    source = bucket.blob("source")
    source.upload_from_string(b"x")
    wrong = {name.replace("if_", "if_source_"): next(iter(_conditions(name, source, holds=False).values()))}
    right = {name.replace("if_", "if_source_"): next(iter(_conditions(name, source, holds=True).values()))}
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("target").rewrite(source, **wrong)
    assert bucket.get_blob("target") is None
    bucket.blob("target").rewrite(source, **right)
    assert bucket.blob("target").download_as_bytes() == b"x"


def test_generation_zero_means_create_only(bucket):
    blob = bucket.blob("due/2026/x")
    blob.upload_from_string(b"first", if_generation_match=0)
    with pytest.raises(exceptions.PreconditionFailed):
        blob.upload_from_string(b"second", if_generation_match=0)
    assert blob.download_as_bytes() == b"first"
    blob.delete()
    blob.upload_from_string(b"third", if_generation_match=0)
    assert blob.download_as_bytes() == b"third"


def test_a_missing_object_is_404_whatever_the_condition(bucket):
    blob = bucket.blob("nothing")
    for verb in ("download", "reload", "patch", "delete"):
        with pytest.raises(exceptions.NotFound):
            _run(verb, bucket, "nothing", if_generation_match=5)
    with pytest.raises(exceptions.PreconditionFailed):
        blob.upload_from_string(b"x", if_generation_match=5)
    with pytest.raises(exceptions.PreconditionFailed):
        blob.upload_from_string(b"x", if_metageneration_match=1)


def test_bucket_metageneration_conditions(client, bucket):
    bucket.labels = {"team": "a"}
    bucket.patch(if_metageneration_match=1)
    assert bucket.metageneration == 2
    bucket.labels = {"team": "b"}
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.patch(if_metageneration_match=1)
    with pytest.raises(exceptions.NotModified):
        bucket.reload(if_metageneration_not_match=2)
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.delete(if_metageneration_match=9)
    assert client.get_bucket("records-local").labels == {"team": "a"}
