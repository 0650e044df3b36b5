"""The pinned calls: a sample is what it was, and a call that goes elsewhere or carries something else is another one."""

from __future__ import annotations

import json

import pytest
from kit.simulator.pins import SEEDS, calls_of, first_difference, pin_of, pinned, pins_of, read_pins
from msgspec.structs import replace

from shared.cloud.notebook.notebooks import WorkbenchNotebooks

BUCKET = "/upload/storage/v1/b/benchkeeper-local/o?uploadType=multipart&ifGenerationMatch="


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_sample_of_the_seeds_makes_the_pinned_calls():
    before = read_pins()
    sample = SEEDS[::10]
    assert pins_of(sample, workers=2) == {seed: before[seed] for seed in sample}


def test_every_seed_is_pinned():
    assert list(read_pins()) == list(SEEDS)
    assert min(pin.calls for pin in read_pins().values()) > 100


def test_one_seed_makes_the_pinned_calls():
    assert pin_of(2) == read_pins()[2]


def test_a_label_more_is_another_pin(monkeypatch):
    before, create = calls_of(2), WorkbenchNotebooks.create

    def labelled(self, spec, zone, request_id):
        return create(self, replace(spec, labels={**spec.labels, "one": "more"}), zone, request_id)

    monkeypatch.setattr(WorkbenchNotebooks, "create", labelled)
    assert calls_of(2) != before


def _upload(name: str, content: str, *, generation: str = "0", about: dict[str, object] | None = None) -> list[object]:
    head = json.dumps({"name": name, **(about or {})})
    body = (
        f"--b\r\ncontent-type: application/json\r\n\r\n{head}\r\n--b\r\ncontent-type: x\r\n\r\n{content}\r\n--b--\r\n"
    )
    return pinned("POST", BUCKET + generation, body.encode(), 200)


def test_bytes_and_rows_of_the_products_own_records_may_differ():
    one = _upload("records/a.json", "1", generation="17", about={"metadata": {"state": "x"}, "crc32c": "AA"})
    assert one == _upload("records/a.json", "2", generation="18", about={"metadata": {"state": "y"}, "crc32c": "BB"})


@pytest.mark.parametrize(
    "other",
    [
        _upload("records/b.json", "1"),
        _upload("records/a.json", "1", generation="5"),
        _upload("templates/a/t.yaml", "1"),
        _upload("templates/a/t.yaml", "2"),
    ],
)
def test_names_conditions_and_templates_may_not(other):
    assert other != _upload("records/a.json", "1")
    assert _upload("templates/a/t.yaml", "1") != _upload("templates/a/t.yaml", "2")


@pytest.mark.parametrize(
    "other",
    [
        ("PUT", "/v2/instances?requestId=1", b"{}", 200),
        ("POST", "/v2/instances?requestId=2", b"{}", 200),
        ("POST", "/v2/instances?requestId=1", b'{"a": 1}', 200),
        ("POST", "/v2/instances?requestId=1", b"{}", 503),
    ],
)
def test_method_resource_body_and_status_of_every_other_call_are_pinned(other):
    assert pinned(*other) != pinned("POST", "/v2/instances?requestId=1", b"{}", 200)


def test_which_fields_a_listing_asks_for_and_where_it_goes_on_may_differ():
    path = "/storage/v1/b/bucket/o?prefix=due/"
    assert pinned("GET", f"{path}&fields=a", b"", 200) == pinned("GET", f"{path}&fields=b", b"", 200)
    assert pinned("GET", f"{path}&pageToken=a", b"", 200) != pinned("GET", path, b"", 200)
    assert pinned("GET", f"{path}&endOffset=a", b"", 200) != pinned("GET", path, b"", 200)


def test_the_first_difference_is_shown_with_its_surroundings():
    before = [str(number) for number in range(20)]
    lines = list(first_difference(before, [*before[:9], "other", *before[10:]]))
    assert lines[0] == "call 10 of 20 before, of 20 now:"
    assert lines[1:6] == ["  5", "  6", "  7", "  8", "- 9"]
    assert "+ other" in lines
    assert list(first_difference(before, before[:9]))[-1] == "+ (no more calls)"
    assert list(first_difference(before, before)) == ["the calls are the same"]
