"""The functions over the embedded cloud on a port: what each of them called, what that needs, and one person's whole life."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import requests
from flask.testing import FlaskClient
from kit.hub import Browser
from kit.inprocess import ROOT
from kit.oracle import instances
from kit.spark import SMALL, cloud_clusters
from werkzeug.test import TestResponse

from emulator.app import EmbeddedCloud
from emulator.faults import Fault
from shared.cloud.identity.iap import HEADER
from shared.domain.people.events import Joined, Left, LifecycleEvent, Moved
from shared.domain.record.record import UserRecord
from shared.domain.things.identity import UserEmail, account_email, parse_email, user_key_for
from shared.domain.things.notebook import LABEL_MANAGED_BY, LABEL_PROFILE, LABEL_USER, MANAGED_BY
from shared.domain.things.times import rfc3339
from shared.engine.news.intake import accept
from shared.engine.news.requests import drop_cluster, want_cluster
from shared.engine.ports.deps import Deps
from shared.messages.parse import wake_message
from shared.settings import Settings
from tests.functions.conftest import HUB, TARGETS, TOPIC_OF, TOPICS, TYPE, envelope, is_of_directory

KOFI, BEN = parse_email("kofi.mensah@example.org"), parse_email("ben@example.com")

BUCKETS = ("records", "inbox", "letters", "audit")
# (permission, on what) -> the calls that need it
Needs = dict[tuple[str, str], set[str]]


def _by_function() -> dict[str, Any]:
    return {target: {} for target in (*TARGETS, HUB)}


@dataclass
class Watched:
    """The functions over an embedded cloud on a port, with what each of them called."""

    cloud: EmbeddedCloud
    settings: Settings
    deps: Deps
    apps: dict[str, FlaskClient]
    needed: dict[str, Needs] = field(default_factory=_by_function)
    of_groups: dict[str, set[str]] = field(default_factory=lambda: {target: set() for target in (*TARGETS, HUB)})
    count: int = 0

    def post(self, target: str, body: Any, *, raw: Any = None, status: int = 200, topic: str = "", **more: Any) -> None:
        """A message of Pub/Sub to a function."""
        self.count += 1
        published = rfc3339(self.cloud.world.clock.now())
        sent = (
            raw if raw is not None else envelope(body, message_id=f"m{self.count}", **{"published": published, **more})
        )
        headers = {
            "ce-id": f"m{self.count}",
            "ce-source": f"{TOPICS}{topic or ('workbench-directory' if is_of_directory(body) else TOPIC_OF[target])}",
            "ce-specversion": "1.0",
            "ce-type": TYPE,
            "content-type": "application/json",
        }
        data = json.dumps(sent).encode()
        answer = self.watched(target, lambda: self.apps[target].post("/", headers=headers, data=data))
        assert answer.status_code == status

    def watched(self, target: str, ask: Callable[[], TestResponse]) -> TestResponse:
        """Ask the function, and note what its calls need."""
        journal = self.cloud.world.journal
        journal.clear()
        answer = ask()
        for row in journal.listing(mutating_only=False):
            if row["service"] == "cloudidentity":  # who manages the group may; no role of IAM gives that
                self.of_groups[target].add(row["method"])
                continue
            assert row["permission"], row
            for permission in row["permission"].split(","):
                place = (permission, self.where(row, permission))
                self.needed[target].setdefault(place, set()).add(f"{row['service']}.{row['method']}")
        return answer

    def where(self, row: dict[str, Any], permission: str) -> str:
        """What the role must be granted on, in the words of roles.yaml."""
        match row["service"]:
            case "storage":
                bucket = row["resource"].partition("/")[0]
                return f"bucket/{BUCKETS[self.settings.all_buckets.index(bucket)]}"
            case "secretmanager":
                return "secrets"
            case "pubsub":
                return f"topic/{row['resource'].rpartition('/')[2]}"
            case "dataproc" if permission == "iam.serviceAccounts.actAs":
                return "project" if self.runs_as_its_owner(row["resource"]) else "cluster-accounts"
            case _:
                return "project"

    def runs_as_its_owner(self, path: str) -> bool:
        """True for a cluster that runs as an account of the person's own, False for one that names no account.

        People's own accounts come and go, so a role that reaches one of them is granted on the project.
        """
        (cluster,) = [each for each in cloud_clusters(self.cloud) if each.name == path]
        named = cluster.body["config"]["gceClusterConfig"].get("serviceAccount")
        if named is None:
            return False
        (owner,) = [user for user in (KOFI, BEN) if user_key_for(user) == cluster.body["labels"][LABEL_USER]]
        assert named == self.account_of(owner)
        return True

    def take_up(self, user: UserEmail) -> None:
        """The page's wake-up reaches the lifecycle function."""
        self.post("lifecycle", json.loads(wake_message(user_key_for(user))))
        assert self.waiting(user) == 0

    def waiting(self, user: UserEmail) -> int:
        """How many clicks were not taken up yet."""
        return len(self.deps.inbox.waiting(user_key_for(user)))

    def account_of(self, user: UserEmail) -> str | None:
        account_id = self.record(user).status.account.account_id
        return account_email(account_id, self.settings.project) if account_id is not None else None

    def advance(self, **by: float) -> None:
        self.cloud.world.clock.advance(timedelta(**by))

    def news(self, kind: str, **attributes: Any) -> dict[str, Any]:
        return {
            "schema": "workbench.lifecycle/v1",
            "event_id": f"e{self.count}",
            "type": kind,
            "user": KOFI,
            "occurred_at": self.cloud.world.clock.now().isoformat(),
            "effective_time": self.cloud.world.clock.now().isoformat(),
            "attributes": attributes,
        }

    def completion(self) -> dict[str, Any]:
        """The audit log's entry at the end of an operation on Kofi's instance: it only wakes."""
        raw = json.loads((ROOT / "tests" / "events" / "notebooks-create-last.json").read_text(encoding="utf-8"))
        instance_id = self.record(KOFI).status.notebook.instance_id
        raw["protoPayload"]["resourceName"] = f"projects/p/locations/z/instances/{instance_id}"
        return raw

    def fold(self, kind: type[LifecycleEvent], **more: Any) -> None:
        """News about Ben is durable, and its process died at that moment: the tick takes over."""
        self.count += 1
        now = self.cloud.world.clock.now()
        accept(kind(event_id=f"e{self.count}", user=BEN, occurred_at=now, effective_at=now, **more), self.deps)

    def record(self, user: UserEmail) -> UserRecord:
        stored = self.deps.records.load(user_key_for(user))
        assert stored is not None
        return stored.record

    def lose_operation(self, user: UserEmail) -> None:
        """As a crash between "cloud said yes" and the save leaves it."""
        stored = self.deps.records.load(user_key_for(user))
        assert stored is not None
        assert stored.record.status.notebook.operation is not None
        self.deps.records.save(stored.record.with_status(operation=None), expected=stored)

    def fault(self, **raw: Any) -> None:
        self.cloud.world.faults.add(Fault.parse(raw))

    def clusters_of(self, user: UserEmail) -> list[str]:
        """States of the person's clusters, as the cloud has them."""
        now, key = self.cloud.world.clock.now(), user_key_for(user)
        return [c.state(now) for c in cloud_clusters(self.cloud) if c.body["labels"].get(LABEL_USER) == key]

    def sessions(self) -> dict[str, str]:
        """Profiles of the session templates of ours that there are, by name."""
        path = f"/v1/projects/{self.settings.project}/locations/{self.settings.region}/sessionTemplates"
        found = requests.get(f"{self.cloud.url}{path}", timeout=10).json().get("sessionTemplates", [])
        ours = [raw for raw in found if raw["labels"].get(LABEL_MANAGED_BY) == MANAGED_BY]
        return {raw["name"].rpartition("/")[2]: raw["labels"][LABEL_PROFILE] for raw in ours}

    def live_sessions(self) -> list[str]:
        """States of the serverless sessions that are not over."""
        with self.cloud.world.lock:
            parent = f"projects/{self.settings.project}/locations/{self.settings.region}"
            found = self.cloud.dataproc.interactive.listing(parent).get("sessions", [])
        return [raw["state"] for raw in found if raw["state"] != "TERMINATED"]

    def browser(self, email: UserEmail) -> Browser:
        """A browser of somebody whom Identity-Aware Proxy let in, at the page as functions/hub.py builds it."""
        signer, audience = self.cloud.iap.signer, self.settings.iap_audience
        client = self.apps[HUB].application.test_client()
        return Browser(client=client, signed=lambda: {HEADER: signer.assertion(email, audience)})

    def left_over(self, user: UserEmail) -> list[str]:
        """What there is of the person besides the record and the manifests."""
        key = user_key_for(user)
        world = self.cloud
        world.compute.disks.sweep(world.world.clock.now())
        named = [i.short for i in instances(world).values() if i.body["labels"].get(LABEL_USER) == key]
        named += [
            path for path, snapshot in world.compute.disks.snapshots.items() if snapshot.labels[LABEL_USER] == key
        ]
        address = self.account_of(user)
        if address is not None:
            path = f"/v1/projects/{self.settings.project}/serviceAccounts/{address}"
            named += [address] if requests.get(f"{world.url}{path}", timeout=10).ok else []
        return named + self.clusters_of(user)


