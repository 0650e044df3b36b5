"""Compare-and-set under contention: the reason why the project has a Cloud Storage of its own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from google.api_core import exceptions

if TYPE_CHECKING:
    from google.cloud import storage


def _increment(bucket: storage.Bucket) -> bool:
    """Add one by compare-and-set; False when another writer was faster."""
    blob = bucket.get_blob("counter")
    value = int(blob.metadata["value"]) + 1
    blob.metadata = {"value": str(value)}
    try:
        blob.upload_from_string(str(value), if_generation_match=blob.generation)
    except exceptions.PreconditionFailed:
        return False
    return True


def test_no_update_is_lost_among_eight_writers(storage_cloud, bucket):
    counter = bucket.blob("counter")
    counter.metadata = {"value": "0"}
    counter.upload_from_string("0")
    clients = [storage_cloud.client() for _ in range(8)]

    def work(client: storage.Client) -> int:
        mine = client.bucket(bucket.name)
        done = 0
        while done < 20:
            done += _increment(mine)
        return done

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, clients)) == [20] * 8
    for client in clients:
        client.close()
    assert bucket.blob("counter").download_as_bytes() == b"160"
    inserts = [e for e in storage_cloud.world.journal.listing(mutating_only=True) if e["resource"].endswith("/counter")]
    assert sum(e["status"] == 200 for e in inserts) == 161
