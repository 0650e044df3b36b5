"""The evidence of use from Cloud Monitoring, and the reports that VMs write about themselves. Plain REST.

`compute.googleapis.com/instance/cpu/usage_time` as a rate is the number of cores in use, without an agent.
`notebooks.googleapis.com/instance/proxy_agent/response_count` counts HTTP responses through the proxy: one time series for each
response code, and no point for a minute without responses (google/inverting-proxy, agent/metrics/metrics.go). An open tab
polls, so it counts as use here. Bytes over network and to disk are read, too. All metrics identify a VM
by its numeric id. Monitoring bills each returned time series, so every query names its VMs and sums the series of one VM. The
official client has no REST transport, and its import costs a third of a second.

A report is in the guest attribute `benchkeeper/activity`: one call for each VM. Any process of the VM may write the
attribute, so the text is not trusted. A text that is too long, not JSON, or of another version is ignored.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from math import isfinite
from typing import Any

from shared.cloud.http.clients import Clients
from shared.domain.fleet.idle import Activity, Sample
from shared.domain.fleet.report import MOST_BYTES, Report, report_of
from shared.domain.things.notebook import InstanceRef
from shared.domain.things.times import parse_time
from shared.engine.ports.resources import Vm

CORES = "compute.googleapis.com/instance/cpu/usage_time"
REQUESTS = "notebooks.googleapis.com/instance/proxy_agent/response_count"
TRANSFERS = (
    "compute.googleapis.com/instance/network/received_bytes_count",
    "compute.googleapis.com/instance/network/sent_bytes_count",
    "compute.googleapis.com/instance/disk/write_bytes_count",
)
_MINUTE = "60s"
_STEP = "300s"  # of samples; each holds the greatest minute, so that a short burst of work is not averaged away
_BY_VM = {"aggregation.crossSeriesReducer": "REDUCE_SUM", "aggregation.groupByFields": "resource.labels.instance_id"}
_RATE = {
    "aggregation.alignmentPeriod": _MINUTE,
    "aggregation.perSeriesAligner": "ALIGN_RATE",
    "secondaryAggregation.alignmentPeriod": _STEP,
    "secondaryAggregation.perSeriesAligner": "ALIGN_MAX",
}
_COUNT = {"aggregation.alignmentPeriod": _STEP, "aggregation.perSeriesAligner": "ALIGN_SUM"}
_PAGE = 10_000
_BY_ID = 64  # VMs in a query: their ids, of 19 digits, fit the 2,048 characters of a filter


class MonitoringActivity:
    """The adapter of the port `ActivitySource`."""

    def __init__(self, clients: Clients, *, project: str) -> None:
        self._clients = clients
        self._project = project

    def read(self, notebooks: Sequence[Vm], window: timedelta, now: datetime) -> Mapping[str, Activity]:
        """Return the evidence by instance id.

        Raise an error if Monitoring does not answer: the use of all instances is then unknown.

        A CPU sample is the greatest value within five minutes. A counter that the project does not have counts as
        a counter without points.
        """
        ids = _ids(notebooks)
        cpu = self._series(CORES, _RATE, ids, window, now)
        requests = self._series(REQUESTS, _COUNT | _BY_VM, ids, window, now)
        return _Evidence({n.ref.instance_id: n.gce_instance_id for n in notebooks}, cpu, requests, now - window)

    def transfers(
        self, notebooks: Sequence[Vm], window: timedelta, now: datetime
    ) -> Mapping[str, tuple[Sample, ...] | None]:
        """Return samples by instance id, in bytes per second: at each moment the greatest of the rates of network in, network out and disk.

        A value is None if no metric has points for that instance.
        """
        found = [self._series(metric, _RATE | _BY_VM, _ids(notebooks), window, now) for metric in TRANSFERS]
        return {n.ref.instance_id: _greatest([series.of(n.gce_instance_id) for series in found]) for n in notebooks}

    def page_of(self, query: Mapping[str, Any], token: str) -> dict[str, Any] | None:
        """Return a page of `timeSeries.list`; None if the project does not have the metric."""
        params = {**query, **({"pageToken": token} if token else {})}
        return self._clients.json("monitoring").call_or_none(
            "GET", f"/v3/projects/{self._project}/timeSeries", params=params
        )

    def _series(
        self, metric: str, how: Mapping[str, str], ids: Sequence[str], window: timedelta, now: datetime
    ) -> _Series:
        """Return the samples of these VMs, none if the project does not have the metric.

        Pages are packed on arrival.
        """
        found = _Series()
        for begin in range(0, len(ids), _BY_ID):
            names = ",".join(f'"{vm}"' for vm in ids[begin : begin + _BY_ID])
            query = {
                "filter": f'metric.type="{metric}" AND resource.type="gce_instance" AND resource.labels.instance_id=one_of({names})',
                "interval.startTime": _rfc3339(now - window),
                "interval.endTime": _rfc3339(now),
                **how,
                "pageSize": _PAGE,
            }
            token = ""
            while True:
                page = self.page_of(query, token)
                if page is None:
                    return found
                for series in page.get("timeSeries", []):
                    found.add(str(series["resource"]["labels"]["instance_id"]), series["points"])
                token = page.get("nextPageToken", "")
                if not token:
                    break
        return found


def _ids(notebooks: Sequence[Vm]) -> list[str]:
    return sorted({n.gce_instance_id for n in notebooks if n.gce_instance_id})


def _greatest(series: Sequence[tuple[Sample, ...] | None]) -> tuple[Sample, ...] | None:
    """Return the greatest value at each moment; None if there is no sample."""
    most: dict[datetime, float] = {}
    for samples in series:
        for sample in samples or ():
            most[sample.at] = max(sample.value, most.get(sample.at, 0.0))
    return tuple(Sample(at, value) for at, value in sorted(most.items())) or None


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
        """Add some points of a series; a series may come in parts. A point without a number is left out, because unknown is not zero."""
        known = [(p["interval"]["endTime"], value) for p in points if (value := _number(p["value"])) is not None]
        moments = tuple(moment for moment, _ in known)
        values = array("d", [value for _, value in known]).tobytes()
        if vm in self._packed:
            before, earlier = self._packed[vm]
            moments, values = before + moments, earlier + values
        moments = self._moments.setdefault(moments, moments)
        if not any(values):
            values = self._values.setdefault(values, values)
        self._packed[vm] = (moments, values)

    def of(self, vm: str) -> tuple[Sample, ...] | None:
        """Return the samples, oldest first; None for a machine without samples."""
        moments, raw = self._packed.get(vm, ((), b""))
        if not moments:
            return None
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

    An instance without CPU data is blind at least since the beginning of the window; the idle rule keeps it running for
    a limited time. The caller states the meaning of a counter without points (`shared.domain.fleet.idle.Silence`).
    """

    def __init__(self, vms: Mapping[str, str], cpu: _Series, requests: _Series, begin: datetime) -> None:
        self._vms, self._cpu, self._requests, self._begin = vms, cpu, requests, begin

    def __getitem__(self, instance_id: str) -> Activity:
        vm = self._vms[instance_id]
        cpu, requests = self._cpu.of(vm), self._requests.of(vm)
        return Activity(cpu=cpu, requests=requests, blind_since=None if cpu else self._begin)

    def __iter__(self) -> Iterator[str]:
        return iter(self._vms)

    def __len__(self) -> int:
        return len(self._vms)


