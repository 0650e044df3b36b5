"""The command line's access to the hub page: its URL, and the caller's identity as Identity-Aware Proxy requires it.

On Google Cloud the caller's identity token goes with each call. The embedded cloud has a sign-in page of its own, which accepts
any address without proof.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import click
import requests
from msgspec import Struct

from cli.context import App, guarded, output_option, pass_app
from cli.deploy.data import load_deployment
from cli.local.people import ADMINISTRATOR
from portal.csrf import SCRIPT, SCRIPT_HEADER
from shared.domain.things.errors import PermanentError
from shared.settings import Settings

_TIMEOUT_S = 30
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_MARK = re.compile(r'name="mark" value="([^"]+)"')
_RUNBOOK = "docs/operations.md, Many people are to lose access at once"
_PROBLEM = "application/problem+json"
# A user account cannot choose an audience; the token is then made for gcloud itself (gcloud's own message, 2026-11).
_NO_AUDIENCE = "account type for `--audiences`"


class HubError(PermanentError):
    """The error of a call to the hub page: no URL, no sign-in, no answer, or a refusal. The message says what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(user_message=message, detail=message)


class Door(Struct, frozen=True, kw_only=True):
    """A client of the hub page at `url` that sends and returns JSON. `session` has the caller's sign-in."""

    url: str
    session: requests.Session

    def get(self, path: str) -> dict[str, Any]:
        """Return the JSON response of a GET. Raise `HubError` for any other response."""
        return self._answer("GET", path)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send a change with the headers that the page requires of scripts, and return the JSON response.

        Raise `HubError` for any other response.
        """
        return self._answer("POST", path, body or {})

    def _answer(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        headers = {"Accept": "application/json", **({SCRIPT_HEADER: SCRIPT} if method == "POST" else {})}
        answer = _sent(self.session, method, self.url + path, json=body, headers=headers)
        kind = answer.headers.get("Content-Type", "").partition(";")[0]
        if answer.ok and kind == "application/json":
            found: dict[str, Any] = answer.json()
            return found
        if kind == _PROBLEM:
            problem = answer.json()
            raise HubError(
                _refused(answer.status_code, str(problem.get("detail", "")), str(problem.get("request", "")))
            )
        if answer.status_code in {301, 302, 303, 307, 401, 403}:
            raise HubError(
                f"Identity-Aware Proxy did not let you in at {self.url} ({answer.status_code}). Decide in a browser at "
                f"{self.url}/manage/changes, or see {_RUNBOOK}, for the access of scripts."
            )
        raise HubError(
            f"{self.url} answered {answer.status_code}, so it is not a hub page. Give the hub page's URL with --hub."
        )


def _refused(status: int, said: str, request: str) -> str:
    more = f" (number {request} in the log)" if request and status >= 500 else ""  # noqa: PLR2004 - server errors
    if status == 404:  # noqa: PLR2004 - nothing there
        return "No list with that digest was ever shown. List the waiting changes: benchkeeper guard"
    return f"{said}{more}"


def hub_options(command: Any) -> Any:
    """Return the command with `--hub`, `--as` and `--output`, the options of all commands that call the page."""
    for option in (
        guarded,
        pass_app,
        output_option(),
        click.option(
            "--as",
            "who",
            metavar="ADDRESS",
            help="In the embedded cloud: the address of the caller. Default: its administrator.",
        ),
        click.option("--hub", metavar="URL", help="The hub page. Default: deployment.hub_domain."),
    ):
        command = option(command)
    return command


def open_door(app: App, hub: str | None, who: str | None) -> Door:
    """Return a client of this environment's hub page, signed in with gcloud's account.

    In the embedded cloud, sign in with the address `who`, by default the administrator's. Raise `HubError` if the
    page's URL is not known or the sign-in fails.
    """
    settings = app.settings
    session = requests.Session()
    if settings.api_endpoint is not None:
        return _local(settings.api_endpoint, hub, who or ADMINISTRATOR, session)
    if who is not None:
        raise HubError(
            "--as is only for the embedded cloud. On Google Cloud the account of gcloud is used: gcloud auth login"
        )
    url = _address(settings, hub)
    session.headers["Authorization"] = f"Bearer {_identity_token(url)}"
    return Door(url=url, session=session)


def _address(settings: Settings, hub: str | None) -> str:
    domain = load_deployment(settings).options.hub_domain
    if hub is None and domain is None:
        raise HubError(
            "The hub page's URL is not known: set deployment.hub_domain in the settings, or use --hub https://… "
            "(gcloud run services describe benchkeeper-hub --format='value(status.url)' prints it)."
        )
    url = (hub or f"https://{domain}").rstrip("/")
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        raise HubError(
            f"{url} is not a valid URL of a hub page: your identity is only sent over https. Use --hub https://…"
        )
    return url


def _identity_token(audience: str) -> str:
    """Return gcloud's identity token for this page. Raise `HubError` if gcloud gives none.

    A user account cannot choose the audience, so a user's token is not bound to the page.
    """
    code, token, said = _gcloud(f"--audiences={audience}")
    if code != 0 and _NO_AUDIENCE in said:
        code, token, said = _gcloud()
    if code != 0 or not token:
        line = next((line for line in said.splitlines() if line.strip()), "no reason was given.")
        raise HubError(f"gcloud gave no identity token: {line.strip()} Sign in with: gcloud auth login")
    return token


def _gcloud(*more: str) -> tuple[int, str, str]:
    try:
        done = subprocess.run(  # noqa: S603 - gcloud with fixed arguments; no shell is involved
            ["gcloud", "auth", "print-identity-token", *more, "--quiet"],  # noqa: S607 - found on the caller's own PATH
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    except FileNotFoundError as error:
        raise HubError(
            "gcloud is not installed. Install the Google Cloud CLI: https://cloud.google.com/sdk/docs/install"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise HubError("gcloud gave no identity token within two minutes. Sign in with: gcloud auth login") from error
    return done.returncode, done.stdout.strip(), done.stderr


def _local(endpoint: str, hub: str | None, who: str, session: requests.Session) -> Door:
    """Sign in on the embedded cloud's own page, which accepts any address without proof, and return the client.

    Raise `HubError` if there is no page, the page is not on this machine, or the sign-in fails.
    """
    session.trust_env = False  # loopback: the request must not go to a proxy that the environment names
    app_url = hub or local_page(endpoint)
    if not app_url:
        raise HubError(
            "This embedded cloud has no hub page. Start one with ./deploy.sh local, or give its URL with --hub."
        )
    url = str(app_url).rstrip("/")
    if urlsplit(url).hostname not in _LOOPBACK:
        raise HubError(f"{url} is not on this machine. Choose the environment of that page with --env.")
    mark = _MARK.search(_sent(session, "GET", f"{url}/_sign_in").text)
    form = {"email": who, "mark": mark[1] if mark is not None else "", "continue": "/"}
    answer = _sent(session, "POST", f"{url}/_sign_in", data=form)
    if answer.status_code != 303:  # noqa: PLR2004 - the redirect back to the page
        raise HubError(f"{who} could not sign in at {url}. Use --as with an address, for example --as {ADMINISTRATOR}.")
    return Door(url=url, session=session)


def why_no_page(settings: Settings) -> str:
    """Return the reason why administrators have no page in this environment, or "" if there is a page."""
    if settings.roles.owner is None and settings.roles.operator is None:
        return "hub.admin_group names no administrators."
    if settings.api_endpoint is not None:
        return "" if local_page(settings.api_endpoint) else "this embedded cloud has no hub page."
    options = load_deployment(settings).options
    if options.hub_domain is None and not options.hub_access:
        return "no one may open the hub page (deployment.hub_access)."
    return ""


def local_page(endpoint: str) -> str:
    """Return the URL of the embedded cloud's hub page, or "" if it has none. Raise `HubError` if the embedded cloud does not answer."""
    with requests.Session() as session:
        session.trust_env = False
        return str(_sent(session, "GET", f"{endpoint}/_emulator/iap").json().get("url") or "")


def _sent(session: requests.Session, method: str, url: str, **more: Any) -> requests.Response:
    try:
        return session.request(method, url, timeout=_TIMEOUT_S, allow_redirects=False, **more)
    except requests.RequestException as error:
        raise HubError(
            f"{urlunsplit((*urlsplit(url)[:2], '', '', ''))} does not answer ({type(error).__name__}). Check the URL of the hub page (--hub), and "
            "that the page is running."
        ) from error
