"""The reader of the user list of Google's Terraform example: addresses, and a fault with its line for every bad entry.

`benchkeeper import seed` calls this module. The file's ending decides the format: `.tfvars` and `.tf` (lists of texts), `.json`
and `.yaml` (a list, or a mapping of lists), `.csv`. Any other file has one address per line.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator

import yaml
from msgspec import Struct

from shared.domain.things.errors import BenchkeeperError
from shared.domain.things.identity import UserEmail, parse_email
from shared.faults import ConfigFault

SEED_LIST = "notebook_users_list"  # the variable of both of the example's modules
_ADDRESS_KEYS = ("email", "e-mail", "mail", "user", "address", "user_email", "primaryemail")
# The part of HCL that lists of texts need; all other input becomes single marks or words.
_HCL = re.compile(
    r'(?P<blank>[ \t\r]+)|(?P<line>\n)|(?P<comment>\#[^\n]*|//[^\n]*|/\*.*?\*/)|(?P<text>"(?:[^"\\\n]|\\.)*")'
    r"|(?P<word>[A-Za-z_][\w.-]*)|(?P<mark>[^\s\"])|(?P<broken>\")",
    re.DOTALL,
)


class Listed(Struct, frozen=True):
    """A user of the list and the line (from 1) that names the user."""

    user: UserEmail
    line: int


class UserList(Struct, frozen=True):
    """The users of a list without duplicates, in the order of the list.

    `faults` are the bad lines. `repeated` are the lines that name a user again.
    """

    people: tuple[Listed, ...]
    faults: tuple[ConfigFault, ...]
    repeated: tuple[Listed, ...]


class _FaultError(Exception):
    def __init__(self, line: int, problem: str, hint: str) -> None:
        super().__init__(problem)
        self.line, self.problem, self.hint = line, problem, hint


def read_users(file: str, raw: bytes) -> UserList:
    """Return the users, faults and duplicates in a list. `file` is the file's name, whose ending decides the format."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        return UserList((), (ConfigFault(file, line, "", "is not UTF-8", "Save it as UTF-8 text."),), ())
    found: dict[UserEmail, Listed] = {}
    faults: list[ConfigFault] = []
    repeated: list[Listed] = []
    try:
        for line, word in _entries(file.lower(), text):
            try:
                listed = Listed(parse_email(word), line)
            except BenchkeeperError as error:
                faults.append(ConfigFault(file, line, "", f"'{word}': {error.user_message.rstrip('.')}", ""))
                continue
            if listed.user in found:
                repeated.append(listed)
            found.setdefault(listed.user, listed)
    except _FaultError as error:
        faults.append(ConfigFault(file, error.line, "", error.problem, error.hint))
    if not found and not faults:
        faults.append(ConfigFault(file, 0, "", "names nobody", "Write one address per line, or a list of addresses."))
    return UserList(tuple(found.values()), tuple(faults), tuple(repeated))


def _entries(file: str, text: str) -> Iterator[tuple[int, str]]:
    """Yield the line (from 1) and the text of each entry that should be an address."""
    if file.endswith((".tfvars", ".tf")):
        yield from _from_hcl(text)
    elif file.endswith((".json", ".yaml", ".yml")):
        yield from _from_yaml(text, is_json=file.endswith(".json"))
    elif file.endswith(".csv"):
        yield from _from_csv(text)
    else:
        for number, line in enumerate(text.splitlines(), start=1):
            word = line.partition("#")[0].strip() if line.lstrip().startswith("#") else line.strip()
            if word:
                yield number, word


def _from_csv(text: str) -> Iterator[tuple[int, str]]:
    """Yield the entries of the address column: the one with a known heading, the only one with an @, or the only column.

    Raise `_FaultError` for text that is not CSV, or without such a column.
    """
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    column: int | None = None
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            if column is None:
                column = _column(cells, reader.line_num)
                if "@" not in cells[column]:
                    continue  # the heading
            yield reader.line_num, cells[column] if column < len(cells) else ""
    except csv.Error as error:
        raise _FaultError(
            reader.line_num, f"is not CSV: {error}", "Quote cells that hold a comma or a quote."
        ) from error


