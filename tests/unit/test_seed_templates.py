"""The example's cluster templates as drafts of ours: mended, said, and right by our own check."""

from __future__ import annotations

import pytest
import yaml
from kit.inprocess import ROOT

from shared.cloud.dataproc.cluster_fields import PERSONAL_AUTH_USER, SET_HERE
from shared.cloud.dataproc.masters import check_masters
from shared.domain.things.catalog import MasterTemplate
from shared.domain.things.identity import UserEmail
from shared.seed_templates import _PERSONAL_AUTH, _SET_HERE, BUCKET_MARK, USER_MARK, collisions, draft_of, is_as_made

MASTER = f"""\
clusterName: CLUSTER_NAME
config:
  softwareConfig:
    imageVersion: 1.5-ubuntu18
    optioimage-versionnalComponents: [ANACONDA, JUPYTER]
    properties:
      {PERSONAL_AUTH_USER}: {USER_MARK}
      spark:spark.app.owner: "of {USER_MARK}"
  gceClusterConfig:
    serviceAccountScopes: [https://www.googleapis.com/auth/cloud-platform]
  initializationActions:
    - executableFile: gs://{BUCKET_MARK}/enable_spark_bq.sh
      executionTimeout: 600s
  lifecycleConfig:
    idleDeleteTtl: 7200s
  masterConfig: {{numInstances: 1, machineTypeUri: n1-standard-4}}
"""


def draft(text: str = MASTER):
    return draft_of("per-auth-cluster", text, "their-bucket")


def faults(made) -> list[str]:
    return [str(f) for f in check_masters({made.name: MasterTemplate(name=made.name, text=made.text)}, "imported")]


def test_a_draft_passes_our_own_check_and_says_what_was_changed():
    made = draft()
    assert (made.fault, faults(made)) == ("", [])
    config = yaml.safe_load(made.text)["config"]
    assert config == {
        "softwareConfig": {"imageVersion": "2.2-debian12", "optionalComponents": ["JUPYTER"], "properties": {}},
        "initializationActions": [
            {"executableFile": "gs://their-bucket/enable_spark_bq.sh", "executionTimeout": "600s"}
        ],
        "lifecycleConfig": {"idleDeleteTtl": "7200s", "autoDeleteTtl": "172800s"},
        "masterConfig": {"numInstances": 1, "machineTypeUri": "n1-standard-4"},
        "endpointConfig": {"enableHttpPortAccess": True},
    }
    said = "\n".join(made.notes)
    for word in (
        "clusterName left out", "optioimage-versionnalComponents", "ANACONDA left out", "'1.5-ubuntu18' is not supported",
        f"{PERSONAL_AUTH_USER} left out", "spark:spark.app.owner left out", "autoDeleteTtl: 172800s added",
        "serviceAccountScopes left out", "No gceClusterConfig.serviceAccount", "enableHttpPortAccess: true added",
        "initializationActions[0].executableFile points into the example's bucket",
    ):  # fmt: skip
        assert word in said
    assert all(f"#   {note}" in made.text for note in made.notes)
    assert USER_MARK not in str(config)
    assert BUCKET_MARK not in made.text


def test_what_is_right_already_is_left_as_it_is():
    text = (ROOT / "config" / "templates" / "personal-auth-cluster.yaml").read_text(encoding="utf-8")
    made = draft(text)
    assert yaml.safe_load(made.text) == yaml.safe_load(text)
    assert [note for note in made.notes if "serviceAccount" not in note] == []


def test_a_template_without_limits_gets_both():
    made = draft("config:\n  masterConfig: {numInstances: 1}\n")
    assert faults(made) == []
    lifecycle = yaml.safe_load(made.text)["config"]["lifecycleConfig"]
    assert lifecycle == {"idleDeleteTtl": "7200s", "autoDeleteTtl": "172800s"}
    assert yaml.safe_load(draft("{}").text)["config"]["softwareConfig"]["imageVersion"] == "2.2-debian12"


def test_an_unknown_field_is_left_for_a_person_and_named():
    made = draft(MASTER.replace("idleDeleteTtl", "idleDeletTtl"))
    (fault,) = faults(made)
    assert "idleDeletTtl" in fault
    assert "idleDeleteTtl" in fault


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("config: [", "line "),
        ("- a", "a mapping"),
        ("config: 3", "'config' is not a mapping"),
        ("config: {softwareConfig: x}", "softwareConfig"),
        ("config: {softwareConfig: {optionalComponents: x}}", "is not a list"),
        ("config: {softwareConfig: {properties: [x]}}", "properties"),
        ("config: {lifecycleConfig: 3}", "lifecycleConfig"),
    ],
)
def test_what_cannot_be_a_template_is_said(text, words):
    made = draft(text)
    assert made.text == ""
    assert words in made.fault


def test_what_benchkeeper_sets_is_known_here_as_it_is_where_it_is_set():
    assert (_SET_HERE, _PERSONAL_AUTH) == (SET_HERE, PERSONAL_AUTH_USER)


def made_for(user: str, master: str = MASTER) -> str:
    """As the example's script writes it: two replacements, and `echo` ends the text with one new line."""
    return master.rstrip("\n").replace(USER_MARK, user).replace(BUCKET_MARK, "b") + "\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (made_for("ana@example.com"), True),
        (made_for("ana@example.com").replace("\n", "\r\n"), True),
        (made_for("ana@example.com", "other: x\n\n"), True),
        (made_for("ben@example.com"), False),
        (made_for("ana@example.com").replace("n1-standard-4", "n1-standard-8"), False),
        ("", False),
    ],
)
def test_a_copy_is_as_some_master_makes_it_or_it_differs(text, expected):
    assert is_as_made(text, {"one": MASTER, "two": "other: x"}, "ana@example.com", "b") is expected


def test_people_whom_the_example_could_not_tell_apart():
    users = [UserEmail(f"{name}") for name in ("ann@a.com", "ben@a.com", "ann@b.com", "ann@a.com")]
    assert collisions(users) == [("ann@a.com", "ann@b.com")]
