"""Records which methods and fields are used: around the embedded cloud's front, while other tests run.

pytest loads it with `-p tests.kit.fidelity.recorder` and `FIDELITY_RECORD=FILE`; each process appends lines of JSON.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from emulator.wire.http import HttpFront, raw_path

if TYPE_CHECKING:
    from pathlib import Path

    from werkzeug.wrappers import Request, Response


def seen(request: Request, answer: Response) -> dict[str, Any] | None:
    """Return the call as the table's maker reads it; None for calls of the control API and refused ones."""
    path = raw_path(request)
    if path.startswith(("/_emulator", "/batch")) or answer.status_code >= 300:
        return None
    content = request.args.get("alt") == "media" or path.startswith("/download/")  # of an object, not of the API
    uploaded = request.args.get("uploadType") == "media"
    return {
        "verb": request.method,
        "path": path,
        "query": sorted(request.args),
        "body": None if uploaded else _json(request.get_data(), request.mimetype),
        "answer": None if content or answer.is_streamed else _json(answer.get_data(), answer.mimetype),
    }


def _json(data: bytes, kind: str) -> Any:
    if not kind.endswith("json") or not data:
        return None
    try:
        return json.loads(data)
    except ValueError:
        return None


def record(file: Path | str) -> None:
    """Append each call of every front of this process to the file."""
    inner = HttpFront.respond

    def respond(self: HttpFront, request: Request) -> Response:
        request.get_data(cache=True)
        answer = inner(self, request)
        call = seen(request, answer)
        if call is not None:
            with open(file, "a", encoding="utf-8") as out:  # noqa: PTH123 - one append is one line
                out.write(json.dumps(call) + "\n")
        return answer

    HttpFront.respond = respond  # type: ignore[method-assign]


if os.environ.get("FIDELITY_RECORD"):  # noqa: TID251 - the caller of pytest names the file
    record(os.environ["FIDELITY_RECORD"])  # noqa: TID251
