"""The evidence of use from Cloud Monitoring: the VM's CPU and the responses of Workbench's proxy.

`compute.googleapis.com/instance/cpu/utilization` needs no agent. `notebooks.googleapis.com/instance/proxy_agent/response_count`
counts HTTP responses through the proxy. An open tab polls, so it counts as use here, because kernels cannot be observed. Both are
joined by the VM's numeric id. Plain REST: the monitoring client has no REST transport and costs a third of a second.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from shared.cloud.http.clients import Clients
from shared.domain.fleet.idle import Activity, Sample
from shared.domain.things.times import parse_time
from shared.engine.ports.resources import Vm

CPU = "compute.googleapis.com/instance/cpu/utilization"
REQUESTS = "notebooks.googleapis.com/instance/proxy_agent/response_count"
ALIGN = timedelta(minutes=5)
_PAGE = 10_000
# Up to about this many VMs, a query by id is shorter than one over the whole project.
_BY_ID = 20


class MonitoringActivity:
    """The adapter of the port `ActivitySource`."""

    def __init__(self, clients: Clients, *, project: str) -> None:
        self._clients = clients
        self._project = project

    def read(self, notebooks: Sequence[Vm], window: timedelta, now: datetime) -> Mapping[str, Activity]:
        """Return the evidence by instance id. Raise if Monitoring does not answer: then the use of all instances is unknown.

        CPU samples are the maximum of five minutes, so that a short burst of work is not averaged away.
        """
        ids = sorted({n.gce_instance_id for n in notebooks if n.gce_instance_id})
        wanted = frozenset(ids)
        asked = ids if len(ids) <= _BY_ID else []
        cpu = self._series(CPU, "ALIGN_MAX", asked, wanted, window, now)
        requests = self._series(REQUESTS, "ALIGN_SUM", asked, wanted, window, now)
        return _Evidence({n.ref.instance_id: n.gce_instance_id for n in notebooks}, cpu, requests, now - window)

    def _series(
        self, metric: str, aligner: str, ids: Sequence[str], wanted: frozenset[str], window: timedelta, now: datetime
    ) -> _Series:
        """Return the samples of the wanted VMs. With empty `ids` the query covers all VMs of the project. Pages are packed on arrival."""
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
        found = _Series()
        token = ""
        while True:
            page = self._clients.json("monitoring").call(
                "GET",
                f"/v3/projects/{self._project}/timeSeries",
                params={**query, **({"pageToken": token} if token else {})},
            )
            for series in page.get("timeSeries", []):
                vm = str(series["resource"]["labels"]["instance_id"])
                if vm in wanted:
                    found.add(vm, series["points"])
            token = page.get("nextPageToken", "")
            if not token:
                return found


class _Series:
    """The samples of one metric by VM, packed: a value takes eight bytes, and timestamps that many series share are stored once.

    Points of aligned series end at the same times, so ten thousand machines share few tuples of timestamps.
    """

    def __init__(self) -> None:
        self._packed: dict[str, tuple[tuple[str, ...], bytes]] = {}
        self._moments: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._values: dict[bytes, bytes] = {}  # shared value arrays of unused machines: all zeros
        self._times: dict[str, datetime] = {}

    def add(self, vm: str, points: Sequence[Mapping[str, Any]]) -> None:
        """Add some points of a series; a series may come in parts."""
        moments = tuple(point["interval"]["endTime"] for point in points)
        values = array("d", [_number(point["value"]) for point in points]).tobytes()
        if vm in self._packed:
            before, earlier = self._packed[vm]
            moments, values = before + moments, earlier + values
        moments = self._moments.setdefault(moments, moments)
        if not any(values):
            values = self._values.setdefault(values, values)
        self._packed[vm] = (moments, values)

    def of(self, vm: str) -> tuple[Sample, ...] | None:
        """Return the samples, oldest first; None for a machine without samples."""
        if vm not in self._packed:
            return None
        moments, raw = self._packed[vm]
        values = array("d")
        values.frombytes(raw)
        samples = [Sample(self._time(text), value) for text, value in zip(moments, values, strict=True)]
        return tuple(sorted(samples, key=lambda sample: sample.at))

    def _time(self, text: str) -> datetime:
        if text not in self._times:
            self._times[text] = parse_time(text)
        return self._times[text]


class _Evidence(Mapping[str, Activity]):
    """The evidence by instance id, unpacked at each access.

    A metric without points does not mean zero: whether Workbench's counter is visible in a project is not documented. So an instance
    without points is blind at least since the beginning of the window; the idle rule keeps it running, within a bound.
    """

    def __init__(self, vms: Mapping[str, str], cpu: _Series, requests: _Series, begin: datetime) -> None:
        self._vms, self._cpu, self._requests, self._begin = vms, cpu, requests, begin

    def __getitem__(self, instance_id: str) -> Activity:
        vm = self._vms[instance_id]
        cpu, requests = self._cpu.of(vm), self._requests.of(vm)
        return Activity(cpu=cpu, requests=requests, blind_since=None if cpu and requests else self._begin)

    def __iter__(self) -> Iterator[str]:
        return iter(self._vms)

    def __len__(self) -> int:
        return len(self._vms)


def _number(value: Mapping[str, object]) -> float:
    raw = value.get("doubleValue", value.get("int64Value", 0))
    return float(str(raw))


def _rfc3339(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