def _column(cells: list[str], line: int) -> int:
    named = [i for i, cell in enumerate(cells) if cell.lower() in _ADDRESS_KEYS]
    holding = [i for i, cell in enumerate(cells) if "@" in cell]
    candidates = named or holding or ([0] if len(cells) == 1 else [])
    if len(candidates) != 1:
        raise _FaultError(line, "it is not clear which column holds the addresses", "Head that column 'email'.")
    return candidates[0]


def _from_yaml(text: str, *, is_json: bool) -> Iterator[tuple[int, str]]:
    if is_json:
        try:
            json.loads(text)
        except (ValueError, RecursionError) as error:
            raise _FaultError(getattr(error, "lineno", 0), f"is not JSON: {error}", "Correct it there.") from error
        text = text.replace("\t", " ")  # YAML does not accept JSON's tabs as white space; in JSON texts a tab is \t
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise _FaultError(mark.line + 1 if mark else 0, f"is not YAML: {error.problem}", "Correct it there.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _FaultError(0, f"cannot be read: {error}", "Write one address per line.") from error
    match root:
        case yaml.SequenceNode():
            lists = [root]
        case yaml.MappingNode():
            lists = [value for _, value in root.value if isinstance(value, yaml.SequenceNode)]
        case _:
            lists = []
    if not lists:
        raise _FaultError(1, "has no list of addresses", "Write a list, or a mapping that has one.")
    for each in lists:
        for item in each.value:
            yield item.start_mark.line + 1, _yaml_address(item)


def _yaml_address(item: yaml.Node) -> str:
    if isinstance(item, yaml.ScalarNode):
        return str(item.value)
    if isinstance(item, yaml.MappingNode):
        for key, value in item.value:
            if str(key.value).lower() in _ADDRESS_KEYS and isinstance(value, yaml.ScalarNode):
                return str(value.value)
    raise _FaultError(item.start_mark.line + 1, "an address is needed here", "Or a mapping with the key 'email'.")


def _from_hcl(text: str) -> Iterator[tuple[int, str]]:
    """Yield the texts of all lists that are assigned to the example's variable or contain an @.

    Raise `_FaultError` if there is no such list.
    """
    tokens = list(_hcl_tokens(text))
    index = 0
    found = False
    while index < len(tokens):
        kind, word, line = tokens[index]
        start = _list_start(tokens, index) if kind == "word" else None
        if start is None:
            index += 1
            continue
        end = next((i for i in range(start, len(tokens)) if tokens[i][1] == "]"), None)
        if end is None:
            raise _FaultError(line, f"the list '{word}' does not end", "Close it with ].")
        items = tokens[start:end]
        index = end + 1
        if word == SEED_LIST or any("@" in item for kind, item, _ in items if kind == "text"):
            found = True
            yield from _hcl_items(word, items)
    if not found:
        raise _FaultError(0, "has no list of addresses", f'For example {SEED_LIST} = ["ana.silva@example.com"].')


def _hcl_tokens(text: str) -> Iterator[tuple[str, str, int]]:
    line = 1
    for match in _HCL.finditer(text):
        kind = str(match.lastgroup)
        if kind == "broken":
            raise _FaultError(line, "a text does not end", 'Close it with ".')
        if kind not in {"blank", "line", "comment"}:
            yield kind, match.group(), line
        line += match.group().count("\n")


def _list_start(tokens: list[tuple[str, str, int]], index: int) -> int | None:
    """Return the index of the first item after `name = [` or `name = toset([`; None if no list begins there."""
    words = [word for _, word, _ in tokens[index + 1 : index + 5]]
    if words[:2] == ["=", "["]:
        return index + 3
    return index + 5 if words == ["=", "toset", "(", "["] else None


def _hcl_items(name: str, items: list[tuple[str, str, int]]) -> Iterator[tuple[int, str]]:
    wants_text = True
    for kind, word, line in items:
        if not wants_text and word == ",":
            wants_text = True
        elif not wants_text or kind != "text" or "${" in word or "%{" in word:
            problem = f"'{word}' in the list '{name}' is not an address"
            raise _FaultError(line, problem, "Write the addresses out, each in quotes, with commas between them.")
        else:
            wants_text = False
            try:
                yield line, str(json.loads(word))
            except ValueError as error:
                raise _FaultError(line, f"{word} cannot be read", "Write it without escapes.") from error
