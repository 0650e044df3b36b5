"""The hub page of `./deploy.sh local`: behind its own sign-in, with an administrator who is one, and JupyterLab if asked for."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
import requests

from cli.local.people import ADMINISTRATOR, ADMINISTRATORS
from shared.settings import load_settings
from tests.e2e.local_run import Local, alive, news, processes_naming, running_local, until
from tests.emulator.iap_kit import Browser
from tests.emulator.jupyter_kit import jupyter_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.e2e, pytest.mark.waits("for the clock of a whole system"), pytest.mark.timeout(240)]
ANA = "ana.silva@example.com"


@pytest.fixture(scope="module")
def local() -> Iterator[Local]:
    with running_local("--no-examples", "--speed", "240") as made:
        yield made


def front_of(local: Local) -> str:
    return str(local.control("GET", "iap")["url"])


def get(local: Local, path: str) -> dict[str, Any]:
    answer = local.http.get(f"{local.url}{path}", timeout=30)
    assert answer.ok, answer.text
    return dict(answer.json())


def test_the_page_s_address_is_the_first_thing_to_try(local: Local) -> None:
    assert front_of(local) == f"http://localhost:{local.port + 1}"
    until(lambda: len(local.lines) > 1, seconds=60, what="the second line")
    assert local.lines[1] == f"Open {front_of(local)} in a browser, and sign in as one of the example people."


def test_the_page_is_behind_the_sign_in_and_takes_no_other_word(local: Local) -> None:
    front = front_of(local)
    browser = Browser()
    assert browser.arrive(f"{front}/").text.count("<h1>Sign in</h1>") == 1
    assert browser.sign_in(front, ANA).location == "/"
    page = browser.get(f"{front}/")
    assert page.status < 500, page.text
    assert "<h1>Sign in</h1>" not in page.text
    (hub,) = [each for each in local.functions() if each["name"] == "benchkeeper-hub"]
    # The function itself, past the proxy: nobody is let in, whatever they claim.
    claimed = {
        "x-goog-authenticated-user-email": f"accounts.google.com:{ADMINISTRATOR}",
        "X-Goog-IAP-JWT-Assertion": "x.y.z",
    }
    for headers in ({}, claimed):
        assert requests.get(hub["url"], headers=headers, timeout=30).status_code in {401, 403}


def test_the_function_expects_what_the_front_signs(local: Local) -> None:
    front = front_of(local)
    browser = Browser()
    browser.sign_in(front, ANA)
    good = browser.get(f"{front}/")
    wrong = browser.get(
        f"{front}/?{urlencode({'gcp-iap-mode': 'SECURE_TOKEN_TEST', 'iap-secure-token-test-type': 'AUDIENCE'})}"
    )
    assert good.status not in {401, 500}
    assert wrong.status in {401, 403}
    assert wrong.status != good.status


def test_the_administrator_is_a_member_of_the_group_of_the_settings(local: Local) -> None:
    group = load_settings(env="local", environ={}).roles.owner
    assert group is not None
    name = get(local, f"/v1/groups:lookup?{urlencode({'groupKey.id': group})}")["name"]
    members = get(local, f"/v1/{name}/memberships")["memberships"]
    assert [each["preferredMemberKey"]["id"] for each in members] == [*ADMINISTRATORS]
    assert set(ADMINISTRATORS) <= {person["email"] for person in local.control("GET", "people")["people"]}


@pytest.mark.jupyter
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found through /proc")
def test_with_jupyter_a_joiner_s_notebook_opens_and_nothing_is_left_in_the_end() -> None:
    jupyter_environment()
    with running_local("--no-examples", "--speed", "240", "--with-jupyter") as local:
        local.publish(news("joiner", ANA, groups=("data-analysts@example.com",)))
        with local.world() as world:
            until(lambda: world.owners("ACTIVE") == [ANA], seconds=60, what="it is ACTIVE")
            (instance,) = world.instances()
        assert re.fullmatch(
            rf"[0-9a-f]{{16}}-dot-europe-west1\.notebooks\.localhost:{local.port + 2}", instance.proxy_uri
        )
        until(
            lambda: [each["state"] for each in local.control("GET", "jupyter")["labs"]] == ["running"],
            seconds=90,
            what=lambda: f"JupyterLab answers: {local.control('GET', 'jupyter')}",
        )
        browser = Browser()
        browser.sign_in(front_of(local), ANA)
        assert "<title>JupyterLab</title>" in browser.arrive(f"http://{instance.proxy_uri}/lab").text
        pids = [int(each["pid"]) for each in local.control("GET", "jupyter")["labs"]]
        local.process.send_signal(signal.SIGINT)
        assert local.process.wait(40) == 0
        assert [pid for pid in pids if alive(pid)] == []
        assert processes_naming(f"--port {local.port}") == []
