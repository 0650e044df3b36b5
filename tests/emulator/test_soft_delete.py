"""Soft delete of Cloud Storage: deleted generations and buckets are listed and restored until their time is over."""

from __future__ import annotations

from typing import Any

import pytest

from tests.emulator.data_kit import ID, DataCloud

DAY = 86_400
B = "/storage/v1/b"


@pytest.fixture
def cloud() -> DataCloud:
    return DataCloud.build()


def bucket(cloud: DataCloud, **settings: Any) -> None:
    cloud.call("POST", B, {"name": "box", **settings}, project=ID)


def put(cloud: DataCloud, name: str, content: bytes = b"x", **query: str) -> str:
    query |= {"uploadType": "media", "name": name}
    answer = cloud.http.post("/upload/storage/v1/b/box/o", data=content, query_string=query)
    assert answer.status_code == 200, answer.text
    return str(answer.json["generation"])


def listed(cloud: DataCloud, **query: str) -> list[tuple[str, str]]:
    items = cloud.call("GET", f"{B}/box/o", **query).get("items", [])
    return [(item["name"], item["generation"]) for item in items]


def test_a_deleted_object_is_listed_read_and_restored_until_its_time_is_over(cloud: DataCloud):
    bucket(cloud, softDeletePolicy={"retentionDurationSeconds": str(10 * DAY)})
    generation = put(cloud, "a/b.json", b"first")
    cloud.call("DELETE", f"{B}/box/o/a%2Fb.json", expect=204)
    assert listed(cloud) == []
    assert listed(cloud, softDeleted="true") == [("a/b.json", generation)]
    assert cloud.call("GET", f"{B}/box/o", softDeleted="true", delimiter="/")["prefixes"] == ["a/"]
    gone = cloud.call("GET", f"{B}/box/o/a%2Fb.json", softDeleted="true", generation=generation)
    assert gone["softDeleteTime"] < gone["hardDeleteTime"]
    cloud.refused("GET", f"{B}/box/o/a%2Fb.json", status=404)
    cloud.refused("GET", f"{B}/box/o/a%2Fb.json", status=404, generation=generation)

    back = cloud.call("POST", f"{B}/box/o/a%2Fb.json/restore", {}, generation=generation)
    assert back["generation"] != generation
    assert "softDeleteTime" not in back
    assert cloud.http.get(f"{B}/box/o/a%2Fb.json?alt=media").data == b"first"
    assert listed(cloud, softDeleted="true") == [("a/b.json", generation)]
    cloud.wait(10 * DAY)
    assert listed(cloud, softDeleted="true") == []
    cloud.refused("POST", f"{B}/box/o/a%2Fb.json/restore", {}, status=404, generation=generation)
    assert [name for name, _ in listed(cloud)] == ["a/b.json"]


def test_an_overwrite_is_a_deletion_without_versions_and_none_with_them(cloud: DataCloud):
    bucket(cloud)
    first = put(cloud, "a")
    put(cloud, "a")
    assert listed(cloud, softDeleted="true") == [("a", first)]
    cloud.call("PATCH", f"{B}/box", {"versioning": {"enabled": True}})
    second = put(cloud, "a")
    third = put(cloud, "a")
    assert listed(cloud, softDeleted="true") == [("a", first)]
    kept = listed(cloud, versions="true")
    assert (kept[-2][1], kept[-1][1]) == (second, third)
    cloud.call("DELETE", f"{B}/box/o/a", expect=204, generation=second)
    assert listed(cloud, softDeleted="true") == [("a", first), ("a", second)]


def test_without_a_retention_what_is_deleted_is_gone(cloud: DataCloud):
    bucket(cloud, softDeletePolicy={"retentionDurationSeconds": "0"})
    put(cloud, "a")
    cloud.call("DELETE", f"{B}/box/o/a", expect=204)
    assert listed(cloud, softDeleted="true") == []
    cloud.call("DELETE", f"{B}/box", expect=204)
    assert cloud.call("GET", B, project=ID, softDeleted="true") == {"kind": "storage#buckets"}


def test_a_deleted_bucket_comes_back_with_its_soft_deleted_objects(cloud: DataCloud):
    bucket(cloud)
    generation = put(cloud, "a", b"kept")
    cloud.call("DELETE", f"{B}/box/o/a", expect=204)
    cloud.call("DELETE", f"{B}/box", expect=204)
    (gone,) = cloud.call("GET", B, project=ID, softDeleted="true")["items"]
    assert cloud.call("GET", f"{B}/box", softDeleted="true", generation=gone["generation"]) == gone
    cloud.cloud.world.load(cloud.cloud.world.save())
    bucket(cloud)
    cloud.refused("POST", f"{B}/box/restore", {}, status=409, generation=gone["generation"])
    cloud.call("DELETE", f"{B}/box", expect=204)
    back = cloud.call("POST", f"{B}/box/restore", {}, generation=gone["generation"])
    assert "softDeleteTime" not in back
    assert listed(cloud, softDeleted="true") == [("a", generation)]
    assert cloud.call("POST", f"{B}/box/o/a/restore", {}, generation=generation)["size"] == "4"


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        (f"{B}/box/o/a/restore", {}, 400),
        (f"{B}/box/o/a/restore", {"generation": "1"}, 404),
        (f"{B}/box/o/a/restore", {"generation": "x"}, 400),
        (f"{B}/box/restore", {}, 400),
        (f"{B}/none/restore", {"generation": "1"}, 404),
    ],
)
def test_a_bad_restore_is_refused(cloud: DataCloud, path, query, status):
    bucket(cloud)
    cloud.refused("POST", path, {}, status=status, **query)


def test_versions_and_soft_deleted_are_not_listed_together(cloud: DataCloud):
    bucket(cloud)
    cloud.refused("GET", f"{B}/box/o", status=400, versions="true", softDeleted="true")
