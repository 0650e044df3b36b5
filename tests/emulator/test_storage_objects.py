"""Objects through the official client: content, metadata, lists, versions, resumable uploads, batches, checksums."""

from __future__ import annotations

import base64
import gzip
import io
import os

import pytest
from google.api_core import exceptions
from google.api_core.exceptions import PreconditionFailed
from google.cloud.storage.exceptions import InvalidResponse

MIB = 1 << 20
NO_RETRY = None


def _fill(bucket, *names):
    for name in names:
        bucket.blob(name).upload_from_string(name.encode())


def _names(listing):
    return [blob.name for blob in listing]


def test_what_is_written_is_read_back_with_all_its_metadata(bucket):
    blob = bucket.blob("users/ab12.json")
    blob.metadata = {"state": "ACTIVE", "due": "2026-03-02"}
    blob.cache_control, blob.content_language = "no-store", "en"
    blob.upload_from_string(b'{"a":1}', content_type="application/json")
    read = bucket.get_blob("users/ab12.json")
    assert read.download_as_bytes() == b'{"a":1}'
    assert (read.metadata, read.content_type) == ({"state": "ACTIVE", "due": "2026-03-02"}, "application/json")
    assert (read.cache_control, read.content_language, read.size, read.metageneration) == ("no-store", "en", 7, 1)
    assert read.time_created.isoformat() == "2026-03-02T08:00:00+00:00"


def test_metadata_merges_in_a_patch_and_null_deletes_a_key(bucket):
    blob = bucket.blob("m")
    blob.metadata = {"a": "1", "b": "2"}
    blob.upload_from_string(b"x")
    blob.metadata = {"a": None, "c": "3"}
    blob.patch()
    assert bucket.get_blob("m").metadata == {"b": "2", "c": "3"}
    blob.metadata = {"only": "this"}
    blob.update()
    assert bucket.get_blob("m").metadata == {"only": "this"}


@pytest.mark.parametrize(
    ("start", "end", "expected"), [(0, 3, b"0123"), (4, None, b"456789"), (-3, None, b"789"), (8, 99, b"89")]
)
def test_ranges(start, end, expected, bucket):
    blob = bucket.blob("digits")
    blob.upload_from_string(b"0123456789")
    assert blob.download_as_bytes(start=start, end=end) == expected


def test_a_range_behind_the_end_is_416(bucket):
    bucket.blob("digits").upload_from_string(b"0123456789")
    with pytest.raises(exceptions.RequestRangeNotSatisfiable):
        bucket.blob("digits").download_as_bytes(start=10)


def test_gzip_content_is_handed_out_packed_or_unpacked(bucket, storage_cloud, http):
    blob = bucket.blob("log.gz")
    blob.content_encoding = "gzip"
    packed = gzip.compress(b"text" * 100)
    blob.upload_from_string(packed, content_type="text/plain")
    assert blob.download_as_bytes() == b"text" * 100
    assert blob.download_as_bytes(raw_download=True) == packed
    url = f"{storage_cloud.url}/storage/v1/b/{bucket.name}/o/log.gz?alt=media"
    plain = http.get(url, headers={"Accept-Encoding": "identity"})
    assert (plain.content, plain.headers.get("Content-Encoding")) == (b"text" * 100, None)


@pytest.mark.parametrize(
    "name", ["a/b c/ä€/ü", "q?x=1&y#z", "%2F", "+", "a//b", "x" * 1024, "tab\there", "a:compose", "''"]
)
def test_any_name_that_is_allowed(name, bucket):
    bucket.blob(name).upload_from_string(b"x")
    assert _names(bucket.list_blobs()) == [name]
    assert bucket.get_blob(name).download_as_bytes() == b"x"
    bucket.blob(name).delete()
    assert _names(bucket.list_blobs()) == []


@pytest.mark.parametrize("name", ["x" * 1025, "ä" * 513, "a\nb", "a\rb", ".", "..", ".well-known/acme-challenge/x"])
def test_names_that_are_refused(name, bucket):
    with pytest.raises(exceptions.BadRequest):
        bucket.blob(name).upload_from_string(b"x")
    assert _names(bucket.list_blobs()) == []


