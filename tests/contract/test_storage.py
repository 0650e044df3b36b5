"""What the product relies on in Cloud Storage, asked of our embedded cloud and of fake-gcs-server alike."""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from tests.contract.backends import embedded, fake_gcs

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module", params=["embedded", "fake-gcs-server"])
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    with {"embedded": embedded, "fake-gcs-server": fake_gcs}[request.param]() as where:
        yield f"http://{where}"


@pytest.fixture(scope="module")
def client(backend: str) -> Iterator[storage.Client]:
    made = connect(backend)
    yield made
    made.close()


@pytest.fixture
def bucket(client: storage.Client) -> storage.Bucket:
    return client.create_bucket(new_name())


def connect(url: str) -> storage.Client:
    return storage.Client(
        project="benchkeeper-local", credentials=AnonymousCredentials(), client_options={"api_endpoint": url}
    )


def new_name() -> str:
    return f"bucket-{uuid.uuid4().hex[:12]}"


def put(bucket: storage.Bucket, name: str, text: str = "x", **conditions: int) -> storage.Blob:
    blob = bucket.blob(name)
    blob.upload_from_string(text, **conditions)
    return blob


def names(bucket: storage.Bucket, **query: object) -> list[str]:
    return [blob.name for blob in bucket.list_blobs(**query)]


def test_only_the_first_of_two_creators_wins(bucket: storage.Bucket) -> None:
    put(bucket, "a", "first", if_generation_match=0)
    with pytest.raises(exceptions.PreconditionFailed):
        put(bucket, "a", "second", if_generation_match=0)
    assert bucket.blob("a").download_as_bytes() == b"first"


def test_a_stale_update_is_refused(bucket: storage.Bucket) -> None:
    first = put(bucket, "a", "1").generation
    second = put(bucket, "a", "2", if_generation_match=first).generation
    assert second > first
    with pytest.raises(exceptions.PreconditionFailed):
        put(bucket, "a", "3", if_generation_match=first)
    assert bucket.blob("a").download_as_bytes() == b"2"


def test_a_stale_delete_is_refused(bucket: storage.Bucket) -> None:
    first = put(bucket, "a", "1").generation
    second = put(bucket, "a", "2").generation
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("a").delete(if_generation_match=first)
    bucket.blob("a").delete(if_generation_match=second)
    assert names(bucket) == []


def test_a_stale_patch_is_refused(bucket: storage.Bucket) -> None:
    stale = put(bucket, "a", "1").generation
    put(bucket, "a", "2")
    blob = bucket.blob("a")
    blob.metadata = {"who": "me"}
    with pytest.raises(exceptions.PreconditionFailed):
        blob.patch(if_generation_match=stale)
    assert bucket.get_blob("a").metadata is None


def test_a_stale_read_is_refused(bucket: storage.Bucket) -> None:
    stale = put(bucket, "a", "1").generation
    put(bucket, "a", "2")
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("a").download_as_bytes(if_generation_match=stale)


def test_a_resumable_upload_obeys_the_condition_too(bucket: storage.Bucket) -> None:
    stale = put(bucket, "a", "1").generation
    put(bucket, "a", "2")
    blob = bucket.blob("a", chunk_size=256 * 1024)
    with pytest.raises(exceptions.PreconditionFailed):
        blob.upload_from_file(io.BytesIO(b"x" * 600_000), if_generation_match=stale)
    assert bucket.blob("a").download_as_bytes() == b"2"
    blob.upload_from_file(io.BytesIO(b"y" * 600_000))
    assert bucket.blob("a").download_as_bytes() == b"y" * 600_000


def test_what_is_not_there_is_404(bucket: storage.Bucket) -> None:
    with pytest.raises(exceptions.NotFound):
        bucket.blob("a").download_as_bytes()
    with pytest.raises(exceptions.NotFound):
        bucket.blob("a").delete()
    assert bucket.get_blob("a") is None


def test_no_update_is_lost_among_writers(bucket: storage.Bucket, backend: str) -> None:
    put(bucket, "counter", "0")
    clients = [connect(backend) for _ in range(4)]

    def add_ten(client: storage.Client) -> int:
        done = 0
        while done < 10:
            blob = client.bucket(bucket.name).blob("counter")
            value = int(blob.download_as_bytes())
            try:
                blob.upload_from_string(str(value + 1), if_generation_match=blob.generation)
            except exceptions.PreconditionFailed:
                continue
            done += 1
        return done

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(add_ten, clients)) == [10] * 4
    for client in clients:
        client.close()
    assert bucket.blob("counter").download_as_bytes() == b"40"