@dataclass
class Person:
    """Somebody whose whole life one function carries: `tell` brings news, `wake` has the function look again.

    `look` is what somebody else does just before each of its passes.
    """

    world: Watched
    user: UserEmail
    tell: Callable[..., None]
    wake: Callable[[], None]
    look: Callable[[], None] = lambda: None

    def minutes(self, count: int) -> None:
        for _ in range(count):
            self.world.advance(minutes=1)
            self.look()
            self.wake()

    def live(self, *, at_work: Callable[[], None]) -> None:
        """Joins, is changed, leaves, returns to the same disk, is replaced, returns to the saved files, leaves for good."""
        self.tell(Joined)
        while self.world.record(self.user).status.notebook.operation is None:  # the account comes first
            self.minutes(1)
        self.world.lose_operation(self.user)
        self.minutes(8)
        self.tell(Moved, attributes={"cost_center": "c"})
        self.minutes(4)
        at_work()
        self.spark()
        self.leave_during_create()
        assert self.world.clusters_of(self.user) == []
        self.tell(Joined)
        self.minutes(10)
        self.tell(Moved, profile="engineer", profile_said=True)
        self.minutes(40)
        assert self.world.record(self.user).status.notebook.naming == 2
        self.spark()
        self.tell(Left)
        self.minutes(9)
        self.world.advance(days=31)
        self.minutes(4)
        self.tell(Joined)
        self.minutes(20)
        assert self.world.record(self.user).status.data.saved_in == ""
        self.tell(Left)
        self.minutes(9)
        self.world.advance(days=31)
        self.minutes(4)
        self.world.advance(days=60)
        self.minutes(8)
        assert self.world.left_over(self.user) == []

    def leave_during_create(self) -> None:
        """Leaves while a cluster is being made, which cannot be deleted before it runs."""
        timings = self.world.cloud.dataproc.timings
        usual, timings.create = timings.create, timedelta(minutes=4)
        self.want()
        timings.create = usual
        self.start_session()
        refused = {"code": "FAILED_PRECONDITION", "message": "not now"}
        self.world.fault(call="dataproc.TerminateSession", error=refused)
        self.tell(Left)
        self.minutes(1)
        assert self.world.clusters_of(self.user) == ["CREATING"]
        self.minutes(8)
        assert self.world.live_sessions() == []

    def start_session(self) -> None:
        """A serverless session, as a kernel of the person starts it."""
        world = self.world
        with world.cloud.world.lock:
            parent = f"projects/{world.settings.project}/locations/{world.settings.region}"
            body = {"jupyterSession": {"kernel": "PYTHON"}}
            world.cloud.dataproc.interactive.create(parent, f"s-{world.count}", body, creator=self.user)

    def spark(self) -> None:
        """A cluster that fails, and is removed; then one that runs, is asked for again and used on, and is deleted."""
        error = {"code": "INTERNAL", "message": "Cluster creation failed."}
        self.world.fault(call="dataproc.CreateCluster", operation_error=error)
        self.want()
        self.minutes(6)
        assert (self.world.clusters_of(self.user), self.diagnosis()) == ([], True)
        self.want()
        self.minutes(3)
        self.want()
        assert self.world.clusters_of(self.user) == ["RUNNING"]
        drop_cluster(user_key_for(self.user), SMALL, self.world.deps, by="a test")
        self.minutes(4)
        assert self.world.clusters_of(self.user) == []

    def want(self) -> None:
        """A click on Start, and the pass that comes of it."""
        accepted = want_cluster(user_key_for(self.user), SMALL, self.world.deps, by="a test")
        assert accepted is not None
        self.minutes(1)

    def diagnosis(self) -> bool:
        known = self.world.record(self.user).status.cluster(SMALL)
        return known is not None and bool(known.diagnosis)
