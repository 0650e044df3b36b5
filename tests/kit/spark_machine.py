"""The state machine's Spark half: clicks at any moment, what always holds of clusters, and what the world is when quiet."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from kit.minutes import minute
from kit.oracle import wanted_profile
from kit.spark import cloud_clusters
from shared.domain.things import identity
from shared.domain.things.catalog import ClusterIdentity, SparkSettings
from shared.domain.things.errors import BenchkeeperError
from shared.domain.things.identity import account_email, account_id_for, user_key_for
from shared.engine.news.requests import drop_cluster, want_cluster
from shared.engine.reconcile.reconciler import preview, reconcile

if TYPE_CHECKING:
    from kit.inprocess import Bench
    from kit.oracle import Sent

# The same few addresses, hundreds of times in each history.
parse_email = functools.cache(identity.parse_email)
# Two of them share what stands before the @.
USERS = ("ann@example.com", "ann@example.org", "Ñandú.O'Neil@sub.example.co")
SPARK = ("large-cluster", "personal-auth-cluster", "single-node")  # the first only for engineers
MOST = 2
SPARK_PROFILES: dict[str, dict[str, Any]] = {
    "analyst": {"spark": SparkSettings(max_clusters=1)},
    "engineer": {"spark": SparkSettings(max_clusters=MOST, identity=ClusterIdentity.PERSONAL_SERVICE_ACCOUNT)},
}
_CREATE = "dataproc.CreateCluster"
SPARK_FAULTS: tuple[dict[str, Any], ...] = (
    {"call": _CREATE, "error": {"code": "UNAVAILABLE"}},
    {"call": _CREATE, "error": {"code": "UNAVAILABLE"}, "times": 3},
    {"call": _CREATE, "phase": "after", "error": {"code": "UNAVAILABLE"}},
    {"call": _CREATE, "error": {"code": "RESOURCE_EXHAUSTED", "message": "slow down"}},
    {"call": _CREATE, "error": {"code": "INVALID_ARGUMENT", "message": "no such image"}},
    {"call": _CREATE, "resource": "*zones/europe-west1-b/*", "payload": {"sold_out": True}, "times": 3},
    {"call": _CREATE, "resource": "*zones/*", "payload": {"sold_out": True}, "times": 9},
    {"call": _CREATE, "operation_error": {"code": "UNAVAILABLE", "message": "ZONE_RESOURCE_POOL_EXHAUSTED"}},
    {"call": _CREATE, "operation_error": {"code": "RESOURCE_EXHAUSTED", "message": "Quota 'CPUS' exceeded."}},
    {"call": _CREATE, "operation_error": {"code": "INTERNAL", "message": "Initialization action failed"}},
    {"call": "dataproc.DeleteCluster", "error": {"code": "UNAVAILABLE"}},
    {"call": "dataproc.DeleteCluster", "phase": "after", "error": {"code": "UNAVAILABLE"}},
    {"call": "dataproc.GetOperation", "error": {"code": "PERMISSION_DENIED"}, "times": 3},
    {"call": "dataproc.ListClusters", "error": {"code": "PERMISSION_DENIED"}, "times": 2},
)


class SparkRules:
    """Mixed into the world's machine, which has the rest."""

    bench: Bench
    on_hold: set[str]
    sent: list[Sent]
    _at: Callable[[int, Callable[[], None]], None]
    address: Callable[[str], str]
    tick: Callable[[str], None]
    news: Callable[..., None]
    pending: list[Sent]
    crash_error: type[BaseException]
    _die: Callable[[], None]

    def clusters_of(self, user: str) -> list[Any]:
        """The person's clusters in the cloud, by their labels."""
        key = user_key_for(parse_email(user))
        return [c for c in cloud_clusters(self.bench.cloud) if c.body["labels"].get("benchkeeper-user") == key]

    def click(self, user: str, template: str, *, start: bool) -> bool:
        """One click and the pass that it wakes; True when the click was taken."""
        key = user_key_for(parse_email(user))
        ask = want_cluster if start else drop_cluster
        try:
            taken = ask(key, template, self.bench.deps, by=key)
        except BenchkeeperError:
            return False
        with contextlib.suppress(BenchkeeperError):
            reconcile(key, self.bench.deps)
        return taken is not None

    @precondition(lambda self: self.sent)
    @rule(user=st.sampled_from(USERS), template=st.sampled_from(SPARK), start=st.sampled_from([True, True, False]))
    def clicks(self, user: str, template: str, start: bool) -> None:
        """Somebody starts or deletes a Spark environment."""
        self.click(user, template, start=start)

    @precondition(lambda self: self.sent)
    @rule(
        user=st.sampled_from(USERS),
        template=st.sampled_from(SPARK),
        first=st.booleans(),
        second=st.booleans(),
        after=st.integers(0, 10),
        crash=st.booleans(),
    )
    def clicks_at_once(self, user: str, template: str, first: bool, second: bool, after: int, crash: bool) -> None:
        """While one click is between two calls another works to its end; perhaps the first one's process dies then."""

        def other() -> None:
            self.click(user, template, start=second)
            if crash:
                self._die()

        self._at(after, other)
        try:
            with contextlib.suppress(self.crash_error):
                self.click(user, template, start=first)
        finally:
            self.bench.adapter.around = lambda: None

    @rule(fault=st.sampled_from(SPARK_FAULTS))
    def spark_fault(self, fault: dict[str, Any]) -> None:
        """Dataproc has a bad moment."""
        self.bench.fault(**fault)

    @precondition(lambda self: self.sent)
    @rule(user=st.sampled_from(USERS), template=st.sampled_from(SPARK), minutes=st.sampled_from([4, 70, 130]))
    def works_with_spark(self, user: str, template: str, minutes: int) -> None:
        """As it mostly goes: one is started, comes, and is used until it ends by itself, or not so long."""
        self.click(user, template, start=True)
        for _ in range(4):
            self.bench.advance(minutes=1)
            self.tick("due")
        self.bench.advance(minutes=minutes - 4)
        self.tick("due")

    @precondition(lambda self: self.sent)
    @rule(user=st.sampled_from(USERS), minutes=st.sampled_from([0, 1, 4]))
    def leaves_with_spark(self, user: str, minutes: int) -> None:
        """Somebody leaves while a cluster of theirs is made or runs: with Google at its best it goes in minutes."""
        self.click(user, SPARK[-1], start=True)
        for _ in range(minutes):
            self.bench.advance(minutes=1)
            self.tick("due")
        self.news(user=user, kind="leaver", groups=None, profile="absent", said_ago=0, holds_in=0)
        self.bench.cloud.world.faults.clear()
        for _ in range(4):
            self.bench.advance(minutes=1)
            self.tick("due")
        email = str(parse_email(user))
        if all(p.user != email for p in self.pending) and wanted_profile(self.sent, email, self.bench.now) is None:
            reconcile(user_key_for(parse_email(user)), self.bench.deps)
            self.spark_is_cut(email)

    @invariant()
    def clusters_are_as_they_must_be(self) -> None:
        """One of a template, as many as are allowed, each with an end and its labels."""
        for user in USERS:
            mine = self.clusters_of(user)
            templates = [c.body["labels"]["benchkeeper-template"] for c in mine]
            assert len(templates) == len(set(templates)), f"{user} has two of one template: {templates}"
            assert len(mine) <= MOST, f"{user} has {templates}"
            for cluster in mine:
                assert cluster.body["labels"]["managed-by"] == "benchkeeper"
                assert len(cluster.body["clusterName"]) <= 51
                lifecycle = cluster.body["config"]["lifecycleConfig"]
                assert "idleDeleteTtl" in lifecycle
                assert lifecycle.keys() & {"autoDeleteTtl", "autoDeleteTime"}

    def spark_is_cut(self, user: str) -> None:
        """Nothing of a leaver's runs, unless it is on hold; what is being made is deleted when that is over."""
        states = {c.state(self.bench.now) for c in self.clusters_of(user)}
        assert user in self.on_hold or states <= {"CREATING", "DELETING"}, f"{user} left and has clusters {states}"

    def spark_matches(self, entitled: dict[str, str | None]) -> None:
        """When quiet: who wants none has none; and whoever wants one and may have it gets it, whatever was before."""
        now = self.bench.now
        for user, profile in entitled.items():
            stored = self.bench.stored(user_key_for(parse_email(user)))
            wishes = {w.template for w in stored.record.spec.clusters} if stored is not None else set()
            states = {c.body["labels"]["benchkeeper-template"]: c.state(now) for c in self.clusters_of(user)}
            if user not in self.on_hold:
                assert states == dict.fromkeys(wishes, "RUNNING"), f"{user} wants {wishes} and has {states}"
            assert profile is not None or not wishes, f"{user} is not entitled and wants {wishes}"
        wanting = {u: p for u, p in entitled.items() if p is not None and not self.clusters_of(u)}
        for user, profile in wanting.items():
            template = SPARK[0] if profile == "engineer" else SPARK[-1]
            assert self.click(user, template, start=True), f"{user} may not start {template}"
        self._minutes(6)
        for user, profile in wanting.items():
            (cluster,) = self.clusters_of(user)
            assert cluster.state(self.bench.now) == "RUNNING", (
                f"{user} wants one and has {cluster.history(self.bench.now)}"
            )
            self._runs_as(user, profile, cluster.body["config"])
            self.click(user, cluster.body["labels"]["benchkeeper-template"], start=False)
        self._minutes(4)
        for user in wanting:
            left = [c.state(self.bench.now) for c in self.clusters_of(user)]
            assert left == (["RUNNING"] if user in self.on_hold else []), f"{user} wants none any more: {left}"
            found = preview(user_key_for(parse_email(user)), self.bench.deps)
            assert found is not None
            assert not found.plan.actions, f"no fixed point: {found.plan.actions}"

    def _runs_as(self, user: str, profile: str | None, config: dict[str, Any]) -> None:
        address, project = self.address(user), self.bench.settings.project
        personal = config["softwareConfig"]["properties"].get("dataproc:dataproc.personal-auth.user")
        if profile == "engineer":
            account = account_email(account_id_for(user_key_for(parse_email(user))), project)
            assert config["gceClusterConfig"]["serviceAccount"] == account
            assert config["securityConfig"]["identityConfig"]["userServiceAccountMapping"] == {address: account}
            assert personal is None
        else:
            assert personal == address

    def _minutes(self, count: int) -> None:
        for _ in range(count):
            minute(self.bench)
            self.clusters_are_as_they_must_be()
