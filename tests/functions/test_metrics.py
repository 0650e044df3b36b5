"""Every log-based metric of config/deploy/metrics.yaml, proven on the lines that the functions really write."""

from __future__ import annotations

import io
import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from kit.inprocess import ROOT, local_settings
from kit.life import limited
from kit.log_query import SERVICES, QueryError, comparisons, entry_of, extract, matches, measure
from kit.mail import MESSAGES, Queue, mail_host
from kit.official import storage_bucket
from kit.oracle import instances
from msgspec.structs import replace

from shared import wiring
from shared.cloud.mail.smtp import Server, SmtpServer
from shared.domain.fleet.idle import Activity
from shared.domain.plan.guard_settings import GuardSettings
from shared.domain.record.record import Power
from shared.domain.things.identity import parse_email, user_key_for
from shared.domain.things.limits import GroupLimits
from shared.domain.things.notebook import InstanceRef
from shared.engine.news.requests import ask_power, keep_on
from shared.messages.parse import wake_message
from shared.settings import ConfigError
from shared.telemetry import JsonLog

METRICS = yaml.safe_load((ROOT / "config" / "deploy" / "metrics.yaml").read_text(encoding="utf-8"))["metrics"]
ANA, BEN, CHI = "ana.silva@example.com", "ben@example.com", "chi@example.com"
ANALYSTS = "data-analysts@example.com"
STOCKOUT = {"code": "UNAVAILABLE", "message": "ZONE_RESOURCE_POOL_EXHAUSTED: try a different zone, or try again later."}
DENIED = {"code": "PERMISSION_DENIED", "message": "no"}


def news(functions, kind: str, user: str, **attributes):
    functions.count = getattr(functions, "count", 0) + 1
    body = {
        "schema": "workbench.lifecycle/v1",
        "event_id": f"e{functions.count}",
        "type": kind,
        "user": user,
        "occurred_at": functions.bench.now.isoformat(),
        "effective_time": functions.bench.now.isoformat(),
        "attributes": attributes,
    }
    return functions.deliver("lifecycle", body)


def tick(functions, sweep: str = "due", *, after: float = 0) -> None:
    functions.bench.advance(minutes=after)
    functions.deliver("tick", {"sweep": sweep})


def minutes(functions, count: int) -> None:
    for _ in range(count):
        tick(functions, after=1)


def points(functions, metric: str):
    return measure(METRICS[metric], functions.output.getvalue().splitlines())


def values(functions, metric: str):
    return [point.value for point in points(functions, metric)]


def ref_of(functions, user: str) -> InstanceRef:
    status = functions.bench.deps.records.load(user_key_for(parse_email(user))).record.status
    return InstanceRef(instance_id=status.notebook.instance_id, zone=status.notebook.zone)


def with_prices(functions, monkeypatch, **prices: float | None) -> None:
    catalog = functions.bench.settings.catalog
    profiles = {name: replace(p, hourly_cost=prices.get(name)) for name, p in catalog.profiles.items()}
    for target in SERVICES:
        settings, deps = wiring._CACHED[target]
        policy = replace(deps.policy, catalog=replace(catalog, profiles=profiles))
        monkeypatch.setitem(wiring._CACHED, target, (settings, replace(deps, base_policy=policy)))


def test_environments_are_counted_by_profile_and_state_and_their_cost_by_profile(functions, monkeypatch):
    with_prices(functions, monkeypatch, analyst=0.25)  # an engineer's is not estimated
    for user in (ANA, BEN):
        news(functions, "joiner", user)
    news(functions, "joiner", CHI, profile="engineer")
    minutes(functions, 5)
    functions.bench.deps.notebooks.stop(ref_of(functions, BEN))
    functions.bench.advance(minutes=3)
    functions.bench.cloud.world.journal.clear()
    tick(functions, "drift")
    counted = {(p["profile"], p["state"]): p.value for p in points(functions, "benchkeeper/environments")}
    assert counted == {("analyst", "ACTIVE"): 1, ("analyst", "STOPPED"): 1, ("engineer", "ACTIVE"): 1}
    cost = {p["profile"]: p.value for p in points(functions, "benchkeeper/running_cost_per_hour")}
    assert cost == {"analyst": 0.25}