def test_a_name_may_be_the_beginning_of_another(bucket):
    _fill(bucket, "a", "a/b")
    bucket.blob("a").delete()
    assert _names(bucket.list_blobs()) == ["a/b"]


def test_list_by_prefix_and_delimiter(bucket):
    _fill(bucket, "due/1/a", "due/1/b", "due/2/a", "due/", "due/top", "users/x", "z")
    listing = bucket.list_blobs(prefix="due/", delimiter="/")
    assert (_names(listing), sorted(listing.prefixes)) == (["due/", "due/top"], ["due/1/", "due/2/"])
    listing = bucket.list_blobs(delimiter="/", include_trailing_delimiter=True)
    assert (_names(listing), sorted(listing.prefixes)) == (["due/", "z"], ["due/", "users/"])


def test_list_by_offsets(bucket):
    _fill(bucket, "due/2026-03-01", "due/2026-03-02", "due/2026-03-03")
    assert _names(bucket.list_blobs(start_offset="due/2026-03-02")) == ["due/2026-03-02", "due/2026-03-03"]
    assert _names(bucket.list_blobs(end_offset="due/2026-03-02")) == ["due/2026-03-01"]


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        ("*.json", ["a.json"]),
        ("**.json", ["a.json", "d/b.json", "d/e/c.json"]),
        ("d/*", ["d/b.json"]),
        ("**/c.json", ["d/e/c.json"]),
        ("{a,d/b}.json", ["a.json", "d/b.json"]),
        ("d/[a-b].json", ["d/b.json"]),
        ("d/[!a-b].json", []),
        ("?.json", ["a.json"]),
    ],
)
def test_list_by_glob(glob, expected, bucket):
    _fill(bucket, "a.json", "d/b.json", "d/e/c.json", "d/e/x.txt")
    assert _names(bucket.list_blobs(match_glob=glob)) == expected


def test_pages_have_all_objects_and_prefixes_once(storage_cloud, bucket):
    expected = [f"n{i:04}" for i in range(25)]
    for name in expected:
        storage_cloud.model.insert(bucket.name, name, b"")
    pages = [[b.name for b in page] for page in bucket.list_blobs(page_size=10).pages]
    assert [len(page) for page in pages] == [10, 10, 5]
    assert [name for page in pages for name in page] == expected
    listing = bucket.list_blobs(page_size=1, delimiter="1")
    assert (_names(listing), sorted(listing.prefixes)) == (
        [n for n in expected if "1" not in n],
        ["n0001", "n001", "n0021"],
    )
    assert len(list(bucket.list_blobs(max_results=7))) == 7


def test_every_generation_stays_in_a_versioned_bucket(client):
    bucket = client.bucket("versioned-one")
    bucket.versioning_enabled = True
    bucket.create()
    blob = bucket.blob("r")
    blob.upload_from_string(b"one")
    first = blob.generation
    blob.upload_from_string(b"two")
    second = blob.generation
    bucket.blob("r").delete()  # without a generation: it only becomes noncurrent
    assert bucket.get_blob("r") is None
    versions = list(bucket.list_blobs(versions=True))
    assert [(b.generation, b.time_deleted is None) for b in versions] == [(first, False), (second, False)]
    assert bucket.blob("r", generation=first).download_as_bytes() == b"one"
    blob.upload_from_string(b"three", if_generation_match=0)
    bucket.copy_blob(bucket.blob("r"), bucket, "r", source_generation=first)
    assert bucket.get_blob("r").download_as_bytes() == b"one"
    bucket.blob("r", generation=first).delete()
    assert first not in [b.generation for b in bucket.list_blobs(versions=True)]
    with pytest.raises(exceptions.Conflict):
        bucket.delete()
    assert len([[b.name for b in page] for page in bucket.list_blobs(versions=True, page_size=1).pages]) == 3


def test_resumable_upload_and_its_stale_generation(bucket):
    content = os.urandom(9 * MIB)
    blob = bucket.blob("big", chunk_size=MIB)
    blob.upload_from_file(io.BytesIO(content), size=len(content), if_generation_match=0)
    assert bucket.blob("big").download_as_bytes() == content
    with pytest.raises(exceptions.PreconditionFailed):
        blob.upload_from_file(io.BytesIO(content), size=len(content), if_generation_match=blob.generation + 1)
    assert bucket.get_blob("big").generation == blob.generation