def _number(value: Mapping[str, object]) -> float | None:
    """Return the value of a point; None for "NaN" and "Infinity", JSON's texts for numbers that are not finite."""
    try:
        number = float(str(value.get("doubleValue", value.get("int64Value"))))
    except ValueError:
        return None
    return number if isfinite(number) else None


def _rfc3339(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


NAMESPACE, KEY = "benchkeeper", "activity"


class GuestReports:
    """The adapter of the port `Reports`."""

    def __init__(self, clients: Clients, *, project: str) -> None:
        self._clients = clients
        self._project = f"/compute/v1/projects/{project}"

    def of(self, ref: InstanceRef) -> Report | None:
        """Return the report by one GET; None for 404, the answer for a VM without the attribute and for a missing VM."""
        path = f"{self._project}/zones/{ref.zone}/instances/{ref.instance_id}/getGuestAttributes"
        found = self._clients.json("compute").call_or_none("GET", path, params={"queryPath": f"{NAMESPACE}/"})
        return None if found is None else _report(found)


def _report(found: dict[str, Any]) -> Report | None:
    query = found.get("queryValue")
    items = query.get("items") if isinstance(query, dict) else None
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict) and (item.get("namespace"), item.get("key")) == (NAMESPACE, KEY):
            value = item.get("value")
            if not isinstance(value, str) or len(value.encode(errors="replace")) > MOST_BYTES:
                return None
            try:
                return report_of(json.loads(value))
            except (ValueError, RecursionError):
                return None
    return None