def test_one_of_many_creators_wins(bucket: storage.Bucket, backend: str) -> None:
    clients = [connect(backend) for _ in range(6)]

    def create(client: storage.Client) -> bool:
        try:
            put(client.bucket(bucket.name), "a", if_generation_match=0)
        except exceptions.PreconditionFailed:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(create, clients)) == 1
    for client in clients:
        client.close()


def test_a_listing_tells_custom_metadata(bucket: storage.Bucket) -> None:
    blob = bucket.blob("a")
    blob.metadata = {"presence": "PRESENT", "empty": "", "who": "Ñandú"}
    blob.upload_from_string("x")
    (seen,) = bucket.list_blobs()
    assert seen.metadata == {"presence": "PRESENT", "empty": "", "who": "Ñandú"}


def test_names_are_listed_in_order_by_prefix_and_offsets(bucket: storage.Bucket) -> None:
    for name in ("due/3/x", "due/1/x", "due/2/x", "duel", "records/1"):
        put(bucket, name)
    assert names(bucket, prefix="due/") == ["due/1/x", "due/2/x", "due/3/x"]
    assert names(bucket, prefix="due/", end_offset="due/3") == ["due/1/x", "due/2/x"]
    assert names(bucket, prefix="due/", start_offset="due/2/x") == ["due/2/x", "due/3/x"]
    assert names(bucket, prefix="due/", end_offset="due/2/x") == ["due/1/x"]  # the end is not included


def test_a_delimiter_gives_folders(bucket: storage.Bucket) -> None:
    for name in ("t/a/1", "t/a/2", "t/b/1", "t/c"):
        put(bucket, name)
    listing = bucket.list_blobs(prefix="t/", delimiter="/")
    assert [blob.name for blob in listing] == ["t/c"]
    assert sorted(listing.prefixes) == ["t/a/", "t/b/"]


def test_an_object_may_be_the_beginning_of_another(bucket: storage.Bucket) -> None:
    put(bucket, "a", "1")
    put(bucket, "a/b", "2")
    assert names(bucket) == ["a", "a/b"]


def test_pages_have_every_object_once(bucket: storage.Bucket) -> None:
    expected = [f"o{number:02}" for number in range(25)]
    for name in expected:
        put(bucket, name)
    pages = [[blob.name for blob in page] for page in bucket.list_blobs(page_size=10).pages]
    assert [len(page) for page in pages] == [10, 10, 5]
    assert [name for page in pages for name in page] == expected


def test_names_can_be_listed_by_glob(bucket: storage.Bucket) -> None:
    for name in ("a/1.yaml", "a/1.json", "b/2.yaml"):
        put(bucket, name)
    assert names(bucket, match_glob="**.yaml") == ["a/1.yaml", "b/2.yaml"]


def test_a_declared_checksum_that_is_wrong_is_refused(bucket: storage.Bucket) -> None:
    blob = bucket.blob("a")
    blob.crc32c = "AAAAAA=="
    with pytest.raises(exceptions.BadRequest):
        blob.upload_from_string("something else", checksum=None)
    assert names(bucket) == []


def test_a_versioned_bucket_lists_every_generation(client: storage.Client) -> None:
    bucket = client.bucket(new_name())
    bucket.versioning_enabled = True
    client.create_bucket(bucket)
    generations = [put(bucket, "a", text).generation for text in "12"]
    assert [blob.generation for blob in bucket.list_blobs(versions=True)] == generations
    assert bucket.blob("a", generation=generations[0]).download_as_bytes() == b"1"


def test_a_bucket_keeps_its_settings(client: storage.Client) -> None:
    bucket = client.bucket(new_name())
    bucket.iam_configuration.uniform_bucket_level_access_enabled = True
    client.create_bucket(bucket, location="EUROPE-WEST1")
    seen = client.get_bucket(bucket.name)
    assert (seen.location, seen.iam_configuration.uniform_bucket_level_access_enabled) == ("EUROPE-WEST1", True)


def test_changes_can_be_sent_in_a_batch(client: storage.Client, bucket: storage.Bucket) -> None:
    put(bucket, "a")
    put(bucket, "b")
    with client.batch():
        bucket.blob("a").delete()
        bucket.blob("b").delete()
    assert names(bucket) == []
