"""The journal of a run: everything that crosses the product's border, as one digest; and which calls met each other."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import product
from typing import Any, TextIO
from urllib.parse import parse_qs


class Journal:
    """A digest over lines. `trace` gets the lines themselves, to find the first that differs between two runs."""

    def __init__(self, trace: TextIO | None = None) -> None:
        self._digest = hashlib.sha256()
        self._trace = trace
        self.lines = 0

    def note(self, kind: str, *facts: object) -> None:
        """Append a line. Facts are text, numbers, bytes, and JSON of these; a set has no order and is refused by its repr."""
        line = json.dumps([kind, *facts], default=_plain, ensure_ascii=False)
        self._digest.update(line.encode(errors="surrogatepass") + b"\n")
        self.lines += 1
        if self._trace is not None:
            self._trace.write(line + "\n")

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


def _plain(value: Any) -> str:
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else repr(value)


_NAME = re.compile(rb'"name": ?"([a-z-]+/[^"]*)"')
# One cluster or template is looked at only after a refused create: that meets others, too.
_SEEN_AFTER_A_CREATE = re.compile(r"/(clusters|sessionTemplates)/[^/:]+$")


def change(method: str, asked: str, body: bytes) -> tuple[str, str]:
    """Return how a call changes which of the cloud's objects: ("stop", "instances/nb-ann"). Two empty texts for all that is stored or read."""
    path, _, query = asked.partition("?")
    if method == "GET" and _SEEN_AFTER_A_CREATE.search(path):
        return "get", "/".join(path.rsplit("/", 2)[1:])
    if method == "GET" or path.endswith(":getIamPolicy") or "/storage/" in path:
        return "", ""
    last = path.rpartition("/")[2]
    how = last.partition(":")[2] or {"POST": "create", "PATCH": "update", "DELETE": "delete"}[method]
    if last == "instances":
        return how, f"instances/{parse_qs(query).get('instanceId', [''])[0]}"
    if last == "sessionTemplates":
        return how, f"{last}/{json.loads(body or b'{}').get('name', '').rpartition('/')[2]}"
    made = {"serviceAccounts": "accountId", "clusters": "clusterName", "createSnapshot": "name"}.get(last)
    if made is not None:
        kind = "snapshots" if made == "name" else last
        return how, f"{kind}/{json.loads(body or b'{}').get(made, '')}"
    *_, kind, name = path.split("/")
    return how, f"{kind}/{name.partition(':')[0].partition('@')[0]}"


def written(method: str, body: bytes) -> str:
    """Return the name of the object that a call to Cloud Storage writes, "" for any other call."""
    found = _NAME.search(body[:400]) if method == "POST" else None
    return found[1].decode() if found is not None else ""


# --- coverage

# Pairs that cannot meet, by what their two calls are, and why.
_OWN_NAME = "a request's name has a random part: nobody but the entry that makes it knows it before"
EXCLUDED: dict[str, str] = {
    "wishes: *, storage.objects.insert": _OWN_NAME,
    "wishes: storage.objects.insert, storage.objects.delete": "who removes a request has read it before",
}


def kind_of(resource: str) -> str:
    """The kind of object that a resource is: the first folders of a Cloud Storage name, else the collection before the last name."""
    text = resource.partition("?")[0]
    parts = [part for part in text.split("/") if part]
    if not parts:
        return "-"
    if parts[0] == "projects":
        names = [part for part in parts if part.isalpha() or "-" not in part]
        collections = [
            part for part in names if part.endswith("s") and part not in {"projects", "locations", "zones", "regions"}
        ]
        return collections[-1] if collections else "project"
    folder = re.sub(r"[0-9a-f]{8,}.*|\d.*", "", parts[1]) if len(parts) > 1 else "-"
    return folder or "-"


@dataclass
class Coverage:
    """Ordered pairs of calls of different entries, next to each other among the calls about one object.

    `alone` has, by kind of object, the calls that entries make; `seen` the pairs that met.
    """

    alone: dict[str, set[str]] = field(default_factory=dict)
    seen: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    _last: dict[str, tuple[str, str]] = field(default_factory=dict)

    def begin(self) -> None:
        """Begin a history: its objects are its own."""
        self._last.clear()

    def note(self, root: str, call: str, resource: str) -> None:
        """A call of the entry `root` was made."""
        kind = kind_of(resource)
        # A listing of a whole project, or a call about no object, meets calls like it alone.
        if kind in {"project", "-"}:
            kind, resource = call, f"{call} {resource}"
        if kind == "operations":  # those of two services are different things
            kind = f"{call.partition('.')[0]} operations"
        self.alone.setdefault(kind, set()).add(call)
        before = self._last.get(resource)
        if before is not None and before[0] != root:
            self.seen[kind, before[1], call] += 1
        self._last[resource] = (root, call)

    def possible(self) -> set[tuple[str, str, str]]:
        return {(kind, a, b) for kind, calls in self.alone.items() for a, b in product(sorted(calls), repeat=2)}

    def summary(self, missing: int = 0) -> Iterable[str]:
        """Lines for people: how many pairs were seen, and the first that were not."""
        excluded = {pair for pair in self.possible() if why_excluded(pair) is not None}
        counted = self.possible() - excluded
        seen = counted & set(self.seen)
        yield (
            f"coverage {len(seen)} of {len(counted)} ordered pairs of calls ({100 * len(seen) / max(1, len(counted)):.1f} %), "
            f"{len(excluded)} excluded"
        )
        for kind, a, b in sorted(counted - seen)[:missing]:
            yield f"  not seen: {kind}: {a}, then {b}"


def why_excluded(pair: tuple[str, str, str]) -> str | None:
    """The reason for which two calls cannot meet at one object, None if they can."""
    kind, a, b = pair
    names = (f"{kind}: {a}, {b}", f"{kind}: *, {b}", f"{kind}: {a}, *", f"{kind}: *")
    return next((EXCLUDED[name] for name in names if name in EXCLUDED), None)