def test_counting_costs_no_call_and_what_has_gone_counts_as_none(functions):
    tick(functions, "drift")  # makes the session templates
    functions.bench.cloud.world.journal.clear()
    tick(functions, "drift")
    calls = [(c["service"], c["method"]) for c in functions.bench.calls()]
    assert calls == [
        ("storage", "objects.get"),  # the policy in force, and whether another waits
        ("storage", "objects.list"),
        ("compute", "snapshots.list"),
        ("notebooks", "ListInstances"),
        (
            "storage",
            "objects.get",
        ),  # what is to be known of the last list
        *[("storage", "objects.list")] * 2,  # templates and records, side by side
        ("storage", "objects.insert"),  # how large the fleet is, for the guard
        ("storage", "objects.list"),  # slots that are over
        (
            "storage",
            "objects.get",
        ),  # the fleet for the pages: how old the list is that is there, the new one, what the next sweep needs
        *[("storage", "objects.insert")] * 2,
        *[("storage", "objects.list")] * 3,  # the audit: the manifests, what is in none, and cuts that it refused
        ("dataproc", "ListSessionTemplates"),
        ("storage", "objects.list"),  # who waits to be cut
        *[("storage", "objects.list")] * 2,  # dead letters past their lifetime, in both buckets that may have some
        *[("storage", "objects.list")] * 2,  # the letters that are due
    ]
    assert {(p["profile"], p["state"], p.value) for p in points(functions, "benchkeeper/environments")} == {
        ("analyst", "ACTIVE", 0),
        ("engineer", "ACTIVE", 0),
    }


def test_who_is_entitled_and_has_none_is_counted_and_so_is_what_cannot_be_reached(functions):
    functions.bench.fault(call="notebooks.CreateInstance", error=DENIED)
    news(functions, "joiner", ANA)
    tick(functions, "drift")
    assert ("analyst", "MISSING", 1) in {
        (p["profile"], p["state"], p.value) for p in points(functions, "benchkeeper/environments")
    }
    functions.bench.fault(call="notebooks.ListInstances", resource="*europe-west1-b*", unreachable=True)
    tick(functions, "drift")
    assert ("analyst", "UNREACHABLE", 1) in {
        (p["profile"], p["state"], p.value) for p in points(functions, "benchkeeper/environments")
    }


def test_the_time_from_the_news_to_a_ready_environment_counts_once_for_each_such_news(functions):
    news(functions, "joiner", ANA)
    minutes(functions, 6)
    (first,) = points(functions, "benchkeeper/event_to_ready_seconds")
    assert first["profile"] == "analyst"
    assert 240 <= first.value <= 360
    # A stop from outside and a start after it are nobody's news.
    functions.bench.deps.notebooks.stop(ref_of(functions, ANA))
    tick(functions, "drift", after=5)
    functions.bench.deps.notebooks.start(ref_of(functions, ANA))
    tick(functions, "drift", after=10)
    minutes(functions, 5)
    functions.bench.deps.notebooks.delete(ref_of(functions, ANA), "")
    tick(functions, "drift", after=5)
    minutes(functions, 6)
    assert len(points(functions, "benchkeeper/event_to_ready_seconds")) == 1
    news(functions, "leaver", ANA)
    minutes(functions, 5)
    functions.bench.advance(days=2)
    news(functions, "joiner", ANA)
    minutes(functions, 4)
    back = points(functions, "benchkeeper/event_to_ready_seconds")[1:]
    assert len(back) == 1
    assert 30 <= back[0].value <= 240


def test_the_time_counts_from_what_was_said_and_not_from_when_it_was_heard(functions):
    functions.bench.advance(minutes=20)
    said = functions.bench.now - timedelta(minutes=10)
    body = {"schema": "workbench.lifecycle/v1", "event_id": "late", "type": "joiner", "user": ANA, "attributes": {}}
    functions.deliver("lifecycle", {**body, "occurred_at": said.isoformat()})
    minutes(functions, 6)
    (waited,) = values(functions, "benchkeeper/event_to_ready_seconds")
    assert 600 + 240 <= waited <= 600 + 360


