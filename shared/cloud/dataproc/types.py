"""The Dataproc API's own messages for templates, without its client: importing `google.cloud.dataproc` costs a third of a second.

The message types (`TYPES`) are stored beside this module as a file descriptor set, extracted from the client by

    python -m shared.cloud.dataproc.types

after each upgrade of google-cloud-dataproc (a test compares the two). If the file is missing, the client itself is imported.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.protobuf.descriptor_pool import DescriptorPool

CLUSTER, SESSION_TEMPLATE = TYPES = ("Cluster", "SessionTemplate")
FILE = Path(__file__).with_name("types.binpb")
_PACKAGE = "google.cloud.dataproc.v1"


@functools.cache
def message_type(name: str) -> Any:
    """Return the message class of that name, one of `TYPES`; its `DESCRIPTOR` knows every field."""
    from google.protobuf import message_factory  # imported on the first use of a template

    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"{_PACKAGE}.{name}"))


@functools.cache
def _pool() -> DescriptorPool:
    from google.protobuf import descriptor_pb2, descriptor_pool

    try:
        raw = FILE.read_bytes()
    except FileNotFoundError:  # an installation without data files: slower, but with the same result
        raw = from_client()
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(raw).file:
        pool.Add(file)
    return pool


def from_client() -> bytes:
    """Return the file descriptor set of the installed google-cloud-dataproc: the files of `TYPES` and their dependencies."""
    from google.cloud.dataproc_v1 import types
    from google.protobuf import descriptor_pb2

    files: dict[str, Any] = {}

    def collect(file: Any) -> None:
        if file.name not in files:
            for needed in sorted(file.dependencies, key=lambda each: str(each.name)):
                collect(needed)
            files[file.name] = copy = descriptor_pb2.FileDescriptorProto()
            file.CopyToProto(copy)
            copy.dependency.sort()  # the client keeps them in a set, so they differ from one process to the next

    for name in TYPES:
        collect(getattr(types, name).pb().DESCRIPTOR.file)
    raw: bytes = descriptor_pb2.FileDescriptorSet(file=files.values()).SerializeToString(deterministic=True)
    return raw


if __name__ == "__main__":
    FILE.write_bytes(from_client())
