"""The users' template objects: under their own prefix, with the digest they were made from."""

from __future__ import annotations

import pytest
import yaml
from kit.making import ANALYSTS, NOW, joined, with_event
from kit.official import storage_bucket

from shared.cloud.dataproc.cluster_fields import PERSONAL_AUTH_USER
from shared.domain.intent.wanted import new_record
from shared.domain.template.wanted import PutTemplate
from shared.domain.things.errors import AccessDeniedError
from shared.domain.things.identity import parse_email, user_key_for

NAME = "personal-auth-cluster"


def record_of(address: str):
    return with_event(new_record(parse_email(address), NOW), joined(groups=(ANALYSTS,)))


@pytest.fixture
def templates(bench):
    return bench.deps.templates


def test_a_rendered_template_is_an_object_of_its_user(bench, templates):
    record = record_of("ana.silva@example.com")
    templates.put(record, PutTemplate(template=NAME, digest="d1"))
    (blob,) = storage_bucket(bench.clients).list_blobs()
    assert blob.name == f"templates/{record.user_key}/{NAME}.yaml"
    assert blob.content_type == "application/yaml"
    assert blob.metadata == {"benchkeeper-digest": "d1", "benchkeeper-md5": blob.md5_hash, "user": record.user_key}
    data = yaml.safe_load(blob.download_as_bytes())
    assert data["config"]["softwareConfig"]["properties"][PERSONAL_AUTH_USER] == record.email
    assert data["projectId"] == bench.settings.project
    assert templates.read(record.user_key, NAME) == blob.download_as_bytes().decode()


def test_nothing_is_seen_where_nothing_is(templates):
    key = user_key_for(parse_email("nobody@example.com"))
    assert templates.seen(key).digests == {}
    assert templates.read(key, NAME) is None
    assert list(templates.rows()) == []


def test_a_user_sees_only_what_is_under_the_own_prefix(bench, templates):
    record = record_of("ana.silva@example.com")
    templates.put(record, PutTemplate(template=NAME, digest="d1"))
    bucket = storage_bucket(bench.clients)
    bucket.blob(f"templates/{record.user_key}x/spark.yaml").upload_from_string("x")
    bucket.blob(f"templates/{record.user_key}/readme.txt").upload_from_string("x")
    bucket.blob(f"templates/{record.user_key}/sub/deep.yaml").upload_from_string("x")
    assert templates.seen(record.user_key).digests == {NAME: "d1"}


def test_an_object_that_somebody_else_wrote_has_no_digest_so_it_is_written_again(bench, templates):
    record = record_of("ana.silva@example.com")
    storage_bucket(bench.clients).blob(f"templates/{record.user_key}/{NAME}.yaml").upload_from_string("mine")
    assert templates.seen(record.user_key).digests == {NAME: ""}


def test_a_content_that_somebody_edited_has_no_digest_whatever_its_metadata_says(bench, templates):
    record = record_of("ana.silva@example.com")
    templates.put(record, PutTemplate(template=NAME, digest="d1"))
    text = templates.read(record.user_key, NAME)
    (blob,) = storage_bucket(bench.clients).list_blobs()
    kept = dict(blob.metadata)
    blob.upload_from_string(text.replace("n2-", "a3-") + "# mine", content_type="application/yaml")
    (blob,) = storage_bucket(bench.clients).list_blobs()
    assert blob.metadata == kept
    assert templates.seen(record.user_key).digests == {NAME: ""}
    assert list(templates.rows()) == [(record.user_key, NAME, "")]
    templates.put(record, PutTemplate(template=NAME, digest="d1"))
    assert templates.seen(record.user_key).digests == {NAME: "d1"}
    assert templates.read(record.user_key, NAME) == text


def test_an_object_of_before_the_checksum_keeps_its_digest(bench, templates):
    record = record_of("ana.silva@example.com")
    blob = storage_bucket(bench.clients).blob(f"templates/{record.user_key}/{NAME}.yaml")
    blob.metadata = {"benchkeeper-digest": "d1", "user": record.user_key}
    blob.upload_from_string("as it was")
    assert templates.seen(record.user_key).digests == {NAME: "d1"}


def test_putting_again_replaces(templates):
    record = record_of("ana.silva@example.com")
    for digest in ("d1", "d2", "d2"):
        templates.put(record, PutTemplate(template=NAME, digest=digest))
    assert templates.seen(record.user_key).digests == {NAME: "d2"}
    assert list(templates.rows()) == [(record.user_key, NAME, "d2")]


def test_removing_is_done_when_it_is_gone(templates):
    record = record_of("ana.silva@example.com")
    templates.put(record, PutTemplate(template=NAME, digest="d1"))
    templates.remove(record.user_key, NAME)
    templates.remove(record.user_key, NAME)
    assert list(templates.rows()) == []


def test_a_listing_tells_of_all_users_in_one_call(bench, templates):
    for address in ("ana@example.com", "ben@example.com"):
        for name in (NAME, "single-node"):
            templates.put(record_of(address), PutTemplate(template=name, digest="d"))
    bench.cloud.world.journal.clear()
    assert len({(key, name) for key, name, _ in templates.rows()}) == 4
    assert [c["method"] for c in bench.calls()] == ["objects.list"]


@pytest.mark.parametrize(
    ("call", "what"),
    [
        ("storage.objects.insert", lambda t, r: t.put(r, PutTemplate(template=NAME, digest="d"))),
        ("storage.objects.delete", lambda t, r: t.remove(r.user_key, NAME)),
        ("storage.objects.list", lambda t, r: t.seen(r.user_key)),
        ("storage.objects.list", lambda t, _: list(t.rows())),
        ("storage.objects.get", lambda t, r: t.read(r.user_key, NAME)),
    ],
)
def test_a_refusal_is_an_error_and_not_an_absence(bench, templates, call, what):
    bench.fault(call=call, error={"code": "PERMISSION_DENIED", "message": "denied"})
    with pytest.raises(AccessDeniedError):
        what(templates, record_of("ana@example.com"))
