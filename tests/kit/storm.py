"""A storm through the embedded Pub/Sub and the product's functions, and what it leaves behind.

Published and pulled by the official client over gRPC, handled by the decorated functions in several threads, each message in the
CloudEvent that Eventarc makes of it; acks get lost, deliveries end before they begin, Google's calls fail. Storage and Notebooks
are the real clients over the embedded cloud in this process, without a socket. (A push, or a streaming pull, costs more than the
product does with most messages.)
"""

from __future__ import annotations

import base64
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import flask
import grpc
from cloudevents.http import CloudEvent
from google.cloud import pubsub_v1
from google.cloud.pubsub_v1.types import BatchSettings
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from msgspec.structs import replace

from emulator.app import EmbeddedCloud
from emulator.bridge import EVENT_TYPE
from emulator.clock import VirtualClock
from emulator.faults import Fault
from functions.dead_letter import dead_letter
from functions.lifecycle import lifecycle
from kit.inprocess import START, KitClock, WsgiAdapter, impatient, local_settings
from kit.oracle import instances, object_names
from kit.reading import read
from kit.storm_events import DIRECTORY, HR, MAX_BYTES, Drop
from kit.storm_judge import Evidence, View
from shared import wiring
from shared.cloud.http.clients import Clients, CloudConfig
from shared.domain.things.errors import PoisonError
from shared.engine.news.deliver import deliver
from shared.engine.ports.deps import Deps
from shared.engine.sweeps.sweeps import sweep
from shared.messages.message import Message
from shared.settings import Settings

COPIES = 3
END = START + timedelta(days=45)  # every date that was announced has passed, and every retention
_THREADS = 4
_BATCH = 50
_PATIENCE_S = 30.0  # without a single delivery
_BY_SOURCE = {HR: "lifecycle", DIRECTORY: "directory"}  # the function that hears it
_LOST_ACKS, _DEAD_ON_ARRIVAL = 0.01, 0.005
_FAULTS: tuple[tuple[float, dict[str, Any]], ...] = (  # with the share of the messages by which it comes at the latest
    (0.5, {"call": "storage.objects.insert", "error": {"code": "UNAVAILABLE"}}),
    (0.5, {"call": "storage.objects.insert", "phase": "after", "error": {"code": "UNAVAILABLE"}}),
    (0.5, {"call": "storage.objects.get", "error": {"code": "UNAVAILABLE"}}),
    (0.05, {"call": "storage.objects.insert", "resource": "*/dead-letters/*", "error": {"code": "ABORTED"}}),
    (0.001, {"call": "notebooks.CreateInstance", "error": {"code": "UNAVAILABLE"}}),
    (0.001, {"call": "notebooks.CreateInstance", "phase": "after", "error": {"code": "UNAVAILABLE"}}),
    (0.2, {"call": "notebooks.GetInstance", "error": {"code": "PERMISSION_DENIED"}}),
)


@dataclass(frozen=True)
class Published:
    """A message as Pub/Sub has it: what a replay of the log starts from."""

    message_id: str
    publish_time: datetime
    drop: Drop

    def message(self) -> Message:
        return Message(
            data=self.drop.data,
            attributes=self.drop.attributes,
            message_id=self.message_id,
            publish_time=self.publish_time,
        )


