"""Runs gcloud commands in forks of a process that has gcloud imported already. Runs under the SDK's own Python, not under ours.

Started by `warm.WarmGcloud` as `python warm_server.py SDK_LIB SOCKET`; ends when its standard input ends. One connection is one
command: a length, then folder, number of arguments, arguments and environment with NUL between them, and three file descriptors in;
an exit code out. A client that goes away takes its command with it. What runs is `googlecloudsdk.gcloud_main.main`, as in the SDK's
`gcloud.py`.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import select
import signal
import socket
import struct
import sys
import threading
from contextlib import suppress
from typing import Any, NoReturn

# What most commands import, beside the surface of the command itself. One that an SDK does not have is left out.
_WARM = (
    "googlecloudsdk.gcloud_main", "googlecloudsdk.calliope.cli", "googlecloudsdk.core.credentials.transports",
    "googlecloudsdk.core.credentials.requests", "googlecloudsdk.api_lib.util.apis",
    "googlecloudsdk.api_lib.util.waiter", "googlecloudsdk.command_lib.iam.iam_util",
    "googlecloudsdk.command_lib.util.concepts.concept_parsers",
    "googlecloudsdk.command_lib.util.apis.yaml_command_translator", "googlecloudsdk.command_lib.projects.util",
    "googlecloudsdk.core.resource.resource_printer", "googlecloudsdk.core.resource.resource_projection_spec",
    "googlecloudsdk.core.console.console_io", "googlecloudsdk.core.console.progress_tracker",
    "googlecloudsdk.core.resources", "googlecloudsdk.api_lib.services.serviceusage",
    "googlecloudsdk.api_lib.services.enable_api", "googlecloudsdk.command_lib.storage.flags",
    "googlecloudsdk.api_lib.storage.gcs_json.client", "googlecloudsdk.command_lib.functions.v2.deploy.command",
    "googlecloudsdk.command_lib.run.connection_context", "googlecloudsdk.command_lib.run.serverless_operations",
    "googlecloudsdk.command_lib.pubsub.flags", "googlecloudsdk.api_lib.pubsub.topics",
    "googlecloudsdk.api_lib.pubsub.subscriptions", "googlecloudsdk.api_lib.logging.util",
    "googlecloudsdk.command_lib.scheduler.flags", "googlecloudsdk.api_lib.monitoring.dashboards",
    "googlecloudsdk.command_lib.eventarc.flags", "googlecloudsdk.calliope.parser_completer",
    "googlecloudsdk.calliope.concepts.multitype", "googlecloudsdk.command_lib.concepts.concept_managers",
    "googlecloudsdk.command_lib.kms.resource_args", "googlecloudsdk.command_lib.util.apis.arg_marshalling",
    "googlecloudsdk.command_lib.util.apis.update", "googlecloudsdk.core.credentials.google_auth_credentials",
    "googlecloudsdk.core.credentials.p12_service_account", "googlecloudsdk.api_lib.functions.transforms",
    "googlecloudsdk.api_lib.storage.s3_xml.client", "google.oauth2.reauth",
    "googlecloudsdk.command_lib.storage.wildcard_iterator", "proto", "_strptime", "apitools.base.py.encoding",
    "requests", "ruamel.yaml", "rsa", "oauth2client.client", "googlecloudsdk.command_lib.scheduler.util",
)  # fmt: skip
_CLIENTS = (
    "cloudfunctions.v1", "cloudfunctions.v2", "cloudkms.v1", "cloudresourcemanager.v1", "cloudscheduler.v1", "eventarc.v1", "iam.v1",
    "logging.v2", "monitoring.v1", "pubsub.v1", "run.v1", "serviceusage.v1", "storage.v1",
)  # fmt: skip
# The commands of a deployment, whose parsers are made once; those of other commands when they are asked for.
_COMMANDS = (
    "auth print-access-token", "beta iap web add-iam-policy-binding", "beta iap web get-iam-policy",
    "beta iap web remove-iam-policy-binding", "beta run services update", "beta services identity create", "config get",
    "eventarc triggers list", "functions delete", "functions deploy", "functions describe", "functions list", "iam roles create",
    "iam roles delete", "iam roles describe", "iam roles list", "iam roles undelete", "iam roles update",
    "iam service-accounts add-iam-policy-binding", "iam service-accounts create", "iam service-accounts delete",
    "iam service-accounts get-iam-policy", "iam service-accounts list", "iam service-accounts remove-iam-policy-binding",
    "logging metrics create", "logging metrics delete", "logging metrics list", "logging metrics update", "logging sinks create",
    "logging sinks delete", "logging sinks describe", "logging sinks list", "logging sinks update", "monitoring dashboards create",
    "monitoring dashboards delete", "monitoring dashboards list", "projects add-iam-policy-binding", "projects describe",
    "projects get-iam-policy", "projects remove-iam-policy-binding", "pubsub subscriptions add-iam-policy-binding",
    "pubsub subscriptions create", "pubsub subscriptions delete", "pubsub subscriptions describe",
    "pubsub subscriptions get-iam-policy", "pubsub subscriptions list", "pubsub subscriptions update",
    "pubsub topics add-iam-policy-binding", "pubsub topics create", "pubsub topics delete", "pubsub topics get-iam-policy",
    "pubsub topics list", "run services add-iam-policy-binding", "run services describe", "run services get-iam-policy",
    "scheduler jobs create pubsub", "scheduler jobs delete", "scheduler jobs list", "services enable", "services list",
    "storage buckets add-iam-policy-binding", "storage buckets create", "storage buckets describe", "storage buckets get-iam-policy",
    "storage buckets remove-iam-policy-binding", "storage buckets update", "version", "workbench instances list",
)  # fmt: skip
_HEADER = struct.Struct("!I")


def main(lib: str, path: str) -> None:
    """Import, listen on the socket `path`, serve until the standard input ends."""
    sys.path[:0] = [os.path.join(lib, "third_party"), lib]  # noqa: PTH118 - as the SDK's gcloud.py does it
    clients = [f"googlecloudsdk.generated_clients.apis.{name}.{name.replace('.', '_')}_client" for name in _CLIENTS]
    for name in (*_WARM, *clients):
        with suppress(ImportError):
            importlib.import_module(name)
    cli = _made()
    # What is here by now is no fork's garbage: a fork that looked through it for garbage would copy all of it.
    gc.collect()
    gc.freeze()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(64)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    # One thread only: a fork of a process with threads may hang.
    while True:
        readable, _, _ = select.select([listener.fileno(), 0], [], [])
        if 0 in readable:
            return
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _serve(connection, lib, cli)
        connection.close()


def _made() -> Any:
    """Return gcloud's command line with the parsers of `_COMMANDS`."""
    cli = importlib.import_module("googlecloudsdk.gcloud_main").CreateCLI([])
    for command in _COMMANDS:
        cli.top_element.LoadSubElementByPath(command.split())
    return cli


