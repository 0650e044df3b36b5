"""A user's cluster template: parsed and set, never substituted; whoever they are, nobody can inject anything."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
import yaml
from google.cloud.dataproc_v1.types import Cluster
from google.protobuf import json_format
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kit.making import NOW
from msgspec.structs import replace

from shared.cloud.dataproc import templates
from shared.cloud.dataproc.cluster_fields import PERSONAL_AUTH_USER
from shared.cloud.dataproc.cluster_render import render
from shared.cloud.dataproc.masters import check_masters, judge_masters
from shared.cloud.dataproc.target import RenderTarget
from shared.domain.intent.wanted import new_record
from shared.domain.record.record import UserRecord
from shared.domain.things.catalog import MasterTemplate
from shared.domain.things.clusters import MAX_CLUSTER_NAME, cluster_name
from shared.domain.things.errors import InvalidMessageError, InvalidSpecError, Reason
from shared.domain.things.identity import parse_email

FOLDER = Path(__file__).resolve().parents[2] / "config" / "templates"
SHIPPED = {
    p.stem: MasterTemplate(name=p.stem, text=p.read_text(encoding="utf-8")) for p in sorted(FOLDER.glob("*.yaml"))
}
CLUSTERS = {name: master for name, master in SHIPPED.items() if not master.is_session}
TARGET = RenderTarget(
    project="acme-analytics",
    bucket="acme-benchkeeper",
    subnet="projects/acme-analytics/regions/europe-west1/subnetworks/notebooks",
)
LIFECYCLE = "  lifecycleConfig: {idleDeleteTtl: 7200s, autoDeleteTtl: 172800s}\n"
# Dataproc: 1 to 51 characters, a lower-case letter first, then letters, digits and dashes, no dash last.
CLUSTER_NAME = re.compile(r"[a-z]([a-z0-9-]{0,49}[a-z0-9])?")


def record_of(address: str, cost_center: str = "", profile: str | None = None) -> UserRecord:
    record = new_record(parse_email(address), NOW)
    return replace(record, cost_center=cost_center, spec=replace(record.spec, profile=profile))


def master(text: str, name: str = "spark") -> MasterTemplate:
    return MasterTemplate(name=name, text=text)


def rendered(text: str, address: str = "ana.silva@example.com", target: RenderTarget = TARGET):
    return yaml.safe_load(render(master(text), record_of(address), target))


@pytest.mark.parametrize("name", sorted(CLUSTERS))
def test_what_a_deployment_parsed_is_rendered_to_the_same_bytes(name):
    record = record_of("Ñandú.O'Neil+test@sub.example.co", "CC-1", "analyst")
    content = yaml.safe_load(CLUSTERS[name].text)
    parsed = replace(TARGET, parsed={CLUSTERS[name].digest: content}.get)
    assert render(CLUSTERS[name], record, parsed) == render(CLUSTERS[name], record, TARGET)
    assert content == yaml.safe_load(CLUSTERS[name].text)  # a copy was changed, not this


def faults(text: str):
    return check_masters({"spark": master(text)}, "templates")


# --- what is shipped ---


def test_the_shipped_masters_are_valid():
    assert set(CLUSTERS) >= {"personal-auth-cluster"}
    assert set(SHIPPED) - set(CLUSTERS) >= {"serverless-spark"}
    assert check_masters(SHIPPED, str(FOLDER)) == []


@pytest.mark.parametrize("key", ["configBucket", "tempBucket"])
def test_clusters_do_not_stage_where_the_records_are(key):
    """Whoever runs a cluster can write where it stages its files."""
    text = f"config:\n  {key}: {{}}\n" + LIFECYCLE
    with pytest.raises(InvalidSpecError, match="cannot stage"):
        render(master(text.replace("{}", TARGET.bucket)), record_of("ana@example.com"), TARGET)
    own = yaml.safe_load(render(master(text.replace("{}", "spark-staging")), record_of("ana@example.com"), TARGET))
    assert own["config"][key] == "spark-staging"


@pytest.mark.parametrize("name", CLUSTERS)
def test_a_rendered_master_is_the_users_own_cluster(name):
    record = record_of("\u00d1and\u00fa.O'Neil+test@sub.example.co", "CC 44/10", "analyst")
    data = yaml.safe_load(render(SHIPPED[name], record, TARGET))
    cluster = json_format.ParseDict(data, Cluster.pb()())
    assert cluster.project_id == "acme-analytics"
    assert cluster.config.config_bucket == ""
    assert cluster.config.gce_cluster_config.subnetwork_uri == TARGET.subnet
    assert cluster.config.gce_cluster_config.internal_ip_only
    assert cluster.config.software_config.properties[PERSONAL_AUTH_USER] == "\u00f1and\u00fa.o'neil+test@sub.example.co"
    assert cluster.config.lifecycle_config.idle_delete_ttl.seconds > 0
    assert dict(cluster.labels) == {
        "managed-by": "benchkeeper",
        "benchkeeper-user": record.user_key,
        "benchkeeper-profile": "analyst",
        "benchkeeper-template": name,
        "cost-center": "cc-44-10",
    }
    assert CLUSTER_NAME.fullmatch(cluster.cluster_name)
    untouched = yaml.safe_load(SHIPPED[name].text)["config"]
    for section in ("masterConfig", "lifecycleConfig", "endpointConfig"):
        assert data["config"][section] == untouched[section]


def test_without_a_subnetwork_none_is_set():
    data = rendered("config:\n" + LIFECYCLE, target=replace(TARGET, subnet=""))
    assert "gceClusterConfig" not in data["config"]


def test_rendering_is_repeatable():
    record = record_of("ana@example.com")
    for one in CLUSTERS.values():
        assert render(one, record, TARGET) == render(one, record, TARGET)


# --- nobody can inject anything ---

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)

_HOSTILE = st.sampled_from(
    [
        'x"\\n  evil: true #@example.com',
        "x: {evil: true}@example.com",
        "*evil@example.com",
        "&evil@example.com",
        "!!python/object:os.system@example.com",
        "<<: x@example.com",
        "- x@example.com",
        "'; evil: 'x@example.com",
        "#@example.com",
        "%yaml@example.com",
        "{{evil}}@example.com",
        "${evil}@example.com",
        "../../other-user/x@example.com",
        "null@example.com",
        "| evil@example.com",
        "---@example.com",
        "x\u2028evil: true@example.com",
        "x\u0085evil: true@example.com",
    ]
)
_ANY = st.builds("{}@example.com".format, st.text(max_size=40))


@settings(max_examples=60)
@given(_HOSTILE | _ANY, st.text(max_size=20), st.sampled_from(sorted(CLUSTERS)))
@example("\ufeff@example.com", "\x00", "single-node")
def test_a_hostile_address_changes_values_and_no_structure(address, cost_center, name):
    try:
        hostile = record_of(address, cost_center)
    except InvalidMessageError:
        return
    honest = record_of("ana@example.com", "cc")
    text = render(SHIPPED[name], hostile, TARGET).decode()
    (data,) = list(yaml.safe_load_all(text))
    assert shape(data, drop="cost-center") == shape(
        yaml.safe_load(render(SHIPPED[name], honest, TARGET)), drop="cost-center"
    )
    assert data["config"]["softwareConfig"]["properties"][PERSONAL_AUTH_USER] == hostile.email
    assert all(re.fullmatch(r"[a-z0-9_-]{0,63}", value) for value in data["labels"].values())
    without = copy.deepcopy(data)
    del without["config"]["softwareConfig"]["properties"][PERSONAL_AUTH_USER]
    if len(hostile.email) > 30:
        assert hostile.email not in str(without)


def shape(value, *, drop: str = ""):
    if isinstance(value, dict):
        return {key: shape(inner, drop=drop) for key, inner in value.items() if key != drop}
    return [shape(item, drop=drop) for item in value] if isinstance(value, list) else type(value).__name__


@given(_HOSTILE | _ANY, st.text(max_size=60))
def test_every_cluster_name_is_valid_whatever_the_template_is_called(address, name):
    try:
        record = record_of(address)
    except InvalidMessageError:
        return
    made = cluster_name(name, record.user_key)
    assert CLUSTER_NAME.fullmatch(made)
    assert len(made) <= MAX_CLUSTER_NAME


def test_two_users_clusters_have_two_names():
    assert cluster_name("spark", record_of("ann@a.com").user_key) != cluster_name(
        "spark", record_of("ann@b.com").user_key
    )


@given(_HOSTILE | _ANY, st.from_regex(r"[A-Za-z0-9._-]{1,100}", fullmatch=True))
def test_an_object_is_always_under_its_users_own_prefix(address, name):
    try:
        key = record_of(address).user_key
    except InvalidMessageError:
        return
    path = templates._object(key, name)
    assert path.split("/")[:2] == ["templates", key]
    assert path.count("/") == 2
    assert templates._NAME.match(path).groups() == (key, name)


# --- masters that are wrong ---


def test_the_seeds_unknown_field_is_named_with_line_and_nearest_key():
    text = "config:\n" + LIFECYCLE + "  softwareConfig:\n    optioimage-versionnalComponents:\n      - JUPYTER\n"
    (fault,) = faults(text)
    assert (fault.file, fault.line) == ("templates/spark.yaml", 4)
    assert fault.field == "config.softwareConfig.optioimage-versionnalComponents"
    assert fault.problem == "unknown field 'optioimage-versionnalComponents'"
    assert fault.hint == "Did you mean 'optionalComponents'?"


def test_a_field_that_resembles_nothing_is_told_what_is_valid():
    (fault,) = faults("config:\n" + LIFECYCLE + "  softwareConfig:\n    zzz: 1\n")
    assert "imageVersion" in fault.hint


@pytest.mark.parametrize("key", ["clusterName", "projectId", "labels", "status"])
def test_what_is_set_for_each_user_is_ignored_in_a_master_with_a_note(key):
    """Exports, REST equivalents and the files of a Dataproc Hub have these."""
    value = "{}" if key in {"labels", "status"} else "x"
    text = f"config:\n{LIFECYCLE}{key}: {value}\n"
    assert faults(text) == []
    notes = judge_masters({"spark": master(text)}, "templates")
    assert [(note.line, note.is_note) for note in notes if note.field == key] == [(3, True)]
    assert rendered(text).get(key) != value


def test_the_user_of_personal_authentication_is_refused_in_a_master():
    (fault,) = faults(f"config:\n{LIFECYCLE}  softwareConfig:\n    properties:\n      {PERSONAL_AUTH_USER}: me@x.com\n")
    assert fault.line == 5
    assert fault.hint == "Remove it."


@pytest.mark.parametrize("lifecycle", ["", "  lifecycleConfig: {idleDeleteTtl: 1h}\n", "  lifecycleConfig: {}\n"])
def test_a_cluster_that_would_bill_for_ever_is_refused(lifecycle):
    assert faults("config:\n  configBucket: x\n" + lifecycle)
    assert faults("config:\n  configBucket: x\n" + LIFECYCLE) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- a\n- b\n",
        "just text",
        "7",
        "config: [1, 2]\n",
        "config: text\n",
        "config: 7\n",
        "config: null\n",
        "config: {softwareConfig: []}\n",
        "config: {softwareConfig: {properties: [1]}}\n",
        "config: {softwareConfig: {properties: {a: {b: c}}}}\n",
        "config: {gceClusterConfig: text}\n",
        "config: {lifecycleConfig: [1]}\n",
        "config: {masterConfig: {numInstances: many}}\n",
        "config: {masterConfig: {numInstances: 1.5}}\n",
        "config: {softwareConfig: {optionalComponents: [PLANCHETTE]}}\n",
        "config: {softwareConfig: {optionalComponents: JUPYTER}}\n",
        "config: {lifecycleConfig: {idleDeleteTtl: 2 hours, autoDeleteTtl: 1s}}\n",
        "config: {lifecycleConfig: {idleDeleteTtl: 7200, autoDeleteTtl: 1}}\n",
        "config: &x {a: *x}\n",
        "config: {a: &b {c: *b}}\n",
        "7: 8\n",
        "null: 8\n",
        "? {a: b}\n: c\n",
        "config: !!python/object:os.system x\n",
        "config: 2026-11-23\n",
        "config: {configBucket: 2026-11-23}\n",
        "config: {configBucket: !!binary aGVsbG8=}\n",
        "config: {configBucket: .nan}\n",
        "config: {}\nconfig: {}\n",
        "config: {}\n---\nconfig: {}\n",
        BOMB,
        "config: " + "{softwareConfig: " * 3000,
    ],
)  # fmt: skip
def test_a_wrong_master_is_a_fault_and_never_a_crash(text):
    found = faults(text)
    assert found
    assert all(fault.problem for fault in found)


@pytest.mark.parametrize(
    "section", ["softwareConfig", "gceClusterConfig", "softwareConfig: {properties}", "endpointConfig", "masterConfig"]
)
def test_a_section_that_was_left_empty_is_as_if_it_were_not_there(section):
    text = f"config:\n{LIFECYCLE}  {section.replace('{properties}', '{properties: }') if '{' in section else section + ':'}\n"
    assert faults(text) == []
    data = rendered(text)
    assert data["config"]["softwareConfig"]["properties"] == {PERSONAL_AUTH_USER: "ana.silva@example.com"}
    assert data["config"]["gceClusterConfig"]["subnetworkUri"] == TARGET.subnet


@pytest.mark.parametrize(
    "text", ["", "- a\n", "config: [1]\n", "config: {softwareConfig: {properties: [1]}}\n", "confg: {}\n"]
)
def test_rendering_a_wrong_master_is_an_error_of_the_template(text):
    with pytest.raises(InvalidSpecError) as caught:
        rendered(text)
    assert "'spark'" in caught.value.user_message
    assert caught.value.reason is Reason.INVALID_SPEC


_YAML = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["config", "softwareConfig", "properties", "gceClusterConfig", "labels", "lifecycleConfig", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@given(st.fixed_dictionaries({}, optional={"config": _YAML, "labels": _YAML, "virtualClusterConfig": _YAML}))
@example({"config": None})
@example({"config": []})
@example({"config": {"softwareConfig": None}})
@example({"config": {"softwareConfig": []}})
@example({"config": {"softwareConfig": {"properties": None}}})
def test_any_master_is_a_fault_or_renders_to_what_dataproc_takes(data):
    text = yaml.safe_dump(data)
    found = faults(text)
    try:
        made = rendered(text)
    except InvalidSpecError:
        assert found
        return
    json_format.ParseDict(made, Cluster.pb()())
    assert made["config"]["softwareConfig"]["properties"][PERSONAL_AUTH_USER] == "ana.silva@example.com"


@given(st.text(max_size=60))
def test_any_text_is_a_fault_or_a_master(text):
    for fault in faults(text):
        assert str(fault).startswith("templates/spark.yaml")


# --- written by libyaml


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=12), _VALUES, max_size=4))
@example(
    {"a": "no", "b": "0x1F", "c": "1e3", "d": "~", "e": "- x", "f": "\u2028", "g": "'\"\\", "h": "é\ud7ff", "i": " "}
)
@example({"%TAG": "---", "...": "#", "?": "\x85", "<<": "=", "!": "&a", "2001-01-01": "12:30:45"})
def test_libyaml_writes_what_is_read_as_the_same(data):
    """And what Python's writer wrote before is the same data, where that writer lost nothing: it does, of U+0085."""
    options = {"sort_keys": True, "allow_unicode": True, "default_flow_style": False, "width": 10_000}
    quick, slow = (yaml.dump(data, Dumper=writer, **options) for writer in (yaml.CSafeDumper, yaml.SafeDumper))
    assert yaml.safe_load(quick) == data
    assert yaml.safe_load(slow) == data or "\\" in repr(data)  # of what is not printable


@pytest.mark.parametrize("name", CLUSTERS)
def test_a_master_is_read_once_and_no_user_changes_it(name, monkeypatch):
    first = render(CLUSTERS[name], record_of("ana.silva@example.com", "cc-1"), TARGET)
    read = []
    monkeypatch.setattr("shared.yaml_lines.load_yaml", read.append)
    render(CLUSTERS[name], record_of("Ñandú.O'Neil+test@sub.example.co", "cc-2"), TARGET)
    assert render(CLUSTERS[name], record_of("ana.silva@example.com", "cc-1"), TARGET) == first
    assert read == []


@pytest.mark.parametrize("name", CLUSTERS)
def test_both_writers_write_the_same_of_each_shipped_master(name):
    cluster = yaml.safe_load(CLUSTERS[name].text)
    quick, slow = (yaml.dump(cluster, Dumper=writer, sort_keys=True) for writer in (yaml.CSafeDumper, yaml.SafeDumper))
    assert yaml.safe_load(quick) == yaml.safe_load(slow) == cluster
