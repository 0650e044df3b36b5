"""Log lines are what Cloud Logging parses: the special fields are those of google-cloud-logging's own handler."""

from __future__ import annotations

import io
import json
import logging
import threading

import flask
import pytest
from google.cloud.logging_v2.handlers import StructuredLogHandler

from shared.domain.things.errors import Reason
from shared.telemetry import JsonLog, SilentLog, trace

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PROJECT = "acme-analytics"


def lines_of(stream: io.StringIO) -> list[dict]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def written(*, header: str | None = None, severity: str = "info", **facts) -> dict:
    stream = io.StringIO()
    with trace(header, PROJECT):
        getattr(JsonLog("lifecycle", stream=stream), severity)("Handled a delivery", **facts)
    (line,) = lines_of(stream)
    return line


def written_by_google(level: int, header: dict[str, str], **labels: str) -> dict:
    """The oracle: what google-cloud-logging's handler writes inside a request with that header."""
    stream = io.StringIO()
    handler = StructuredLogHandler(stream=stream, project_id=PROJECT, labels=labels)
    logger = logging.Logger("oracle")  # noqa: LOG001 - its own, so that the process's loggers stay as they are
    logger.addHandler(handler)
    with flask.Flask("oracle").test_request_context(headers=header):
        logger.log(level, "Handled a delivery")
    # Its first line in a process is followed by one about the library itself.
    return next(line for line in lines_of(stream) if line.get("message") == "Handled a delivery")


@pytest.mark.parametrize(
    ("severity", "level"), [("info", logging.INFO), ("warning", logging.WARNING), ("error", logging.ERROR)]
)
@pytest.mark.parametrize(
    "header", [{"traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-01"}, {"X-Cloud-Trace-Context": f"{TRACE_ID}/123;o=1"}]
)
def test_the_special_fields_are_those_of_googles_own_handler(severity, level, header):
    ours = written(header=next(iter(header.values())), severity=severity)
    theirs = written_by_google(level, header, component="lifecycle")
    for name in ("severity", "message", "logging.googleapis.com/trace"):
        assert ours[name] == theirs[name]
    labels = "logging.googleapis.com/labels"
    assert ours[labels].items() <= theirs[labels].items()
    assert ours[labels] == {"component": "lifecycle"}
    assert {name for name in ours if name.startswith("logging.googleapis.com/")} <= set(theirs)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "x",
        "00-zz-11-01",
        "a-b-c-d",
        f"00-{TRACE_ID[:-1]}-00f067aa0ba902b7-01",
        "not/hex",
        "-" * 3,
        TRACE_ID[:5] + "/1",
    ],
)
def test_a_header_that_is_no_trace_leaves_the_field_out(header):
    assert "logging.googleapis.com/trace" not in written(header=header)


def test_a_trace_ends_with_its_delivery():
    stream = io.StringIO()
    log = JsonLog("tick", stream=stream)
    with trace(f"{TRACE_ID}/1", PROJECT):
        log.info("Inside")
    log.info("Outside")
    inside, outside = lines_of(stream)
    assert inside["logging.googleapis.com/trace"] == f"projects/{PROJECT}/traces/{TRACE_ID}"
    assert "logging.googleapis.com/trace" not in outside


def test_facts_become_fields_of_the_same_line():
    line = written(
        user="ana-silva-7bda2560ce1b", seconds=1.5, count=3, ok=True, none=None, keys=["a", "b"], failed={"Busy": 2}
    )
    assert {k: v for k, v in line.items() if not k.startswith("logging.")} == {
        "severity": "INFO",
        "message": "Handled a delivery",
        "user": "ana-silva-7bda2560ce1b",
        "seconds": 1.5,
        "count": 3,
        "ok": True,
        "none": None,
        "keys": ["a", "b"],
        "failed": {"Busy": 2},
    }


@pytest.mark.parametrize(
    "value", ["two\nlines", 'quo"te', "\u2028", "\ud800", "\x00", b"bytes", {1}, Reason.BUSY, object]
)
def test_any_fact_is_still_one_line_of_json(value):
    stream = io.StringIO()
    JsonLog("x", stream=stream).info("Message", fact=value)
    assert stream.getvalue().count("\n") == 1
    stream.getvalue().encode()
    assert lines_of(stream)[0]["message"] == "Message"


@pytest.mark.parametrize(
    "fact",
    [
        "unknown profile 'ana.silva@example.com'",
        ["ana.silva@example.com"],
        {"detail": "for ana.silva@example.com"},
        {"ana.silva@example.com": 1},
        ValueError("ana.silva@example.com"),
        (("ana.silva@example.com",),),
    ],
)
def test_no_address_gets_into_a_line_even_when_others_wrote_it(fact):
    assert "ana" not in json.dumps(written(fact=fact))


def test_lines_of_many_threads_stay_whole():
    stream = io.StringIO()
    log = JsonLog("x", stream=stream)
    threads = [
        threading.Thread(target=lambda n=n: [log.info("Line", number=n, text="x" * 500) for _ in range(50)])
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = lines_of(stream)
    assert len(found) == 400
    assert all(len([line for line in found if line["number"] == n]) == 50 for n in range(8))


def test_without_a_stream_it_is_standard_output_at_that_moment(capsys):
    JsonLog("x").info("Hello")
    assert json.loads(capsys.readouterr().out)["message"] == "Hello"


def test_the_silent_log_is_silent(capsys):
    for severity in ("info", "warning", "error"):
        getattr(SilentLog(), severity)("Hello", fact=1)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")
