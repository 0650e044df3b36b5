"""The program that opens a page for many users at once, in its own process: `opening.py PORT THREADS < one signed header a line`.

It prints a JSON object: the seconds to the first byte of each 200 answer, and the number of other answers. `hub.py` uses it, so
that client and server do not share an interpreter.
"""

from __future__ import annotations

import http.client
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

HEADER = "x-goog-iap-jwt-assertion"


def first_byte_s(port: int, path: str, token: str) -> tuple[int, float]:
    """Return the status, and the real seconds from opening a new connection to the first byte of the body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        begun = time.perf_counter()
        connection.request("GET", path, headers={HEADER: token} if token else {})
        answer = connection.getresponse()
        answer.read(1)
        took = time.perf_counter() - begun
        answer.read()
    finally:
        connection.close()
    return answer.status, took


def main() -> None:
    port, threads = int(sys.argv[1]), int(sys.argv[2])
    tokens = sys.stdin.read().split("\n")
    took: list[float] = []
    errors = 0

    def ask(token: str) -> tuple[int, float]:
        try:
            return first_byte_s(port, "/", token)
        except (OSError, http.client.HTTPException):
            return 0, 0.0

    begun = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        for status, seconds in pool.map(ask, tokens):
            if status == http.client.OK:
                took.append(seconds)
            else:
                errors += 1
    print(json.dumps({"took": took, "errors": errors, "all_s": time.perf_counter() - begun}))


if __name__ == "__main__":
    main()
