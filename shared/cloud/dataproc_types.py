"""The Dataproc API's own Cluster message, without its client: importing `google.cloud.dataproc` costs a third of a second.

The message type is kept beside this module as a file descriptor set, taken from the client by

    python -m shared.cloud.dataproc_types

after each upgrade of google-cloud-dataproc (a test compares the two). Without that file the client itself is asked.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

FILE = Path(__file__).with_name("dataproc_cluster.binpb")
_CLUSTER = "google.cloud.dataproc.v1.Cluster"


@functools.cache
def cluster_type() -> Any:
    """The message class of `google.cloud.dataproc.v1.Cluster`; its `DESCRIPTOR` knows every field."""
    try:
        raw = FILE.read_bytes()
    except FileNotFoundError:  # an installation that left data files out: slower, and as right
        raw = from_client()
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(raw).file:
        pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(_CLUSTER))


def from_client() -> bytes:
    """The file descriptor set of the installed google-cloud-dataproc: the Cluster message's file and all that it needs."""
    from google.cloud.dataproc_v1.types import Cluster

    files: dict[str, Any] = {}

    def collect(file: Any) -> None:
        if file.name not in files:
            for needed in file.dependencies:
                collect(needed)
            files[file.name] = descriptor_pb2.FileDescriptorProto()
            file.CopyToProto(files[file.name])

    collect(Cluster.pb().DESCRIPTOR.file)
    raw: bytes = descriptor_pb2.FileDescriptorSet(file=files.values()).SerializeToString(deterministic=True)
    return raw


if __name__ == "__main__":
    FILE.write_bytes(from_client())
