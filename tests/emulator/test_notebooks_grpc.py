"""The Notebooks API over gRPC, which the official client speaks by default."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import grpc
import pytest
from google.api_core import exceptions
from google.cloud import notebooks_v2
from google.longrunning import operations_pb2, operations_pb2_grpc

from tests.emulator.notebooks_cloud import PROJECT, ZONE, NotebooksCloud, running

if TYPE_CHECKING:
    from collections.abc import Iterator

ANN = f"{ZONE}/instances/ann"


@pytest.fixture
def cloud() -> Iterator[NotebooksCloud]:
    with running() as started:
        yield started


@pytest.fixture
def channel(cloud: NotebooksCloud) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(urlsplit(cloud.url).netloc) as made:
        yield made


@pytest.fixture
def client(channel: grpc.Channel) -> notebooks_v2.NotebookServiceClient:
    kind = notebooks_v2.NotebookServiceClient.get_transport_class("grpc")
    return notebooks_v2.NotebookServiceClient(transport=kind(channel=channel))


def test_a_life_over_grpc(cloud: NotebooksCloud, client: notebooks_v2.NotebookServiceClient):
    instance = notebooks_v2.Instance(instance_owners=["ann@example.com"], labels={"team": "x"})
    made = client.create_instance(parent=ZONE, instance_id="ann", instance=instance)
    assert made.metadata.verb == "create"
    cloud.wait(240)
    got = client.get_instance(name=ANN)
    assert (got.state, got.labels["team"]) == (notebooks_v2.State.ACTIVE, "x")
    assert got.gce_setup.metadata["proxy-user-mail"] == "ann@example.com"
    assert [each.name for each in client.list_instances(parent=f"{PROJECT}/locations/-")] == [ANN]
    changed = notebooks_v2.Instance(name=ANN, labels={"team": "y"})
    client.update_instance(instance=changed, update_mask={"paths": ["labels"]})
    cloud.wait(10)
    assert client.get_instance(name=ANN).labels["team"] == "y"
    client.stop_instance(request={"name": ANN})
    cloud.wait(60)
    assert client.get_instance(name=ANN).state == notebooks_v2.State.STOPPED
    client.delete_instance(name=ANN)
    cloud.wait(60)
    with pytest.raises(exceptions.NotFound):
        client.get_instance(name=ANN)


def test_an_operation_ends_with_its_instance(
    cloud: NotebooksCloud, channel: grpc.Channel, client: notebooks_v2.NotebookServiceClient
):
    future = client.create_instance(parent=ZONE, instance_id="ann", instance=notebooks_v2.Instance())
    stub = operations_pb2_grpc.OperationsStub(channel)
    request = operations_pb2.GetOperationRequest(name=future.operation.name)
    assert not stub.GetOperation(request).done
    cloud.wait(240)
    assert stub.GetOperation(request).done
    assert future.result(timeout=30).name == ANN
    listed = stub.ListOperations(operations_pb2.ListOperationsRequest(name=ZONE))
    assert [each.name for each in listed.operations] == [future.operation.name]


def test_refusals_have_their_code_and_what_is_not_served_is_unimplemented(
    cloud: NotebooksCloud, client: notebooks_v2.NotebookServiceClient
):
    with pytest.raises(exceptions.NotFound):
        client.stop_instance(request={"name": ANN})
    with pytest.raises(exceptions.InvalidArgument):
        client.create_instance(parent=ZONE, instance_id="Ann", instance=notebooks_v2.Instance())
    cloud.active("ann")
    cloud.client.stop_instance(request={"name": ANN})
    with pytest.raises(exceptions.Aborted, match="unable to queue"):
        client.start_instance(request={"name": ANN})
    with pytest.raises(exceptions.MethodNotImplemented):
        client.check_instance_upgradability(request={"notebook_instance": ANN})
