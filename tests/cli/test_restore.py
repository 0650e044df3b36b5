"""`benchkeeper restore`: what there is, files of an earlier day, and the undo."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import click
import pytest

from cli.restoring import moment
from emulator.model.disks import disk_path

BEN = "ben.ng@example.com"
NOW = datetime(2026, 11, 28, 10, 0, tzinfo=UTC)


@pytest.fixture
def saved(terminal):
    """Ben's files were saved on the 23rd at eight."""
    terminal.run("publish", "joiner", BEN, "--profile", "engineer")
    terminal.deliver()
    minutes(terminal, 7)
    write(terminal, b"in the morning")
    terminal.run("sweep", "idle")
    minutes(terminal, 12)
    write(terminal, b"now")
    return terminal


def minutes(terminal, count: int) -> None:
    for _ in range(count):
        terminal.advance(minutes=1)
        terminal.run("sweep", "due")


def disk(terminal):
    (instance,) = terminal.cloud.notebooks.fleet.instances.values()
    return terminal.cloud.compute.disks.find_disk(disk_path(instance, "data-workspace"))


def write(terminal, content: bytes) -> None:
    disk(terminal).content = content


def test_a_list_shows_what_there_is(saved):
    text = saved.run("restore", BEN, "--list").stdout
    assert "2026-11-23 08:0" in text
    assert "copy of the day" in text
    found = json.loads(saved.run("restore", BEN, "--list", "-o", "json").stdout)
    assert (found["user"], len(found["copies"]), found["undo_until"]) == (BEN, 1, None)


def test_files_come_back_and_the_undo_brings_the_others_back(saved):
    said = saved.run("restore", BEN, "--at", "today", "--yes").stdout
    assert "gets the files of 2026-11-23 08:0" in said
    assert "Packages and environments outside of it are not in the copies" in said
    assert "kept for seven days, until about 2026-11-30" in said
    assert "--undo" in said
    minutes(saved, 15)
    assert disk(saved).content == b"in the morning"
    assert "can be undone until 2026-11-30" in saved.run("restore", BEN, "--list").stdout
    found = json.loads(saved.run("restore", BEN, "--undo", "--yes", "-o", "json").stdout)
    assert found["asked_for"]
    assert not json.loads(saved.run("restore", BEN, "--undo", "--yes", "-o", "json").stdout)["asked_for"]
    minutes(saved, 15)
    assert disk(saved).content == b"now"


def test_without_a_time_or_with_one_before_all_copies_it_says_what_there_is(saved):
    missing = saved.run("restore", BEN, code=2)
    assert "2026-11-23 08:0" in missing.stdout
    assert "--at TIME" in missing.stderr
    early = saved.run("restore", BEN, "--at", "2026-11-20", "--yes", code=1)
    assert "There are copies of: 2026-11-23 08:0" in early.stderr
    assert "no restore that can be undone" in saved.run("restore", BEN, "--undo", "--yes", code=1).stderr
    assert disk(saved).content == b"now"


def test_nobody_to_be_asked_changes_nothing(saved):
    assert "--yes" in saved.run("restore", BEN, "--at", "today", code=2).stderr
    minutes(saved, 5)
    assert disk(saved).content == b"now"


def test_an_unknown_person_and_two_options_at_once_are_refused(saved):
    assert "Did you mean ben.ng@example.com?" in saved.run("restore", "ben.nh@example.com", "--list", code=1).stderr
    assert "use one of" in saved.run("restore", BEN, "--list", "--undo", code=2).stderr
    assert "Did you mean yesterday?" in saved.run("restore", BEN, "--at", "yesterdy", code=2).stderr


def test_show_names_the_copies_without_claiming_that_they_are_the_present_files(saved):
    text = saved.run("show", BEN).stdout
    assert "a copy of that day" in text
    assert "holds the files" not in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("today", NOW),
        ("yesterday", datetime(2026, 11, 27, 23, 59, 59, 999999, tzinfo=UTC)),
        ("Yesterday ", datetime(2026, 11, 27, 23, 59, 59, 999999, tzinfo=UTC)),
        ("2026-11-25", datetime(2026, 11, 25, 23, 59, 59, 999999, tzinfo=UTC)),
        ("2026-12-24", NOW),
        ("2026-11-25T09:00Z", datetime(2026, 11, 25, 9, tzinfo=UTC)),
        ("2026-11-25t09:00z", datetime(2026, 11, 25, 9, tzinfo=UTC)),
        ("2026-11-25 09:00", datetime(2026, 11, 25, 9, tzinfo=UTC)),
        ("2026-11-25T09:00:00+02:00", datetime(2026, 11, 25, 7, tzinfo=UTC)),
        ("3d", NOW - timedelta(days=3)),
        ("90m", NOW - timedelta(minutes=90)),
    ],
)
def test_a_time_is_said_as_elsewhere(text, expected):
    assert moment(text, NOW) == expected


@pytest.mark.parametrize(
    "text", ["", "soon", "0d", "-3d", "2026-13-01", "99999999d", "28.11.2026", "0001-01-01T00:00+14:00"]
)
def test_what_is_no_time_is_refused_with_what_is_one(text):
    with pytest.raises(click.UsageError) as refused:
        moment(text, NOW)
    assert "yesterday, 3d" in str(refused.value)
