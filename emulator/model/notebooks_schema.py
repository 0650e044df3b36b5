"""The strict parser of a Notebooks v2 JSON body, by the official client's own message types.

The schema comes from the client's descriptors. The few fields and enum values that the REST API has and the client lacks are
added by name (`REST_ONLY`, `NEWER_VALUES`). All other unknown names are refused, as the real front end does.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from google.cloud import notebooks_v2
from google.protobuf.descriptor import FieldDescriptor

from emulator.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Mapping

# The fields of https://notebooks.googleapis.com (REST reference, 2026-08) that google-cloud-notebooks 1.18.0 lacks.
REST_ONLY: dict[str, dict[str, Any]] = {
    "Instance": {
        "enableManagedEuc": "bool",
        "enableThirdPartyIdentity": "bool",
        "enableDeletionProtection": "bool",
        "thirdPartyProxyUrl": "string",
        "satisfiesPzs": "bool",
        "satisfiesPzi": "bool",
    },
    "GceSetup": {
        "minCpuPlatform": "string",
        "instanceId": "string",
        "confidentialInstanceConfig": {"confidentialInstanceType": ("CONFIDENTIAL_INSTANCE_TYPE_UNSPECIFIED", "SEV")},
        "reservationAffinity": {
            "consumeReservationType": (
                "RESERVATION_UNSPECIFIED",
                "RESERVATION_NONE",
                "RESERVATION_ANY",
                "RESERVATION_SPECIFIC",
            ),
            "key": "string",
            "values": ["string"],
        },
    },
    "NetworkInterface": {"accessConfigs": [{"externalIp": "string"}]},
    "DataDisk": {"resourcePolicies": ["string"]},
}
NEWER_VALUES: dict[str, tuple[str, ...]] = {
    "DiskType": (
        "HYPERDISK_BALANCED",
        "HYPERDISK_EXTREME",
        "HYPERDISK_THROUGHPUT",
        "HYPERDISK_BALANCED_HIGH_AVAILABILITY",
        "HYPERDISK_ML",
    ),
    "AcceleratorType": (
        "NVIDIA_H100_80GB",
        "NVIDIA_H100_MEGA_80GB",
        "NVIDIA_H200_141GB",
        "NVIDIA_B200",
        "NVIDIA_RTX6000",
    ),
}
_INT64 = re.compile(r"^-?\d{1,19}$")
_INTS = {
    FieldDescriptor.TYPE_INT64: "TYPE_INT64",
    FieldDescriptor.TYPE_INT32: "TYPE_INT32",
}


@dataclass(frozen=True, slots=True)
class Field:
    """A field: `kind` is string, bool, int64, enum, message, map or time (output only, not checked).

    `values` has an enum's names with their numbers. The numbers of `NEWER_VALUES` are not published: they are None.
    """

    json_name: str
    snake: str
    kind: str
    repeated: bool = False
    values: Mapping[str, int | None] = field(default_factory=dict)
    type_name: str = ""
    message: Mapping[str, Field] | None = None
    oneof: str = ""


class Violations:
    """The field violations of one body, raised together as the real API does."""

    def __init__(self) -> None:
        self._found: list[tuple[str, str]] = []

    def unknown(self, name: str, path: str) -> None:
        """Note a name that the message does not have."""
        self._found.append(
            (path, f"Invalid JSON payload received. Unknown name \"{name}\" at '{path}': Cannot find field.")
        )

    def bad(self, path: str, type_name: str, value: Any) -> None:
        """Note a value that is invalid for the field."""
        shown = (
            f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
        )
        self._found.append((path, f"Invalid value at '{path}' ({type_name}), {shown}"))

    def oneof(self, path: str, oneof: str, name: str) -> None:
        """Note a second field of a oneof."""
        self._found.append(
            (path, f"Invalid value at '{path}' (oneof), oneof field '{oneof}' is already set. Cannot set '{name}'")
        )

    def raise_if_any(self) -> None:
        """Raise 400 with all violations, if there are any."""
        if self._found:
            raise ApiError(
                "INVALID_ARGUMENT",
                "\n".join(text for _, text in self._found),
                details=[
                    {
                        "@type": "type.googleapis.com/google.rpc.BadRequest",
                        "fieldViolations": [{"field": path, "description": text} for path, text in self._found],
                    }
                ],
            )


def _snake(name: str) -> str:
    return re.sub(r"([A-Z])", lambda found: "_" + found.group(1).lower(), name)


def _camel(name: str) -> str:
    head, *rest = name.rstrip("_").split("_")
    return head + "".join(part.capitalize() for part in rest)


def _extra(name: str, shape: Any) -> Field:
    """Return a field that only the REST API has, from `REST_ONLY`."""
    repeated = isinstance(shape, list)
    inner = shape[0] if repeated else shape
    if isinstance(inner, dict):
        message = _index([_extra(key, value) for key, value in inner.items()])
        return Field(name, _snake(name), "message", repeated=repeated, type_name=name, message=message)
    if isinstance(inner, tuple):
        numbers = {value: number for number, value in enumerate(inner)}  # the order of the REST reference
        return Field(
            name, _snake(name), "enum", repeated=repeated, values=numbers, type_name=f"type.googleapis.com/{name}"
        )
    return Field(name, _snake(name), inner, repeated=repeated, type_name=f"TYPE_{inner.upper()}")


def _index(fields: list[Field]) -> dict[str, Field]:
    """Return the fields by camelCase and by snake_case name, because the real JSON parser accepts both."""
    return {field.json_name: field for field in fields} | {field.snake: field for field in fields}


def _from_descriptor(descriptor: Any) -> dict[str, Field]:
    fields: list[Field] = []
    for raw in descriptor.fields:
        name = _camel(raw.name)
        snake = raw.name.rstrip("_")
        oneof = raw.containing_oneof.name if raw.containing_oneof is not None else ""
        repeated = bool(raw.is_repeated)
        if raw.type == FieldDescriptor.TYPE_MESSAGE and raw.message_type.GetOptions().map_entry:
            fields.append(Field(name, snake, "map"))
        elif raw.type == FieldDescriptor.TYPE_MESSAGE and raw.message_type.full_name == "google.protobuf.Timestamp":
            fields.append(Field(name, snake, "time"))
        elif raw.type == FieldDescriptor.TYPE_MESSAGE:
            message = _from_descriptor(raw.message_type)
            fields.append(Field(name, snake, "message", repeated=repeated, message=message, oneof=oneof))
        elif raw.type == FieldDescriptor.TYPE_ENUM:
            values = {value.name: value.number for value in raw.enum_type.values}
            values |= dict.fromkeys(NEWER_VALUES.get(raw.enum_type.name, ()))
            type_name = f"type.googleapis.com/{raw.enum_type.full_name}"
            fields.append(
                Field(name, snake, "enum", repeated=repeated, values=values, type_name=type_name, oneof=oneof)
            )
        elif raw.type in _INTS:
            fields.append(Field(name, snake, "int64", repeated=repeated, type_name=_INTS[raw.type], oneof=oneof))
        else:
            kind = "bool" if raw.type == FieldDescriptor.TYPE_BOOL else "string"
            fields.append(Field(name, snake, kind, repeated=repeated, type_name=f"TYPE_{kind.upper()}", oneof=oneof))
    fields += [_extra(name, shape) for name, shape in REST_ONLY.get(descriptor.name, {}).items()]
    return _index(fields)


@functools.cache
def schema(message: str) -> Mapping[str, Field]:
    """Return the fields of a message of the client's package, for example `Instance`."""
    kind = getattr(notebooks_v2, message)
    return _from_descriptor(kind.pb(kind()).DESCRIPTOR)


