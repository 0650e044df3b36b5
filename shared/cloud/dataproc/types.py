"""The Dataproc API's own messages for templates, without its client: importing `google.cloud.dataproc` costs a third of a second.

The message types (`TYPES`) are stored beside this module, extracted from the client by

    python -m shared.cloud.dataproc.types

after each upgrade of google-cloud-dataproc (a test compares). `FILE` is a file descriptor set, for protobuf; if it is
missing, the client itself is imported. `FIELDS_FILE` has the same fields as plain JSON, by which
`shared.cloud.dataproc.plain_form` recognises simple valid data without protobuf. The import of protobuf costs a cold start
20 ms.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.protobuf.descriptor_pool import DescriptorPool

CLUSTER, SESSION_TEMPLATE = TYPES = ("Cluster", "SessionTemplate")
FILE = Path(__file__).with_name("types.binpb")
FIELDS_FILE = FILE.with_suffix(".json")
_PACKAGE = "google.cloud.dataproc.v1"
# FieldDescriptor.TYPE_*; a field of any other type is for protobuf alone.
_PLAIN = {9: "string", 8: "bool", 5: "int32", 3: "int64", 1: "double"}
_PLAIN_MESSAGES = {"google.protobuf.Duration": "duration", "google.protobuf.Timestamp": "timestamp"}


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


@functools.cache
def fields() -> dict[str, Any]:
    """Return the stored result of `fields_of_types()`; empty if the file is missing."""
    try:
        found: dict[str, Any] = json.loads(FIELDS_FILE.read_bytes())
    except FileNotFoundError:
        return {"messages": {}, "enums": {}}
    return found


def fields_of_types() -> dict[str, Any]:
    """Return the fields of all `TYPES` and of the messages in them, and the values of their enums, the default first.

    `messages` maps a message's name and a field's JSON name to the field. A field has `is`, a kind or the name of a message
    or enum, empty if the type is not described. It may have `many` (`list` or `map`), `one_of` (the group of which only one
    field may be given) and `kept` (True if a default value counts as given).
    """
    messages: dict[str, Any] = {}
    enums: dict[str, list[str]] = {}

    def kind_of(field: Any) -> str:
        if field.enum_type is not None:
            name = _short(field.enum_type)
            enums[name] = _names(field.enum_type)
            return name
        if field.message_type is None:
            return _PLAIN.get(field.type, "")
        if field.message_type.file.package == _PACKAGE:
            return collect(field.message_type)
        return _PLAIN_MESSAGES.get(field.message_type.full_name, "")

    def entry(field: Any) -> dict[str, Any]:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            key, value = (field.message_type.fields_by_name[each] for each in ("key", "value"))
            return {"is": kind_of(value) if kind_of(key) == "string" else "", "many": "map"}
        if field.is_repeated:
            return {"is": kind_of(field), "many": "list"}
        kept = {"kept": True} if field.has_presence else {}
        group = {"one_of": field.containing_oneof.name} if field.containing_oneof is not None else {}
        return {"is": kind_of(field), **kept, **group}

    def collect(descriptor: Any) -> str:
        name = _short(descriptor)
        if name not in messages:
            messages[name] = {}  # before its fields: a message may have itself in it
            messages[name].update({field.json_name: entry(field) for field in descriptor.fields})
        return name

    for name in TYPES:
        collect(message_type(name).DESCRIPTOR)
    return {"messages": messages, "enums": enums}


def _names(enum: Any) -> list[str]:
    """Return the values' names, the name of number 0 first; of several names for one number, the name that protobuf writes."""
    return [
        enum.values_by_number[number].name
        for number in sorted(enum.values_by_number, key=lambda each: (each != 0, each))
    ]


def _short(descriptor: Any) -> str:
    return str(descriptor.full_name).removeprefix(f"{_PACKAGE}.")


def fields_text() -> str:
    """Return the content of `FIELDS_FILE`, with one line for each message, so that differences are easy to read."""
    made = fields_of_types()
    lines = {
        part: ",\n".join(f" {json.dumps(name)}: {json.dumps(each)}" for name, each in sorted(made[part].items()))
        for part in ("messages", "enums")
    }
    return "{" + ",\n".join(f"{json.dumps(part)}: {{\n{text}\n}}" for part, text in lines.items()) + "}\n"


if __name__ == "__main__":
    FILE.write_bytes(from_client())
    FIELDS_FILE.write_text(fields_text(), encoding="utf-8")
