"""The program `gcloud` that hands its command to `warm_server` and ends as the command ended. Runs under the SDK's own Python.

It is started for each of a deployment's hundreds of commands, so it imports C modules alone: `json`, `os` and `socket` took half of its time.
"""

import _socket
import posix
import sys

_LENGTH = 4


def main(path: str, arguments: list[str]) -> int:
    """Send the command with our own standard files; its exit code, or 70 when it ended without one."""
    words = [word.encode(sys.getfilesystemencoding(), "surrogateescape") for word in arguments]
    variables = [name + b"=" + value for name, value in posix.environ.items()]
    asked = b"\0".join([posix.getcwdb(), b"%d" % len(words), *words, *variables])
    message = len(asked).to_bytes(_LENGTH, "big") + asked
    files = b"".join(number.to_bytes(4, sys.byteorder) for number in (0, 1, 2))
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    connection.connect(path)
    sent = connection.sendmsg([message], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, files)])
    connection.sendall(message[sent:])
    answer = connection.recv(_LENGTH)
    return int.from_bytes(answer, "big") if len(answer) == _LENGTH else 70


if __name__ == "__main__":
    posix._exit(main(sys.argv[1], sys.argv[2:]))