def parse(message: str, body: Any, *, at: str) -> dict[str, Any]:
    """Return the body in canonical form: camelCase, int64 as text, enum values by name, defaults (false, 0, "", null) left out.

    `at` is the name of the request field with the body, such as `instance`, for the error texts. Raise `ApiError` 400
    with all violations.
    """
    found = Violations()
    result = _message(schema(message), body, at, found)
    found.raise_if_any()
    return result


def with_numbers(message: str, body: dict[str, Any]) -> dict[str, Any]:
    """Return a message's JSON with its enums as numbers, as for a caller that sends `$alt=json;enum-encoding=int`.

    A value whose number is not published stays a name.
    """
    return _numbered(schema(message), body)


def _numbered(fields: Mapping[str, Field], body: dict[str, Any]) -> dict[str, Any]:
    return {name: _numbered_value(fields[name], value) if name in fields else value for name, value in body.items()}


def _numbered_value(field: Field, value: Any) -> Any:
    if isinstance(value, list):
        return [_numbered_value(field, item) for item in value]
    if field.kind == "message" and field.message is not None and isinstance(value, dict):
        return _numbered(field.message, value)
    if field.kind == "enum":
        number = field.values.get(value)
        return value if number is None else number
    return value


def _message(fields: Mapping[str, Field], body: Any, path: str, found: Violations) -> dict[str, Any]:
    if not isinstance(body, dict):
        found.bad(path, "TYPE_MESSAGE", body)
        return {}
    out: dict[str, Any] = {}
    taken: dict[str, str] = {}
    for name, value in body.items():
        field = fields.get(name)
        if field is None:
            found.unknown(name, path)
            continue
        if value is None:
            continue
        if field.oneof:
            if field.oneof in taken:
                found.oneof(path, field.oneof, name)
                continue
            taken[field.oneof] = name
        read = _repeated(field, value, f"{path}.{field.snake}", found)
        if read not in (None, "", False, []):
            out[field.json_name] = read
    return out


def _repeated(field: Field, value: Any, path: str, found: Violations) -> Any:
    if not field.repeated:
        return _single(field, value, path, found)
    if not isinstance(value, list):
        found.bad(path, field.type_name or "TYPE_MESSAGE", value)
        return None
    return [_single(field, item, f"{path}[{index}]", found) for index, item in enumerate(value)]


def _single(field: Field, value: Any, path: str, found: Violations) -> Any:
    match field.kind:
        case "message":
            return _message(field.message or {}, value, path, found)
        case "map":
            return _map(value, path, found)
        case "enum":
            return _enum(field, value, path, found)
        case "time":
            return None
        case _:
            return _scalar(field, value, path, found)


def _scalar(field: Field, value: Any, path: str, found: Violations) -> Any:
    if field.kind == "int64":
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value) if value else None
        if isinstance(value, str) and _INT64.match(value):
            return value if int(value) else None
    elif (field.kind == "bool" and isinstance(value, bool)) or (field.kind == "string" and isinstance(value, str)):
        return value
    found.bad(path, field.type_name, value)
    return None


def _enum(field: Field, value: Any, path: str, found: Violations) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        value = next((name for name, number in field.values.items() if number == value), value)
    if isinstance(value, str) and value in field.values:
        return None if value.endswith("_UNSPECIFIED") else value
    found.bad(path, field.type_name, value)
    return None


def _map(value: Any, path: str, found: Violations) -> dict[str, str] | None:
    if not isinstance(value, dict):
        found.bad(path, "Map", value)
        return None
    out: dict[str, str] = {}
    for key, item in value.items():
        if isinstance(item, str):
            out[key] = item
        else:
            found.bad(f"{path}[{key}]", "TYPE_STRING", item)
    return out
