"""`benchkeeper start`, `stop`, `keep-on` and `spark`."""

from __future__ import annotations

import json

import pytest

BEN = "ben.ng@example.com"


@pytest.fixture
def ready(terminal):
    terminal.run("publish", "joiner", BEN, "--profile", "engineer")
    terminal.deliver()
    for _ in range(6):
        terminal.advance(minutes=1)
        terminal.run("sweep", "due")
    return terminal


def spark(terminal, *words: str) -> dict:
    rows = json.loads(terminal.run("spark", *words, "-o", "json").stdout)
    return {row["template"]: row for row in rows}


def test_a_notebook_is_stopped_and_started(ready):
    assert "stop" in ready.run("stop", BEN).stdout
    ready.advance(minutes=2)
    ready.run("reconcile", BEN)
    assert json.loads(ready.run("show", BEN, "-o", "json").stdout)["observed"]["notebook"]["state"] == "STOPPED"
    assert json.loads(ready.run("start", BEN, "-o", "json").stdout)["power"] == "RUNNING"
    ready.advance(minutes=5)
    ready.run("reconcile", BEN)
    assert json.loads(ready.run("show", BEN, "-o", "json").stdout)["observed"]["notebook"]["state"] == "ACTIVE"


def test_a_notebook_is_kept_on_within_its_bound_and_let_go(ready):
    assert "Extended until 2026-11-23" in ready.run("keep-on", BEN, "--for", "4h").stdout
    assert "at most" in ready.run("keep-on", BEN, "--for", "2d", code=1).stderr
    assert json.loads(ready.run("keep-on", BEN, "--off", "-o", "json").stdout)["keep_on_until"] is None
    assert "either --for TIME or --off" in ready.run("keep-on", BEN, code=2).stderr
    assert "90m, 4h or 60d" in ready.run("keep-on", BEN, "--for", "long", code=2).stderr


def test_a_cluster_is_started_found_and_deleted(ready):
    assert set(spark(ready, "list", BEN)) == {"large-cluster", "personal-auth-cluster", "single-node"}
    assert spark(ready, "start", BEN, "single-node")["single-node"]["wanted"]
    ready.advance(minutes=3)
    running = spark(ready, "start", BEN, "single-node")["single-node"]
    assert running["state"] == "RUNNING"
    (cluster,) = ready.cloud.dataproc.listing("benchkeeper-local", "europe-west1")["clusters"]
    assert cluster["clusterName"] == running["cluster"]
    spark(ready, "delete", BEN, "single-node")
    ready.advance(minutes=3)
    ready.run("reconcile", BEN)
    assert ready.cloud.dataproc.listing("benchkeeper-local", "europe-west1") == {}


def test_what_the_profile_does_not_offer_is_refused_with_what_it_does(ready):
    assert "It has: large-cluster" in ready.run("spark", "start", BEN, "gpu", code=1).stderr


def test_nobody_unknown_is_asked_for(terminal):
    for words in (("start", BEN), ("stop", BEN), ("keep-on", BEN, "--off"), ("spark", "list", BEN)):
        assert "No such person" in terminal.run(*words, code=1).stderr