def _serve(connection: socket.socket, lib: str, cli: Any) -> NoReturn:
    """Run one command and end this process."""
    code = 70
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raw, files, _, _ = socket.recv_fds(connection, 1 << 20, 3)
        (size,) = _HEADER.unpack(raw[: _HEADER.size])
        raw = raw[_HEADER.size :]
        while len(raw) < size:
            raw += connection.recv(1 << 20)
        folder, count, *words = map(os.fsdecode, raw.split(b"\0"))
        for target, given in enumerate(files):
            os.dup2(given, target)
            os.close(given)
        os.environ.clear()  # noqa: TID251 - this process becomes the command, with the command's environment
        os.environ.update({"CLOUDSDK_ROOT_DIR": os.path.dirname(lib), "PYTHONIOENCODING": "UTF-8"})  # noqa: PTH120, TID251 - as the wrapper
        os.environ.update(word.split("=", 1) for word in words[int(count) :])  # noqa: TID251
        os.chdir(folder)
        sys.argv = ["gcloud", *words[: int(count)]]
        threading.Thread(target=_end_with_client, args=(connection,), daemon=True).start()
        code = _run(cli)
    finally:
        with suppress(OSError):
            connection.sendall(_HEADER.pack(code & 0xFF))
        os._exit(code & 0xFF)


def _end_with_client(connection: socket.socket) -> None:
    """The client sends nothing more: what ends this wait is its end."""
    with suppress(OSError):
        connection.recv(1)
    os._exit(143)


def _run(cli: Any) -> int:
    # What was read of the server's own, empty configuration is forgotten: the command reads its own.
    importlib.import_module("googlecloudsdk.core.configurations.named_configs").ActivePropertiesFile.Invalidate()
    try:
        code = importlib.import_module("googlecloudsdk.gcloud_main").main(gcloud_cli=cli)
    except SystemExit as end:
        code = end.code
    except KeyboardInterrupt:
        code = 130
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    if code is None:
        return 0
    if isinstance(code, int):
        return code
    sys.stderr.write(f"{code}\n")
    sys.stderr.flush()
    return 1


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