def test_news_of_long_ago_counts_from_when_it_was_heard(functions):
    body = {"schema": "workbench.lifecycle/v1", "event_id": "old", "type": "joiner", "user": ANA, "attributes": {}}
    functions.deliver("lifecycle", {**body, "occurred_at": "2023-05-01T00:00:00Z"})
    minutes(functions, 6)
    (waited,) = values(functions, "benchkeeper/event_to_ready_seconds")
    assert 240 <= waited <= 360


def test_the_time_from_the_news_that_somebody_left_to_a_stopped_environment_counts_once(functions):
    news(functions, "joiner", ANA)
    minutes(functions, 6)
    news(functions, "leaver", ANA)
    minutes(functions, 5)
    tick(functions, after=60 * 24 * 31)
    minutes(functions, 6)
    news(functions, "leaver", BEN)  # never had one
    minutes(functions, 2)
    (stopped,) = points(functions, "benchkeeper/event_to_stopped_seconds")
    assert stopped["profile"] == "analyst"
    assert 0 < stopped.value <= 240


def test_the_longest_wait_of_a_joiner_and_of_a_leaver(functions):
    news(functions, "joiner", ANA)
    minutes(functions, 6)
    tick(functions, "idle")
    assert values(functions, "benchkeeper/longest_wait_seconds") == [0]
    assert values(functions, "benchkeeper/longest_stop_seconds") == [0]
    functions.bench.fault(call="notebooks.StopInstance", times=0, error=DENIED)
    functions.bench.fault(call="notebooks.CreateInstance", times=0, error=DENIED)
    news(functions, "leaver", ANA)
    functions.bench.advance(minutes=10)
    news(functions, "joiner", BEN)
    tick(functions, "idle", after=40)
    tick(functions, "drift", after=5)
    assert values(functions, "benchkeeper/longest_stop_seconds") == [0, 50 * 60, 55 * 60]
    assert values(functions, "benchkeeper/longest_wait_seconds") == [0, 40 * 60, 45 * 60]


def test_the_oldest_due_record_and_none_when_only_hints_are_old(functions):
    news(functions, "joiner", ANA)
    due = functions.bench.deps.records.load(user_key_for(parse_email(ANA))).record.status.next_attempt_at
    functions.bench.advance(minutes=13)
    late = (functions.bench.now - due).total_seconds()
    tick(functions)
    tick(functions)
    functions.bench.deps.records._put_hint(user_key_for(parse_email(ANA)), due)
    tick(functions)
    assert values(functions, "benchkeeper/oldest_due_seconds") == [late, 0, 0]
    assert late > 600


def test_a_record_that_cannot_be_read_counts_by_its_hint(functions):
    news(functions, "joiner", ANA)
    functions.bench.advance(minutes=30)
    functions.bench.fault(call="storage.objects.get", error={**DENIED, "reason": "forbidden"})
    tick(functions)
    (late,) = values(functions, "benchkeeper/oldest_due_seconds")
    assert late > 25 * 60


class Blindfold:
    """Evidence of nobody."""

    def read(self, notebooks, _window, now):
        return {n.ref.instance_id: Activity(blind_since=now - timedelta(hours=3)) for n in notebooks}


def test_blind_environments(functions, monkeypatch):
    for user in (ANA, BEN):
        news(functions, "joiner", user)
    minutes(functions, 6)
    tick(functions, "idle", after=60)
    settings, deps = wiring._CACHED["tick"]
    monkeypatch.setitem(wiring._CACHED, "tick", (settings, replace(deps, activity=Blindfold())))
    tick(functions, "idle", after=180)
    assert values(functions, "benchkeeper/blind_instances") == [0, 2]


