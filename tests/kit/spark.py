"""One person's Spark clusters over the embedded cloud: clicks, minutes, and what is in the cloud whatever the product says."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace

from kit.inprocess import make_bench
from kit.life import Life, settings_with
from kit.making import ANA
from shared.domain.record.record import UserRecord
from shared.domain.spark.actions import CreateCluster
from shared.domain.things.catalog import SparkSettings
from shared.domain.things.clusters import Cluster, ClusterOperationSeen, ClusterStatus
from shared.domain.things.errors import CloudUnavailableError
from shared.domain.things.identity import UserEmail, UserKey
from shared.engine.news.requests import drop_cluster, want_cluster
from shared.engine.ports.resources import Clusters
from shared.engine.reconcile.reconciler import Result, reconcile
from shared.settings import Settings

SMALL, LARGE = "single-node", "personal-auth-cluster"


def cloud_clusters(cloud: Any) -> list[Any]:
    """All clusters as the embedded cloud has them, without a call, a fault or a journal."""
    with cloud.world.lock:
        cloud.dataproc._now()  # what ended by itself until now is gone
        return list(cloud.dataproc._clusters.values())


@dataclass
class SparkLife(Life):
    """A person with Spark clusters."""

    def want(self, template: str = SMALL, *, minutes: int = 0) -> Result | None:
        """A click on Start, and the pass that it wakes."""
        want_cluster(self.key, template, self.bench.deps, by=self.key)
        result = reconcile(self.key, self.bench.deps)
        self.minutes(minutes)
        return result

    def drop(self, template: str = SMALL, *, minutes: int = 0) -> Result | None:
        """A click on Delete, and the pass that it wakes."""
        drop_cluster(self.key, template, self.bench.deps, by=self.key)
        result = reconcile(self.key, self.bench.deps)
        self.minutes(minutes)
        return result

    def there(self) -> list[Any]:
        return [
            c for c in cloud_clusters(self.bench.cloud) if c.body.get("labels", {}).get("benchkeeper-user") == self.key
        ]

    def spark(self) -> dict[str, str]:
        """States by template, as the cloud has them."""
        now = self.bench.now
        found = [(c.body["labels"]["benchkeeper-template"], c.state(now)) for c in self.there()]
        assert len(found) == len(dict(found)), f"two of one template: {found}"
        return dict(found)

    def zone(self, template: str = SMALL) -> str:
        (cluster,) = [c for c in self.there() if c.body["labels"]["benchkeeper-template"] == template]
        return str(cluster.body["config"]["gceClusterConfig"]["zoneUri"]).rpartition("/")[2]

    def known(self, template: str = SMALL) -> ClusterStatus | None:
        return self.record.status.cluster(template)

    def wishes(self) -> list[str]:
        return [wish.template for wish in self.record.spec.clusters]

    def sell_out(self, *zones: str) -> None:
        for zone in zones:
            self.bench.fault(
                call="dataproc.CreateCluster", resource=f"*zones/{zone}/*", payload={"sold_out": True}, times=0
            )

    def calls_of(self, method: str) -> int:
        return sum(call["method"] == method for call in self.spark_calls())

    def spark_calls(self) -> list[dict[str, Any]]:
        return [call for call in self.bench.calls() if call["service"] == "dataproc"]

    def story(self) -> list[tuple[str, str, str]]:
        return [(line.kind.value, line.text, line.because) for line in self.record.status.story]


def spark_settings(**spark: Any) -> Settings:
    """The local settings; both profiles allow two clusters, or what is said."""
    made = SparkSettings(**{"max_clusters": 2, **spark})
    return settings_with({"analyst": {"spark": made}, "engineer": {"spark": made}})


def spark_life(settings: Settings | None = None, email: UserEmail = ANA, *, minutes: int = 8) -> SparkLife:
    """Somebody who has joined and whose notebook runs."""
    made = SparkLife(make_bench(settings=settings or spark_settings()), email)
    made.join(minutes=minutes)
    return made


class DeafClusters:
    """The port `Clusters` that never answers to a create; the rest is as it is."""

    def __init__(self, inner: Clusters) -> None:
        self._inner = inner

    def of(self, user_key: UserKey) -> tuple[Cluster, ...]:
        return self._inner.of(user_key)

    def create(self, _record: UserRecord, _action: CreateCluster) -> str:
        raise CloudUnavailableError(
            user_message="Google Cloud does not answer just now; Benchkeeper tries again.", detail="503"
        )

    def operation(self, name: str) -> ClusterOperationSeen | Any:
        return self._inner.operation(name)

    def delete(self, name: str) -> None:
        self._inner.delete(name)


class LaggingClusters(DeafClusters):
    """The port `Clusters` whose list shows a cluster only some time after it was asked for."""

    def __init__(self, inner: Clusters, life: SparkLife, lag: timedelta) -> None:
        super().__init__(inner)
        self._life, self._lag = life, lag

    def of(self, user_key: UserKey) -> tuple[Cluster, ...]:
        born: dict[str, datetime] = {c.body["clusterName"]: c.created for c in self._life.there()}
        now = self._life.bench.now
        return tuple(c for c in self._inner.of(user_key) if now - born.get(c.name, now) >= self._lag)

    def create(self, record: UserRecord, action: CreateCluster) -> str:
        return self._inner.create(record, action)


def lag_by(life: SparkLife, lag: timedelta) -> None:
    life.bench.deps = replace(life.bench.deps, clusters=LaggingClusters(life.bench.deps.clusters, life, lag))
