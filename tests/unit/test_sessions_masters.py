"""Masters of serverless sessions: what is wrong with one has a line and says what is valid; what is right runs as the person."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from google.cloud.dataproc_v1.types import SessionTemplate
from google.protobuf import json_format
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from shared.cloud.dataproc.masters import check_masters, judge_masters
from shared.cloud.dataproc.session_render import render_session
from shared.cloud.dataproc.target import RenderTarget
from shared.domain.template.sessions import LABEL_DIGEST, SessionOffer, digest_label
from shared.domain.things.catalog import MasterTemplate
from shared.domain.things.errors import InvalidSpecError, Reason

FOLDER = Path(__file__).resolve().parents[2] / "config" / "templates"
SHIPPED = [path for path in sorted(FOLDER.glob("*.yaml")) if "Session:" in path.read_text(encoding="utf-8")]
SUBNET = "projects/acme-analytics/regions/europe-west1/subnetworks/notebooks"
TARGET = RenderTarget(project="acme-analytics", bucket="acme-benchkeeper", subnet=SUBNET)
OFFER = SessionOffer(session_id="analyst-spark-1", profile="analyst", template="spark")
NAME = "projects/acme-analytics/locations/europe-west1/sessionTemplates/analyst-spark-1"
EUC = {"userWorkloadAuthenticationType": "END_USER_CREDENTIALS"}


def master(text: str) -> MasterTemplate:
    return MasterTemplate(name="spark", text=text)


def faults(text: str):
    return check_masters({"spark": master(text)}, "templates")


def rendered(text: str, target: RenderTarget = TARGET, *, is_shared: bool = False):
    offer = replace(OFFER, is_shared=is_shared)
    labels = {"managed-by": "benchkeeper", "team": "x"}
    made = render_session(master(text), offer, title="Analyst", labels=labels, name=NAME, target=target)
    json_format.ParseDict(made.body, SessionTemplate.pb()())
    return made.body


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_shipped_masters_run_as_the_person_in_our_network(path):
    text = path.read_text(encoding="utf-8")
    assert faults(text) == []
    body = rendered(text)
    execution = body["environmentConfig"]["executionConfig"]
    assert (execution["authenticationConfig"], execution["subnetworkUri"]) == (EUC, SUBNET)
    written = yaml.safe_load(text)
    assert body["runtimeConfig"] == written["runtimeConfig"]
    assert body["description"] == written["description"]
    assert execution["idleTtl"] == written["environmentConfig"]["executionConfig"]["idleTtl"]
    assert body["labels"] == {
        "managed-by": "benchkeeper",
        "team": "x",
        LABEL_DIGEST: digest_label(OFFER.session_id, {**body, "labels": {"managed-by": "benchkeeper", "team": "x"}}),
    }


def test_something_is_shipped():
    assert "serverless-spark" in {path.stem for path in SHIPPED}


@pytest.mark.parametrize("kind", ["jupyterSession:\n", "jupyterSession: {}\n", "sparkConnectSession:\n"])
def test_a_kind_without_anything_more_is_a_session_all_the_same(kind):
    assert faults(kind) == []
    body = rendered(kind)
    assert body[kind.partition(":")[0]] == {}
    assert body["environmentConfig"]["executionConfig"]["authenticationConfig"] == EUC


def test_names_that_several_profiles_have_tell_them_apart():
    text = "jupyterSession: {displayName: Spark}\n"
    assert rendered(text)["jupyterSession"]["displayName"] == "Spark"
    assert rendered(text, is_shared=True)["jupyterSession"]["displayName"] == "Spark (Analyst)"
    assert "displayName" not in rendered("jupyterSession: {kernel: SCALA}\n", is_shared=True)["jupyterSession"]


def test_the_network_of_the_settings_takes_the_place_of_the_masters():
    text = "jupyterSession: {}\nenvironmentConfig: {executionConfig: {networkUri: default}}\n"
    assert faults(text) == []
    execution = rendered(text)["environmentConfig"]["executionConfig"]
    assert execution["subnetworkUri"] == SUBNET
    assert "networkUri" not in execution
    without = rendered(text, replace(TARGET, subnet=""))["environmentConfig"]["executionConfig"]
    assert without["networkUri"] == "default"


def test_sessions_do_not_stage_where_the_records_are():
    text = "jupyterSession: {}\nenvironmentConfig: {executionConfig: {stagingBucket: acme-benchkeeper}}\n"
    with pytest.raises(InvalidSpecError, match="cannot stage"):
        rendered(text)
    other = rendered(text.replace("acme-benchkeeper", "spark-staging"))
    assert other["environmentConfig"]["executionConfig"]["stagingBucket"] == "spark-staging"


def test_rendering_is_repeatable_and_every_change_has_another_digest():
    text = "description: a\njupyterSession: {}\n"
    assert rendered(text) == rendered(text)
    digests = {
        rendered(each, target)["labels"][LABEL_DIGEST]
        for each, target in [
            (text, TARGET),
            (text.replace("a\n", "b\n", 1), TARGET),
            (text, replace(TARGET, subnet="")),
            (f"{text}runtimeConfig: {{version: '2.3'}}\n", TARGET),
        ]
    }
    assert len(digests) == 4


# --- masters that are wrong ---


def test_an_unknown_field_is_named_with_line_and_nearest_key():
    (fault,) = faults("jupyterSession:\n  kernel: PYTHON\n  dispalyName: x\n")
    assert (fault.file, fault.line, fault.field) == ("templates/spark.yaml", 3, "jupyterSession.dispalyName")
    assert fault.hint == "Did you mean 'displayName'?"


def test_the_two_kinds_are_told_apart():
    (fault,) = faults("jupyterSession: {}\nconfig: {}\n")
    assert (fault.line, fault.field) == (2, "config")
    assert "a cluster template" in fault.problem
    (fault,) = faults("config:\n  lifecycleConfig: {idleDeleteTtl: 7200s, autoDeleteTtl: 172800s}\nruntimeConfig: {}\n")
    assert (fault.line, fault.problem) == (3, "unknown field 'runtimeConfig'")
    assert "serverless sessions" in fault.hint


@pytest.mark.parametrize("text", ['"jupyterSession": {}\n', "{jupyterSession: {}}\n", " jupyterSession: {}\n"])
def test_a_kind_that_is_written_otherwise_is_a_fault_and_no_cluster(text):
    (fault,) = faults(text)
    assert (fault.line, fault.field) == (1, "jupyterSession")
    assert "beginning of a line" in fault.problem


def test_two_kinds_at_once_are_a_fault():
    (fault,) = faults("jupyterSession: {}\nsparkConnectSession: {}\n")
    assert fault.line == 2
    assert "one of the two" in fault.hint


@pytest.mark.parametrize("key", ["name", "labels", "creator", "createTime", "updateTime", "uuid"])
def test_what_is_set_for_each_profile_is_ignored_with_a_note(key):
    text = f"jupyterSession: {{}}\n{key}: {'{}' if key == 'labels' else 'x'}\n"
    assert faults(text) == []
    (note,) = judge_masters({"spark": master(text)}, "templates")
    assert (note.line, note.field, note.is_note) == (2, key, True)
    assert rendered(text).get(key) != "x"


@pytest.mark.parametrize("said", ["SERVICE_ACCOUNT", "AUTHENTICATION_TYPE_UNSPECIFIED", "1", "[a]"])
def test_a_session_that_runs_as_something_else_than_the_person_is_refused(said):
    text = (
        "jupyterSession: {}\nenvironmentConfig:\n  executionConfig:\n    authenticationConfig:\n"
        f"      userWorkloadAuthenticationType: {said}\n"
    )
    (fault,) = faults(text)
    assert fault.line == 5
    assert "END_USER_CREDENTIALS" in fault.hint
    assert faults(text.replace(said, "END_USER_CREDENTIALS")) == []
    with pytest.raises(InvalidSpecError):
        rendered(text)


def test_an_account_shared_by_users_is_refused():
    account = "spark@acme-analytics.iam.gserviceaccount.com"
    (fault,) = faults(f"jupyterSession: {{}}\nenvironmentConfig:\n  executionConfig:\n    serviceAccount: {account}\n")
    assert (fault.line, fault.field) == (4, "environmentConfig.executionConfig.serviceAccount")


@pytest.mark.parametrize(
    ("field", "value", "right"),
    [("idleTtl", "599s", False), ("idleTtl", "600s", True), ("ttl", "1209600s", True), ("ttl", "1209600.5s", False), ("ttl", "0s", False)],
)  # fmt: skip
def test_times_to_live_are_those_that_dataproc_takes(field, value, right):
    found = faults(f"jupyterSession: {{}}\nenvironmentConfig:\n  executionConfig:\n    {field}: {value}\n")
    assert [(fault.line, fault.field) for fault in found] == (
        [] if right else [(4, f"environmentConfig.executionConfig.{field}")]
    )


@pytest.mark.parametrize(
    "text",
    [
        "jupyterSession: 7\n",
        "jupyterSession: {kernel: RUST}\n",
        "jupyterSession: {}\njupyterSession: {}\n",
        "jupyterSession: {}\nruntimeConfig: {version: 2.3}\n",
        "jupyterSession: {}\nenvironmentConfig: text\n",
        "jupyterSession: {}\nenvironmentConfig: {executionConfig: {ttl: a day}}\n",
        "jupyterSession: {}\nenvironmentConfig: {executionConfig: {networkUri: a, subnetworkUri: b}}\n",
        "jupyterSession: {}\n---\njupyterSession: {}\n",
        "jupyterSession: &x {a: *x}\n",
    ],
)
def test_a_wrong_master_is_a_fault_and_rendering_it_an_error_of_the_template(text):
    found = faults(text)
    assert found
    assert all(fault.problem for fault in found)
    with pytest.raises(InvalidSpecError) as caught:
        rendered(text)
    assert "'spark'" in caught.value.user_message
    assert caught.value.reason is Reason.INVALID_SPEC


_YAML = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(allow_nan=False)
    | st.sampled_from(["x", "600s", "PYTHON"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["executionConfig", "authenticationConfig", "ttl", "properties", "kernel", "peripheralsConfig", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@given(
    st.fixed_dictionaries(
        {"jupyterSession": _YAML}, optional={"environmentConfig": _YAML, "runtimeConfig": _YAML, "description": _YAML}
    )
)
@example({"jupyterSession": [], "environmentConfig": []})
@example({"jupyterSession": None, "environmentConfig": {"executionConfig": None}})
@example({"jupyterSession": {}, "environmentConfig": {"executionConfig": {"authenticationConfig": []}}})
def test_any_master_is_a_fault_or_renders_to_what_dataproc_takes(data):
    text = yaml.safe_dump(data)
    found = faults(text)
    try:
        body = rendered(text)
    except InvalidSpecError:
        assert found
        return
    assert found == []
    assert body["environmentConfig"]["executionConfig"]["authenticationConfig"] == EUC
