"""The embedded cloud's answers to the calls whose answers a run records, and where the two differ in shape.

The golden tests (tests/emulator/test_golden.py) compare the committed recordings with the embedded cloud by the same function.
"""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from kit.inprocess import START, WsgiAdapter
from kit.shapes import FORMATS, differences

from emulator.app import EmbeddedCloud
from emulator.clock import VirtualClock

_PROJECT = "benchkeeper-local"
_READY = timedelta(minutes=5)
_SESSION = {"jupyterSession": {"kernel": "PYTHON"}}
# recording -> whether the formats of the Notebooks API are its formats
RECORDED = {"create-operation": True, "get-instance": True, "list-instances": True, "snapshot": False, "session": False}


def recorded(folder: Path, name: str) -> Any:
    """Return the recorded answer; None if the run did not record it."""
    file = folder / f"{name}.json"
    return json.loads(file.read_text(encoding="utf-8"))["body"] if file.is_file() else None


def unlike(folder: Path) -> dict[str, list[str]]:
    """Return the differences of the recorded answers in a folder from those of the embedded cloud, by recording."""
    body = recorded(folder, "create-body")
    if body is None:
        return {}
    name = str(recorded(folder, "create-operation")["metadata"]["target"])
    session = recorded(folder, "session-body") or {**_SESSION, "labels": body["labels"]}
    ours = _answers(body, session, zone=name.split("/")[3], ident=name.rpartition("/")[2])
    return {
        key: differences(answer, ours[key], key, formats=FORMATS if has_formats else {})
        for key, has_formats in RECORDED.items()
        if (answer := recorded(folder, key)) is not None
    }


def _answers(body: dict[str, Any], session: dict[str, Any], *, zone: str, ident: str) -> dict[str, Any]:
    cloud = EmbeddedCloud.build(clock=VirtualClock(start=START, speed=0), project=_PROJECT)
    adapter = WsgiAdapter(cloud)

    def ask(method: str, path: str, sent: Any = None) -> Any:
        data = None if sent is None else json.dumps(sent).encode()
        headers = {"content-type": "application/json", "authorization": "Bearer person@example.com"}
        answer = adapter.answer(method, f"http://127.0.0.1:1{path}", headers, data)
        found = json.loads(answer.content)
        assert answer.ok, found
        return found

    where = f"projects/{_PROJECT}/locations/{zone}/instances"
    compute = f"/compute/v1/projects/{_PROJECT}"
    sessions = f"/v1/projects/{_PROJECT}/locations/{zone.rpartition('-')[0]}/sessions"
    found = {"create-operation": ask("POST", f"/v2/{where}?instanceId={ident}", body)}
    cloud.world.clock.advance(_READY)
    found["get-instance"] = ask("GET", f"/v2/{where}/{ident}")
    found["list-instances"] = ask("GET", f"/v2/{where}")
    ask(
        "POST",
        f"{compute}/zones/{zone}/disks/{ident}-data-workspace/createSnapshot",
        {"name": ident, "labels": body["labels"]},
    )
    ask("POST", f"{sessions}?sessionId={ident}", session)
    cloud.world.clock.advance(_READY)
    found["snapshot"] = ask("GET", f"{compute}/global/snapshots/{ident}")
    found["session"] = ask("GET", f"{sessions}/{ident}")
    return found
