"""One YAML file -> a checked model, with the line of every fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from shared.faults import ConfigFault, Loc, dotted, line_of, nearest
from shared.yaml_lines import YamlFaultError, load_yaml

M = TypeVar("M", bound=BaseModel)


def parse_file(path: Path, model: type[M], faults: list[ConfigFault], *, missing_hint: str = "") -> M | None:
    """Return the checked file, or None with what is wrong with it added to `faults`."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        faults.append(ConfigFault(str(path), 0, "", "the file does not exist", missing_hint))
        return None
    except (OSError, UnicodeDecodeError) as error:
        faults.append(ConfigFault(str(path), 0, "", f"cannot be read: {error}", "Save it as UTF-8 text."))
        return None
    return parse_text(path, text, model, faults)


def parse_text(path: Path, text: str, model: type[M], faults: list[ConfigFault]) -> M | None:
    """Return the same for a text that stands in for the file at `path`."""
    try:
        data, lines = load_yaml(text)
    except YamlFaultError as error:
        faults.append(ConfigFault(str(path), error.line, "", error.problem, ""))
        return None
    try:
        parsed = model.model_validate(data)
    except ValidationError as error:
        faults += [_fault(path, model, dict(item), lines) for item in error.errors(include_url=False)]
        return None
    if hasattr(parsed, "lines"):
        parsed.lines = lines
    return parsed


def _fault(path: Path, model: type[BaseModel], item: dict[str, Any], lines: dict[Loc, int]) -> ConfigFault:
    loc: Loc = tuple(part for part in item["loc"] if part != "[key]")
    problem = str(item["msg"]).removeprefix("Value error, ")
    hint = ""
    match item["type"]:
        case "extra_forbidden":
            problem = f"unknown key '{loc[-1]}'"
            hint = nearest(str(loc[-1]), fields_at(model, loc[:-1]))
        case "invalid_key":
            loc = (*loc[:-1], str(loc[-1]))
        case "missing":
            problem = "is missing"
            loc = loc or ("",)
        case "enum" | "literal_error":
            problem = f"'{item['input']}' is not one of the values: {item['ctx']['expected']}"
        case _:
            given = repr(item.get("input"))
            if len(given) <= 60 and "error" not in item.get("ctx", {}):  # noqa: PLR2004 - a line's worth
                problem = f"{problem}, not {given}"
    return ConfigFault(str(path), line_of(lines, loc), dotted(loc), problem[:1].lower() + problem[1:], hint)


def fields_at(model: type[BaseModel], loc: Loc) -> list[str]:
    """Return the valid keys at a place of a model."""
    current: Any = model
    for part in loc:
        current = _inside(current, part)
        if current is None:
            return []
    if isinstance(current, type) and issubclass(current, BaseModel):
        return [field.alias or name for name, field in current.model_fields.items() if not field.exclude]
    return []


def _inside(current: Any, part: int | str) -> Any:
    if isinstance(current, type) and issubclass(current, BaseModel):
        for name, field in current.model_fields.items():
            if part in {name, field.alias}:
                return _unwrap(field.annotation)
        return None
    args = getattr(current, "__args__", ())
    return _unwrap(args[-1]) if args else None


def _unwrap(annotation: Any) -> Any:
    """`X | None` -> X; lists and dicts stay, so that the next part goes into them."""
    options = [a for a in getattr(annotation, "__args__", ()) if a is not type(None)]
    is_container = getattr(annotation, "__origin__", None) in {list, dict, tuple}
    return options[0] if options and not is_container else annotation
