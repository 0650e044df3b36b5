"""What `./deploy.sh destroy` takes down, and what it never does."""

from __future__ import annotations

from typing import Any

from kit.planning import (
    ABSENT,
    ALERTS,
    BUCKET,
    CHANNEL,
    CHANNELS,
    DENIED,
    KEPT,
    LABEL,
    PROJECT,
    PUSH,
    SWEEPS,
    World,
    a_bucket,
    a_function,
    a_sink,
    commands,
    member,
    policy,
)
from msgspec.structs import replace

from cli.deploy.destroy import make_destroy_plan
from cli.deploy.step import Mark

# ---- destroy


def everything(world: World) -> dict[str, Any]:
    """A project with all of ours in it, and beside each thing one of somebody else."""
    ours, theirs = dict(LABEL), {"managed-by": "terraform"}
    topics = [{"name": f"projects/{PROJECT}/topics/{name}", "labels": ours} for name in world.deployment.topics]
    jobs = [{"name": f"x/jobs/{name}"} for name in [*world.deployment.jobs, "theirs"]]
    lists = {
        "workbench instances list": [{"name": "i-1", "labels": ours, "state": "ACTIVE"}, {"name": "i-2", "labels": theirs}],
        "storage buckets describe": a_bucket(),
        "scheduler jobs list": jobs,
        "logging sinks list": [a_sink(world), a_sink(world) | {"name": "theirs"}],
        "logging sinks list --organization=123456789012": [a_sink(world, "organization")],
        "functions list": [a_function(), a_function() | {"name": "x/functions/theirs", "labels": theirs}],
        "monitoring dashboards list": [{"name": "d/1", "displayName": "Benchkeeper", "labels": ours}, {"name": "d/2", "displayName": "theirs"}],
        "logging metrics list": [{"name": name} for name in [*world.deployment.metrics, "theirs"]],
        "pubsub subscriptions list": [KEPT, KEPT | {"name": "x/subscriptions/theirs", "labels": theirs}],
        "pubsub topics list": [*topics, {"name": "x/topics/theirs", "labels": theirs}],
        "projects get-iam-policy": policy(
            ("roles/logging.logWriter", member("build")), ("roles/logging.logWriter", "user:somebody@acme.example")
        ),
        "storage buckets get-iam-policy": policy(("roles/storage.objectViewer", "group:g@acme.example"), ("x/benchkeeper_objects", member("tick"))),
        "iam service-accounts get-iam-policy": policy(
            ("roles/iam.serviceAccountUser", member("tick")), ("roles/iam.serviceAccountUser", "group:analysts@example.com")
        ),
        "secrets list": [{"name": "x/secrets/mail-password", "labels": ours}, {"name": "x/secrets/theirs", "labels": theirs}],
        "secrets versions list mail-password": [{"name": "x/secrets/mail-password/versions/1"}],
        "iam roles list": [SWEEPS, {"name": "x/roles/theirs"}],
        "iam service-accounts list": [PUSH, {"email": f"theirs@{PROJECT}.iam.gserviceaccount.com"}],
    }  # fmt: skip
    view = f"GET bigquery/v2/projects/{PROJECT}/datasets/benchkeeper/tables/cost_by_user"
    watched = {"name": f"projects/{PROJECT}/alertPolicies/1", "displayName": "ours", "userLabels": ours}
    return lists | {
        CHANNELS: {"notificationChannels": [CHANNEL, CHANNEL | {"name": "c/2", "userLabels": theirs}]},
        ALERTS: {"alertPolicies": [watched, watched | {"name": "theirs", "userLabels": {}}]},
        view: {"labels": ours},
        f"GET bigquery/v2/projects/{PROJECT}/datasets/benchkeeper": {"access": []},
    }


NEVER = ("storage buckets delete", "storage rm", "objects delete", "instances delete", "disks delete", "services disable", "datasets/benchkeeper ", "theirs", "set-iam-policy", "kms")  # fmt: skip


def test_destroy_takes_ours_and_leaves_everything_else(world):
    world.answers = everything(world)
    steps = make_destroy_plan(world.target())
    lines = [f"{line} " for step in steps for line in commands(step)]
    assert [line for line in lines for never in NEVER if never in line] == []
    removed = [line for line in lines if "remove-iam-policy-binding" in line]
    assert len(removed) == 7  # of ours: one from the project, one from each of the four buckets, two of accounts
    assert all("--member=serviceAccount:benchkeeper-" in line for line in removed)
    assert {step.key for step in steps if step.mark is Mark.KEEP} == {
        "environments people's", *(f"bucket {BUCKET}{each}" for each in ("", "-inbox", "-letters", "-audit")), "dataset benchkeeper",
    }  # fmt: skip
    assert all(step.mark in {Mark.DELETE, Mark.KEEP} for step in steps)
    deleted = {step.kind for step in steps if step.mark is Mark.DELETE}
    assert deleted == {
        "job", "sink", "function", "alert", "channel", "dashboard", "metric", "view", "subscription", "topic", "access", "role", "account", "secret",
    }  # fmt: skip


