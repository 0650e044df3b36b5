"""Evidence of use from Cloud Monitoring: the VM's CPU and the answers that Workbench's proxy gave.

`compute.googleapis.com/instance/cpu/utilization` needs no agent. `notebooks.googleapis.com/instance/proxy_agent/response_count`
counts HTTP answers through the proxy; an open tab polls, so it counts as use here, where kernels cannot be seen. Both are
joined by the VM's numeric id. Plain REST: the monitoring client has no REST transport and costs a third of a second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from shared.cloud.clients import Clients
from shared.domain.idle import Activity, Sample
from shared.domain.notebook import ObservedNotebook
from shared.domain.times import parse_time

CPU = "compute.googleapis.com/instance/cpu/utilization"
REQUESTS = "notebooks.googleapis.com/instance/proxy_agent/response_count"
ALIGN = timedelta(minutes=5)
_PAGE = 10_000
# One query by id is shorter than one over the whole project up to about this many.
_BY_ID = 20


class MonitoringActivity:
    """The port `ActivitySource`."""

    def __init__(self, clients: Clients, *, project: str) -> None:
        self._clients = clients
        self._project = project

    def read(self, notebooks: Sequence[ObservedNotebook], window: timedelta, now: datetime) -> Mapping[str, Activity]:
        """Evidence by instance id. Raises when Monitoring does not answer: then nothing is known of anybody.

        The maximum of five minutes stands for the CPU, so that a short burst of work is not averaged away.
        """
        by_vm = {n.gce_instance_id: n for n in notebooks if n.gce_instance_id}
        ids = sorted(by_vm) if len(by_vm) <= _BY_ID else []
        cpu = self._series(CPU, "ALIGN_MAX", ids, window, now)
        requests = self._series(REQUESTS, "ALIGN_SUM", ids, window, now)
        return {n.ref.instance_id: _evidence(n, cpu, requests, now - window) for n in notebooks}

    def _series(
        self, metric: str, aligner: str, ids: Sequence[str], window: timedelta, now: datetime
    ) -> dict[str, tuple[Sample, ...]]:
        """Samples by VM id, oldest first; all VMs of the project when `ids` is empty."""
        text = f'metric.type="{metric}" AND resource.type="gce_instance"'
        if ids:
            text += " AND (" + " OR ".join(f'resource.labels.instance_id="{vm}"' for vm in ids) + ")"
        query = {
            "filter": text,
            "interval.startTime": _rfc3339(now - window),
            "interval.endTime": _rfc3339(now),
            "aggregation.alignmentPeriod": f"{int(ALIGN.total_seconds())}s",
            "aggregation.perSeriesAligner": aligner,
            "pageSize": _PAGE,
        }
        found: dict[str, list[Sample]] = {}
        token = ""
        while True:
            page = self._clients.json("monitoring").call(
                "GET",
                f"/v3/projects/{self._project}/timeSeries",
                params={**query, **({"pageToken": token} if token else {})},
            )
            for series in page.get("timeSeries", []):
                vm = str(series["resource"]["labels"]["instance_id"])
                found.setdefault(vm, []).extend(
                    Sample(parse_time(point["interval"]["endTime"]), _number(point["value"]))
                    for point in series["points"]
                )
            token = page.get("nextPageToken", "")
            if not token:
                return {vm: tuple(sorted(samples, key=lambda s: s.at)) for vm, samples in found.items()}


def _evidence(
    notebook: ObservedNotebook,
    cpu: Mapping[str, tuple[Sample, ...]],
    requests: Mapping[str, tuple[Sample, ...]],
    begin: datetime,
) -> Activity:
    """A metric without a point is not zero: whether Workbench's counter is visible in a project is not documented.

    So an instance without it is blind since the window's begin at least, which the idle rule keeps and bounds.
    """
    vm = notebook.gce_instance_id
    return Activity(
        cpu=cpu.get(vm),
        requests=requests.get(vm),
        blind_since=begin if not requests.get(vm) or not cpu.get(vm) else None,
    )


def _number(value: Mapping[str, object]) -> float:
    raw = value.get("doubleValue", value.get("int64Value", 0))
    return float(str(raw))


def _rfc3339(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