def test_people_who_wait_to_be_cut_by_cause_and_source(functions, monkeypatch):
    for target in SERVICES:
        settings, deps = wiring._CACHED[target]
        policy = replace(deps.base_policy, guard=GuardSettings(per_hour=1, share=0.0, patience=timedelta(hours=1)))
        monkeypatch.setitem(wiring._CACHED, target, (settings, replace(deps, base_policy=policy)))
    for user in (ANA, BEN, CHI):
        news(functions, "joiner", user)
    minutes(functions, 6)
    functions.bench.advance(minutes=1)
    for user in (ANA, BEN, CHI):
        news(functions, "leaver", user)
    metric = "benchkeeper/cuts_that_wait"
    found = [(p["what"], p["cause"], p.value) for p in points(functions, metric)]
    assert found == [("Held back a cut", "Employment", 1)] * 2
    (source,) = {p["source"] for p in points(functions, metric)}
    tick(functions, "drift", after=10)
    (batch,) = points(functions, "benchkeeper/waiting_people")
    assert (batch["cause"], batch["source"], batch.value) == ("Employment", source, 2)
    assert values(functions, "benchkeeper/oldest_cut_wait_seconds") == [600]
    for _ in range(6):
        tick(functions, after=20)
    assert "Stopped a notebook without approval" in {p["what"] for p in points(functions, metric)}


def test_stray_instances(functions):
    news(functions, "joiner", ANA)
    minutes(functions, 6)
    tick(functions, "drift")
    bucket = storage_bucket(functions.bench.clients)
    bucket.blob(f"records/{user_key_for(parse_email(ANA))}.json").delete()
    tick(functions, "drift")
    assert values(functions, "benchkeeper/stray_instances") == [0, 1]


def test_dead_letters_by_reason(functions):
    functions.deliver("lifecycle", b"joiner kofi", message_id="7")
    ((body, attributes),) = functions.letters.published
    functions.deliver("dead_letter", body, attributes=attributes, message_id="8")
    forwarded = {"CloudPubSubDeadLetterSourceSubscription": "workbench-lifecycle-push"}
    functions.deliver("dead_letter", b"{}", attributes=forwarded, message_id="9")
    assert [p["reason"] for p in points(functions, "benchkeeper/dead_letters")] == [
        "InvalidMessage",
        "DeliveryAttemptsExhausted",
    ]


def test_event_to_gone_seconds(functions):
    news(functions, "joiner", ANA)
    minutes(functions, 6)
    news(functions, "leaver", ANA)
    assert values(functions, "benchkeeper/event_to_gone_seconds") == []
    minutes(functions, 3)
    (took,) = values(functions, "benchkeeper/event_to_gone_seconds")
    assert 60 <= took <= 180


def test_an_audit_that_cannot_be_written(functions):
    refused = {"resource": f"{functions.bench.settings.audit_bucket}*", "error": DENIED, "times": 0}
    functions.bench.fault(call="storage.objects.insert", **refused)
    news(functions, "joiner", ANA)
    minutes(functions, 14)
    assert values(functions, "benchkeeper/audit_behind") == []
    minutes(functions, 4)
    assert 1 in values(functions, "benchkeeper/audit_behind")


def test_forged_wishes(functions):
    """What is no wish counts; a wish that is only of no use does not."""
    user_key = user_key_for(parse_email(ANA))
    news(functions, "joiner", ANA)
    inbox = storage_bucket(functions.bench.clients, functions.bench.settings.inbox_bucket)
    inbox.blob(f"wishes/{user_key}/x.json").upload_from_string("{}")
    functions.deliver("lifecycle", json.loads(wake_message(user_key)))
    assert values(functions, "benchkeeper/forged_wishes") == [1]


def failures(functions):
    return [(p["what"], p["reason"]) for p in points(functions, "benchkeeper/failures")]


