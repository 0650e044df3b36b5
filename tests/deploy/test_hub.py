"""The hub page's door with the real gcloud: Identity-Aware Proxy, who may open it, its domain; and what a deployment never touches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.kit.acme import HUB_DOOR, PROJECT, REGION, Acme, acme, audit

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900), pytest.mark.gcloud, pytest.mark.slow]

HUB, DOMAIN = "benchkeeper-hub", "hub.acme.example"
ANALYSTS, STAFF, THEIRS = "group:analysts@acme.example", "domain:acme.example", "user:auditor@acme.example"
OPENER = "roles/iap.httpsResourceAccessor"
HERE = (f"--region={REGION}", f"--project={PROJECT}")


def openers(state: dict[str, Any]) -> list[dict[str, Any]]:
    return state["proxy_iam"].get(HUB_DOOR, [])


def said_of(out: str, key: str) -> str:
    """The reason that a plan gives."""
    return next(line for line in out.splitlines() if line[2:].startswith(f"{key} "))


def somebody_else_opens_it(project: Acme) -> None:
    words = ("--resource-type=cloud-run", f"--service={HUB}", f"--member={THEIRS}", f"--role={OPENER}", *HERE)
    project.gcloud("beta", "iap", "web", "add-iam-policy-binding", *words)


def a_domain_leads_elsewhere(project: Acme) -> None:
    project.admin.domains.verified.add("acme.example")
    words = ("--service=benchkeeper-tick", f"--domain={DOMAIN}", *HERE)
    project.gcloud("beta", "run", "domain-mappings", "create", *words)


def test_the_page_stands_behind_the_proxy_whatever_happens_to_it(
    tmp_path: Path,
) -> None:
    with acme(tmp_path) as project:
        first = project.gcp()
        assert {f"function {HUB}", f"caller {HUB}", f"proxy {HUB}"} <= set(first.lines("+"))
        assert "hub_access" in said_of(first.out, "opener nobody")
        assert openers(project.admin.state()) == []

        somebody_else_opens_it(project)
        assert "opener nobody" not in project.gcp("--dry-run").lines("!")
        a_domain_leads_elsewhere(project)
        project.settings(f'deployment:\n  hub_access: ["{ANALYSTS}", "{STAFF}"]\n  hub_domain: {DOMAIN}\n')
        named = project.gcp()
        assert "which is not Benchkeeper's" in said_of(named.out, f"domain {DOMAIN}")
        # The settings file goes with the functions: they are deployed anew, and the page's service comes without its proxy.
        assert set(named.lines("+")) == {f"opener {ANALYSTS}", f"opener {STAFF}"}
        assert f"function {HUB}" in named.lines("~")
        state = project.admin.state()
        assert openers(state) == [{"role": OPENER, "members": sorted([ANALYSTS, STAFF, THEIRS])}]
        assert audit(state) == [], "\n".join(audit(state))
        assert project.gcp().writes == []

        (service,) = (each for name, each in project.admin.run.services.items() if name.endswith(HUB))
        del service["metadata"]["annotations"]["run.googleapis.com/iap-enabled"]
        assert project.admin.state()["proxied"] == []
        mended = project.gcp()
        assert (mended.lines("+"), mended.lines("~")) == ([], [f"proxy {HUB}"])
        assert "nobody can open it" in said_of(mended.out, f"proxy {HUB}")
        assert audit(project.admin.state()) == []

        down = project.destroy()
        assert {f"opener {ANALYSTS}", f"opener {STAFF}", f"function {HUB}"} <= set(down.lines("-"))
        (left,) = project.admin.proxy.gone
        assert left.bindings == [{"role": OPENER, "members": [THEIRS]}]
        state = project.admin.state()
        assert state["proxied"] == []
        assert list(state["domains"]) == [DOMAIN], "it led elsewhere, and is left there"


def test_a_domain_leads_to_the_page_once_its_records_are_set(tmp_path: Path) -> None:
    with acme(tmp_path) as project:
        project.gcp()
        project.settings(f"deployment:\n  hub_access: [{STAFF}]\n  hub_domain: {DOMAIN}\n")
        refused = project.gcp(expect=1)
        assert "You have not verified the domain" in refused.out
        assert "gcloud domains verify" in refused.out

        project.admin.domains.verified.add("acme.example")
        assert f"domain {DOMAIN}" in project.gcp().lines("+")
        waiting = project.gcp()
        assert waiting.writes == []
        assert "hub CNAME ghs.googlehosted.com." in said_of(waiting.out, f"domain {DOMAIN}")

        project.admin.domains.be_ready(DOMAIN)
        ready = project.gcp("--dry-run")
        assert f"domain {DOMAIN}" in ready.lines("=")

        assert f"domain {DOMAIN}" in project.destroy().lines("-")
        assert project.admin.state()["domains"] == {}
