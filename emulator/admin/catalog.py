"""The calls that Google's APIs accept, read from gcloud's own generated clients: methods, parameters, and every field.

The client modules are parsed, not imported, because they need the SDK's own Python. Like the real front end, the
checks give 400 for a call that no client can make: an unknown parameter or field, a text for a number, or a value that
is not in an enum.
"""

from __future__ import annotations

import ast
import functools
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emulator.errors import ApiError

_SYSTEM = {
    "$.xgafv", "access_token", "alt", "callback", "fields", "key", "oauth_token", "prettyPrint", "quotaUser", "uploadType",
    "upload_protocol",
}  # fmt: skip
_APIS = Path("lib/googlecloudsdk/generated_clients/apis")
_ANYTHING = "extra_types."
_BODY_IS_REQUEST = "<request>"


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a message: `kind` is the protorpc field class without the suffix `Field`, `of` the name of the field's message or enum."""

    kind: str
    of: str = ""
    repeated: bool = False


@dataclass(slots=True)
class Message:
    """A message: its fields by JSON name. `extra` is the kind of a map's values; None if the message is not a map."""

    fields: dict[str, Field] = field(default_factory=dict)
    extra: Field | None = None


@dataclass(frozen=True, slots=True)
class Method:
    """A method of an API: `flat` matches its path, `relative` gives the path's parameters.

    `query` are its query parameters, `body` is the name of its request message ("" for none). `literals` is the length of the
    path without its parameters; the methods with the greatest length are tried first.
    """

    id: str
    verb: str
    flat: re.Pattern[str]
    relative: re.Pattern[str]
    query: frozenset[str]
    body: str
    literals: int


@dataclass(slots=True)
class Api:
    """A version of an API: its methods, the method with the longest fixed path first, its messages and its enums."""

    methods: list[Method]
    messages: dict[str, Message]
    enums: dict[str, frozenset[str]]

    def find(self, verb: str, path: str) -> tuple[Method, dict[str, str]] | None:
        """Return the method that `VERB path` calls, with the values of its path parameters; None if no method matches."""
        for method in self.methods:
            if method.verb == verb and method.flat.fullmatch(path):
                found = method.relative.fullmatch(path)
                return method, found.groupdict() if found else {}
        return None

    def check(self, method: Method, query: list[str], body: dict[str, Any]) -> None:
        """Raise 400 for a parameter or a field that the method does not have, or a field's value of the wrong kind."""
        for name in query:
            if name not in method.query and name not in _SYSTEM:
                raise unknown_name(name, "")
        if method.body:
            self.check_message(method.body, body, "")
        elif body:
            raise unknown_name(next(iter(body)), "")

    def check_message(self, name: str, value: Any, at: str) -> None:
        """Raise 400 unless `value` is a message `name`, including all nested fields."""
        if not isinstance(value, dict):
            raise bad_value(at, name, value)
        message = self.messages[name]
        for key, inner in value.items():
            if inner is None:
                continue
            found = message.fields.get(key, message.extra)
            if found is None:
                raise unknown_name(key, at)
            self._check_field(found, inner, f"{at}.{_snake(key)}" if at else _snake(key))

    def _check_field(self, found: Field, value: Any, at: str) -> None:
        if found.repeated:
            if not isinstance(value, list):
                raise bad_value(at, "list", value)
            for index, one in enumerate(value):
                self._check_one(found, one, f"{at}[{index}]")
        else:
            self._check_one(found, value, at)

    def _check_one(self, found: Field, value: Any, at: str) -> None:
        if found.kind == "Message":
            if not found.of.startswith(_ANYTHING):
                self.check_message(found.of, value, at)
        elif found.kind == "Enum":
            if value not in self.enums[found.of]:
                raise bad_value(at, found.of.removesuffix("ValueValuesEnum"), value)
        elif not _fits(found.kind, value):
            raise bad_value(at, f"TYPE_{found.kind.upper()}", value)


def _fits(kind: str, value: Any) -> bool:
    match kind:
        case "Boolean":
            return isinstance(value, bool)
        case "Integer":  # a 64-bit integer comes as a text
            return (isinstance(value, int) and not isinstance(value, bool)) or (
                isinstance(value, str) and re.fullmatch(r"-?\d+", value) is not None
            )
        case "Float":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case _:
            return isinstance(value, str)


def unknown_name(name: str, at: str) -> ApiError:
    """Return the error for an unknown field, worded as by Google's front end."""
    text = f'Invalid JSON payload received. Unknown name "{name}"{f" at {at!r}" if at else ""}: Cannot find field.'
    return _bad_request(at, text)


def bad_value(at: str, kind: str, value: Any) -> ApiError:
    """Return the error for a value of the wrong kind, worded as by Google's front end."""
    return _bad_request(at, f"Invalid value at '{at}' ({kind}), {value!r}")


