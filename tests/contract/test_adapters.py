"""What our own storage adapters promise to the engine, through a socket, on both clouds."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta
from itertools import count

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from kit.official import storage_bucket

from shared.cloud.dataproc.target import RenderTarget
from shared.cloud.dataproc.templates import StorageTemplates
from shared.cloud.http.clients import Clients, CloudConfig
from shared.cloud.storage.records import StorageRecords
from shared.domain.intent.wanted import new_record
from shared.domain.record.record import UserRecord, row_of
from shared.domain.template.wanted import PutTemplate
from shared.domain.things.errors import ConflictError
from shared.domain.things.identity import UserEmail, UserKey, user_key_for
from shared.engine.ports.records import DueHint
from tests.contract.backends import embedded, fake_gcs
from tests.kit.inprocess import local_settings
from tests.kit.making import NOW, joined, person, with_event

pytestmark = pytest.mark.timeout(120)
KEY = UserKey("ana-silva-0123456789ab")


@pytest.fixture(scope="module", params=["embedded", "fake-gcs-server"])
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    with {"embedded": embedded, "fake-gcs-server": fake_gcs}[request.param]() as where:
        yield f"http://{where}"


@pytest.fixture
def clients(backend: str) -> Iterator[Clients]:
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    with storage.Client(
        project="benchkeeper-local", credentials=AnonymousCredentials(), client_options={"api_endpoint": backend}
    ) as client:
        client.create_bucket(name)
    made = Clients(CloudConfig(project="benchkeeper-local", bucket=name, api_endpoint=backend))
    yield made
    made.close()


@pytest.fixture
def records(clients: Clients) -> StorageRecords:
    return StorageRecords(clients)


@pytest.fixture
def templates(clients: Clients) -> StorageTemplates:
    return StorageTemplates(
        clients,
        catalog=lambda: local_settings().catalog,
        target=lambda: RenderTarget(project="benchkeeper-local", bucket="b", subnet=""),
    )


def due_at(record: UserRecord, **later: float) -> UserRecord:
    return record.with_status(next_attempt_at=NOW + timedelta(**later))


def somebody(address: str) -> UserRecord:
    return new_record(UserEmail(address), NOW)


def put(template: str) -> PutTemplate:
    return PutTemplate(template=template, digest=f"digest of {template}")


def test_what_is_saved_is_loaded(records: StorageRecords) -> None:
    assert records.load(person().user_key) is None
    saved = records.save(due_at(person(), minutes=1), expected=None)
    assert records.load(person().user_key) == saved


def test_the_second_creator_of_a_record_conflicts(records: StorageRecords) -> None:
    first = records.save(person(), expected=None)
    with pytest.raises(ConflictError):
        records.save(person(attempts=7), expected=None)
    assert records.load(person().user_key) == first


def test_a_stale_writer_of_a_record_conflicts(records: StorageRecords) -> None:
    read = records.save(person(), expected=None)
    newer = records.save(person(attempts=1), expected=read)
    with pytest.raises(ConflictError):
        records.save(person(attempts=2), expected=read)
    assert records.load(person().user_key) == newer


def test_a_listing_gives_the_rows_without_the_records(records: StorageRecords, clients: Clients) -> None:
    people = [due_at(person(), hours=1), somebody("ben@example.com"), somebody("ñandú@example.com")]
    for record in people:
        records.save(record, expected=None)
    storage_bucket(clients).blob("records/planted-by-hand.json").upload_from_string("{}")
    assert sorted(records.rows(), key=str) == sorted(map(row_of, people), key=str)


def test_what_is_due_is_listed_oldest_first_up_to_the_second(records: StorageRecords) -> None:
    addresses = (f"p{number}@example.com" for number in count())
    due = {}
    for seconds in (-3600, 0, -1, 1, 3600):
        record = due_at(somebody(next(addresses)), seconds=seconds)
        records.save(record, expected=None)
        due[seconds] = DueHint(at=NOW + timedelta(seconds=seconds), user_key=record.user_key)
    assert list(records.due(NOW)) == [due[-3600], due[-1], due[0]]
    assert list(records.due(NOW + timedelta(seconds=1))) == [due[-3600], due[-1], due[0], due[1]]
    assert list(records.due(NOW - timedelta(days=1))) == []


def test_a_hint_is_never_before_its_time(records: StorageRecords) -> None:
    record = somebody("ben@example.com").with_status(next_attempt_at=NOW + timedelta(microseconds=1))
    records.save(record, expected=None)
    assert list(records.due(NOW)) == []
    assert [hint.user_key for hint in records.due(NOW + timedelta(seconds=1))] == [record.user_key]


def test_a_hint_can_be_dropped_twice(records: StorageRecords) -> None:
    records.save(due_at(person(), seconds=-5), expected=None)
    (hint,) = records.due(NOW)
    records.drop_hint(hint)
    records.drop_hint(hint)
    assert list(records.due(NOW)) == []


def test_a_refused_write_leaves_at_worst_a_hint(records: StorageRecords) -> None:
    read = records.save(person(), expected=None)
    records.save(person(attempts=1), expected=read)
    with pytest.raises(ConflictError):
        records.save(due_at(person(attempts=2), seconds=-5), expected=read)
    kept = records.load(person().user_key)
    assert kept is not None
    assert kept.record.status.next_attempt_at is None
    assert {hint.user_key for hint in records.due(NOW)} <= {person().user_key}


def test_a_users_templates_are_theirs_alone(templates: StorageTemplates) -> None:
    ana, longer = person(), somebody("ana.silvana@example.com")
    for record in (ana, longer):
        templates.put(record, put("single-node"))
    templates.put(ana, put("personal-auth-cluster"))
    both = {"single-node": "digest of single-node", "personal-auth-cluster": "digest of personal-auth-cluster"}
    assert dict(templates.seen(ana.user_key).digests) == both
    assert dict(templates.seen(UserKey(ana.user_key[:-1])).digests) == {}  # a beginning of a key is not that key
    assert sorted(templates.rows()) == sorted(
        [*((ana.user_key, *pair) for pair in both.items()), (longer.user_key, "single-node", "digest of single-node")]
    )


def test_a_template_that_was_edited_by_hand_shows_in_a_listing(templates: StorageTemplates, clients: Clients) -> None:
    ana = person()
    templates.put(ana, put("single-node"))
    (blob,) = storage_bucket(clients).list_blobs(prefix=f"templates/{ana.user_key}/")
    blob.upload_from_string("edited: by hand")
    assert dict(templates.seen(ana.user_key).digests) == {"single-node": ""}
    templates.put(ana, put("single-node"))
    assert dict(templates.seen(ana.user_key).digests) == {"single-node": "digest of single-node"}


def test_a_template_is_put_and_removed_any_number_of_times(templates: StorageTemplates) -> None:
    ana = person()
    templates.put(ana, put("single-node"))
    text = templates.read(ana.user_key, "single-node")
    templates.put(ana, put("single-node"))
    assert text is not None
    assert templates.read(ana.user_key, "single-node") == text
    templates.remove(ana.user_key, "single-node")
    templates.remove(ana.user_key, "single-node")
    assert templates.read(ana.user_key, "single-node") is None
    assert dict(templates.seen(ana.user_key).digests) == {}


def test_the_key_of_an_address_is_a_plain_object_name(records: StorageRecords) -> None:
    """A hostile address reaches no other prefix: what is written for it is where its key says, and nowhere else."""
    key = user_key_for(UserEmail("../../templates/x#?%2f*@example.com"))
    record = somebody("../../templates/x#?%2f*@example.com")
    records.save(record, expected=None)
    assert [row.user_key for row in records.rows()] == [key]
    assert "/" not in key


def test_joining_news_is_what_the_record_says_after_a_round_trip(records: StorageRecords) -> None:
    record = with_event(somebody("ana.silva@example.com"), joined("j", -1, groups=("data-analysts@example.com",)))
    records.save(record, expected=None)
    loaded = records.load(record.user_key)
    assert loaded is not None
    assert loaded.record.facts == record.facts
