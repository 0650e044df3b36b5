"""A world with thousands of settled users, made quickly: the product itself makes one user, the others are copies."""

from __future__ import annotations

import json
from typing import Any

from benching import news  # puts the tree on sys.path
from kit.inprocess import Bench, make_bench
from kit.official import storage_bucket
from kit.reading import read
from msgspec.structs import replace

from shared.domain.record.record import UserRecord
from shared.domain.template.wanted import wanted_templates
from shared.domain.things.identity import instance_id_for, parse_email, user_key_for
from shared.engine.news.deliver import deliver
from shared.engine.sweeps.sweeps import sweep
from shared.messages.message import Message

MODEL = "person.zero@example.com"


def message(bench: Bench, kind: str, user: str) -> Message:
    """Return the news as a Pub/Sub message published now."""
    body = news(kind, user, bench.now)
    return Message(data=json.dumps(body).encode(), attributes={}, message_id=f"m-{kind}-{user}", publish_time=bench.now)


def tell(bench: Bench, said: Message) -> None:
    """Deliver a message as the lifecycle function does."""
    for piece in read(said.data, published=said.publish_time, message_id=said.message_id).news:
        deliver(piece, bench.deps)


def settled(bench: Bench) -> UserRecord:
    """Return the record of a user who joined and has a running notebook."""
    tell(bench, message(bench, "joiner", MODEL))
    for _ in range(8):
        bench.advance(minutes=1)
        sweep("due", bench.deps)
    stored = bench.deps.records.load(user_key_for(parse_email(MODEL)))
    assert stored is not None
    assert stored.record.status.next_attempt_at is None, "the first person did not settle"
    return stored.record


def settled_world(count: int) -> Bench:
    """Return a world with `count` users with a running notebook and templates; nothing is due, and the journal is empty.

    The first user joined and was reconciled by the product. The records and template objects of the others are written
    with the product's own names and digests, and their instances are copies. So a drift sweep finds nothing to do.
    """
    bench = make_bench()
    first = settled(bench)
    key = first.user_key
    bucket = storage_bucket(bench.clients)
    rendered = {
        name: bucket.blob(f"templates/{key}/{name}.yaml").download_as_bytes()
        for name in bench.deps.templates.seen(key).digests
    }
    others = [_like(first, f"person.{number}@example.com") for number in range(1, count)]
    for record in others:
        bench.deps.records.save(record, expected=None)
        _copy_templates(bench, rendered, record)
    _copy_instances(bench, first, others)
    bench.cloud.world.journal.clear()
    bench.log.lines.clear()
    return bench


def _like(record: UserRecord, address: str) -> UserRecord:
    email = parse_email(address)
    status = record.status.changed(instance_id=instance_id_for(email))
    return replace(record, user_key=user_key_for(email), email=email, status=status)


def _copy_templates(bench: Bench, rendered: dict[str, bytes], record: UserRecord) -> None:
    """Write copies of the first user's templates for another user, because rendering ten thousand takes minutes.

    Name and digest, which sweeps compare, are the product's own.
    """
    bucket = storage_bucket(bench.clients)
    for template, digest in (wanted_templates(record, bench.deps.policy) or {}).items():
        blob = bucket.blob(f"templates/{record.user_key}/{template}.yaml")
        blob.metadata = {"benchkeeper-digest": digest, "user": record.user_key}
        blob.upload_from_string(rendered[template], content_type="application/yaml")


def _copy_instances(bench: Bench, first: UserRecord, others: list[UserRecord]) -> None:
    state: dict[str, Any] = bench.cloud.world.save()
    fleet = state["models"]["notebooks"]
    [mould], [machine] = fleet["instances"], fleet["machines"]
    vm = str(mould["body"]["gceSetup"]["instanceId"])
    for number, record in enumerate(others, start=1):

        def copied(row: dict[str, Any], record: UserRecord = record, number: int = number) -> dict[str, Any]:
            text = json.dumps(row).replace(
                str(first.status.notebook.instance_id), str(record.status.notebook.instance_id)
            )
            text = text.replace(first.user_key, record.user_key).replace(first.email, record.email)
            made: dict[str, Any] = json.loads(text.replace(vm, str(int(vm) - number)))
            return made

        fleet["instances"].append({**copied(mould), "serial": mould["serial"] + number})
        fleet["machines"].append(copied(machine))
    fleet["serial"] = mould["serial"] + len(others)
    bench.cloud.world.load(state)