def test_a_generation_that_became_stale_during_the_upload(bucket):
    bucket.blob("r").upload_from_string(b"one")
    stale = bucket.get_blob("r").generation
    out = bucket.blob("r", chunk_size=256 * 1024).open("wb", if_generation_match=stale)
    out.write(b"x" * 600 * 1024)
    bucket.blob("r").upload_from_string(b"two")
    with pytest.raises((exceptions.PreconditionFailed, InvalidResponse), match="412"):
        out.close()
    assert bucket.get_blob("r").download_as_bytes() == b"two"


def test_resumable_protocol_by_hand(storage_cloud, bucket, http):
    start = http.post(f"{storage_cloud.url}/upload/storage/v1/b/{bucket.name}/o?uploadType=resumable&name=r", json={})
    url, quantum = start.headers["Location"], 256 * 1024
    ask = {"Content-Range": "bytes */*"}
    empty = http.put(url, headers=ask)
    assert (empty.status_code, "Range" in empty.headers) == (308, False)
    part = http.put(url, data=b"a" * (quantum + 5), headers={"Content-Range": f"bytes 0-{quantum + 4}/*"})
    assert (part.status_code, part.headers["Range"]) == (308, f"bytes=0-{quantum - 1}")
    gap = http.put(url, data=b"b", headers={"Content-Range": f"bytes {quantum + 9}-{quantum + 9}/*"})
    assert (gap.status_code, gap.json()["error"]["errors"][0]["reason"]) == (400, "invalid")
    done = http.put(url, data=b"b", headers={"Content-Range": f"bytes {quantum}-{quantum}/{quantum + 1}"})
    assert (done.status_code, done.json()["size"]) == (200, str(quantum + 1))
    assert http.put(url, headers=ask).json()["generation"] == done.json()["generation"]
    other = http.post(f"{storage_cloud.url}/upload/storage/v1/b/{bucket.name}/o?uploadType=resumable&name=s", json={})
    assert http.delete(other.headers["Location"]).status_code == 499
    assert http.put(other.headers["Location"], headers=ask).status_code == 404
    assert _names(bucket.list_blobs()) == ["r"]


def test_a_lost_answer_of_the_last_chunk_is_repaired_by_the_client(storage_cloud, http, bucket):
    fault = {"call": "storage.objects.insert", "phase": "after", "error": {"code": "UNAVAILABLE", "message": "lost"}}
    assert http.post(f"{storage_cloud.url}/_emulator/faults", json=fault).status_code == 200
    content = os.urandom(MIB)
    bucket.blob("r", chunk_size=256 * 1024).upload_from_file(io.BytesIO(content), size=None, if_generation_match=0)
    assert bucket.blob("r").download_as_bytes() == content
    assert storage_cloud.world.faults.unfired() == []


@pytest.mark.parametrize(("field", "header"), [("crc32c", "X-Goog-Hash"), ("md5Hash", "Content-MD5")])
def test_a_wrong_checksum_is_400_and_nothing_is_written(field, header, storage_cloud, bucket, http):
    blob = bucket.blob("c")
    wrong = base64.b64encode(b"\0" * (4 if field == "crc32c" else 16)).decode()
    if field == "crc32c":
        blob.crc32c = wrong
    else:
        blob.md5_hash = wrong
    with pytest.raises(exceptions.BadRequest):
        blob.upload_from_string(b"content", checksum=None)
    declared = f"crc32c={wrong}" if header == "X-Goog-Hash" else wrong
    answer = http.post(
        f"{storage_cloud.url}/upload/storage/v1/b/{bucket.name}/o?uploadType=media&name=c",
        data=b"content",
        headers={header: declared},
    )
    assert (answer.status_code, answer.json()["error"]["errors"][0]["reason"]) == (400, "invalid")
    assert bucket.get_blob("c") is None


@pytest.mark.parametrize("checksum", ["crc32c", "md5", "auto", None])
def test_checksums_that_the_client_computes(checksum, bucket):
    blob = bucket.blob("c")
    blob.upload_from_string(b"content", checksum=checksum)
    blob.upload_from_file(io.BytesIO(b"content"), size=None, checksum=checksum)
    assert bucket.blob("c").download_as_bytes(checksum=checksum or "md5") == b"content"


