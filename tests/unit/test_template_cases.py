"""What administrators have: old hub files, exports, describes, REST equivalents, and files that are no templates of clusters at all.

Each fault has a line, a key and what is valid; what Benchkeeper ignores or adds is a note. The files are in tests/data/templates.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from kit.making import NOW

from shared.cloud.dataproc.cluster_render import personal_cluster
from shared.cloud.dataproc.masters import judge_masters
from shared.cloud.dataproc.target import RenderTarget
from shared.cloud.dataproc.template_context import TemplateContext
from shared.compute_table import table
from shared.domain.intent.wanted import new_record
from shared.domain.things.catalog import MasterTemplate
from shared.domain.things.identity import parse_email

OURS = Path(__file__).resolve().parents[1] / "data" / "templates"
CASES = Path(__file__).resolve().parents[3] / "shared" / "cases" / "templates"
SUBNET = "projects/acme-analytics/regions/europe-west1/subnetworks/notebooks"
CONTEXT = TemplateContext(
    table=table(), region="europe-west1", zones=("europe-west1-b", "europe-west1-c"), has_subnet=True
)
GOOD = """\
config:
  endpointConfig:
    enableHttpPortAccess: true
  lifecycleConfig:
    idleDeleteTtl: 3600s
    autoDeleteTtl: 86400s
  masterConfig:
    numInstances: 1
    machineTypeUri: n2-standard-4
  workerConfig:
    numInstances: 2
    machineTypeUri: n2-standard-4
  softwareConfig:
    imageVersion: 2.2-debian12
    optionalComponents:
      - JUPYTER
