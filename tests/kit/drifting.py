"""A settled world, and hands that change one thing in it: the embedded cloud's own state, so no rule of an API is in their way."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from typing import Any

from hypothesis import strategies as st

from emulator.model.notebooks_fresh import full_view
from kit.inprocess import Bench, make_bench
from kit.life import DATA_GROUP, Life, settings_with
from kit.official import storage_bucket
from shared.domain.notebook.creation import spec_of
from shared.domain.record.record import Power
from shared.domain.things.catalog import Accelerator, Disruption, Identity
from shared.domain.things.identity import parse_email
from shared.domain.things.notebook import LABEL_COST_CENTER, Network, NotebookSpec
from shared.domain.things.power import PowerCause, PowerReason
from shared.engine.reconcile.changing import want_power
from shared.engine.reconcile.reconciler import preview, reconcile
from shared.engine.sweeps.sweeping import Summary
from shared.engine.sweeps.sweeps import sweep

RUNS, RESTS, OWNS, LEFT = "runs@example.com", "rests@example.com", "owns@example.com", "left@example.com"
ENTITLED = (RUNS, RESTS, OWNS)
WORK = {user: f"what {user} wrote\x00ñ".encode() for user in (*ENTITLED, LEFT)}
# Whoever has an account of their own may be disturbed at work, and has a GPU, a tag of ours and data roles.
SETTINGS = settings_with(
    {
        "engineer": {
            "identity": Identity.PERSONAL_SERVICE_ACCOUNT,
            "disruption": Disruption.NOW,
            "machine_type": "n1-standard-8",
            "accelerator": Accelerator(type="NVIDIA_TESLA_T4", count=1),
            "tags": ("workbench-egress",),
            "data_group": DATA_GROUP,
        }
    },
    network=Network(
        network="projects/benchkeeper-local/global/networks/inside",
        subnet="projects/benchkeeper-local/regions/europe-west1/subnetworks/benches",
    ),
)
_FORUM = {"cloudidentity.googleapis.com/groups.discussion_forum": ""}


@cache
def _settled() -> tuple[Bench, dict[str, Any]]:
    """Four people, nothing left to do, and the state of that world."""
    bench = make_bench(settings=SETTINGS)
    group = {"parent": "customers/C046psxkn", "groupKey": {"id": DATA_GROUP}, "labels": _FORUM}
    bench.control("POST", "/v1/groups", group)
    people = {user: Life(bench, parse_email(user)) for user in WORK}
    people[RUNS].join(minutes=0, attributes={"cost_center": "CC-4410"})
    people[RESTS].join(minutes=0)
    people[OWNS].join(minutes=0, profile="engineer")
    people[LEFT].join(minutes=12, profile="engineer")
    for user, person in people.items():
        person.write(WORK[user])
    want_power(people[RESTS].key, Power.STOPPED, PowerReason(cause=PowerCause.STOPPED_BY_PERSON), bench.deps)
    people[LEFT].leave(minutes=20)
    bench.advance(hours=1)
    world = Drifting(bench)
    found = world.sweep().decisions
    assert not found, f"the world is not settled: {found}"
    for user in WORK:
        assert not world.plan(user), f"{user} is not settled: {world.plan(user)}"
    assert world.states() == {RUNS: ["ACTIVE"], RESTS: ["STOPPED"], OWNS: ["ACTIVE"], LEFT: ["STOPPED"]}
    bench.log.lines.clear()
    return bench, bench.cloud.world.save()


def settled() -> Drifting:
    """The same settled world each time."""
    bench, state = _settled()
    bench.cloud.world.faults.clear()
    bench.cloud.world.load(copy.deepcopy(state))
    bench.cloud.world.journal.clear()
    bench.log.lines.clear()
    return Drifting(bench)


@dataclass
class Drifting:
    """The world after somebody's hands were in it."""

    bench: Bench
    people: dict[str, Life] = field(default_factory=dict)

    def life(self, user: str) -> Life:
        """The person, whose news goes on counting where it ended when the world was made."""
        return self.people.setdefault(user, Life(self.bench, parse_email(user), serial=100))

    def states(self) -> dict[str, list[str]]:
        return {user: sorted(self.life(user).states().values()) for user in WORK}

    def sweep(self) -> Summary:
        return sweep("drift", self.bench.deps)

    def hour(self) -> Summary:
        """What an hour brings: the drift sweep, then a due tick each minute until its work is done; the sweep's summary."""
        summary = self.sweep()
        for _ in range(20):
            self.bench.advance(minutes=1)
            sweep("due", self.bench.deps)
        return summary

    def look(self, user: str) -> None:
        """A pass for this person, for whatever reason, and the ticks after it."""
        reconcile(self.life(user).key, self.bench.deps)
        for _ in range(20):
            self.bench.advance(minutes=1)
            sweep("due", self.bench.deps)

    def plan(self, user: str) -> tuple[Any, ...]:
        found = preview(self.life(user).key, self.bench.deps)
        assert found is not None
        return found.plan.actions

    def spec(self, user: str) -> NotebookSpec:
        found = spec_of(self.life(user).record, self.bench.deps.policy)
        assert found is not None
        return found

    def instance(self, user: str) -> Any:
        """The one that the person's record names, whatever labels it has."""
        status = self.life(user).record.status
        name = f"projects/{self.bench.settings.project}/locations/{status.notebook.zone}/instances/{status.notebook.instance_id}"
        with self.bench.cloud.world.lock:
            self.bench.cloud.notebooks.settle()
            return self.bench.cloud.notebooks.fleet.instances.get(name)

    def change(self, user: str, hand: Callable[[dict[str, Any]], object]) -> None:
        """Put a hand on the body of the person's instance."""
        instance = self.instance(user)
        with self.bench.cloud.world.lock:
            hand(instance.body)

    def methods(self) -> list[str]:
        """Calls that changed an instance since the world was settled."""
        return [c["method"] for c in self.bench.calls() if c["service"] == "notebooks" and c["mutates"]]

    # --- what is there

    def portrait(self, user: str) -> dict[str, Any]:
        """All that we own of a person, from the embedded cloud's state. Names apart, for a replacement has another."""
        person = self.life(user)
        return {
            "notebooks": [self._notebook(user, instance) for instance in person.mine().values()],
            "files": [person.files()] if person.mine() else [],
            "templates": self.templates(user),
            "account": person.account() if person.record.status.account.account_id else None,
            "in group": self.members(),
            "snapshots": sorted(snapshot.content for snapshot in person.snapshots().values()),
        }

    def _notebook(self, user: str, instance: Any) -> dict[str, Any]:
        body = copy.deepcopy(full_view(instance, self.bench.now))
        setup, spec = body["gceSetup"], self.spec(user)
        return {
            "state": body["state"],
            "labels": {key: body["labels"].get(key) for key in {*spec.labels, LABEL_COST_CENTER}},
            "metadata": {key: setup["metadata"].get(key) for key in spec.metadata},
            "machine type": setup["machineType"],
            "accelerators": setup.get("acceleratorConfigs", []),
            "shielded": {key: value for key, value in setup["shieldedInstanceConfig"].items() if value},
            "tags": sorted(set(setup["tags"]) & set(spec.tags)),
            "addresses": [nic.get("accessConfigs", []) for nic in setup["networkInterfaces"]],
            "networks": [(nic["network"], nic["subnet"]) for nic in setup["networkInterfaces"]],
            "owner": setup["metadata"].get("proxy-user-mail"),
            "identity": (body.get("enableManagedEuc"), [each["email"] for each in setup["serviceAccounts"]]),
            "image": setup["vmImage"],
            "disks": [setup["bootDisk"], *setup["dataDisks"]],
        }

    def templates(self, user: str) -> dict[str, bytes]:
        bucket = storage_bucket(self.bench.clients)
        prefix = f"templates/{self.life(user).key}/"
        return {blob.name: blob.download_as_bytes() for blob in bucket.list_blobs(prefix=prefix)}

    def members(self) -> list[str]:
        group = self.bench.control("GET", f"/v1/groups:lookup?groupKey.id={DATA_GROUP}")["name"]
        listed = self.bench.control("GET", f"/v1/{group}/memberships?pageSize=1000").get("memberships", [])
        return sorted(row["preferredMemberKey"]["id"] for row in listed)

    # --- other hands, through Google's own doors

    def iam(self, user: str, verb: str, body: dict[str, Any] | None = None) -> None:
        """`serviceAccounts.<verb>` on the person's account."""
        project = self.bench.settings.project
        email = f"{self.life(user).record.status.account.account_id}@{project}.iam.gserviceaccount.com"
        path = f"/v1/projects/{project}/serviceAccounts/{email}"
        if verb == "delete":
            self.bench.control("DELETE", path)
        else:
            self.bench.control("POST", f"{path}:{verb}", body or {})

    def leave_group(self, user: str) -> None:
        group = self.bench.control("GET", f"/v1/groups:lookup?groupKey.id={DATA_GROUP}")["name"]
        listed = self.bench.control("GET", f"/v1/{group}/memberships?pageSize=1000")["memberships"]
        account = str(self.life(user).record.status.account.account_id)
        (name,) = [row["name"] for row in listed if row["preferredMemberKey"]["id"].startswith(account)]
        self.bench.control("DELETE", f"/v1/{name}")

    def make_instance(self, name: str, labels: dict[str, str], *, zone: str = "europe-west1-b") -> None:
        """Somebody makes one by hand; two minutes later it shows in listings."""
        body = {"instanceOwners": ["else@example.com"], "labels": labels, "gceSetup": {}}
        path = f"/v2/projects/{self.bench.settings.project}/locations/{zone}/instances?instanceId={name}"
        self.bench.control("POST", path, body)
        self.bench.advance(minutes=10)

    def make_snapshot(self, user: str, name: str, labels: dict[str, str]) -> None:
        """Somebody takes one of the person's data disk by hand."""
        instance = self.instance(user)
        disk = f"zones/{instance.zone}/disks/{instance.short}-data-workspace"
        path = f"/compute/v1/projects/{self.bench.settings.project}/{disk}/createSnapshot"
        self.bench.control("POST", path, {"name": name, "labels": labels})
        self.bench.cloud.world.clock.advance(timedelta(minutes=5))

    def drop_snapshots(self, user: str) -> None:
        for name in self.life(user).snapshots():
            path = f"/compute/v1/projects/{self.bench.settings.project}/global/snapshots/{name}"
            self.bench.control("DELETE", path)
        self.bench.advance(minutes=2)


def another(present: str | None) -> st.SearchStrategy[str]:
    """A label's or a metadata key's value, but this one."""
    return st.from_regex(r"[a-z0-9][a-z0-9-]{0,30}", fullmatch=True).filter(lambda text: text != present)
