"""The runner of gcloud, through which a deployment reads and changes the resources of Google Cloud.

Resources that gcloud supports only in alpha (alert policies, notification channels) or not at all (BigQuery views) are
handled by the plain REST API, with gcloud's own token.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from msgspec import Struct

from cli.deploy.failures import DeployError, NoLoginError, NotThereError, NotYetError, failure

OLDEST = 528
# Seconds between tries while a new resource is not known everywhere yet: two minutes in all.
PATIENCE_S = (1, 2, 4, 8, 16, 30, 60)
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_SERVICES = {
    "monitoring": "https://monitoring.googleapis.com/",
    "bigquery": "https://bigquery.googleapis.com/",
    "cloudidentity": "https://cloudidentity.googleapis.com/",
    "compute": "https://compute.googleapis.com/compute/v1/",
}
_REST_TIMEOUT_S = 60
_ACCOUNT = re.compile(r"[^@\s,=]{1,200}@[^@\s,=]{1,200}")  # the address becomes part of a command


class FileWord(Struct, frozen=True):
    """An argument of a command that names a file with this text: `--file=…`. The file exists as long as the command runs."""

    flag: str
    text: str
    suffix: str = ".json"


class Call(Struct, frozen=True):
    """A REST call: service, HTTP method, path and body, such as `monitoring`, `POST`, `v3/projects/p/alertPolicies`."""

    service: str
    verb: str
    path: str
    body: Mapping[str, Any] | None = None

    def __str__(self) -> str:
        return f"{self.verb} {_SERVICES[self.service]}{self.path}"


Command = tuple["str | FileWord", ...]
# A command, a call, or a function that returns the next commands once the earlier work is done.
Do = Command | Call | Callable[[], "Sequence[Command | Call]"]


def shown(do: Do) -> str:
    """Return a command as a user would type it in a shell, or a REST call as text.

    A file is shown as `FILE`, and commands that depend on earlier commands as a note.
    """
    if callable(do):
        return "(the next commands depend on the result)"
    if isinstance(do, Call):
        return str(do)
    words = [word if isinstance(word, str) else f"{word.flag}=FILE{word.suffix}" for word in do]
    return shlex.join(["gcloud", *words])


class Gcloud:
    """The runner of gcloud for one project."""

    def __init__(self, project: str, *, executable: str = "gcloud") -> None:
        self.project = project
        self._executable = executable
        self._http = requests.Session()
        self._lock = threading.Lock()
        self._token = ""
        self._endpoints: dict[str, str] = {}

    def check(self) -> None:
        """Raise `DeployError` if gcloud is missing or too old."""
        if shutil.which(self._executable) is None:
            raise NoLoginError(
                "gcloud is not installed.", "Install the Google Cloud CLI: https://cloud.google.com/sdk/docs/install"
            )
        versions = json.loads(self._run(("version", "--format=json"), "gcloud version"))
        version = str(versions.get("Google Cloud SDK", "0"))
        major = version.partition(".")[0]
        if major.isdigit() and int(major) < OLDEST:
            raise DeployError(
                f"gcloud {version} is too old; {OLDEST} or newer is needed.", "Run: gcloud components update"
            )

    def read(self, *words: str, project: bool = True) -> Any:
        """Return the JSON output of a list, describe or get-iam-policy command; None if gcloud printed nothing.

        Raise `DeployError` or a subclass if the command fails.
        """
        command = (*words, "--format=json", *((f"--project={self.project}",) if project else ()))
        text = self._run(command, f"gcloud {' '.join(w for w in words[:4] if not w.startswith('--'))}")
        return json.loads(text) if text.strip() else None

    def do(self, do: Command | Call) -> Any:
        """Run a gcloud command and return its output, or make a REST call and return its JSON.

        Raise `DeployError` or a subclass if the command or the call fails.
        """
        if isinstance(do, Call):
            return self.call(do)
        what = f"gcloud {' '.join(w for w in do[:4] if isinstance(w, str) and not w.startswith('--'))}"
        with tempfile.TemporaryDirectory(prefix="benchkeeper-") as folder:
            words = [
                word if isinstance(word, str) else f"{word.flag}={_written(Path(folder), number, word)}"
                for number, word in enumerate(do)
            ]
            where = () if any(word.startswith("--organization=") for word in words) else (f"--project={self.project}",)
            return self._run((*words, *where, "--format=none"), what)

    def account(self) -> str:
        """Return the address of the account that gcloud uses; "" if gcloud names none."""
        said = self._run(("config", "get", "account"), "gcloud config get account").strip()
        return said if _ACCOUNT.fullmatch(said) else ""

    def _run(self, words: Sequence[str], what: str) -> str:
        try:
            done = subprocess.run(  # noqa: S603 - gcloud with fixed arguments; no shell is involved
                [self._executable, *words, "--quiet"],
                capture_output=True,
                text=True,
                check=False,
                timeout=1800,
                start_new_session=True,  # Ctrl-C must only reach us: a running command finishes
            )
        except FileNotFoundError as error:
            raise DeployError("gcloud is not installed.", "Install the Google Cloud CLI.") from error
        except subprocess.TimeoutExpired as error:
            raise NotYetError(f"{what} took longer than 30 minutes.", "Run this again.", said=str(error)) from error
        if done.returncode != 0:
            raise failure(done.stderr or done.stdout, project=self.project, what=what)
        return done.stdout

    def call(self, call: Call) -> Any:
        """Make a REST call with gcloud's token. Return the response's JSON, {} for an empty response.

        Raise `DeployError` or a subclass if the call fails.
        """
        url = f"{self._endpoint(call.service)}{call.path}"
        try:
            answer = self._answer(call, url)
            if answer.status_code == requests.codes.unauthorized:  # a token lives for an hour
                with self._lock:
                    self._token = ""
                answer = self._answer(call, url)
        except requests.RequestException as error:
            raise NotYetError("Google Cloud did not answer.", "Run this again.", said=str(error)) from error
        if answer.ok:
            return answer.json() if answer.content else {}
        raise failure(
            f"HTTPError {answer.status_code}: {answer.text}",
            project=self.project,
            what=f"{call.verb} {urlsplit(url).path}",
        )

    def _answer(self, call: Call, url: str) -> requests.Response:
        headers = {"Authorization": f"Bearer {self._bearer()}"}
        return self._http.request(call.verb, url, json=call.body, timeout=_REST_TIMEOUT_S, headers=headers)

    def goes_to_google(self, service: str) -> bool:
        """Return True if calls of that service go to Google: gcloud has no other endpoint configured for the service."""
        return not self._run(("config", "get", f"api_endpoint_overrides/{service}"), "gcloud config get").strip()

    def token(self) -> str:
        """Return the access token of the account that gcloud uses."""
        return self._bearer()

    def _bearer(self) -> str:
        with self._lock:
            if not self._token:
                self._token = self._run(("auth", "print-access-token"), "gcloud auth print-access-token").strip()
            return self._token

    def _endpoint(self, service: str) -> str:
        """Return the endpoint that gcloud itself would use: gcloud's `api_endpoint_overrides` also apply to the REST calls of this module."""
        with self._lock:
            if service not in self._endpoints:
                set_to = self._run(("config", "get", f"api_endpoint_overrides/{service}"), "gcloud config get").strip()
                self._endpoints[service] = _safe(set_to or _SERVICES[service])
            return self._endpoints[service]