def test_failures_by_what_and_why(functions):
    functions.bench.fault(call="notebooks.CreateInstance", error=DENIED)
    news(functions, "joiner", ANA)
    assert failures(functions) == [("Action failed", "AccessDenied")]
    functions.bench.fault(call="notebooks.CreateInstance", operation_error=STOCKOUT)
    news(functions, "joiner", BEN)
    minutes(functions, 12)
    assert failures(functions)[1:] == [("Operation failed", "Stockout")]
    functions.bench.fault(call="storage.objects.list", error={**DENIED, "reason": "forbidden"})
    tick(functions, "drift")
    assert failures(functions)[2:] == [("Sweep failed", "AccessDenied")]


def test_what_needs_an_administrator_counts_once_by_what_and_why(functions):
    text = "Constraint constraints/compute.vmExternalIpAccess violated for project p."
    functions.bench.fault(
        call="notebooks.CreateInstance", times=0, error={"code": "FAILED_PRECONDITION", "message": text}
    )
    news(functions, "joiner", ANA)
    for _ in range(5):
        tick(functions, after=60)
    (point,) = points(functions, "benchkeeper/needs_administrator")
    assert (point["about"], point["reason"]) == ("NotebookReady", "OrganizationPolicy")


def test_access_that_is_not_cut_counts_at_each_look(functions):
    news(functions, "joiner", ANA)
    minutes(functions, 6)
    functions.bench.fault(call="notebooks.StopInstance", times=0, error=DENIED)
    news(functions, "leaver", ANA)
    minutes(functions, 12)
    assert points(functions, "benchkeeper/access_not_cut") == []
    minutes(functions, 30)
    assert len(points(functions, "benchkeeper/access_not_cut")) >= 2


def test_a_pass_that_fails_is_a_failure_with_its_reason(functions, monkeypatch):
    news(functions, "joiner", ANA)
    functions.bench.fault(call="storage.objects.get", error={**DENIED, "reason": "forbidden"})
    tick(functions, after=3)
    assert failures(functions) == [("Pass failed", "AccessDenied")]

    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr("shared.engine.reconcile.reconciler.make_plan", broken)
    tick(functions, after=3)
    news(functions, "mover", ANA, cost_center="x")
    assert failures(functions)[1:] == [
        ("Pass failed unexpectedly", "Unexpected"),
        ("Pass failed after a message", "Unexpected"),
    ]


def test_deliveries_by_outcome(functions):
    news(functions, "joiner", ANA)
    functions.deliver("lifecycle", b"x")
    functions.bench.fault(call="storage.objects.get", error={**DENIED, "reason": "forbidden"})
    news(functions, "mover", ANA, cost_center="x")
    tick(functions)
    handled = [(p["component"], p["outcome"], p["reason"]) for p in points(functions, "benchkeeper/deliveries")]
    assert handled == [
        ("lifecycle", "ack", ""),
        ("lifecycle", "dead-letter", "InvalidMessage"),
        ("lifecycle", "nack", "AccessDenied"),
        ("tick", "ack", ""),
    ]


def test_sweeps_by_kind(functions):
    for kind in ("due", "idle", "drift", "due"):
        tick(functions, kind)
    assert [p["kind"] for p in points(functions, "benchkeeper/sweeps")] == ["due", "idle", "drift", "due"]


def test_a_broken_configuration(monkeypatch, tmp_path):
    said = io.StringIO()
    monkeypatch.setattr(wiring, "JsonLog", lambda component: JsonLog(component, stream=said))
    monkeypatch.setenv("BENCHKEEPER_CONFIG_DIR", str(tmp_path))
    monkeypatch.delitem(wiring._CACHED, "tick", raising=False)
    with pytest.raises(ConfigError):
        wiring.process_deps("tick")
    lines = said.getvalue().splitlines()
    assert [p.value for p in measure(METRICS["benchkeeper/configuration_faults"], lines)] == [1]


def test_what_alarms_the_intake_is_counted_by_what_it_is(functions):
    functions.deliver("lifecycle", {"schema": "x"}, topic="workbench-nobody")
    functions.deliver("lifecycle", {"eventType": "user.lifecycle.deactivate", "target": [{"alternateId": ANA}]})
    for user in (ANA, BEN):
        functions.deliver("lifecycle", log(functions, "ADD_GROUP_MEMBER", USER_EMAIL=user, GROUP_EMAIL=ANALYSTS))
    minutes(functions, 6)
    functions.deliver("lifecycle", log(functions, "DELETE_GROUP", GROUP_EMAIL=ANALYSTS))
    assert [p["what"] for p in points(functions, "benchkeeper/intake_alarms")] == [
        "Received a message on an unknown topic", "Message about a leaver was not understood", "Held back a group change",
    ]  # fmt: skip