def test_destroy_leaves_what_has_our_name_and_not_our_label(world):
    world.answers = everything(world)
    other = {"managed-by": "terraform"}
    world.answers["functions list"] = [a_function() | {"labels": other}]
    world.answers["pubsub topics list"] = [
        {"name": f"projects/{PROJECT}/topics/workbench-tick", "labels": other},
        {"name": f"projects/{PROJECT}/topics/workbench-lifecycle"},
    ]
    world.answers["pubsub subscriptions list"] = [KEPT | {"labels": other}]
    steps = {step.key: step for step in make_destroy_plan(world.target())}
    for key in ("function benchkeeper-tick", "topic workbench-tick", "topic workbench-lifecycle"):
        assert steps[key].mark is Mark.KEEP
        assert "lacks Benchkeeper's label" in steps[key].because
    assert not any(key.startswith("subscription ") for key in steps)


def test_destroy_of_nothing_is_nothing(world):
    world.answers = {key: [] if "list" in key else {} for key in everything(world)}
    world.answers |= {"storage buckets describe": ABSENT, f"GET bigquery/v2/projects/{PROJECT}": ABSENT}
    assert make_destroy_plan(world.target()) == []


def test_destroy_names_each_binding_once_with_all_its_conditions(world):
    """One role on two conditions is one command with --all, and two steps of one key are a fault of the plan."""
    world.answers = everything(world)
    two = [
        {"role": "roles/storage.objectViewer", "members": [member("build")], "condition": {"title": title}} for title in ("a", "b")
    ]  # fmt: skip
    world.answers["projects get-iam-policy"] = {"bindings": two}
    keys = [step.key for step in make_destroy_plan(world.target())]
    assert len(keys) == len(set(keys))


def test_destroy_takes_the_role_that_nothing_needs_any_more(world):
    world.answers = everything(world)
    world.answers["iam roles list"] = [
        {"name": f"projects/{PROJECT}/roles/benchkeeper_accounts"},
        {"name": "x/roles/theirs"},
    ]
    steps = {step.key: step for step in make_destroy_plan(world.target())}
    assert steps["role benchkeeper_accounts"].mark is Mark.DELETE


def test_destroy_takes_what_data_groups_were_given_and_no_more(world):
    readers, viewer, user = "readers@example.com", "roles/bigquery.dataViewer", "roles/bigquery.jobUser"
    world.deployment = replace(world.deployment, data_roles={readers: (viewer, user)})
    world.answers = everything(world)
    conditional = {"role": user, "members": [f"group:{readers}"], "condition": {"title": "theirs"}}
    plain = policy(
        (viewer, f"group:{readers}"), (viewer, "group:others@example.com"), ("roles/viewer", f"group:{readers}")
    )
    world.answers["projects get-iam-policy"] = {"bindings": [*plain["bindings"], conditional]}
    steps = [step for step in make_destroy_plan(world.target()) if step.kind == "data"]
    assert [line for step in steps for line in commands(step)] == [
        f"projects remove-iam-policy-binding {PROJECT} --member=group:{readers} --role={viewer} --condition=None"
    ]


def test_destroy_leaves_peoples_own_accounts(world):
    world.answers = everything(world)
    theirs = {
        "email": f"nb-ana-0123456789ab@{PROJECT}.iam.gserviceaccount.com",
        "description": "Benchkeeper: ana-0123456789ab",
    }
    world.answers["iam service-accounts list"] = [PUSH, theirs]
    steps = {step.key: step for step in make_destroy_plan(world.target())}
    assert steps["accounts people's"].mark is Mark.KEEP
    assert "1 stay" in steps["accounts people's"].because
    assert [key for key in steps if key.startswith("account ")] == ["account benchkeeper-push"]


def test_destroy_takes_an_alert_that_was_made_twice(world):
    world.answers = everything(world)
    (ours, _) = world.answers[ALERTS]["alertPolicies"]
    world.answers[ALERTS] = {"alertPolicies": [ours, ours | {"name": f"projects/{PROJECT}/alertPolicies/2"}]}
    keys = [step.key for step in make_destroy_plan(world.target())]
    assert len(keys) == len(set(keys))


def test_destroy_says_where_it_may_not_look_and_takes_the_rest(world):
    world.answers = everything(world)
    view = f"GET bigquery/v2/projects/{PROJECT}/datasets/benchkeeper/tables/cost_by_user"
    world.answers |= {
        "iam service-accounts get-iam-policy": DENIED,
        "storage buckets get-iam-policy": DENIED,
        view: DENIED,
    }
    steps = {step.key: step for step in make_destroy_plan(world.target())}
    for key in ("view cost_by_user", "access on agent", f"access on bucket {BUCKET}"):
        assert steps[key].mark is Mark.KEEP
        assert "cannot be read: You lack a permission: x." in steps[key].because
    assert sum(" on project" in key and step.mark is Mark.DELETE for key, step in steps.items()) == 1
    assert {step.kind for step in steps.values() if step.mark is Mark.DELETE} >= {
        "function",
        "topic",
        "role",
        "account",
    }
