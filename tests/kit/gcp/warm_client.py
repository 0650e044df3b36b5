"""The program `gcloud` that hands its command to `warm_server` and ends as the command ended. Runs under the SDK's own Python."""

from __future__ import annotations

import json
import os
import socket
import struct
import sys

_HEADER = struct.Struct("!I")


def main(path: str, arguments: list[str]) -> int:
    """Send the command with our own standard files; its exit code, or 70 when it ended without one."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(path)
        asked = {"arguments": arguments, "environment": dict(os.environ), "folder": os.getcwd()}  # noqa: PTH109, TID251 - stdlib only, as it is
        raw = json.dumps(asked).encode()
        message = _HEADER.pack(len(raw)) + raw
        sent = socket.send_fds(connection, [message], [0, 1, 2])
        connection.sendall(message[sent:])
        answer = connection.recv(_HEADER.size)
    return int(_HEADER.unpack(answer)[0]) if len(answer) == _HEADER.size else 70


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
