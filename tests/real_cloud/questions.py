"""The questions that no document settles, in the order in which they are asked. Each is one function, to be read by itself.

The docstring is the question. Its first line asks; the four parts say which files rest on the answer, what asking costs, how long it waits,
and what the product assumes today. A question returns its answer; an error of the cloud means that it was not answered. Sources:
docs/platform-facts.md, section 13 ("Not found"), and the list of what no document settles at the end of the facts about the platform.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from real_cloud.asking import LABEL, PREFIX, LateError, Run
from real_cloud.prices import DATA_GB, GROWN_GB
from real_cloud.reference import unlike
from real_cloud.report import Answer, Asked, Verdict, judged

from shared.cloud.http.transport import NoAnswerError
from shared.cloud.notebook.activity import CORES, REQUESTS
from shared.domain.fleet.idle import IdlePolicy
from shared.domain.things.errors import (
    AccessDeniedError,
    BenchkeeperError,
    BusyError,
    ConflictError,
    OperationFailedError,
    PermanentError,
)
from shared.domain.things.identity import InstanceId
from shared.domain.things.notebook import IDLE_TIMEOUT_KEY
from shared.domain.things.snapshots import data_disk_of
from shared.domain.things.times import parse_time, rfc3339

_PARTS = ("Rests on it", "Costs", "Waits", "Assumes")
_PART = re.compile(rf"^({'|'.join(_PARTS)}): ", re.MULTILINE)
_BUSY_AT = IdlePolicy(timedelta(hours=1)).cores_busy_at
_STARTS_WITHIN_S = 900  # a third of `stuck_after`, so that nobody is told that a notebook is stuck which only starts
_TIMER_S, _ABOVE_A_DAY_S = 600, 90_000
_WITH_CONDITIONS = {"options.requestedPolicyVersion": 3}  # else conditions are lost when a policy is written back
_OK = 200
_SNAPSHOTS_LEAST = 1_000
_DF = "df --output=size -BG /home/jupyter | tail -1"


@dataclass(frozen=True)
class Question:
    """A question: the function that asks, and what it needs (a person at a browser; a second account)."""

    ask: Callable[[Run], Answer]
    needs_person: bool = False
    needs_viewer: bool = False

    @property
    def asked(self) -> Asked:
        """Its docstring, in parts."""
        text = "\n".join(line.strip() for line in str(self.ask.__doc__).strip().split("\n"))
        first, *rest = _PART.split(text)
        parts = {rest[n]: " ".join(rest[n + 1].split()) for n in range(0, len(rest), 2)}
        return Asked(self.ask.__name__, " ".join(first.split()), parts)

    @property
    def minutes(self) -> float:
        """How long it waits."""
        return float(self.asked.parts["Waits"].split()[0])


QUESTIONS: list[Question] = []


def question(
    *, person: bool = False, viewer: bool = False
) -> Callable[[Callable[[Run], Answer]], Callable[[Run], Answer]]:
    """Add a question to the list."""

    def add(ask: Callable[[Run], Answer]) -> Callable[[Run], Answer]:
        QUESTIONS.append(Question(ask, needs_person=person, needs_viewer=viewer))
        return ask

    return add


@question()
def snapshot_quota(run: Run) -> Answer:
    """How many snapshots may the project have?

    Rests on it: shared/cloud/notebook/snapshots.py (a used-up quota is tried again each half hour), docs/limits.md.
    Costs: nothing.
    Waits: 0 min
    Assumes: a quota SNAPSHOTS of at least 1,000, so a leaver's snapshot is rarely refused.
    """
    quotas = run.cloud.ask("compute", "GET", f"/compute/v1/projects/{run.place.project}").get("quotas", [])
    found = next((each for each in quotas if each.get("metric") == "SNAPSHOTS"), None)
    if found is None:
        return judged("The project shows no quota SNAPSHOTS.", held=False, metrics=sorted(q["metric"] for q in quotas))
    limit, used = int(found["limit"]), int(found["usage"])
    return judged(f"{limit} snapshots, of which {used} are used.", held=limit >= _SNAPSHOTS_LEAST, limit=limit)


@question()
def agent_policy(run: Run) -> Answer:
    """May an administrator of the project set the policy of Google's own agent of the notebooks' VMs?

    Its policy is read and written back as it is: nothing changes.

    Rests on it: cli/deploy/kinds/access.py (binds on the agent), docs/operations.md ("Who may act as the agent").
    Costs: nothing.
    Waits: 0 min
    Assumes: yes, an owner of the project may.
    """
    agent = f"service-{run.place.number}@gcp-sa-notebooks-vm.iam.gserviceaccount.com"
    path = f"/v1/projects/-/serviceAccounts/{agent}"
    policy = run.cloud.ask_or_none("iam", "POST", f"{path}:getIamPolicy", body={}, **_WITH_CONDITIONS)
    if policy is None:
        return Answer("The project has no such agent yet.", Verdict.UNKNOWN)
    try:
        run.cloud.ask("iam", "POST", f"{path}:setIamPolicy", body={"policy": {**policy, "version": 3}})
    except AccessDeniedError as error:
        return judged(f"No: {error.detail}", held=False, may_read=True)
    return judged("Yes.", held=True, bindings=len(policy.get("bindings", [])))


@question()
def between_active_and_proxy_uri(run: Run) -> Answer:
    """How long is a new notebook ACTIVE without an address?

    Rests on it: shared/domain/notebook/states.py and patience.py (ACTIVE without `proxyUri` is not ready, and stuck after 45 minutes).
    Costs: the instance, from here to the end of the run.
    Waits: 5 min
    Assumes: the address is there within 15 minutes of ACTIVE.
    """
    run.proxy_uri()
    since = run.timeline
    active, gap = (
        int((since[mark] - since[start]).total_seconds())
        for start, mark in (("created", "ACTIVE"), ("ACTIVE", "proxyUri"))
    )
    says = f"ACTIVE {active} s after the request; the address {abs(gap)} s {'before' if gap < 0 else 'after'} that."
    return judged(says, held=gap <= _STARTS_WITHIN_S, active_after_s=active, address_after_active_s=gap)


@question()
def shapes(run: Run) -> Answer:
    """Do the answers about an instance have the fields, types and formats that the embedded cloud gives?

    Rests on it: emulator/model/notebooks_fresh.py, and with it all tests on the embedded cloud.
    Costs: nothing.
    Waits: 0 min
    Assumes: yes, the fields and formats are the same.
    """
    name = run.instance
    run.record("get-instance", run.cloud.ask("notebooks", "GET", f"/v2/{name}"))
    listing = run.cloud.ask("notebooks", "GET", f"/v2/{name.rpartition('/instances/')[0]}/instances")
    ours = [each for each in listing.get("instances", []) if each["name"] == name]
    run.record("list-instances", {**{k: v for k, v in listing.items() if k != "nextPageToken"}, "instances": ours})
    return _alike(run)


def _alike(run: Run) -> Answer:
    found = {name: lines for name, lines in unlike(run.folder / "recorded").items() if lines}
    count = sum(map(len, found.values()))
    return judged(f"{count} differences." if count else "No difference.", held=not count, **found)


@question()
def counter_visible(run: Run) -> Answer:
    """Is the proxy's counter of responses visible in this project, and to which accounts?

    The run opens JupyterLab's address with the caller's token, once a minute. Where Google's front refuses that, nothing reaches the
    counter, and a person has to open it. More accounts are asked with `--reader ACCOUNT`.

    Rests on it: shared/cloud/notebook/activity.py, shared/domain/fleet/idle.py (`Silence`), the idle stop itself.
    Costs: nothing beside the instance.
    Waits: 10 min
    Assumes: it is visible to every account that may read metrics.
    """
    url = f"https://{run.proxy_uri()}/api/status"
    begin, statuses = run.clock.now(), []
    for _ in range(5):
        try:
            statuses.append(run.cloud.visit(url))
        except NoAnswerError:
            statuses.append(0)
        run.clock.wait(60)
    is_reached = _OK in statuses
    if not is_reached and run.ask_person is not None:
        run.ask_person(f"Open\n  https://{run.proxy_uri()}/lab\nwait for JupyterLab, close the tab and press Enter")
        is_reached = True
    vm = run.gce_id()

    def look() -> bool:
        return bool(_points(run, REQUESTS, vm, begin, run.clock.now()))

    try:
        run.until(look, "the counter has a point", minutes=10, every_s=30)
    except LateError:
        exists = _series(run, REQUESTS, vm, begin, run.clock.now()) is not None
        if not is_reached:
            says = "Nobody reached JupyterLab, so there was nothing to count: --with-person."
            return Answer(says, Verdict.UNKNOWN, {"statuses": statuses, "exists": exists})
        how = "The metric exists, but has no point" if exists else "The project does not have the metric"
        return judged(f"{how} 10 minutes after the visits.", held=False, statuses=statuses)
    readers: dict[str, str] = {}
    for account in run.readers:
        try:
            seen = _series(run, REQUESTS, vm, begin, run.clock.now(), account=account)
            readers[account] = "sees it" if seen else "sees nothing"
        except AccessDeniedError as error:
            readers[account] = f"is refused ({error.detail})"
    others = "".join(f" {account} {what}." for account, what in readers.items())
    is_held = "sees nothing" not in readers.values()
    return judged(f"Visible to the caller.{others}", held=is_held, statuses=statuses, readers=readers)


@question()
def quiet_minute(run: Run) -> Answer:
    """Is the counter written in a minute in which there was no response?

    Rests on it: shared/domain/fleet/idle.py (no point means no response), emulator/model/monitoring.py (`sparse`).
    Costs: nothing beside the instance.
    Waits: 17 min
    Assumes: no; a minute without a response has no point.
    """
    begin, end = run.quiet()
    vm = run.gce_id()
    if not _series(run, REQUESTS, vm, begin - timedelta(hours=1), end):
        return Answer("The counter was not seen at all (`counter_visible`).", Verdict.UNKNOWN)
    values = _points(run, REQUESTS, vm, begin, end)
    if any(values):
        return Answer("Somebody used the instance meanwhile.", Verdict.UNKNOWN, {"values": values})
    says = (
        f"{len(values)} zeros were written in 10 quiet minutes." if values else "Nothing is written in a quiet minute."
    )
    return judged(says, held=not values, points=len(values))


@question()
def idle_baseline(run: Run) -> Answer:
    """How many CPU cores does an instance use that nobody uses?

    Rests on it: shared/domain/fleet/idle.py (`cores_busy_at`).
    Costs: nothing beside the instance; the quiet time is shared with `quiet_minute`.
    Waits: 0 min
    Assumes: less than 0.3 cores (`cores_busy_at`) in each minute, so that an unused instance is idle.
    """
    begin, end = run.quiet()
    values = _points(run, CORES, run.gce_id(), begin, end, rate=True)
    if not values:
        return Answer("Monitoring has no point of the instance's CPU.", Verdict.UNKNOWN)
    most, middle = round(max(values), 4), round(statistics.median(values), 4)
    says = f"{middle:g} cores in the middle, {most:g} at most, of {len(values)} minutes."
    return judged(says, held=most < _BUSY_AT, cores=[round(value, 4) for value in values])


@question()
def resize_while_active(run: Run) -> Answer:
    """May the data disk grow while the instance is ACTIVE?

    Rests on it: docs/platform-facts.md (what takes a stop); no stop would be needed for a larger disk.
    Costs: 10 GB more, to the end of the run.
    Waits: 1 min
    Assumes: yes, without a stop.
    """
    run.proxy_uri()
    try:
        run.change("POST", ":resizeDisk", {"dataDisk": {"diskSizeGb": str(GROWN_GB)}}, what="resize")
    except BenchkeeperError as error:
        return judged(f"Refused while ACTIVE: {_refusal(error)}", held=False)
    seen = run.cloud.ask("notebooks", "GET", f"/v2/{run.instance}")
    size, state = str(seen["gceSetup"]["dataDisks"][0]["diskSizeGb"]), str(seen["state"])
    says = f"Taken while ACTIVE; then the disk has {size} GB and the instance is {state}."
    return judged(says, held=size == str(GROWN_GB) and state == "ACTIVE", size_gb=size, state=state)


@question(person=True)
def file_system_after_resize(run: Run) -> Answer:
    """Does the file system grow with the disk while the instance runs?

    Rests on it: the words on a larger disk, "larger after the next start" (docs/platform-facts.md, section 13).
    Costs: nothing beside the instance.
    Waits: 3 min
    Assumes: it grows at the next start, at the latest.
    """
    ask = _person(run)
    sizes: dict[str, int] = {}
    for when in ("while it runs", "after a start"):
        if when == "after a start":
            run.turn("stop", "STOPPED")
            run.turn("start", "ACTIVE")
        typed_in = ask(f"Open\n  https://{run.proxy_uri()}/lab\nand in a terminal type: {_DF}\nThe number")
        number = "".join(filter(str.isdigit, typed_in))
        if not number:
            return Answer("Not answered.", Verdict.UNKNOWN)
        sizes[when] = int(number)
        if sizes[when] > (DATA_GB + GROWN_GB) / 2:
            return judged(f"It has grown {when}: {sizes[when]} GB.", held=True, sizes=sizes)
    return judged("It did not grow, not after a start either.", held=False, sizes=sizes)


@question()
def idle_timeout_above_a_day(run: Run) -> Answer:
    """Is an `idle-timeout-seconds` above 24 hours taken?

    Whether it is obeyed takes longer than a day to see, and is not asked.

    Rests on it: shared/domain/things/catalog.py (`timeout` and `max_keep_on` are together at most 24 hours).
    Costs: nothing beside the instance.
    Waits: 1 min
    Assumes: it is taken as it is, as the embedded cloud does. The product sends none, so it relies on neither.
    """
    try:
        _set_timer(run, _ABOVE_A_DAY_S)
    except BenchkeeperError as error:
        return judged(f"Refused: {_refusal(error)}", held=False)
    metadata = run.cloud.ask("notebooks", "GET", f"/v2/{run.instance}")["gceSetup"]["metadata"]
    kept = str(metadata.get(IDLE_TIMEOUT_KEY, ""))
    return judged(f"{_ABOVE_A_DAY_S} is taken and reads back as {kept!r}.", held=kept == str(_ABOVE_A_DAY_S), kept=kept)


@question()
def timer_stop_principal(run: Run) -> Answer:
    """Whom does the audit log name when Workbench's own idle timer stops an instance?

    A stop by the caller follows, as a check that the log can be read at all.

    Rests on it: config/deploy/sinks.yaml, and how a stop is told to the user ("by hand" or "idle").
    Costs: nothing beside the instance.
    Waits: 20 min
    Assumes: no StopInstance entry with a person as principal.
    """
    run.proxy_uri()
    _set_timer(run, _TIMER_S)
    begin = run.clock.now()
    what = f"the timer of {_TIMER_S} s has stopped the instance"
    try:
        run.until(lambda: run.state() == "STOPPED", what, minutes=25, every_s=30)
    finally:
        _set_timer(run, 0)
    stopped = run.clock.now()
    run.turn("start", "ACTIVE")
    hand = run.clock.now()
    run.turn("stop", "STOPPED")
    try:
        own = run.until(lambda: _entries(run, "StopInstance", hand), "the log has our own stop", minutes=5, every_s=30)
    except LateError:
        return Answer("The log does not show the caller's own stop, so it cannot be asked.", Verdict.UNKNOWN)
    found = [_principal(each) for each in _entries(run, "StopInstance", begin, stopped)]
    people = [each for each in found if each and not each.endswith("gserviceaccount.com")]
    says = f"The log names {', '.join(found) or 'nobody'}; for a stop by hand it names {_principal(own[0])}."
    machine = [_act(each) for each in _entries(run, "", begin, stopped, service="compute.googleapis.com")]
    return judged(says, held=not people, timer=found, by_hand=[_principal(each) for each in own], machine=machine)


@question()
def restore_needs(run: Run) -> Answer:
    """Which state and which permissions does `:restore` need?

    Rests on it: shared/domain/notebook/replacement.py (restores a stopped instance), config/deploy/roles.yaml.
    Costs: a snapshot of the data disk, to the end of the run.
    Waits: 8 min
    Assumes: an ACTIVE instance can be restored, too, and notebooks.instances.update is enough.
    """
    run.turn("start", "ACTIVE")
    short = run.instance.rpartition("/")[2]
    compute = f"/compute/v1/projects/{run.place.project}"
    name = f"{PREFIX}{run.ident}"
    snapshot = run.note("snapshot", f"projects/{run.place.project}/global/snapshots/{name}")
    disk = f"{compute}/zones/{run.place.zone}/disks/{data_disk_of(InstanceId(short))}"
    labels = {LABEL: run.ident}
    run.cloud.ask(
        "compute",
        "POST",
        f"{disk}/createSnapshot",
        body={"name": name, "labels": labels, "storageLocations": [run.place.region]},
    )

    def ready() -> dict[str, Any] | None:
        seen = run.cloud.ask_or_none("compute", "GET", snapshot.path)
        return seen if seen is not None and seen.get("status") == "READY" else None

    run.record("snapshot", run.until(ready, "the snapshot is READY", minutes=15))
    begin = run.clock.now()
    refusals: dict[str, str] = {}
    for verb, state in (("start", "ACTIVE"), ("stop", "STOPPED")):
        run.turn(verb, state)
        try:
            run.change(
                "POST", ":restore", {"snapshot": {"projectId": run.place.project, "snapshotId": name}}, what="restore"
            )
        except BenchkeeperError as error:
            refusals[state] = _refusal(error)
        else:
            break
    try:
        found = run.until(lambda: _entries(run, "RestoreInstance", begin), "the log has it", minutes=5, every_s=30)
    except LateError:
        found = []
    needed = sorted({p["permission"] for e in found for p in e["protoPayload"].get("authorizationInfo", [])})
    states = [state for state in ("ACTIVE", "STOPPED") if state not in refusals][:1]
    more = sorted(set(needed) - {"notebooks.instances.update"})
    says = f"{'Taken while ' + states[0] if states else 'Refused in both states'}; permissions: {', '.join(needed) or 'the log names none'}."
    return judged(says, held=states == ["ACTIVE"] and not more, refusals=refusals, permissions=needed)


@question(person=True)
def page_before_proxy_uri(run: Run) -> Answer:
    """What does a user see who opens a notebook that has just become ACTIVE?

    Rests on it: portal/, the words while a notebook starts; shared/domain/notebook/states.py.
    Costs: nothing beside the instance.
    Waits: 5 min
    Assumes: an error page of the proxy, so the page must not offer the link too early.
    """
    ask = _person(run)
    url = f"https://{run.proxy_uri() if run.state() == 'ACTIVE' else run.cloud.ask('notebooks', 'GET', f'/v2/{run.instance}').get('proxyUri', '')}"
    run.turn("stop", "STOPPED")
    run.turn("start", "ACTIVE")
    seen = ask(f"Open at once\n  {url}\nWhat is there: (e)rror page, (w)aiting page, (l)ab").strip().lower()[:1]
    words = {"e": "An error page.", "w": "A page that waits.", "l": "JupyterLab, at once."}
    if seen not in words:
        return Answer("Not answered.", Verdict.UNKNOWN)
    return judged(words[seen], held=seen == "e")


@question(person=True, viewer=True)
def console_with_one_instance(run: Run) -> Answer:
    """Does the console's page of one instance open for a person with rights on that instance alone?

    `--viewer ADDRESS` is a second account without any right in the project, in whose browser the person looks. The right is
    given on the instance of this run, and goes with it.

    Rests on it: docs/operations.md (what people need for the one consent of end-user credentials).
    Costs: nothing beside the instance.
    Waits: 3 min
    Assumes: no; rights on the project are needed, which show everybody's instances.
    """
    ask = _person(run)
    member = {"role": "roles/notebooks.viewer", "members": [f"user:{run.viewer}"]}
    policy = run.cloud.ask("notebooks", "GET", f"/v2/{run.instance}:getIamPolicy", **_WITH_CONDITIONS)
    policy["bindings"] = [*policy.get("bindings", []), member]
    run.cloud.ask("notebooks", "POST", f"/v2/{run.instance}:setIamPolicy", body={"policy": policy})
    short, zone, project = run.instance.rpartition("/")[2], run.place.zone, run.place.project
    url = f"https://console.cloud.google.com/vertex-ai/workbench/instances/locations/{zone}/{short}?project={project}"
    seen = ask(f"As {run.viewer}, open\n  {url}\nDoes it show the instance? (y/n)").strip().lower()[:1]
    if seen not in {"y", "n"}:
        return Answer("Not answered.", Verdict.UNKNOWN)
    return judged("It opens." if seen == "y" else "It does not open.", held=seen == "n")


@question()
def session_creator(run: Run) -> Answer:
    """Does `creator` of a serverless Spark session name the person who made it?

    Rests on it: shared/cloud/dataproc/live_sessions.py (a leaver's sessions are found by `creator`).
    Costs: a serverless Spark session of 12 DCU for a quarter of an hour.
    Waits: 3 min
    Assumes: it is the caller's address.
    """
    parent = f"projects/{run.place.project}/locations/{run.place.region}"
    session = run.note("session", f"{parent}/sessions/{PREFIX}{run.ident}")
    body: dict[str, Any] = {"jupyterSession": {"kernel": "PYTHON"}, "labels": {LABEL: run.ident}}
    if run.place.subnet:
        body["environmentConfig"] = {"executionConfig": {"subnetworkUri": run.place.subnet}}
    run.record("session-body", body)
    run.cloud.ask("dataproc", "POST", f"/v1/{parent}/sessions", body=body, sessionId=f"{PREFIX}{run.ident}")

    def active() -> dict[str, Any] | None:
        seen = run.cloud.ask_or_none("dataproc", "GET", session.path)
        return seen if seen is not None and seen.get("state") not in {None, "CREATING"} else None

    seen = run.until(active, "the session is no longer CREATING", minutes=10, every_s=15)
    run.record("session", seen)
    creator = str(seen.get("creator", ""))
    return judged(
        f"It is {creator or 'empty'}.", held=creator.casefold() == run.place.caller.casefold(), creator=creator
    )


@question()
def later_shapes(run: Run) -> Answer:
    """Do the snapshot and the session, made meanwhile, have the fields that the embedded cloud gives?

    Rests on it: emulator/model/compute.py, emulator/model/dataproc_interactive.py.
    Costs: nothing.
    Waits: 0 min
    Assumes: yes, the fields and formats are the same.
    """
    return _alike(run)


# --- what several questions do


def _person(run: Run) -> Callable[[str], str]:
    if run.ask_person is None:
        raise LookupError("a question for a person was asked without --with-person")
    return run.ask_person


def _refusal(error: BenchkeeperError) -> str:
    """Return the words of a refusal. Raise the error if it says nothing about the question: an outage, or the caller's own rights."""
    if isinstance(error, AccessDeniedError) or not isinstance(
        error, PermanentError | ConflictError | BusyError | OperationFailedError
    ):
        raise error
    return error.detail


def _set_timer(run: Run, seconds: int) -> None:
    """Set Workbench's own timer; 0 switches it off, by an empty value."""
    body = {"gceSetup": {"metadata": {IDLE_TIMEOUT_KEY: str(seconds or "")}}}
    run.change("PATCH", "", body, what="set the timer", updateMask="gce_setup.metadata")


def _series(
    run: Run, metric: str, vm: str, begin: datetime, end: datetime, *, rate: bool = False, account: str = ""
) -> list[dict[str, Any]] | None:
    """Return the VM's series of a metric; None if the project does not have the metric."""
    how = {"aggregation.alignmentPeriod": "60s", "aggregation.perSeriesAligner": "ALIGN_RATE"} if rate else {}
    which = f'metric.type="{metric}" AND resource.type="gce_instance" AND resource.labels.instance_id="{vm}"'
    path = f"/v3/projects/{run.place.project}/timeSeries"
    times = {"interval.startTime": rfc3339(begin), "interval.endTime": rfc3339(end)}
    answer = run.cloud.ask_or_none("monitoring", "GET", path, account=account, filter=which, **times, **how)
    return None if answer is None else list(answer.get("timeSeries", []))


def _points(run: Run, metric: str, vm: str, begin: datetime, end: datetime, *, rate: bool = False) -> list[float]:
    """Return the values of all series of the VM whose minute lies within the time."""
    return [
        float(point["value"].get("doubleValue", point["value"].get("int64Value", 0)))
        for series in _series(run, metric, vm, begin, end, rate=rate) or []
        for point in series["points"]
        if begin <= parse_time(point["interval"]["endTime"]) <= end
    ]


def _entries(
    run: Run, method: str, begin: datetime, end: datetime | None = None, *, service: str = "notebooks.googleapis.com"
) -> list[dict[str, Any]]:
    """Return the audit entries about the run's instance, of one method or ("") of all."""
    parts = [
        f'protoPayload.serviceName="{service}"',
        *([f'protoPayload.methodName:"{method}"'] if method else []),
        f'protoPayload.resourceName:"{run.instance.rpartition("/")[2]}"',
        f'timestamp>="{rfc3339(begin)}"',
        *([f'timestamp<="{rfc3339(end)}"'] if end else []),
    ]
    body = {"resourceNames": [f"projects/{run.place.project}"], "filter": " AND ".join(parts)}
    return list(run.cloud.ask("logging", "POST", "/v2/entries:list", body=body).get("entries", []))


def _act(entry: dict[str, Any]) -> str:
    return f"{entry['protoPayload'].get('methodName', '')} by {_principal(entry)}"


def _principal(entry: dict[str, Any]) -> str:
    return str(entry["protoPayload"].get("authenticationInfo", {}).get("principalEmail", ""))