def test_compose_and_rewrite(bucket):
    _fill(bucket, "p1", "p2")
    whole = bucket.blob("whole")
    whole.content_type = "text/plain"
    whole.compose([bucket.blob("p1"), bucket.blob("p2")])
    read = bucket.get_blob("whole")
    assert (read.download_as_bytes(), read.component_count, read.md5_hash) == (b"p1p2", 2, None)
    token, done, total = bucket.blob("copy").rewrite(whole)
    assert (token, done, total) == (None, 4, 4)
    assert bucket.get_blob("copy").content_type == "text/plain"
    with pytest.raises(exceptions.NotFound):
        bucket.blob("w2").compose([bucket.blob("missing")])


@pytest.mark.parametrize(
    "body",
    [{}, {"sourceObjects": None}, {"sourceObjects": [5]}, {"sourceObjects": [{"name": "p"}] * 33}, {"nonsense": 1}],
)
def test_compositions_that_are_refused(body, storage_cloud, bucket, http):
    _fill(bucket, "p")
    answer = http.post(f"{storage_cloud.url}/storage/v1/b/{bucket.name}/o/whole/compose", json=body)
    assert (answer.status_code, answer.json()["error"]["errors"][0]["reason"]) in {(400, "invalid"), (400, "required")}
    assert _names(bucket.list_blobs()) == ["p"]


def test_rename(bucket):
    _fill(bucket, "old")
    bucket.rename_blob(bucket.blob("old"), "new")
    assert _names(bucket.list_blobs()) == ["new"]


def test_batch(client, bucket):
    _fill(bucket, "a/1", "a/2", "b")
    with client.batch():
        bucket.delete_blobs([bucket.blob("a/1"), bucket.blob("a/2")])
    assert _names(bucket.list_blobs()) == ["b"]
    with pytest.raises(exceptions.NotFound), client.batch():
        bucket.blob("gone").delete()
    with client.batch():
        patched = bucket.blob("b")
        patched.metadata = {"x": "ü"}
        patched.patch()
    assert bucket.get_blob("b").metadata == {"x": "ü"}


@pytest.mark.parametrize(
    ("fields", "seen"),
    [
        ("items(name),nextPageToken", {"items": [{"name": "a"}], "nextPageToken": "T"}),
        ("items/name", {"items": [{"name": "a"}]}),
        ("items(name,metadata/k)", {"items": [{"name": "a", "metadata": {"k": "1"}}]}),
        ("items( metadata(k, l) )", {"items": [{"metadata": {"k": "1", "l": "2"}}]}),
        ("prefixes,kind", {"kind": "storage#objects"}),
        ("items(nothing)", {"items": [{}]}),
    ],
)
def test_a_list_gives_the_fields_that_are_asked_for(storage_cloud, bucket, http, fields, seen):
    for name in ("a", "b"):
        blob = bucket.blob(name)
        blob.metadata = {"k": "1", "l": "2"}
        blob.upload_from_string(b"x")
    url = f"{storage_cloud.url}/storage/v1/b/{bucket.name}/o"
    found = http.get(url, params={"fields": fields, "maxResults": 1}).json()
    assert {**found, **({"nextPageToken": "T"} if "nextPageToken" in found else {})} == seen
    assert http.get(url, params={"fields": "*", "maxResults": 1}).json() == http.get(f"{url}?maxResults=1").json()


@pytest.mark.parametrize("fields", ["items(", "items)", ",", "items(name", "items/", "items(name))", "(name)", "a,,b"])
def test_fields_that_cannot_be_read_are_400(storage_cloud, bucket, http, fields):
    url = f"{storage_cloud.url}/storage/v1/b/{bucket.name}/o"
    assert http.get(url, params={"fields": fields}).status_code == 400


