"""What each question works with: the cloud, the clock, the person, and what the run has made so far.

`Run` makes the one instance that most questions share when the first of them needs it. Whatever is made is in the ledger before
it is asked for, and carries the run's label and prefix.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol, TypeVar

from real_cloud.ledger import ASKED, Ledger, Resource
from real_cloud.prices import BOOT_GB, DATA_GB, MACHINE
from real_cloud.scrub import Scrubber

from shared.cloud.http.clients import Clients
from shared.cloud.http.clock import SystemClock
from shared.cloud.http.translate import from_operation
from shared.cloud.http.words import Service
from shared.domain.things.errors import BenchkeeperError, BusyError, RetryableError

T = TypeVar("T")
LABEL = "benchkeeper-contract"
PREFIX = "bk-contract-"
TOKEN_KEPT = timedelta(minutes=30)  # an access token of gcloud lives for an hour
_BUSY = timedelta(minutes=3)
_VISIBLE_AFTER = timedelta(minutes=4)  # Google: after sampling, data is not visible for up to 240 seconds
QUIET = timedelta(minutes=10)


class LateError(Exception):
    """The error for something that did not happen within its time."""


class Clock(Protocol):
    """The time, and the only waiting there is."""

    def now(self) -> datetime:
        """Return the current time."""

    def wait(self, seconds: float) -> None:
        """Return after so many seconds."""


class RealClock(SystemClock):
    """This machine's clock."""

    def wait(self, seconds: float) -> None:
        """Wait; Ctrl-C ends it."""
        threading.Event().wait(seconds)


@dataclass(frozen=True)
class Place:
    """Where the run works, and as whom. `network` and `subnet` are `projects/…` names; empty: the default network."""

    project: str
    number: str
    zone: str
    caller: str
    network: str = ""
    subnet: str = ""
    image: str = "workbench-instances-2603"

    @property
    def region(self) -> str:
        """The zone's region."""
        return self.zone.rpartition("-")[0]


class Cloud:
    """The project over the product's own clients. `connect` makes them for an account ("" is the caller) with a fresh token."""

    def __init__(self, connect: Callable[[str], Clients], clock: Clock) -> None:
        self._connect = connect
        self._clock = clock
        self._made: dict[str, tuple[datetime, Clients]] = {}

    def clients(self, account: str = "") -> Clients:
        """Return the clients of an account, connected anew before their token expires."""
        now = self._clock.now()
        made = self._made.get(account)
        if made is None or now - made[0] > TOKEN_KEPT:
            made = self._made[account] = (now, self._connect(account))
        return made[1]

    def ask(
        self, service: str, method: str, path: str, *, account: str = "", body: Any = None, **params: Any
    ) -> dict[str, Any]:
        """Return the answer. Raises the product's errors."""
        return self.clients(account).json(service).call(method, path, params=params, body=body)

    def ask_or_none(
        self, service: str, method: str, path: str, *, account: str = "", body: Any = None, **params: Any
    ) -> dict[str, Any] | None:
        """Return the answer, None for a 404."""
        return self.clients(account).json(service).call_or_none(method, path, params=params, body=body)

    def visit(self, url: str) -> int:
        """Return the status of a page that is opened with the caller's token. Raises `NoAnswerError`."""
        return self.clients().transport().send("GET", url).status