def test_a_roster_that_is_refused_is_said_and_whom_it_found_is_counted(functions):
    bucket = functions.bench.clients.bucket(functions.bench.settings.inbox_bucket)
    for people, rows in ((ANA, 2), (f"{ANA}\n{BEN}", 2)):
        bucket.write("rosters/hr.csv", f"user\n{people}\n#rows,{rows}\n".encode(), what="drop")
        tick(functions, "roster", after=5)
    assert [p["what"] for p in points(functions, "benchkeeper/intake_alarms")] == ["Refused a roster"]
    assert values(functions, "benchkeeper/lost_news") == [0, 2]


def test_a_policy_that_waits_is_said(functions, monkeypatch):
    tick(functions, "drift")
    settings, deps = wiring._CACHED["tick"]
    looser = replace(deps.base_policy, guard=replace(deps.base_policy.guard, approvers=1))
    monkeypatch.setitem(wiring._CACHED, "tick", (settings, replace(deps, base_policy=looser)))
    tick(functions, "drift")
    assert [p["what"] for p in points(functions, "benchkeeper/policy_alarms")] == ["Held back a policy change"]


def log(functions, name: str, **parameters: str):
    return {
        "insertId": f"i{name}{parameters.get('USER_EMAIL', '')}",
        "timestamp": (functions.bench.now - timedelta(seconds=2)).isoformat(),
        "logName": "organizations/123456789012/logs/cloudaudit.googleapis.com%2Factivity",
        "protoPayload": {
            "serviceName": "admin.googleapis.com",
            "metadata": {
                "event": [{"eventName": name, "parameter": [{"name": k, "value": v} for k, v in parameters.items()]}]
            },
        },
    }


def test_what_a_sender_should_mend_is_counted_by_source_and_fault(functions):
    news(functions, "joiner", ANA)
    functions.count -= 1  # the same id once more
    news(functions, "leaver", ANA)
    assert [(p["source"], p["fault"]) for p in points(functions, "benchkeeper/sender_faults")] == [
        ("hr", "EventIdReused")
    ]


# Log messages that metrics filter, and what they were called before 2026-11-30. For one release a filter takes both.
EARLIER = {
    "Access was not cut": "Access is not cut",
    "Audit fell behind": "Audit is behind",
    "Handled a leaver without a usable record": "Cut a leaver by label",
    "Dropped a request": "Dropped wish",
    "Finished a sweep": "Swept",
    "Found a condition for an administrator": "Needs an administrator",
    "Found a fault of a sender": "Sender fault",
    "Found a waiting batch of cuts": "Batch waits",
    "Halted a rollout": "Rollout halted",
    "Handled a delivery": "Handled delivery",
    "Held back a cut": "Cut waits",
    "Held back a group change": "Group change waits",
    "Held back a policy change": "Policy change waits",
    "Held back a user at a limit": "Waits for a limit",
    "Mail did not reach its reader": "Could not tell",
    "Message about a leaver was not understood": "Leaver not understood",
    "Notebook became ready": "Became ready",
    "Notebook stopped before its extension ended": "Broken promise",
    "Pass failed after a message": "Left to the tick",
    "Policy in force was written by another program": "Policy in force is of another program",
    "Received a message on an unknown topic": "Message on an unknown topic",
    "Record could not be used": "Record cannot be used",
    "Refused a broken configuration": "Configuration is broken",
    "Refused a roster": "Roster refused",
    "Restored a record": "Put back a record",
    "Sent a mail": "Told",
    "Stopped a notebook without approval": "Stopped without approval",
    "Stopped the notebook of a leaver": "Stopped for a leaver",
    "Swept dead letters": "Swept letters",
    "Verified that a leaver has no access": "Verified gone",
}