class CountingLog:
    """How often each message was logged, and how deliveries ended."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def _count(self, message: str, facts: dict[str, Any]) -> None:
        with self._lock:
            self.counts[f"{message}: {facts['outcome']}" if "outcome" in facts else message] += 1

    def info(self, message: str, **facts: Any) -> None:
        self._count(message, facts)

    def warning(self, message: str, **facts: Any) -> None:
        self._count(message, facts)

    def error(self, message: str, **facts: Any) -> None:
        self._count(message, facts)


@dataclass
class StormWorld:
    """One embedded cloud, the product in it, and a count of every instance that ever came to be in it, by owner."""

    cloud: EmbeddedCloud
    settings: Settings
    deps: Deps
    log: CountingLog
    made: Counter[str] = field(default_factory=Counter)

    def pass_moment(self, seconds: float) -> None:
        self.cloud.world.clock.advance(timedelta(seconds=seconds))

    def pass_time(self, *, until: datetime, step: timedelta) -> None:
        """Let time pass, a due tick at each step."""
        clock = self.cloud.world.clock
        while (now := clock.now()) < until:
            clock.advance(min(until - now, step))
            sweep("due", self.deps)

    def view(self) -> View:
        bucket = self.settings.bucket
        stored = self.cloud.storage.buckets.get(bucket).live
        templates = {name: str(stored[name].md5) for name in object_names(self.cloud, bucket, "templates/")}
        records = {
            raw["email"]: raw
            for name in object_names(self.cloud, bucket, "records/")
            for raw in [_parsed(stored[name].content)]
        }
        return View(
            at=self.cloud.world.clock.now(),
            records=records,
            instances={name: _instance(found) for name, found in instances(self.cloud).items()},
            templates=templates,
        )


def _parsed(content: bytes) -> dict[str, Any]:
    raw: dict[str, Any] = flask.json.loads(content)
    return raw


def _instance(found: Any) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    return found.owner, found.state, tuple(sorted(found.body.get("labels", {}).items()))


@contextmanager
def storm_world(*, pubsub: bool) -> Iterator[StormWorld]:
    """An empty world; with `pubsub` its port is open, for Pub/Sub over gRPC."""
    cloud = EmbeddedCloud.build(clock=VirtualClock(start=START, speed=0))
    settings = local_settings(max_message_bytes=MAX_BYTES)
    with ExitStack() as stack:
        stack.enter_context(impatient())
        if pubsub:
            stack.enter_context(cloud)
            settings = replace(settings, api_endpoint=cloud.url)
        config = CloudConfig(project=settings.project, bucket=settings.bucket, api_endpoint=settings.api_endpoint)
        adapter = WsgiAdapter(cloud)
        clients = Clients(config, mount=adapter, door=adapter.answer)
        for bucket in settings.all_buckets:
            cloud.storage.buckets.create({"name": bucket}, project=settings.project)
        log = CountingLog()
        deps = replace(wiring.wire(settings, log=log, clients=clients), clock=KitClock(cloud))
        world = StormWorld(cloud=cloud, settings=settings, deps=deps, log=log)
        _count_instances(world)
        yield world


def _count_instances(world: StormWorld) -> None:
    """At the one place where an instance comes to be, whatever the caller was answered."""
    fleet = world.cloud.notebooks.fleet
    admit = fleet.admit

    def counted(instance: Any) -> None:
        world.made[instance.owner] += 1
        admit(instance)

    fleet.admit = counted  # type: ignore[method-assign]


class Storm:
    """Publishes, delivers, waits until all is quiet. `spoil` may swallow a delivery: a planted fault."""

    def __init__(
        self,
        world: StormWorld,
        drops: list[Drop],
        seed: int,
        *,
        spoil: Callable[[bytes], bool],
        on_published: Callable[[list[Published]], None],
        on_tick: Callable[[int], None],
    ) -> None:
        self._world, self._drops = world, drops
        self._chance = random.Random(seed)  # noqa: S311 - a seed, so that a failure comes again
        self._spoil, self._on_published, self._on_tick = spoil, on_published, on_tick
        self._lock = threading.Lock()
        self._app = flask.Flask("storm")
        self._channel = grpc.insecure_channel(f"127.0.0.1:{world.cloud.port}")
        project = world.settings.project
        self._topics = {
            "lifecycle": f"projects/{project}/topics/{world.settings.topic_lifecycle}",
            "directory": f"projects/{project}/topics/{world.settings.topic_directory}",
            "dead_letter": f"projects/{project}/topics/{world.settings.topic_dead_letter}",
        }
        self._subscriptions = {name: f"projects/{project}/subscriptions/{name}" for name in self._topics}
        self.counts: Counter[str] = Counter()
        self.published: list[Published] = []

    def log(self) -> list[Published]:
        """Every event as it was published first, in the order of publishing: Pub/Sub's ids ascend."""
        first: dict[bytes, Published] = {}
        for entry in sorted(self.published, key=lambda entry: int(entry.message_id)):
            first.setdefault(entry.drop.data or repr(entry.drop.attributes).encode(), entry)
        return list(first.values())

    def run(self) -> None:
        """The whole storm, until no message is left and every instance has come to rest."""
        self._subscriber = pubsub_v1.SubscriberClient(transport=SubscriberGrpcTransport(channel=self._channel))
        for name, topic in self._topics.items():
            self._world.cloud.pubsub.create_topic({"name": topic})
            self._world.cloud.pubsub.create_subscription(
                {"name": self._subscriptions[name], "topic": topic, "ackDeadlineSeconds": 600}
            )
        self._publish()
        self._on_published(self.log())
        for share, fault in _FAULTS * 3:
            skip = self._chance.randrange(max(1, round(len(self._drops) * share)))
            times = max(1, len(self._drops) // 10_000)
            self._world.cloud.world.faults.add(Fault.parse({**fault, "skip": skip, "times": times}))
        with _as_process(self._world):
            self._deliver()
        self._channel.close()

    def _publish(self) -> None:
        """Each message three times, no two copies together, by the official client."""
        publisher = pubsub_v1.PublisherClient(
            batch_settings=BatchSettings(max_messages=500, max_latency=0.05),
            transport=PublisherGrpcTransport(channel=self._channel),
        )
        order = [drop for drop in self._drops for _ in range(COPIES)]
        self._chance.shuffle(order)
        now = self._world.cloud.world.clock.now()  # it stands still while speed is 0
        for start in range(0, len(order), 5000):
            part = order[start : start + 5000]
            futures: list[Future[str]] = [
                publisher.publish(self._topics[_BY_SOURCE[drop.source]], drop.data, **drop.attributes) for drop in part
            ]
            self.published += [Published(f.result(60), now, d) for f, d in zip(futures, part, strict=True)]
        publisher.stop()

    def _deliver(self) -> None:
        functions = {"lifecycle": lifecycle, "directory": lifecycle, "dead_letter": dead_letter}
        quiet = threading.Event()
        with ThreadPoolExecutor(_THREADS) as threads:
            work = [threads.submit(self._pull, functions, quiet) for _ in range(_THREADS)]
            try:
                self._wait()
            finally:
                quiet.set()
            for done in work:
                done.result()
        self._subscriber.close()

    def _pull(self, functions: dict[str, Callable[[CloudEvent], None]], quiet: threading.Event) -> None:
        """One instance of the functions: take some messages, handle them, answer; until all is quiet."""
        with self._app.test_request_context():
            while not quiet.is_set():
                busy = [name for name in functions if self._ready(name)]
                for name in busy:
                    self._some(name, functions[name])
                if not busy:
                    quiet.wait(0.02)

    def _some(self, name: str, function: Callable[[CloudEvent], None]) -> None:
        subscription = self._subscriptions[name]
        pulled = self._subscriber.pull(request={"subscription": subscription, "max_messages": _BATCH}).received_messages
        done = {found.ack_id: self._handle(name, function, found.message) for found in pulled}
        acked = [ack_id for ack_id, well in done.items() if well]
        again = [ack_id for ack_id, well in done.items() if not well]
        if acked:
            self._subscriber.acknowledge(request={"subscription": subscription, "ack_ids": acked})
        if again:
            self._subscriber.modify_ack_deadline(
                request={"subscription": subscription, "ack_ids": again, "ack_deadline_seconds": 0}
            )

    def _ready(self, name: str) -> bool:
        with self._world.cloud.world.lock:
            backlog = self._world.cloud.pubsub.subscriptions[self._subscriptions[name]].backlog
            return backlog.has_ready(self._world.cloud.world.clock.now())

    def _wait(self) -> None:
        """Until no message is left; a tick every eighth of the way, as the scheduler would send it."""
        pause, idle_s, seen, ticks = threading.Event(), 0.0, 0, 1
        while self._left():
            pause.wait(0.05)
            self._world.pass_moment(0.1)  # what was nacked waits for the virtual clock
            handled = self.counts.total()
            idle_s = 0.0 if handled != seen else idle_s + 0.05
            seen = handled
            if idle_s > _PATIENCE_S:
                raise AssertionError(f"nothing moves: {self._left()} messages are left after {dict(self.counts)}")
            if handled > ticks * len(self._drops) * COPIES / 8:
                ticks += 1
                self._on_tick(handled)
                self._world.pass_moment(60)
                sweep("due", self._world.deps)

    def _left(self) -> int:
        with self._world.cloud.world.lock:
            found = self._world.cloud.pubsub.subscriptions
            return sum(len(found[name].backlog.entries) for name in self._subscriptions.values())

    def _handle(self, name: str, function: Callable[[CloudEvent], None], message: Any) -> bool:
        """One delivery; True = Pub/Sub hears an ack."""
        with self._lock:
            fate = self._chance.random()
        if fate < _DEAD_ON_ARRIVAL:
            return self._ended(name, "died before it began", heard=False)
        if name in _BY_SOURCE.values() and self._spoil(message.data):
            return self._ended(name, "spoilt", heard=True)
        try:
            function(self._event(name, message))
        except Exception:  # noqa: BLE001 - as the framework: whatever is raised is a nack
            return self._ended(name, "nack", heard=False)
        if fate < _DEAD_ON_ARRIVAL + _LOST_ACKS:
            return self._ended(name, "ack lost", heard=False)
        return self._ended(name, "ack", heard=True)

    def _ended(self, name: str, how: str, *, heard: bool) -> bool:
        with self._lock:
            self.counts[f"{name}: {how}"] += 1
        return heard

    def _event(self, name: str, message: Any) -> CloudEvent:
        """What Eventarc makes of a message (compare `emulator.bridge`)."""
        published = message.publish_time.isoformat().replace("+00:00", "Z")
        inner: dict[str, Any] = {
            "messageId": message.message_id,
            "publishTime": published,
            "attributes": dict(message.attributes),
        }
        if message.data:
            inner["data"] = base64.b64encode(message.data).decode()
        header = {
            "type": EVENT_TYPE,
            "source": f"//pubsub.googleapis.com/{self._topics[name]}",
            "id": message.message_id,
            "time": published,
        }
        return CloudEvent(header, {"subscription": self._subscriptions[name], "message": inner})


@contextmanager
def _as_process(world: StormWorld) -> Iterator[None]:
    """The functions find this world when they ask for their dependencies."""
    kept = dict(wiring._CACHED)
    wiring._CACHED.update(dict.fromkeys(("lifecycle", "dead_letter"), (world.settings, world.deps)))
    try:
        yield
    finally:
        wiring._CACHED.clear()
        wiring._CACHED.update(kept)


def survive(
    drops: list[Drop],
    seed: int,
    *,
    spoil: Callable[[bytes], bool] = lambda _data: False,
    on_published: Callable[[list[Published]], None] = lambda _log: None,
    on_tick: Callable[[int], None] = lambda _handled: None,
) -> Evidence:
    """The storm and the quiet after it. `on_published` gets the log, from which `replay_log` makes the world once more.

    `on_tick` gets the number of deliveries now and then.
    """
    with storm_world(pubsub=True) as world:
        storm = Storm(world, drops, seed, spoil=spoil, on_published=on_published, on_tick=on_tick)
        storm.run()
        _settle(world)
        settled = world.view()
        letters = [(row.letter_id, row.reason, row.detail) for row in world.deps.dead_letters.rows()]
        world.pass_time(until=END, step=timedelta(days=1))
        _settle(world)
        unfired = len(world.cloud.world.faults.unfired())
        return Evidence(
            published={entry.message_id: entry.drop for entry in storm.published},
            made=world.made,
            letters=letters,
            settled=settled,
            final=world.view(),
            counts=storm.counts + world.log.counts + Counter({"faults that did not fire": unfired}),
        )


def _settle(world: StormWorld) -> None:
    now = world.cloud.world.clock.now()
    world.pass_time(until=now + timedelta(minutes=15), step=timedelta(minutes=1))
    world.pass_time(until=now + timedelta(hours=3), step=timedelta(minutes=15))


def replay_log(log: list[Published]) -> View:
    """The log, in the order in which it was published, on an empty world; then the same time passes."""
    with storm_world(pubsub=False) as world:
        for entry in log:
            try:
                message = entry.message()
                parsed = read(
                    message.data,
                    source=entry.drop.source,
                    published=message.publish_time,
                    message_id=message.message_id,
                    max_bytes=MAX_BYTES,
                )
                for news in parsed.news:
                    deliver(news, world.deps)
            except PoisonError:
                continue
        _settle(world)
        world.pass_time(until=END, step=timedelta(days=1))
        _settle(world)
        return world.view()