"""
PROPERTIES = "config.softwareConfig.properties"


def judged(text: str, context: TemplateContext | None = CONTEXT):
    found = judge_masters({"spark": MasterTemplate(name="spark", text=text)}, "templates", context)
    return [each for each in found if not each.is_note], [each for each in found if each.is_note]


def faults(text: str):
    return judged(text)[0]


def in_file(name: str):
    return judged((OURS / name).read_text(encoding="utf-8"))


def made(text: str, subnet: str = SUBNET):
    target = RenderTarget(project="acme-analytics", bucket="records", subnet=subnet)
    record = new_record(parse_email("ana.silva@example.com"), NOW)
    return personal_cluster(MasterTemplate(name="spark", text=text), record, target)


def test_the_text_from_which_the_cases_are_made_is_valid():
    assert judged(GOOD) == ([], [])


# --- the cases that were collected, read where they lie


@pytest.mark.skipif(not CASES.is_dir(), reason="the collected templates are not part of this repository")
@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("comp-unknown", {"config.softwareConfig.optionalComponents[1]": 17}),
        ("exclusive-user", {f"{PROPERTIES}.dataproc:dataproc.exclusive.user": 18}),
        ("imageversion-float", {"config.softwareConfig.imageVersion": 14}),
        ("masters-2", {"config.masterConfig.numInstances": 8}),
        ("subnet-other-region", {"config.gceClusterConfig.subnetworkUri": 18}),
        ("zone-other-region", {"config.gceClusterConfig.zoneUri": 18}),
        ("ttl-1s", {"config.lifecycleConfig.idleDeleteTtl": 5, "config.lifecycleConfig.autoDeleteTtl": 6}),
        ("ttl-60d", {"config.lifecycleConfig.idleDeleteTtl": 5, "config.lifecycleConfig.autoDeleteTtl": 6}),
        ("ttl-empty", {"config.lifecycleConfig.idleDeleteTtl": 5, "config.lifecycleConfig.autoDeleteTtl": 6}),
        ("network-only", {}),
        ("no-endpoint", {}),
        ("no-jupyter", {}),
    ],
)
def test_a_collected_template_is_refused_with_its_lines_or_valid_with_a_note(name, fields):
    wrong, notes = judged((CASES / f"{name}.yaml").read_text(encoding="utf-8"))
    assert {each.field: each.line for each in wrong} == fields
    assert all(each.hint for each in wrong)
    assert bool(notes) is not bool(fields)


# --- how long a cluster lives


@pytest.mark.parametrize(
    ("field", "value", "hint"),
    [
        ("idleDeleteTtl", "299s", "nearest is 300s"),
        ("idleDeleteTtl", "0s", "nearest is 300s"),
        ("idleDeleteTtl", "-5s", "nearest is 300s"),
        ("idleDeleteTtl", "1209601s", "nearest is 1209600s"),
        ("autoDeleteTtl", "599s", "nearest is 600s"),
        ("autoDeleteTtl", "1209600.5s", "nearest is 1209600s"),
        ("idleDeleteTtl", "", "For example"),
        ("autoDeleteTtl", "~", "For example"),
        ("idleDeleteTtl", '""', "7200s"),
        ("idleDeleteTtl", "3600", "3600s"),
        ("autoDeleteTtl", "2h", "7200s"),
        ("autoDeleteTtl", "1d", "86400s"),
        ("autoDeleteTtl", "1h30m", "5400s"),
        ("idleDeleteTtl", "2 hours", "7200s"),
        ("idleDeleteTtl", "never", "7200s"),
        ("idleDeleteTtl", "[3600s]", "7200s"),
    ],
)
def test_a_time_to_live_that_cannot_be_is_refused_with_one_that_can(field, value, hint):
    old = {"idleDeleteTtl": "3600s", "autoDeleteTtl": "86400s"}[field]
    (fault,) = faults(GOOD.replace(f"{field}: {old}", f"{field}: {value}"))
    assert (fault.line, fault.field) == (
        {"idleDeleteTtl": 5, "autoDeleteTtl": 6}[field],
        f"config.lifecycleConfig.{field}",
    )
    assert hint in fault.hint


@pytest.mark.parametrize(("idle", "age"), [("300s", "600s"), ("1209600s", "1209600s"), ("300.5s", "3600s")])
def test_the_bounds_themselves_are_valid(idle, age):
    assert faults(GOOD.replace("3600s", idle).replace("86400s", age)) == []


@pytest.mark.parametrize("removed", [["idleDeleteTtl"], ["autoDeleteTtl"], ["idleDeleteTtl", "autoDeleteTtl"]])
def test_a_missing_limit_is_named(removed):
    text = "".join(line for line in GOOD.splitlines(keepends=True) if not any(word in line for word in removed))
    (fault,) = faults(text)
    assert (fault.line, fault.field) == (4, "config.lifecycleConfig")
    assert all(word in fault.problem and f"{word}: " in fault.hint for word in removed)


@pytest.mark.parametrize("time", ["'2026-10-01T12:00:00Z'", "2026-10-01T12:00:00Z", "'2036-10-01T12:00:00Z'"])
def test_a_fixed_time_is_refused_whenever_it_is(time):
    (fault,) = faults(GOOD.replace("autoDeleteTtl: 86400s", f"autoDeleteTime: {time}"))
    assert (fault.line, fault.field) == (6, "config.lifecycleConfig.autoDeleteTime")


def test_both_ends_at_once_are_one_too_many():
    found = faults(
        GOOD.replace("autoDeleteTtl: 86400s", "autoDeleteTtl: 86400s\n    autoDeleteTime: '2026-10-01T12:00:00Z'")
    )
    assert {each.field for each in found} <= {
        "config.lifecycleConfig.autoDeleteTtl",
        "config.lifecycleConfig.autoDeleteTime",
    }
    assert found


def test_an_idle_time_that_is_never_reached_is_a_note():
    wrong, notes = judged(GOOD.replace("3600s", "172800s"))
    assert wrong == []
    assert [each.field for each in notes] == ["config.lifecycleConfig.idleDeleteTtl"]


# --- what Benchkeeper adds or ignores


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  endpointConfig:\n    enableHttpPortAccess: true\n", ""),
        ("    enableHttpPortAccess: true\n", ""),
        ("enableHttpPortAccess: true", "enableHttpPortAccess: false"),
        ("    optionalComponents:\n      - JUPYTER\n", ""),
        ("    optionalComponents:\n      - JUPYTER\n", "    optionalComponents: []\n"),
        ("- JUPYTER", "- ZEPPELIN"),
        ("imageVersion: 2.2-debian12\n    optionalComponents:\n      - JUPYTER", "imageVersion: 2.2-debian12"),
    ],
)
def test_the_way_to_jupyter_is_added_with_a_note(old, new):
    text = GOOD.replace(old, new)
    assert text != GOOD
    wrong, notes = judged(text)
    assert wrong == []
    assert len(notes) == 1
    config = made(text)["config"]
    assert config["endpointConfig"]["enableHttpPortAccess"] is True
    assert config["softwareConfig"]["optionalComponents"][-1] == "JUPYTER"


def test_a_template_is_made_as_it_is_where_nothing_is_missing():
    config = made(GOOD)["config"]
    assert config["softwareConfig"]["optionalComponents"] == ["JUPYTER"]


def test_a_network_gives_way_to_the_subnetwork_of_the_settings():
    text = GOOD + "  gceClusterConfig:\n    networkUri: default\n"
    wrong, notes = judged(text)
    assert (wrong, [each.line for each in notes]) == ([], [18])
    gce = made(text)["config"]["gceClusterConfig"]
    assert (gce.get("networkUri"), gce["subnetworkUri"]) == (None, SUBNET)
    assert made(text, subnet="")["config"]["gceClusterConfig"] == {"networkUri": "default"}


def test_a_network_and_a_subnetwork_are_one_too_many():
    (fault,) = faults(GOOD + "  gceClusterConfig:\n    networkUri: default\n    subnetworkUri: spark\n")
    assert (fault.line, fault.field) == (18, "config.gceClusterConfig.networkUri")


def test_a_rest_equivalent_is_valid_and_says_what_is_ignored():
    wrong, notes = in_file("rest-equivalent.yaml")
    assert wrong == []
    assert {each.field for each in notes} == {
        "projectId", "clusterName", "labels", "status", "metrics", "config.endpointConfig", "config.softwareConfig.optionalComponents",
    }  # fmt: skip
    cluster = made((OURS / "rest-equivalent.yaml").read_text(encoding="utf-8"))
    assert cluster["projectId"] == "acme-analytics"
    assert not {"status", "metrics"} & set(cluster)


def test_what_a_describe_shows_of_one_old_cluster_is_refused_by_name():
    wrong, notes = in_file("hub-described.yaml")
    assert [(each.line, each.field) for each in wrong] == [
        (12, "config.gceClusterConfig.metadata.owner"),
        (16, "config.lifecycleConfig.autoDeleteTime"),
        (29, f"{PROPERTIES}.core:fs.defaultFS"),
        (32, f"{PROPERTIES}.mapred:mapreduce.jobhistory.done-dir"),
        (34, f"{PROPERTIES}.spark:spark.yarn.historyServer.address"),
        (35, f"{PROPERTIES}.yarn:yarn.resourcemanager.hostname"),
    ]
    assert {
        "clusterName",
        "clusterUuid",
        "labels",
        "metrics",
        "projectId",
        "status",
        "statusHistory",
        "config.configBucket",
    } <= {each.field for each in notes}
    assert "config.masterConfig.instanceNames" in {each.field for each in notes}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("dataproc:dataproc.exclusive.user", "ben@example.com"),
        ("dataproc:dataproc.exclusive.user", "ben"),
        ("dataproc:dataproc.personal-auth.user", "ben@example.com"),
        ("spark:spark.app.owner", "ben@example.com"),
        ("hdfs:dfs.namenode.rpc-address", "old-m:8020"),
        ("spark:spark.eventLog.dir", "gs://dataproc-temp-us-east1-1-x/u/spark-job-history"),
        ("yarn:yarn.log.server.url", "http://old-spark-m-0:19888/jobhistory/logs"),
    ],
)
def test_a_property_of_one_person_machine_or_bucket_is_refused(key, value):
    (fault,) = faults(GOOD + f"    properties:\n      {key}: {value}\n")
    assert (fault.line, fault.field, fault.hint) == (18, f"{PROPERTIES}.{key}", "Remove it.")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("spark:spark.executor.memory", "4g"),
        ("hive:hive.metastore.uris", "thrift://metastore.example.com:9083"),
        ("core:fs.defaultFS", "gs://acme-data/root"),
        ("spark:spark.history.fs.logDirectory", "gs://acme-history-m/spark"),
        ("yarn:yarn.resourcemanager.bind-address", "127.0.0.1"),
        ("core:hadoop.security.principal", "hdfs/_HOST@EXAMPLE.COM"),
        ("spark:spark.driver.extraJavaOptions", "-XX:+UseG1GC -Xms4m"),
    ],
)
def test_a_property_that_is_everybodys_is_valid(key, value):
    assert faults(GOOD + f'    properties:\n      {key}: "{value}"\n') == []


def test_a_mapping_of_persons_to_accounts_is_refused():
    text = (
        GOOD
        + "  securityConfig:\n    identityConfig:\n      userServiceAccountMapping:\n        ana@example.com: x@p.iam.gserviceaccount.com\n"
    )
    (fault,) = faults(text)
    assert fault.line == 19


# --- values


@pytest.mark.parametrize(
    ("old", "new", "line", "field", "hint"),
    [
        ("numInstances: 1", "numInstances: 2", 8, "masterConfig.numInstances", "Valid: 1 or 3."),
        ("numInstances: 1", "numInstances: 5", 8, "masterConfig.numInstances", "Valid: 1 or 3."),
        ("numInstances: 2", 'numInstances: "2"', 11, "workerConfig.numInstances", "Write 2."),
        ("numInstances: 2", "numInstances: 2.0", 11, "workerConfig.numInstances", "Write 2."),
        ("numInstances: 2", "numInstances: -1", 11, "workerConfig.numInstances", "Valid: 0 to"),
        ("numInstances: 2", "numInstances: true", 11, "workerConfig.numInstances", "number without quotes"),
        ("enableHttpPortAccess: true", 'enableHttpPortAccess: "true"', 3, "endpointConfig.enableHttpPortAccess", "Write true"),
        ("enableHttpPortAccess: true", "enableHttpPortAccess: 1", 3, "endpointConfig.enableHttpPortAccess", "Valid: true, false."),
        ("enableHttpPortAccess: true", "enableHttpPortAccess: 'yes'", 3, "endpointConfig.enableHttpPortAccess", "true, false"),
        ("imageVersion: 2.2-debian12", "imageVersion: 2.2", 14, "softwareConfig.imageVersion", '"2.2"'),
        ("imageVersion: 2.2-debian12", "imageVersion: 1.5-ubuntu18", 14, "softwareConfig.imageVersion", "2.2-debian12"),
        ("imageVersion: 2.2-debian12", "imageVersion: 2.2-debian11", 14, "softwareConfig.imageVersion", "2.2-debian12"),
        ("- JUPYTER", "- JUPYTER\n      - DASK_YARN", 17, "softwareConfig.optionalComponents[1]", "ZEPPELIN"),
        ("- JUPYTER", "- JUPYTER\n      - jupyter_kernel_gateway", 17, "softwareConfig.optionalComponents[1]", "'JUPYTER_KERNEL_GATEWAY'"),
        ("- JUPYTER", "- JUPYTER\n      - ANACONDA", 17, "softwareConfig.optionalComponents[1]", "Remove it."),
        ("- JUPYTER", "- JUPYTER\n      - 5", 17, "softwareConfig.optionalComponents[1]", "Valid:"),
        ("optionalComponents:\n      - JUPYTER", "optionalComponents: JUPYTER", 15, "softwareConfig.optionalComponents", "- JUPYTER"),
        ("machineTypeUri: n2-standard-4\n  workerConfig", "machineTypeUri: n2-standrd-4\n  workerConfig", 9, "masterConfig.machineTypeUri", "'n2-standard-4'"),
        ("machineTypeUri: n2-standard-4\n  workerConfig", "machineTypeUri: 4\n  workerConfig", 9, "masterConfig.machineTypeUri", '"4"'),
        ("machineTypeUri: n2-standard-4\n  workerConfig", "machineTypeUri: zones/us-east1-b/machineTypes/n2-standard-4\n  workerConfig", 9, "masterConfig.machineTypeUri", "europe-west1"),
        ("  workerConfig:", "    diskConfig: {bootDiskType: pd-sssd}\n  workerConfig:", 10, "masterConfig.diskConfig.bootDiskType", "'pd-ssd'"),
        ("  workerConfig:", "    accelerators: [{acceleratorTypeUri: nvidia-tesla-t4, acceleratorCount: 1}]\n  workerConfig:", 10, "masterConfig.accelerators[0].acceleratorTypeUri", "n1"),
        ("  workerConfig:", "    diskConfig: {bootDiskSizeGb: 5}\n  workerConfig:", 10, "masterConfig.diskConfig.bootDiskSizeGb", "10 or more"),
        ("    optionalComponents:", "    properties: {spark.executor.cores: '4'}\n    optionalComponents:", 15, "softwareConfig.properties.spark.executor.cores", "'spark:spark.executor.cores'"),
        ("  softwareConfig:", "  gceClusterConfig: {zoneUri: us-east1-d}\n  softwareConfig:", 13, "gceClusterConfig.zoneUri", "'europe-west1-b'"),
        ("  softwareConfig:", "  gceClusterConfig: {zoneUri: europe-west1-a}\n  softwareConfig:", 13, "gceClusterConfig.zoneUri", "'europe-west1-b'"),
        ("  softwareConfig:", "  gceClusterConfig: {internalIpOnly: 'false'}\n  softwareConfig:", 13, "gceClusterConfig.internalIpOnly", "Write false"),
        ("  softwareConfig:", "  gceClusterConfig: {tags: spark}\n  softwareConfig:", 13, "gceClusterConfig.tags", "- spark"),
        ("  softwareConfig:", "  configBucket: 12\n  softwareConfig:", 13, "configBucket", '"12"'),
        ("  softwareConfig:", "  configBucket: dataproc-staging-us-east1-12-ab\n  softwareConfig:", 13, "configBucket", "Remove it."),
        ("    optionalComponents:", "    properties: {dataproc:dataproc.allow.zero.workers: true}\n    optionalComponents:", 15, "softwareConfig.properties.dataproc:dataproc.allow.zero.workers", '"true"'),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_with_line_key_and_what_is_valid(old, new, line, field, hint):
    text = GOOD.replace(old, new, 1)
    assert text != GOOD
    (fault,) = faults(text)
    assert (fault.line, fault.field) == (line, f"config.{field}")
    assert hint in fault.hint


def test_all_faults_of_a_file_come_at_once_in_the_order_of_its_lines():
    wrong, _ = in_file("many-faults.yaml")
    assert [each.line for each in wrong] == [3, 5, 6, 7, 9, 10, 12, 13, 15, 16, 18, 19, 21, 24, 26, 28, 29, 30, 32, 33]
    assert all(each.hint and each.field for each in wrong)


def test_without_settings_a_region_is_not_judged():
    wrong, _ = judged(GOOD + "  gceClusterConfig: {zoneUri: us-east1-d}\n", context=None)
    assert wrong == []


def test_what_is_newer_than_the_table_is_a_note():
    wrong, notes = judged(GOOD.replace("n2-standard-4", "n5-standard-4"))
    assert wrong == []
    assert {each.field for each in notes} == {
        "config.masterConfig.machineTypeUri",
        "config.workerConfig.machineTypeUri",
    }


# --- files that are something else


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ((OURS / "kubernetes.yaml").read_text(encoding="utf-8"), "Kubernetes"),
        ((OURS / "several-clusters.yaml").read_text(encoding="utf-8"), "list"),
        ((OURS / "several-documents.yaml").read_text(encoding="utf-8"), "several documents"),
        ((OURS / "session-without-kind.yaml").read_text(encoding="utf-8"), "serverless sessions"),
        ("clusters:\n- config: {}\n", "list of clusters"),
        ("cluster:\n  config: {}\n", "request"),
        ("masterConfig: {numInstances: 1}\n", "under config"),
        ("placement: {}\njobs: []\n", "workflow"),
        ("pysparkBatch: {}\nruntimeConfig: {}\n", "batch"),
        ("[{clusterName: a}, {clusterName: b}]\n", "list"),
        ("---\n# x\n- config: {}\n", "list"),
    ],
)
def test_a_file_that_is_something_else_is_said_to_be_that(text, words):
    (fault,) = faults(text)
    assert words in f"{fault.problem} {fault.hint}"
    assert fault.hint


def test_a_session_with_times_and_properties_of_old():
    text = (
        "jupyterSession: {}\nruntimeConfig:\n  version: 2.3\n  properties:\n    spark.x: ana@example.com\n"
        "environmentConfig:\n  executionConfig:\n    idleTtl: 5m\n    ttl: 30d\n    networkUri: default\n"
        "    subnetworkUri: regions/us-east1/subnetworks/x\n"
    )
    assert [(each.line, each.field.rpartition(".")[2]) for each in faults(text)] == [
        (3, "version"), (5, "x"), (8, "idleTtl"), (9, "ttl"), (11, "subnetworkUri"),
    ]  # fmt: skip


def test_what_is_valid_here_is_valid_yaml_for_everybody():
    for path in OURS.glob("*.yaml"):
        assert list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