def test_unknown_fields_and_bad_values_are_400(storage_cloud, bucket, http):
    bucket.blob("x").upload_from_string(b"x")
    url = f"{storage_cloud.url}/storage/v1/b/{bucket.name}/o/x"
    for body in (
        {"nonsense": 1},
        {"metadata": {"a": 1}},
        {"contentType": 5},
        {"customTime": "yesterday"},
        {"metadata": {"a": "x" * 9000}},
    ):
        answer = http.patch(url, json=body)
        assert (answer.status_code, answer.json()["error"]["errors"][0]["reason"]) == (400, "invalid"), body
    for query in ("ifGenerationMatch=abc", "generation=x", "alt=xml"):
        assert http.get(f"{url}?{query}").status_code == 400
    assert http.get(f"{storage_cloud.url}/storage/v1/b/{bucket.name}/o?pageToken=@@").status_code == 400


def test_error_bodies(storage_cloud, bucket, http):
    base = f"{storage_cloud.url}/storage/v1/b/{bucket.name}/o"
    missing = http.get(f"{base}/a%2Fb").json()["error"]
    assert (missing["code"], missing["message"], missing["errors"][0]["reason"]) == (
        404,
        "No such object: records-local/a/b",
        "notFound",
    )
    bucket.blob("x").upload_from_string(b"x")
    stale = http.delete(f"{base}/x?ifGenerationMatch=1").json()["error"]
    assert (stale["code"], stale["errors"][0]["reason"]) == (412, "conditionNotMet")
    unchanged = http.get(f"{base}/x?ifMetagenerationNotMatch=1")
    assert (unchanged.status_code, unchanged.content) == (304, b"")


def test_the_journal_names_the_object_of_every_kind_of_write(storage_cloud, bucket):
    blob = bucket.blob("dir/o")
    blob.upload_from_string(b"1")
    blob.upload_from_file(io.BytesIO(b"2"), size=None)
    blob.metadata = {"a": "b"}
    blob.patch()
    bucket.copy_blob(blob, bucket, "dir/p")
    blob.delete()
    rows = [
        (r["method"], r["resource"], r["permission"]) for r in storage_cloud.world.journal.listing(mutating_only=True)
    ]
    where = f"{bucket.name}/dir/o"
    assert rows == [
        ("buckets.insert", bucket.name, "storage.buckets.create"),
        ("objects.insert", where, "storage.objects.create"),
        ("objects.insert", where, "storage.objects.create,storage.objects.delete"),
        ("objects.patch", where, "storage.objects.get,storage.objects.update"),
        ("objects.copy", f"{bucket.name}/dir/p", "storage.objects.create,storage.objects.get"),
        ("objects.delete", where, "storage.objects.delete"),
    ]


def test_an_overwrite_needs_the_permission_to_delete_and_a_refused_create_does_not(storage_cloud, bucket):
    blob = bucket.blob("o")
    blob.upload_from_string(b"1", if_generation_match=0)
    with pytest.raises(PreconditionFailed):
        blob.upload_from_string(b"2", if_generation_match=0)
    blob.upload_from_string(b"2", if_generation_match=blob.generation)
    bucket.blob("whole").compose([blob])
    bucket.blob("whole").compose([blob])
    rows = [(r["status"], r["permission"]) for r in storage_cloud.world.journal.listing(mutating_only=True)[1:]]
    create, overwrite = "storage.objects.create", "storage.objects.create,storage.objects.delete"
    assert rows == [
        (200, create),
        (412, create),
        (200, overwrite),
        (200, f"storage.objects.get,{create}"),
        (200, f"storage.objects.get,{overwrite}"),
    ]


def test_the_rate_limit_of_an_object_can_be_scripted(storage_cloud, bucket, http):
    fault = {
        "call": "storage.objects.insert",
        "resource": f"{bucket.name}/hot",
        "error": {
            "code": "RESOURCE_EXHAUSTED",
            "message": "The object exceeded the rate limit",
            "reason": "rateLimitExceeded",
        },
    }
    http.post(f"{storage_cloud.url}/_emulator/faults", json=fault)
    bucket.blob("cold").upload_from_string(b"x", retry=NO_RETRY)
    with pytest.raises(exceptions.TooManyRequests):
        bucket.blob("hot").upload_from_string(b"x", retry=NO_RETRY)
    bucket.blob("hot").upload_from_string(b"x", retry=NO_RETRY)
    assert storage_cloud.world.faults.unfired() == []