def _safe(endpoint: str) -> str:
    """Return the endpoint with one slash at the end. Raise `DeployError` if credentials would cross a network in clear text."""
    parts = urlsplit(endpoint)
    if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
        raise DeployError(
            f"gcloud's endpoint {endpoint} is neither https nor this machine.",
            "Unset it: gcloud config unset api_endpoint_overrides/…",
        )
    return endpoint.rstrip("/") + "/"


def _written(folder: Path, number: int, word: FileWord) -> Path:
    path = folder / f"{number}{word.suffix}"
    path.write_text(word.text, encoding="utf-8")
    return path


class NothingThere(Gcloud):
    """A gcloud of an empty project, for a plan without a login.

    Lists and policies are empty, and every single resource is missing.
    """

    def read(self, *words: str, project: bool = True) -> Any:
        """Return None for a list or a policy. Raise `NotThereError` for everything else."""
        del project
        if {"list", "get-iam-policy"} & set(words):
            return None
        raise _not_there(" ".join(words))

    def call(self, call: Call) -> Any:
        """Raise `NotThereError`: nothing exists in an empty project."""
        raise _not_there(str(call))

    def account(self) -> str:
        """Return "": no account is logged in."""
        return ""


def _not_there(what: str) -> NotThereError:
    return NotThereError(f"Nobody is logged in, so this was not read: {what}.", "Run: gcloud auth login")
