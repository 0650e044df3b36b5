"""google-cloud-dataproc against the running embedded cloud, over gRPC and over REST; and what it costs who does not use it."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.api_core import exceptions
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import dataproc_v1
from google.longrunning import operations_pb2

from tests.emulator.data_kit import ID
from tests.emulator.notebooks_cloud import START, NotebooksCloud, running

if TYPE_CHECKING:
    from collections.abc import Iterator

REGION = "europe-west1"
WHERE = {"project_id": ID, "region": REGION}
PARENT = f"projects/{ID}/locations/{REGION}"
NAME = f"{PARENT}/sessionTemplates/pyspark"
AS_ANN = (("authorization", "Bearer ann@example.com"),)
DENIED = {"code": "PERMISSION_DENIED", "message": "Permission 'dataproc.clusters.get' denied"}


@pytest.fixture
def cloud() -> Iterator[NotebooksCloud]:
    with running() as started:
        yield started


@pytest.fixture(params=["grpc", "rest"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def client_of(kind: Any, cloud: NotebooksCloud, transport: str, stack: ExitStack) -> Any:
    """A client of this kind over this transport."""
    if transport == "rest":
        options = ClientOptions(api_endpoint=cloud.url)
        made = kind(transport="rest", credentials=AnonymousCredentials(), client_options=options)
    else:
        channel = grpc.insecure_channel(cloud.url.removeprefix("http://"))
        made = kind(transport=kind.get_transport_class("grpc")(channel=channel))
    stack.enter_context(closing(made.transport))
    return made


@pytest.fixture
def clusters(cloud: NotebooksCloud, transport: str) -> Iterator[dataproc_v1.ClusterControllerClient]:
    with ExitStack() as stack:
        yield client_of(dataproc_v1.ClusterControllerClient, cloud, transport, stack)


@pytest.fixture
def templates(cloud: NotebooksCloud, transport: str) -> Iterator[dataproc_v1.SessionTemplateControllerClient]:
    with ExitStack() as stack:
        yield client_of(dataproc_v1.SessionTemplateControllerClient, cloud, transport, stack)


def body(name: str, **config: Any) -> dict[str, Any]:
    jupyter = {"software_config": {"optional_components": ["JUPYTER"]}}
    access = {"endpoint_config": {"enable_http_port_access": True}}
    return {
        "project_id": ID,
        "cluster_name": name,
        "labels": {"benchkeeper-user": "u1"},
        "config": {**jupyter, **access, **config},
    }


def make(clusters: dataproc_v1.ClusterControllerClient, cloud: NotebooksCloud, name: str, **config: Any) -> Any:
    """The cluster that a finished create answers with."""
    operation = clusters.create_cluster(request={**WHERE, "cluster": body(name, **config)})
    assert operation.metadata.cluster_name == name
    cloud.wait(90)
    return operation.result(timeout=30)


def test_a_cluster_is_made_opened_found_and_deleted(
    cloud: NotebooksCloud, clusters: dataproc_v1.ClusterControllerClient
):
    made = make(clusters, cloud, "ann-spark", lifecycle_config={"idle_delete_ttl": {"seconds": 7200}})
    assert made.labels["benchkeeper-user"] == "u1"
    found = clusters.get_cluster(request={**WHERE, "cluster_name": "ann-spark"})
    assert found.status.state.name == "RUNNING"
    address = found.config.endpoint_config.http_ports["JupyterLab"]
    assert address.endswith(f"-dot-{REGION}.dataproc.googleusercontent.com/gateway/default/jupyter/lab/")
    assert found.config.lifecycle_config.idle_start_time > START
    for name in ("ben-spark", "cho-spark"):
        make(clusters, cloud, name)
    mine = {**WHERE, "filter": "labels.benchkeeper-user = u1 AND status.state = ACTIVE", "page_size": 2}
    pages = [[each.cluster_name for each in page.clusters] for page in clusters.list_clusters(request=mine).pages]
    assert pages == [["ann-spark", "ben-spark"], ["cho-spark"]]
    asked = {**WHERE, "cluster_name": "ann-spark"}
    deleting = clusters.delete_cluster(request=asked)
    cloud.wait(60)
    deleting.result(timeout=30)
    with pytest.raises(exceptions.NotFound):
        clusters.get_cluster(request=asked)


def test_an_operation_is_looked_at_listed_and_forgotten(
    cloud: NotebooksCloud, clusters: dataproc_v1.ClusterControllerClient
):
    name = clusters.create_cluster(request={**WHERE, "cluster": body("ann-spark")}).operation.name
    assert not clusters.get_operation(operations_pb2.GetOperationRequest(name=name)).done
    cloud.wait(90)
    done = clusters.get_operation(operations_pb2.GetOperationRequest(name=name))
    made = dataproc_v1.Cluster.pb()()
    assert done.response.Unpack(made)
    assert (done.done, made.cluster_name) == (True, "ann-spark")
    asked = operations_pb2.ListOperationsRequest(
        name=f"projects/{ID}/regions/{REGION}/operations", filter="clusterName=ann-spark AND operationType=CREATE"
    )
    assert [each.name for each in clusters.list_operations(asked).operations] == [name]
    clusters.delete_operation(operations_pb2.DeleteOperationRequest(name=name))
    with pytest.raises(exceptions.NotFound):
        clusters.get_operation(operations_pb2.GetOperationRequest(name=name))


def test_refusals_are_the_clients_own_exceptions(cloud: NotebooksCloud, clusters: dataproc_v1.ClusterControllerClient):
    asked = {**WHERE, "cluster_name": "ann-spark"}
    make(clusters, cloud, "ann-spark")
    # Over REST the client tells by the HTTP status alone, so these are the classes that both ways have in common.
    again = {**WHERE, "cluster": body("ann-spark")}
    with pytest.raises(exceptions.Conflict, match="Already exists"):
        clusters.create_cluster(request=again)
    with pytest.raises(exceptions.BadRequest, match="cluster name"):
        clusters.create_cluster(request={**WHERE, "cluster": body("Ann")})
    with pytest.raises(exceptions.BadRequest, match="Region"):
        clusters.get_cluster(request={**asked, "region": "moon"})
    with pytest.raises(exceptions.Forbidden, match="other"):
        clusters.get_cluster(request={**asked, "project_id": "other"})
    cloud.fault(call="dataproc.GetCluster", error=DENIED)
    with pytest.raises(exceptions.Forbidden, match="denied"):
        clusters.get_cluster(request=asked)
    clusters.delete_cluster(request=asked)
    with pytest.raises(exceptions.BadRequest, match="pending delete operations"):
        clusters.delete_cluster(request=asked)


def test_a_stockout_is_the_operations_error(cloud: NotebooksCloud, clusters: dataproc_v1.ClusterControllerClient):
    cloud.fault(call="dataproc.CreateCluster", resource="*/zones/*", payload={"sold_out": True}, times=0)
    with pytest.raises(exceptions.ServiceUnavailable, match="does not have enough resources available"):
        make(clusters, cloud, "ann-spark")
    found = clusters.get_cluster(request={**WHERE, "cluster_name": "ann-spark"})
    assert found.status.state.name == "ERROR"
    assert "errorSource: COMPUTE_ENGINE" in found.status.detail


def test_a_request_that_comes_again_is_the_first_operation(
    cloud: NotebooksCloud, clusters: dataproc_v1.ClusterControllerClient
):
    asked = {**WHERE, "cluster": body("ann-spark"), "request_id": "r-1"}
    first, second = (clusters.create_cluster(request=asked).operation.name for _ in range(2))
    assert first == second


def test_the_journal_is_the_same_whichever_way_it_came(
    cloud: NotebooksCloud, clusters: dataproc_v1.ClusterControllerClient, transport: str
):
    make(clusters, cloud, "ann-spark")
    row = cloud.world.journal.listing(mutating_only=True)[0]
    assert (row["service"], row["method"], row["status"]) == ("dataproc", "CreateCluster", 200)
    assert row["resource"] == f"projects/{ID}/regions/{REGION}/clusters/ann-spark"
    assert row["permission"] == "dataproc.clusters.create,iam.serviceAccounts.actAs"


def test_session_templates_come_and_go(cloud: NotebooksCloud, templates: dataproc_v1.SessionTemplateControllerClient):
    wanted = {
        "name": NAME,
        "labels": {"team": "x"},
        "jupyter_session": {"kernel": "PYTHON", "display_name": "PySpark"},
        "environment_config": {
            "execution_config": {
                "idle_ttl": {"seconds": 3600},
                "authentication_config": {"user_workload_authentication_type": "END_USER_CREDENTIALS"},
            }
        },
    }
    made = templates.create_session_template(request={"parent": PARENT, "session_template": wanted}, metadata=AS_ANN)
    assert (made.creator, made.jupyter_session.kernel.name) == ("ann@example.com", "PYTHON")
    assert templates.get_session_template(request={"name": NAME}) == made
    with pytest.raises(exceptions.Conflict):
        templates.create_session_template(request={"parent": PARENT, "session_template": wanted})
    for number in range(2):
        other = {**wanted, "name": f"{PARENT}/sessionTemplates/other-{number}"}
        templates.create_session_template(request={"parent": PARENT, "session_template": other})
    listed = templates.list_session_templates(request={"parent": PARENT, "filter": "labels.team = x", "page_size": 2})
    assert [len(page.session_templates) for page in listed.pages] == [2, 1]
    cloud.wait(60)
    made.description = "changed"
    changed = templates.update_session_template(request={"session_template": made})
    assert changed.update_time > changed.create_time == made.create_time
    assert templates.get_session_template(request={"name": NAME}).description == "changed"
    templates.delete_session_template(request={"name": NAME})
    for call in (templates.get_session_template, templates.delete_session_template):
        with pytest.raises(exceptions.NotFound):
            call(request={"name": NAME})
    with pytest.raises(exceptions.BadRequest):
        templates.create_session_template(request={"parent": PARENT, "session_template": {**wanted, "name": "x"}})


def test_what_is_not_served_says_so_over_grpc(cloud: NotebooksCloud):
    with ExitStack() as stack:
        clusters = client_of(dataproc_v1.ClusterControllerClient, cloud, "grpc", stack)
        with pytest.raises(exceptions.MethodNotImplemented):
            clusters.stop_cluster(request={**WHERE, "cluster_name": "ann-spark"})


def test_nobody_pays_for_the_client_but_who_uses_it():
    program = (
        "import sys; from emulator.app import EmbeddedCloud\n"
        "with EmbeddedCloud.build(): print('google.cloud.dataproc_v1' in sys.modules)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
