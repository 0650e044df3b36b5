"""What goes wrong on the way: half of it fails and the next run completes it; every cause is told in one line, with its remedy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from emulator.admin import errors
from emulator.errors import ApiError
from tests.kit.acme import PROJECT, REGION, Acme, acme, audit

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900), pytest.mark.gcloud, pytest.mark.slow]

DENIED = errors.permission_denied("some.thing.create", f"projects/{PROJECT}")
# One of each kind of call, refused once; the step that it belongs to; together only what does not stand on each other.
REFUSED: dict[str, list[tuple[str, str, str]]] = {
    "accounts and buckets": [
        ("iam", "POST v1/projects/*/serviceAccounts", "account benchkeeper-"),
        ("iam", "POST v1/projects/*/roles", "role benchkeeper_"),
        ("storage", "POST */b", "bucket "),
        ("pubsub", "PUT v1/projects/*/subscriptions/workbench-dead-letter-kept*", "subscription workbench-"),
        ("logging", "POST v2/projects/*/metrics", "metric "),
    ],
    "topics and policies": [
        ("pubsub", "PUT v1/projects/*/topics/workbench-tick", "topic workbench-tick"),
        ("cloudresourcemanager", "POST v1/projects/*:setIamPolicy", "access "),
        ("iam", "POST v1/projects/*/serviceAccounts/service-*:setIamPolicy", "identity "),
        ("monitoring", "POST v1/projects/*/dashboards", "dashboard "),
    ],
    # A sink is led to its topic once the functions hear there, so it stands on all of them.
    "sinks": [("logging", "POST v2/projects/*/sinks", "sink benchkeeper-notebooks")],
    "functions": [
        ("cloudfunctions", "POST v2/projects/*/locations/*/functions", "function "),
        ("run", "POST *:setIamPolicy", "caller "),
        ("pubsub", "PATCH v1/projects/*/subscriptions/eventarc*", "delivery "),
        ("monitoring", "POST v3/projects/*/alertPolicies", "alert "),
    ],
}


@pytest.mark.parametrize("group", REFUSED)
def test_half_of_it_fails_and_the_next_run_goes_on(tmp_path: Path, group: str) -> None:
    with acme(tmp_path) as project:
        for service, call, _ in REFUSED[group]:
            project.admin.fail((service, call), DENIED)
        first = project.gcp(expect=1)
        failed = [line.removeprefix("✗ ") for line in first.out.splitlines() if line.startswith("✗ ")]
        for _, _, step in REFUSED[group]:
            assert any(line.startswith(step) for line in failed), f"{step} is told as failed: {failed}"
        assert len(failed) == len(REFUSED[group])
        assert "You lack a permission: some.thing.create." in first.out
        assert "it continues where it stopped" in first.out
        # What does not need the failed steps was done.
        assert len(first.writes) > 20
        project.gcp()
        assert audit(project.admin.state()) == []


def test_patience_with_what_is_not_known_everywhere_yet_and_with_lost_answers(tmp_path: Path) -> None:
    """New services and accounts are refused at first; an answer is lost after the act; somebody else writes at the same time."""
    with acme(tmp_path) as project:
        project.admin.ground.propagation = 2
        lost = errors.unavailable()
        project.admin.fail(("pubsub", "PUT v1/projects/*/topics/workbench-tick"), lost, times=1, after=True)
        project.admin.fail(("monitoring", "POST v3/projects/*/alertPolicies"), lost, times=1, after=True)
        project.admin.fail(("cloudresourcemanager", "*:setIamPolicy"), errors.concurrent_change(), times=1)
        project.gcp()
        assert audit(project.admin.state()) == []
        assert project.gcp().writes == []


EVERY_CALL = range(1, 130) if os.environ.get("BENCHKEEPER_EVERY_CALL") else ()  # noqa: TID251 - a switch of this test


@pytest.mark.parametrize("number", EVERY_CALL)
def test_whichever_call_fails_the_next_run_completes(tmp_path: Path, number: int) -> None:
    """Refuses every single call of a deployment in turn, for hours: only with BENCHKEEPER_EVERY_CALL=1."""
    with acme(tmp_path) as project:
        project.admin.fail_call(number, DENIED)
        try:
            project.gcp(expect=1)
        except AssertionError:
            if project.admin.unfired():
                pytest.skip(f"there are fewer than {number} calls")
            raise
        project.gcp()
        assert audit(project.admin.state()) == []


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Acme]:
    with acme(tmp_path) as project:
        yield project


LIST = ("serviceusage", "GET v1/projects/*/services")
DESCRIBE = ("cloudresourcemanager", f"GET v1/projects/{PROJECT}")
ENABLE = ("serviceusage", "POST *")
TOLD: dict[str, tuple[tuple[str, str], ApiError, str, str]] = {
    "a project that is not there": (
        DESCRIBE, errors.no_such_project(PROJECT), "There is no project acme-analytics, or you have no access to it.",
        "gcloud projects list",
    ),
    "not logged in": (
        DESCRIBE, errors.not_logged_in("GetProject", "cloudresourcemanager.googleapis.com"),
        "You are not logged in to Google Cloud.", "gcloud auth login",
    ),
    "no right to look": (
        LIST, errors.permission_denied("serviceusage.services.list", f"projects/{PROJECT}"),
        "You lack a permission: serviceusage.services.list.", "Who may deploy",
    ),
    "no right to use": (
        LIST, errors.user_project_denied(PROJECT, "serviceusage.googleapis.com"), "You lack a permission:", "Who may deploy",
    ),
    "billing is off": (
        ENABLE, errors.billing_off("123456789012", "compute.googleapis.com"), "Billing is off for project acme-analytics.",
        "gcloud billing projects link acme-analytics",
    ),
    "a quota": (
        ENABLE, errors.quota("serviceusage.googleapis.com", "123456789012"), "A quota of project acme-analytics is used up.",
        "A quota rise",
    ),
    "a policy of the organization": (
        ENABLE, errors.organization_policy(PROJECT, "group:x@other.example"), "A policy of the organization forbids it.",
        "Ask an administrator of organization policies",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", TOLD)
def test_a_cause_and_a_remedy_in_a_line_each(bare: Acme, what: str) -> None:
    match, error, cause, remedy = TOLD[what]
    bare.admin.fail(match, error, times=None)
    ran = bare.gcp(expect=1)
    lines = [line.strip() for line in (ran.out + ran.err).splitlines()]
    told = next((i for i, line in enumerate(lines) if line.startswith("✗") and cause in line), None)
    assert told is not None, ran.out + ran.err
    assert remedy in lines[told + 1]
    assert "Traceback" not in ran.err
    assert ran.writes == []


def test_a_service_that_is_off_is_named(bare: Acme) -> None:
    bare.admin.fail(LIST, errors.api_disabled("serviceusage.googleapis.com", PROJECT), times=None)
    ran = bare.gcp(expect=1)
    assert "A service of project acme-analytics is off: serviceusage.googleapis.com." in ran.err
    assert "gcloud services enable serviceusage.googleapis.com --project=acme-analytics" in ran.err


def test_a_settings_file_of_another_project_is_not_used(bare: Acme) -> None:
    (bare.config / "settings.prod.yaml").write_text(
        "project: other-project\nzones: [us-east1-b]\nbucket: other\npeople: {domains: [acme.example]}\n"
    )
    ran = bare.gcp(expect=2)
    assert "config/settings.prod.yaml: project: it is for project other-project." in ran.err
    assert f"The option is --region {REGION}" in ran.err
    assert bare.admin.journal == []


def test_an_organization_goes_into_the_first_settings_file_and_is_not_contradicted_later(bare: Acme) -> None:
    plan = bare.gcp("--dry-run", "--organization", "987654321098")
    assert {"sink benchkeeper-people", "writer benchkeeper-people"} <= set(plan.lines("+"))
    (bare.config / "settings.prod.yaml").write_text(
        f"project: {PROJECT}\nzones: [{REGION}-b]\nbucket: some-bucket\npeople: {{domains: [acme.example]}}\n"
    )
    ran = bare.gcp("--organization", "987654321098", expect=2)
    assert 'Add it there: deployment: {organization: "987654321098"}' in ran.err
    assert ran.writes == []


def test_nobody_is_asked_without_a_terminal(bare: Acme) -> None:
    ran = bare.deploy("gcp", "--project", PROJECT, "--region", REGION, expect=1)
    assert "Use --yes to go ahead, or --dry-run" in ran.err
    assert ran.writes == []