@pytest.mark.parametrize(("name", "earlier"), sorted(EARLIER.items()))
def test_a_filter_takes_a_renamed_message_under_both_names(name, earlier):
    filters = [metric["filter"] for metric in METRICS.values()]
    assert [f'"{name}"' in each for each in filters] == [f'"{earlier}"' in each for each in filters]
    assert any(f'"{name}"' in each for each in filters)


def test_every_metric_is_proven_here():
    proven = set(re.findall(r'"(benchkeeper/[a-z_]+)"', Path(__file__).read_text(encoding="utf-8")))
    assert proven == set(METRICS)


# --- the reader itself: what it does not know it refuses


def entry(**payload):
    labels = {"logging.googleapis.com/labels": {"component": "tick"}}
    return entry_of(json.dumps({"severity": "INFO", "message": "Finished a sweep", **payload, **labels}))


@pytest.mark.parametrize(
    ("query", "holds"),
    [
        ('jsonPayload.message="Finished a sweep"', True),
        ('jsonPayload.message="finished A sweep"', True),
        ('jsonPayload.message="Finished a swee"', False),
        ('jsonPayload.kind="due"', False),
        ('jsonPayload.message=("A" OR "Finished a sweep")', True),
        ('jsonPayload.message=("A" OR "B")', False),
        ('resource.labels.service_name="benchkeeper-tick" AND jsonPayload.message="Finished a sweep"', True),
        ('resource.labels.service_name="benchkeeper-tick" AND jsonPayload.message="x"', False),
        ('jsonPayload.n="3"', True),
    ],
)
def test_a_filter_holds_or_not(query, holds):
    assert matches(query, entry(n=3)) is holds


@pytest.mark.parametrize(
    "query",
    [
        "", 'a="b" c="d"', 'a="b" OR c="d"', 'a="b" AND', 'a!="b"', 'a=~"b"', 'a:"b"', "a=b", 'NOT a="b"', 'a=("b" "c")',
        'a="b', "a=()",
    ],
)  # fmt: skip
def test_a_filter_that_is_not_understood_is_refused(query):
    with pytest.raises(QueryError):
        comparisons(query)


def test_what_an_extractor_takes():
    line = entry(n=3.5, text="zone europe-west1-b", nested={"a": 1})
    assert extract("EXTRACT(jsonPayload.n)", line) == "3.5"
    assert extract("EXTRACT(jsonPayload.none)", line) is None
    assert extract("EXTRACT(jsonPayload.nested)", line) is None
    assert extract('REGEXP_EXTRACT(jsonPayload.text, "zone ([a-z0-9-]+)")', line) == "europe-west1-b"
    assert extract('REGEXP_EXTRACT(jsonPayload.text, "zone x(.)")', line) is None
    for wrong in ("jsonPayload.n", "EXTRACT(jsonPayload.n) ", 'REGEXP_EXTRACT(jsonPayload.text, "zone")'):
        with pytest.raises(QueryError):
            extract(wrong, line)


def spoil(functions, user, content):
    path = f"records/{user_key_for(parse_email(user))}.json"
    storage_bucket(functions.bench.clients).blob(path).upload_from_string(content)


def test_records_that_come_back_or_cannot_be_used_are_counted_and_so_is_a_leaver_cut_without_one(functions):
    news(functions, "joiner", ANA)
    minutes(functions, 5)
    spoil(functions, ANA, "{")
    news(functions, "mover", ANA)
    assert [p["reason"] for p in points(functions, "benchkeeper/records_put_back")] == ["Damaged"]
    assert points(functions, "benchkeeper/records_unusable") == []
    spoil(functions, ANA, '{"version": 99}')
    news(functions, "leaver", ANA)
    assert [p["reason"] for p in points(functions, "benchkeeper/records_unusable")] == ["WrittenByNewer"]
    assert [p["reason"] for p in points(functions, "benchkeeper/leavers_cut_by_label")] == ["WrittenByNewer"]