@dataclass
class Run:
    """One run: its id, its parts, and what it found. `ask_person` is None without `--with-person`."""

    ident: str
    place: Place
    cloud: Cloud
    clock: Clock
    folder: Path
    ledger: Ledger
    scrub: Scrubber
    say: Callable[[str], None]
    ask_person: Callable[[str], str] | None = None
    readers: tuple[str, ...] = ()
    viewer: str = ""
    timeline: dict[str, datetime] = field(default_factory=dict)  # of the first start: created, ACTIVE, proxyUri
    _failed: Exception | None = None
    _instance: str = ""
    _creation: str = ""
    _quiet: tuple[datetime, datetime] | None = None

    # --- what is made

    @property
    def instance(self) -> str:
        """The full name of the run's instance, made by the first question that needs it; its end is not waited for."""
        if self._failed is not None:
            raise self._failed
        if not self._instance:
            try:
                self._create()
            except BenchkeeperError as error:
                self._failed = error
                raise
        return self._instance

    def create_body(self) -> dict[str, Any]:
        """Return the body of the create request, as the product writes one."""
        setup: dict[str, Any] = {
            "machineType": MACHINE,
            "vmImage": {"project": "cloud-notebooks-managed", "family": self.place.image},
            "bootDisk": {"diskSizeGb": str(BOOT_GB), "diskType": "PD_BALANCED"},
            "dataDisks": [{"diskSizeGb": str(DATA_GB), "diskType": "PD_BALANCED"}],
        }
        if self.place.subnet:
            setup["networkInterfaces"] = [{"network": self.place.network, "subnet": self.place.subnet}]
        body: dict[str, Any] = {"labels": {LABEL: self.ident}, "gceSetup": setup}
        if not self.place.caller.endswith("gserviceaccount.com"):
            body["instanceOwners"] = [self.place.caller]
        return body

    def note(self, kind: str, name: str) -> Resource:
        """Note in the ledger what is about to be asked for."""
        resource = Resource(kind, name)
        self.ledger.note(resource, ASKED)
        return resource

    def _create(self) -> None:
        parent = f"projects/{self.place.project}/locations/{self.place.zone}"
        short = f"{PREFIX}{self.ident}"
        name = f"{parent}/instances/{short}"
        body = self.create_body()
        self.note("instance", name)
        self.say(f"Creating the instance {short} in {self.place.zone}")
        self.timeline["created"] = self.clock.now()
        started = self.cloud.ask(
            "notebooks", "POST", f"/v2/{parent}/instances", body=body, instanceId=short, requestId=str(uuid.uuid4())
        )
        self._instance, self._creation = name, str(started["name"])
        self.record("create-body", body)
        self.record("create-operation", started)

    def proxy_uri(self) -> str:
        """Return the address of JupyterLab, once the instance is ACTIVE and has one; note when each came.

        A creation that failed, or never gave an address, is not waited for by a second question.
        """

        def look() -> str | BenchkeeperError:
            creation = {} if "ACTIVE" in self.timeline else self.cloud.ask("notebooks", "GET", f"/v2/{self._creation}")
            if "error" in creation:
                return from_operation(creation["error"], "create the instance", service=Service.NOTEBOOKS)
            seen = self.cloud.ask("notebooks", "GET", f"/v2/{self.instance}")
            for mark, is_there in (("ACTIVE", seen.get("state") == "ACTIVE"), ("proxyUri", bool(seen.get("proxyUri")))):
                if is_there:
                    self.timeline.setdefault(mark, self.clock.now())
            return str(seen.get("proxyUri", "")) if seen.get("state") == "ACTIVE" else ""

        instance = self.instance
        try:
            found: str | BenchkeeperError = self.until(
                look, f"{instance.rpartition('/')[2]} is ACTIVE with a proxyUri", minutes=30
            )
        except LateError as error:
            self._failed = error if "proxyUri" not in self.timeline else None
            raise
        if isinstance(found, BenchkeeperError):
            self._failed = found
            raise found
        return found

    def gce_id(self) -> str:
        """Return the numeric id of the VM."""
        return str(self.cloud.ask("notebooks", "GET", f"/v2/{self.instance}")["gceSetup"]["instanceId"])

    def change(self, method: str, path: str, body: Any, *, what: str, **params: str) -> dict[str, Any]:
        """Send a change of the instance and return its operation once that is done; raise the product's error if it failed.

        "Busy" is tried again for three minutes: then it is no other operation that is in the way, but the state.
        """
        end = self.clock.now() + _BUSY
        while True:
            try:
                started = self.cloud.ask("notebooks", method, f"/v2/{self.instance}{path}", body=body, **params)
                return self._finished(f"/v2/{started['name']}", what=what)
            except BusyError:
                if self.clock.now() >= end:
                    raise
                self.clock.wait(15)

    def _finished(self, path: str, *, what: str) -> dict[str, Any]:
        """Return the operation at `path` once it is done; raise the product's error if it failed."""

        def look() -> dict[str, Any] | None:
            seen = self.cloud.ask("notebooks", "GET", path)
            return seen if seen.get("done") else None

        done = self.until(look, f"the operation ({what}) is done", minutes=15)
        if "error" in done:
            raise from_operation(done["error"], what, service=Service.NOTEBOOKS)
        return done

    def state(self) -> str:
        """Return the state of the instance."""
        return str(self.cloud.ask("notebooks", "GET", f"/v2/{self.instance}")["state"])

    def turn(self, verb: str, state: str) -> None:
        """Start or stop the instance, unless it is there already, and wait for the state."""
        if self.state() == state:
            return
        self.change("POST", f":{verb}", {}, what=verb)
        self.until(lambda: self.state() == state, f"the instance is {state}", minutes=15)

    # --- time

    def until(self, look: Callable[[], T | None], what: str, *, minutes: float, every_s: float = 5) -> T:
        """Return the first true answer of `look`; raise `LateError` after so many minutes.

        A temporary failure of the cloud is no answer yet: in an hour of looking there is one.
        """
        end = self.clock.now() + timedelta(minutes=minutes)
        while True:
            why = ""
            try:
                if found := look():
                    return found
            except RetryableError as error:
                why = f" ({error.detail})"
            if self.clock.now() >= end:
                raise LateError(f"after {minutes:g} minutes it is not so that {what}{why}")
            self.clock.wait(every_s)

    def quiet(self) -> tuple[datetime, datetime]:
        """Return the first and last moment of ten minutes in which nobody used the instance, once their data is visible."""
        if self._quiet is None:
            self.proxy_uri()
            self.say(f"Leaving the instance alone for {QUIET // timedelta(minutes=1)} minutes")
            self.clock.wait(90)  # the last minute of use, and the one in which it is written
            begin = self.clock.now()
            self.clock.wait(QUIET.total_seconds())
            end = self.clock.now()
            self.clock.wait(_VISIBLE_AFTER.total_seconds() + 60)
            self._quiet = begin, end
        return self._quiet

    # --- what is kept

    def record(self, name: str, answer: Any) -> None:
        """Keep an answer without its personal parts, for the golden tests. Raises `ValueError` if a part is left in it."""
        text = self.scrub.text(
            json.dumps({"recorded": self.clock.now().date().isoformat(), "body": answer}, ensure_ascii=False, indent=2)
        )
        if left := self.scrub.leaks(text):
            raise ValueError(f"{name} is not written: it still holds {left}")
        folder = self.folder / "recorded"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")