def _bad_request(at: str, text: str) -> ApiError:
    violation = {"field": at, "description": text} if at else {"description": text}
    return ApiError(
        "INVALID_ARGUMENT",
        text,
        details=[{"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation]}],
    )


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda m: "_" + m[1].lower(), name)


@functools.cache
def apis_folder() -> Path:
    """Return the folder of the SDK's generated API clients, against which every call and field is checked."""
    gcloud = Path(shutil.which("gcloud") or "gcloud")
    for parent in (*gcloud.resolve().parents, *gcloud.parents):
        if (parent / _APIS).is_dir():
            return parent / _APIS
    asked = subprocess.run(
        ["gcloud", "info", "--format=value(installation.sdk_root)"],  # noqa: S607 - the gcloud on the PATH
        capture_output=True,
        text=True,
        check=True,
    )
    return Path(asked.stdout.strip()) / _APIS


def sdk_root() -> Path:
    """Return the SDK's own folder."""
    return apis_folder().parents[3]


@functools.cache
def api(service: str, version: str) -> Api | None:
    """Return the API from gcloud's generated client; None if gcloud has no client of that name and version."""
    folder = apis_folder() / service / version
    client, messages = (folder / f"{service}_{version}_{part}.py" for part in ("client", "messages"))
    if not client.is_file():
        return None
    found = Api([], {}, {})
    names: dict[str, dict[str, str]] = {}
    for node in ast.parse(messages.read_text()).body:
        if isinstance(node, ast.ClassDef):
            _read_class(found, node, "")
        elif isinstance(node, ast.Expr):
            _read_mapping(node.value, names)
    for owner, renamed in names.items():
        if owner in found.messages:
            fields = found.messages[owner].fields
            found.messages[owner].fields = {renamed.get(name, name): kind for name, kind in fields.items()}
        elif owner in found.enums:
            found.enums[owner] = frozenset(renamed.get(value, value) for value in found.enums[owner])
    for call in ast.walk(ast.parse(client.read_text())):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "ApiMethodInfo":
            found.methods.append(_read_method(found, call, names))
    found.methods.sort(key=lambda method: -method.literals)
    return found


def _read_class(found: Api, node: ast.ClassDef, outer: str) -> None:
    name = f"{outer}.{node.name}" if outer else node.name
    base = node.bases[0].attr if node.bases and isinstance(node.bases[0], ast.Attribute) else ""
    assigned = [
        (part.targets[0].id, part.value)
        for part in node.body
        if isinstance(part, ast.Assign) and isinstance(part.targets[0], ast.Name)
    ]
    if base == "Enum":
        found.enums[name] = frozenset(key for key, _ in assigned)
        return
    inner = {part.name for part in node.body if isinstance(part, ast.ClassDef)}
    for part in node.body:
        if isinstance(part, ast.ClassDef):
            _read_class(found, part, name)
    message = Message()
    for key, value in assigned:
        if isinstance(value, ast.Call):
            message.fields[key] = _read_field(value, name, inner)
    if message.fields.pop("additionalProperties", None) is not None:
        message.extra = found.messages[f"{name}.AdditionalProperty"].fields["value"]
    found.messages[name] = message


def _read_field(call: ast.Call, owner: str, inner: set[str]) -> Field:
    kind = call.func.attr.removesuffix("Field") if isinstance(call.func, ast.Attribute) else ""
    of = ""
    if kind in {"Message", "Enum"} and isinstance(call.args[0], ast.Constant):
        of = str(call.args[0].value)
        of = f"{owner}.{of}" if of in inner else of
    repeated = any(word.arg == "repeated" and ast.literal_eval(word.value) for word in call.keywords)
    return Field(kind, of, repeated)


def _read_mapping(node: ast.expr, names: dict[str, dict[str, str]]) -> None:
    """Add the names of a call `encoding.AddCustomJsonFieldMapping(Message, 'python_name', 'jsonName')`, or the same for enums, to `names`."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and "Mapping" in node.func.attr:
        owner, python, json_name = node.args[:3]
        names.setdefault(ast.unparse(owner), {})[ast.literal_eval(python)] = ast.literal_eval(json_name)


def _read_method(found: Api, call: ast.Call, names: dict[str, dict[str, str]]) -> Method:
    said = {word.arg: ast.literal_eval(word.value) for word in call.keywords}
    request, body = said["request_type_name"], said["request_field"]
    if body == _BODY_IS_REQUEST:
        body = request
    elif body:
        body = found.messages[request].fields[body].of
    renamed = names.get(request, {})
    flat = said.get("flat_path") or said["relative_path"]
    return Method(
        id=said["method_id"],
        verb=said["http_method"],
        flat=re.compile(re.sub(r"\\{(?:\\\+)?(\w+)\\}", _segments, re.escape(flat))),
        relative=re.compile(re.sub(r"\\{(\\\+)?(\w+)\\}", _group, re.escape(said["relative_path"]))),
        query=frozenset(renamed.get(name, name) for name in said["query_params"]),
        body=body,
        literals=len(re.sub(r"\{[^}]*\}", "", flat)),
    )


def _segments(match: re.Match[str]) -> str:
    """Return the regular expression for one part of a path.

    If an API's resources have no common form (IAP's `v1/{v1Id}:getIamPolicy`), the pattern matches several parts.
    """
    return "[^:]+" if re.fullmatch(r"v\d+Id", match[1]) else "[^/:]+"


def _group(match: re.Match[str]) -> str:
    return f"(?P<{match[2]}>{'.+' if match[1] else '[^/]+'})"