def test_a_sweep_that_is_skipped_for_its_clock_is_counted_by_kind(functions):
    for kind in ("due", "idle"):
        functions.deliver("tick", {"sweep": kind}, published=(functions.bench.now - timedelta(hours=1)).isoformat())
    tick(functions, "drift")
    assert [p["kind"] for p in points(functions, "benchkeeper/sweeps_skipped")] == ["due", "idle"]


def test_the_oldest_leaver_among_the_exhausted_letters_is_measured(functions):
    tick(functions, "idle")
    assert values(functions, "benchkeeper/oldest_leaver_letter_seconds") == [0]
    body = {"schema": "workbench.lifecycle/v1", "event_id": "e", "type": "leaver", "user": ANA}
    forwarded = {"CloudPubSubDeadLetterSourceSubscription": "workbench-lifecycle-push"}
    functions.deliver("dead_letter", body, attributes=forwarded, published=functions.bench.now.isoformat())
    denied = {"code": "PERMISSION_DENIED", "message": "denied"}
    functions.bench.fault(call="storage.objects.get", resource="*/records/*", error=denied)
    tick(functions, "idle", after=20)
    tick(functions, "idle", after=20)
    assert values(functions, "benchkeeper/oldest_leaver_letter_seconds") == [0, 1200, 0]


def test_a_notebook_that_is_kept_on_and_stopped_by_somebody_else_is_a_broken_promise(functions):
    news(functions, "joiner", ANA)
    minutes(functions, 6)
    key = user_key_for(parse_email(ANA))
    bench = functions.bench
    for extended in (False, True):
        if extended:
            keep_on(key, bench.now + timedelta(hours=4), bench.deps, by="ana")
        (instance,) = instances(bench.cloud)
        bench.control("POST", f"/_emulator/notebooks/{instance.rpartition('/')[2]}:stop-outside", {})
        minutes(functions, 3)
        tick(functions, "drift")
        minutes(functions, 3)
        tick(functions, "drift")
        assert len(points(functions, "benchkeeper/broken_promises")) == extended
        ask_power(key, Power.RUNNING, bench.deps, by="ana")
        minutes(functions, 6)


@pytest.mark.parametrize(
    "functions", [limited({ANALYSTS: GroupLimits(max_environments=1)}, local_settings())], indirect=True
)
def test_who_begins_to_wait_for_a_limit_is_counted_once(functions):
    for user in (ANA, BEN):
        news(functions, "joiner", user, groups=[ANALYSTS])
    minutes(functions, 40)
    (point,) = points(functions, "benchkeeper/limit_waits")
    assert (point["profile"], point["limit"]) == ("analyst", "environments")


@pytest.mark.parametrize("functions", [local_settings(messages=MESSAGES)], indirect=True)
def test_messages_told_and_not_told(functions):
    with mail_host() as host:
        server = SmtpServer(
            Server(host="127.0.0.1", port=host.port, security="none", user="", sender=MESSAGES.sender),
            str,
            timeout_s=5.0,
        )
        queue = Queue()
        for target in ("lifecycle", "tick", "notify"):
            settings, deps = wiring._CACHED[target]
            ports = replace(deps.mail, notifications=queue, server=server)
            wiring._CACHED[target] = (settings, replace(deps, mail=ports))
        news(functions, "joiner", ANA)
        news(functions, "joiner", BEN)
        minutes(functions, 8)
        due = sorted({key: (key, stage, episode) for key, stage, episode in queue.published}.values())
        assert len(due) == 2
        for (key, stage, episode), refused in zip(due, (False, True), strict=True):
            host.answers = {"RCPT": "550 unknown"} if refused else {}
            data = {"user_key": key, "stage": stage.value, "episode": episode}
            functions.deliver("notify", {"type": "benchkeeper.notification.v1", "data": data})
    assert [point["stage"] for point in points(functions, "benchkeeper/messages_told")] == ["ready"]
    (point,) = points(functions, "benchkeeper/not_told")
    assert (point["stage"], point["reason"]) == ("ready", "Recipient")
