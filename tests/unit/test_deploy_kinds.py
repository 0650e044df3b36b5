"""What a plan says of services, accounts, roles, the bucket, topics, jobs and access: marks, reasons, and commands flag by flag."""

from __future__ import annotations

import base64
import itertools
import json
import subprocess
import threading
from typing import Any

import pytest
from kit.planning import (
    ABSENT,
    BUCKET,
    DENIED,
    KEPT,
    KEY,
    LABEL,
    NUMBER,
    PROJECT,
    PUBLISHER,
    PUBSUB,
    PUSH,
    REGION,
    SWEEPS,
    TRIGGER,
    VM,
    Answers,
    World,
    a_bucket,
    a_function,
    a_sink,
    account,
    asked_for,
    body_of,
    changed,
    commands,
    marks,
    member,
    policy,
    words_of,
)
from msgspec.structs import replace

from cli.deploy.failures import NoAccessError, NotYetError
from cli.deploy.gcloud import Call, FileWord, shown
from cli.deploy.kinds import access, apis, buckets, messaging
from cli.deploy.plan import make_plan
from cli.deploy.step import Mark, Step

# ---- while services are off


def test_nothing_is_asked_of_a_service_that_is_off(company):
    """Everything is to be made then; only the project's own policy is looked at."""
    world = World(company, {"projects get-iam-policy": {}}, off=frozenset(company.apis))
    target = world.target()
    steps = make_plan(target)
    assert isinstance(target.gcloud, Answers)
    assert set(target.gcloud.asked) == {f"projects get-iam-policy {PROJECT}"}
    assert {step.mark for step in steps} == {Mark.CREATE}
    assert {"bucket", "topic", "function", "caller", "delivery", "access", "identity", "job", "view", "alert"} <= {
        s.kind for s in steps
    }


def test_who_waits_for_an_answer_waits_no_more_when_another_question_ended_the_plan(company):
    """Otherwise Ctrl-C and errors would come out only after two minutes of patience."""
    begun = threading.Event()

    class Slow(Answers):
        """Roles are not known yet; whoever looks at accounts is stopped once somebody waits for roles."""

        def read(self, *words: str, project: bool = True) -> Any:
            if words[:3] == ("iam", "roles", "list"):
                begun.set()
                raise NotYetError("not known yet", "")
            if words[:3] == ("iam", "service-accounts", "list"):
                assert begun.wait(20)
                raise KeyboardInterrupt
            return super().read(*words, project=project)

    off = frozenset(company.apis) - {"iam.googleapis.com"}
    known = {"projects get-iam-policy": {}, "iam service-accounts get-iam-policy": {}}
    target = replace(World(company, off=off).target(), gcloud=Slow(known), patient=True)
    with pytest.raises(KeyboardInterrupt):
        make_plan(target)
    assert target.stop.is_set()


def test_services_are_turned_on_together_twenty_a_call():
    gcloud = Answers({"services list --enabled": [{"config": {"name": "a.googleapis.com"}}]})
    wanted = {f"{letter}.googleapis.com": "x" for letter in "abcdefghijklmnopqrstuvwxyz"}
    off = apis.off(gcloud, wanted)
    assert off == set(wanted) - {"a.googleapis.com"}
    (step,) = apis.plan(off)
    assert [len(line.split()) - 2 for line in commands(step)] == [20, 5]
    assert all(line.startswith("services enable ") for line in commands(step))
    assert [step.mark for step in apis.plan(frozenset())] == [Mark.SAME]


def test_a_project_with_no_service_at_all():
    assert apis.off(Answers({"services list": None}), {"a.googleapis.com": "x"}) == {"a.googleapis.com"}


# ---- agents, accounts, roles


def test_agents_are_made_where_they_hold_nothing(world):
    agent = "roles/pubsub.serviceAgent", PUBSUB
    world.answers["projects get-iam-policy"] = policy(agent)
    plan = world.plan(access.agents)
    assert marks(plan) == {"agent pubsub": Mark.SAME, "agent eventarc": Mark.CREATE, "agent notebooks": Mark.CREATE}
    assert commands(plan["agent eventarc"])[0] == "beta services identity create --service=eventarc.googleapis.com"


def test_an_agent_that_is_made_on_request_is_given_its_role(world):
    """Google: "service agents that are created at a user's request aren't automatically granted roles" (IAM, Create service agents)."""
    world.answers["projects get-iam-policy"] = {}
    for service, step in world.plan(access.agents).items():
        role = f"--role=roles/{service.removeprefix('agent ')}.serviceAgent"
        assert any(
            line.startswith(f"projects add-iam-policy-binding {PROJECT} ") and role in line for line in commands(step)
        )


@pytest.mark.parametrize(
    ("there", "mark", "because", "does"),
    [
        ([], Mark.CREATE, "delivers messages to the functions", ["create benchkeeper-push --display-name="]),
        ([PUSH], Mark.SAME, "", []),
        ([PUSH | {"displayName": "x"}], Mark.CHANGE, "its description differs", [f"update {account('push')} --display-name="]),
        ([changed(PUSH, "description")], Mark.CHANGE, "its description differs", [f"update {account('push')} --display-name="]),
        ([PUSH | {"disabled": True}], Mark.CHANGE, "it is disabled", [f"enable {account('push')}"]),
        (
            [PUSH | {"disabled": True, "description": "x"}], Mark.CHANGE, "its description differs, it is disabled",
            [f"update {account('push')}", f"enable {account('push')}"],
        ),
        ([PUSH | {"email": "benchkeeper-push@other.iam.gserviceaccount.com"}], Mark.CREATE, "", ["create"]),
    ],
)  # fmt: skip
def test_an_account(world, there, mark, because, does):
    world.answers["iam service-accounts list"] = there
    step = world.plan(access.accounts)["account benchkeeper-push"]
    assert step.mark is mark
    assert because in step.because
    assert len(commands(step)) == len(does)
    assert all(
        line.startswith(f"iam service-accounts {start}") for line, start in zip(commands(step), does, strict=True)
    )


HELD = ["compute.snapshots.list", "dataproc.jobs.list", "monitoring.timeSeries.list", "notebooks.instances.list"]


@pytest.mark.parametrize(
    ("listed", "described", "mark", "because", "does"),
    [
        ([], None, Mark.CREATE, "4 permissions", ["create"]),
        ([SWEEPS], SWEEPS | {"includedPermissions": HELD}, Mark.SAME, "", []),
        ([SWEEPS], SWEEPS | {"includedPermissions": HELD[::-1]}, Mark.SAME, "", []),
        ([SWEEPS], SWEEPS | {"includedPermissions": HELD[:3]}, Mark.CHANGE, "lacks notebooks.instances.list", ["update"]),
        ([SWEEPS], SWEEPS, Mark.CHANGE, "lacks compute.snapshots.list, lacks dataproc.jobs.list, lacks monitoring.timeSeries.list, lacks notebooks.instances.list", ["update"]),
        (
            [SWEEPS], SWEEPS | {"includedPermissions": [*HELD, "notebooks.instances.setIamPolicy"]}, Mark.CHANGE,
            "has an unneeded notebooks.instances.setIamPolicy", ["update"],
        ),
        ([SWEEPS], SWEEPS | {"includedPermissions": HELD, "title": "x"}, Mark.CHANGE, "its description differs", ["update"]),
        ([SWEEPS | {"deleted": True}], None, Mark.CHANGE, "it was deleted", ["undelete", "update"]),
    ],
)  # fmt: skip
def test_a_role(world, listed, described, mark, because, does):
    world.answers |= {"iam roles list": listed, "iam roles describe benchkeeper_sweeps": described}
    step = world.plan(access.roles)["role benchkeeper_sweeps"]
    assert (step.mark, step.because) == (mark, because)
    assert [line.split()[:4] for line in commands(step)] == [
        ["iam", "roles", each, "benchkeeper_sweeps"] for each in does
    ]


def test_a_roles_file_has_exactly_its_permissions(world):
    world.answers["iam roles list"] = []
    body = body_of(world.plan(access.roles)["role benchkeeper_sweeps"])
    assert body == {
        "title": SWEEPS["title"],
        "description": SWEEPS["description"],
        "includedPermissions": HELD,
        "stage": "GA",
    }


# ---- the bucket

KMS = "kms keys get-iam-policy"


STORAGE = f"serviceAccount:service-{NUMBER}@gs-project-accounts.iam.gserviceaccount.com"


CRYPTO = "roles/cloudkms.cryptoKeyEncrypterDecrypter"


def the_bucket(world: World, found: Any) -> Step:
    world.answers |= {"storage buckets describe": found, KMS: policy((CRYPTO, STORAGE))}
    return world.plan(buckets.buckets)[f"bucket {BUCKET}"]


@pytest.mark.parametrize(
    ("path", "to", "because", "flag"),
    [
        (
            ("iamConfiguration", "uniformBucketLevelAccess", "enabled"),
            False,
            "uniform access is off",
            "--uniform-bucket-level-access",
        ),
        (
            ("iamConfiguration", "publicAccessPrevention"),
            "inherited",
            "public access is not prevented",
            "--public-access-prevention",
        ),
        (("iamConfiguration",), None, "public access is not prevented", "--public-access-prevention"),
        (("versioning", "enabled"), False, "versions are off", "--versioning"),
        (("versioning",), None, "versions are off", "--versioning"),
        (
            ("softDeletePolicy", "retentionDurationSeconds"),
            "604800",
            "soft delete 604800s -> 2592000s",
            "--soft-delete-duration=2592000s",
        ),
        (("softDeletePolicy",), None, "soft delete 0s -> 2592000s", "--soft-delete-duration=2592000s"),
        (("lifecycle",), None, "the retention of old versions differs", "--lifecycle-file=FILE"),
        (
            ("lifecycle", "rule", 0, "condition", "daysSinceNoncurrentTime"),
            3,
            "the retention of old versions differs",
            "--lifecycle-file=FILE",
        ),
        (
            ("lifecycle", "rule", 0, "condition", "isLive"),
            True,
            "the retention of old versions differs",
            "--lifecycle-file=FILE",
        ),
        (("labels", "managed-by"), None, "it lacks Benchkeeper's label", "--update-labels=managed-by=benchkeeper"),
        (("encryption",), None, "its key differs", f"--default-encryption-key={KEY}"),
    ],
)
def test_what_differs_of_a_bucket_and_nothing_else_is_mended(world, path, to, because, flag):
    step = the_bucket(world, changed(a_bucket(), *path, to=to))
    assert step.mark is Mark.CHANGE
    assert because in step.because
    (line,) = commands(step)
    assert line.startswith(f"storage buckets update gs://{BUCKET} ")
    assert flag in line.split()
    assert len(line.split()) == 4 + len(step.because.split(", "))


def test_a_bucket_as_it_should_be(world):
    assert the_bucket(world, a_bucket()).mark is Mark.SAME


def test_a_bucket_is_made_closed_before_anything_is_in_it(world):
    step = the_bucket(world, ABSENT)
    assert step.mark is Mark.CREATE
    create, update = commands(step)
    assert create.split()[:4] == ["storage", "buckets", "create", f"gs://{BUCKET}"]
    assert set(create.split()[4:]) == {
        f"--location={REGION}", "--uniform-bucket-level-access", "--public-access-prevention", "--soft-delete-duration=2592000s",
        f"--default-encryption-key={KEY}",
    }  # fmt: skip
    assert update.split()[4:] == ["--versioning", "--lifecycle-file=FILE", "--update-labels=managed-by=benchkeeper"]
    assert step.needs == ("key",)


def test_a_bucket_that_may_not_be_seen_is_not_absent(world):
    with pytest.raises(NoAccessError):
        the_bucket(world, DENIED)


def test_a_bucket_elsewhere_is_left_alone(world):
    step = the_bucket(world, a_bucket() | {"location": "US"})
    assert step.mark is Mark.KEEP
    assert "a bucket cannot be moved" in step.because


def test_a_bucket_of_another_project_is_left_alone(world):
    assert the_bucket(world, a_bucket() | {"projectNumber": "999"}).mark is Mark.KEEP


def test_the_storage_agent_may_use_the_key_before_the_bucket_is_made(world):
    world.answers |= {"storage buckets describe": ABSENT, KMS: policy((CRYPTO, "user:somebody@acme.example"))}
    plan = world.plan(buckets.buckets)
    assert commands(plan["key of the buckets"]) == [
        f"kms keys add-iam-policy-binding {KEY} --member={STORAGE} --role={CRYPTO}"
    ]
    world.answers[KMS] = policy((CRYPTO, STORAGE))
    assert world.plan(buckets.buckets)["key of the buckets"].mark is Mark.SAME


# ---- topics, subscriptions, jobs

TOPIC = {"name": f"projects/{PROJECT}/topics/workbench-tick", "messageRetentionDuration": "600s", "labels": LABEL}


@pytest.mark.parametrize(
    ("there", "mark", "because"),
    [
        ([], Mark.CREATE, "keeps messages 10 minutes"),
        ([TOPIC], Mark.SAME, ""),
        ([TOPIC | {"labels": {**LABEL, "a": "b"}, "kmsKeyName": "x"}], Mark.SAME, ""),
        ([TOPIC | {"messageRetentionDuration": "86400s"}], Mark.CHANGE, "retention 86400s -> 600s"),
        ([changed(TOPIC, "messageRetentionDuration")], Mark.CHANGE, "retention nothing -> 600s"),
        ([changed(TOPIC, "labels")], Mark.CHANGE, "it lacks Benchkeeper's label"),
    ],
)
def test_a_topic(world, there, mark, because):
    world.answers["pubsub topics list"] = there
    step = world.plan(messaging.topics)["topic workbench-tick"]
    assert (step.mark, step.because) == (mark, because)
    keeps = "--message-retention-duration=600s"
    expected = {
        Mark.CREATE: [f"pubsub topics create workbench-tick {keeps} --labels=managed-by=benchkeeper"],
        Mark.CHANGE: [f"pubsub topics update workbench-tick {keeps} --update-labels=managed-by=benchkeeper"],
    }
    assert commands(step) == expected.get(mark, [])


@pytest.mark.parametrize(
    ("there", "mark", "because"),
    [
        ([], Mark.CREATE, "stores the messages of workbench-dead-letter for 31 days"),
        ([KEPT], Mark.SAME, ""),
        ([KEPT | {"ackDeadlineSeconds": 10}], Mark.CHANGE, "ack deadline 10 -> 60s"),
        ([KEPT | {"messageRetentionDuration": "600s"}], Mark.CHANGE, "retention 600s -> 2678400s"),
        ([KEPT | {"expirationPolicy": {"ttl": "2678400s"}}], Mark.CHANGE, "it would expire if unused"),
        ([changed(KEPT, "expirationPolicy")], Mark.CHANGE, "it would expire if unused"),
        ([changed(KEPT, "labels")], Mark.CHANGE, "it lacks Benchkeeper's label"),
        ([KEPT | {"topic": "projects/p/topics/other"}], Mark.KEEP, "it is of topic other"),
        ([KEPT | {"topic": "_deleted-topic_"}], Mark.KEEP, "it is of topic _deleted-topic_"),
    ],
)
def test_a_subscription_that_is_read_by_hand(world, there, mark, because):
    world.answers["pubsub subscriptions list"] = there
    step = world.plan(messaging.subscriptions)["subscription workbench-dead-letter-kept"]
    assert step.mark is mark
    assert step.because.startswith(because)
    flags = {"--ack-deadline=60", "--expiration-period=never", "--message-retention-duration=2678400s"}
    if step.acts:
        assert flags <= set(words_of(step))


def a_job() -> dict[str, Any]:
    return {
        "name": f"projects/{PROJECT}/locations/{REGION}/jobs/benchkeeper-idle", "schedule": "*/10 * * * *", "timeZone": "Etc/UTC",
        "state": "ENABLED", "pubsubTarget": {
            "topicName": f"projects/{PROJECT}/topics/workbench-tick",
            "data": base64.b64encode(b'{"sweep": "idle"}').decode(),
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("there", "mark", "because", "does"),
    [
        ([], Mark.CREATE, '*/10 * * * * UTC: {"sweep": "idle"}', ["create"]),
        ([a_job()], Mark.SAME, "", []),
        ([a_job() | {"schedule": "0 0 * * *"}], Mark.CHANGE, "schedule 0 0 * * * -> */10 * * * *", ["update"]),
        ([a_job() | {"timeZone": "Europe/Berlin"}], Mark.CHANGE, "time zone Europe/Berlin -> Etc/UTC", ["update"]),
        ([changed(a_job(), "pubsubTarget", "data")], Mark.CHANGE, "its message differs", ["update"]),
        ([changed(a_job(), "pubsubTarget", "data", to="e30=")], Mark.CHANGE, "its message differs", ["update"]),
        ([changed(a_job(), "pubsubTarget", "topicName", to="x")], Mark.CHANGE, "topic x -> ", ["update"]),
        ([a_job() | {"state": "PAUSED"}], Mark.CHANGE, "it is paused", ["resume"]),
        ([a_job() | {"state": "PAUSED", "schedule": "* * * * *"}], Mark.CHANGE, "schedule * * * * * -> */10 * * * *, it is paused", ["update", "resume"]),
    ],
)  # fmt: skip
def test_a_job(world, there, mark, because, does):
    world.answers["scheduler jobs list"] = there
    step = world.plan(messaging.jobs)["job benchkeeper-idle"]
    assert step.mark is mark
    assert step.because.startswith(because)
    assert [line.split()[2] for line in commands(step)] == does
    for do in step.work:
        assert isinstance(do, tuple)
        assert f"--location={REGION}" in do
        if "resume" not in do:
            assert {"--schedule=*/10 * * * *", '--message-body={"sweep": "idle"}', "--time-zone=Etc/UTC"} <= set(do)
            assert f"--topic=projects/{PROJECT}/topics/workbench-tick" in do


def test_ticks_begin_when_there_is_somebody_to_hear_them(world):
    world.answers["scheduler jobs list"] = []
    assert {"function", "delivery", "topic workbench-tick"} <= set(
        world.plan(messaging.jobs)["job benchkeeper-due"].needs
    )


# ---- access


def empty_policies() -> dict[str, Any]:
    return {
        "projects get-iam-policy": {},
        "storage buckets get-iam-policy": ABSENT,
        "pubsub topics get-iam-policy": ABSENT,
    }


def test_every_grant_is_added_to_what_is_there_and_none_is_set(world):
    world.answers = empty_policies()
    plan = world.plan(access.grants)
    lines = [line for step in plan.values() for line in commands(step)]
    assert {step.mark for step in plan.values()} == {Mark.CREATE}
    assert all("add-iam-policy-binding" in line for line in lines)
    assert not any("set-iam-policy" in line or "allUsers" in line for line in lines)
    assert {step.lane for step in plan.values()} == {
        "project", "bucket/records", "bucket/inbox", "bucket/letters", "bucket/audit", "topic/workbench-dead-letter", "topic/workbench-lifecycle",
        "topic/workbench-wake", "topic/workbench-directory", "topic/workbench-operator", "topic/workbench-tick",
    }  # fmt: skip
    on_project = [words_of(step) for step in plan.values() if step.lane == "project"]
    conditions = [[word for word in words if word.startswith("--condition=")] for words in on_project]
    assert sorted(itertools.chain(*conditions)) == [
        *["--condition=None"] * 14,
        f'--condition=title=gcf-sources-only,expression=resource.name.startsWith("projects/_/buckets/gcf-v2-sources-{NUMBER}-")',
    ]  # fmt: skip
    assert all(len(each) == 1 for each in conditions)


def test_a_grant_that_is_there_is_not_added_again(world):
    custom = f"projects/{PROJECT}/roles/"
    world.answers = {
        "projects get-iam-policy": policy(
            (f"{custom}benchkeeper_notebooks", member("tick")), ("roles/logging.logWriter", "user:a@b.example")
        ),
        "storage buckets get-iam-policy": policy((f"{custom}benchkeeper_letters", member("dead-letter"))),
        "pubsub topics get-iam-policy workbench-dead-letter": policy(("roles/pubsub.publisher", PUBSUB)),
        "pubsub topics get-iam-policy workbench-lifecycle": policy(("roles/pubsub.publisher", PUBLISHER)),
        "pubsub topics get-iam-policy workbench-wake": policy(("roles/pubsub.publisher", member("tick"))),
        "pubsub topics get-iam-policy workbench-operator": {},
        "pubsub topics get-iam-policy workbench-directory": {},
        "pubsub topics get-iam-policy workbench-tick": {},
    }
    there = {key for key, step in world.plan(access.grants).items() if step.mark is Mark.SAME}
    assert there == {
        "access tick: benchkeeper_notebooks on project", "access dead-letter: benchkeeper_letters on bucket/letters",
        "access pubsub: pubsub.publisher on topic/workbench-dead-letter", f"publisher {PUBLISHER}",
    }  # fmt: skip


def test_what_an_earlier_version_granted_is_taken_away_once_the_functions_are_new(world):
    custom = f"projects/{PROJECT}/roles/"
    records, news = f"storage buckets get-iam-policy gs://{BUCKET}", "pubsub topics get-iam-policy workbench-lifecycle"
    world.answers = empty_policies() | {
        records: policy(
            (f"{custom}benchkeeper_objects", member("hub")), (f"{custom}benchkeeper_objects", member("tick"))
        ),
        news: policy(("roles/pubsub.publisher", member("hub")), ("roles/pubsub.publisher", PUBLISHER)),
    }
    steps = list(world.plan(access.withdrawn).values())
    assert {step.mark for step in steps} == {Mark.DELETE}
    assert all("function" in step.needs for step in steps)
    assert [line for step in steps for line in commands(step)] == [
        f"storage buckets remove-iam-policy-binding gs://{BUCKET} --member={member('hub')} --role={custom}benchkeeper_objects",
        f"pubsub topics remove-iam-policy-binding workbench-lifecycle --member={member('hub')} --role=roles/pubsub.publisher",
    ]
    world.answers = empty_policies()
    assert world.plan(access.withdrawn) == {}


def test_each_bucket_keeps_things_as_its_file_says(world):
    world.answers |= {"storage buckets describe": ABSENT, KMS: policy((CRYPTO, STORAGE))}
    steps = world.plan(buckets.buckets)
    names = [BUCKET, f"{BUCKET}-inbox", f"{BUCKET}-letters", f"{BUCKET}-audit"]
    assert [key for key in steps if key.startswith("bucket ")] == [f"bucket {name}" for name in names]
    rules = {name: _rules(steps[f"bucket {name}"]) for name in names}
    assert rules[BUCKET] == rules[f"{BUCKET}-letters"] == [{"daysSinceNoncurrentTime": 30, "isLive": False}]
    assert rules[f"{BUCKET}-inbox"] == [{"daysSinceNoncurrentTime": 7, "isLive": False}, {"age": 7, "isLive": True}]


def test_the_audits_bucket_keeps_no_versions_and_is_locked_by_nobody(world):
    world.answers |= {"storage buckets describe": ABSENT, KMS: policy((CRYPTO, STORAGE))}
    step = world.plan(buckets.buckets)[f"bucket {BUCKET}-audit"]
    words = [word for do in step.work for word in do if isinstance(word, str)]
    assert "--no-versioning" in words
    assert "--soft-delete-duration=7776000s" in words
    assert not any("retention-period" in word for word in words), "it could not be taken back once it is locked"


def _rules(step: Step) -> list[dict[str, Any]]:
    (file,) = [word for do in step.work for word in do if isinstance(word, FileWord)]
    return [rule["condition"] for rule in json.loads(file.text)["rule"]]


def test_a_grant_with_a_condition_is_not_the_one_without(world):
    viewer = {"role": "roles/storage.objectViewer", "members": [member("build")]}
    key = "access build: storage.objectViewer on gcf-sources"
    world.answers = empty_policies() | {"projects get-iam-policy": {"bindings": [viewer]}}
    assert world.plan(access.grants)[key].mark is Mark.CREATE
    world.answers["projects get-iam-policy"] = {"bindings": [viewer | {"condition": {"title": "gcf-sources-only"}}]}
    assert world.plan(access.grants)[key].mark is Mark.SAME
    logs = {"role": "roles/logging.logWriter", "members": [member("build")], "condition": {"title": "on Mondays"}}
    world.answers["projects get-iam-policy"] = {"bindings": [logs]}
    assert world.plan(access.grants)["access build: logging.logWriter on project"].mark is Mark.CREATE


def test_a_grant_on_objects_that_begin_so_has_a_condition_and_the_buckets_others_say_that_they_have_none(world):
    world.answers = empty_policies()
    plan = world.plan(access.grants)
    key = "access hub: benchkeeper_lists on bucket/inbox/lists/"
    start = f"projects/_/buckets/{BUCKET}-inbox/objects/lists/"
    assert words_of(plan[key])[-1] == f'--condition=title=lists-only,expression=resource.name.startsWith("{start}")'
    rosters = f'resource.name.startsWith("projects/_/buckets/{BUCKET}-inbox/objects/rosters/")'
    page, writer = "access hub: benchkeeper_page_wishes on bucket/inbox but rosters/", f"roster writer {PUBLISHER}"
    assert words_of(plan[page])[-1] == f"--condition=title=all-but-rosters,expression=!{rosters}"
    assert words_of(plan[writer])[-1] == f"--condition=title=rosters-only,expression={rosters}"
    conditioned = {key, page, writer}
    others = [words_of(step) for k, step in plan.items() if step.lane == "bucket/inbox" and k not in conditioned]
    assert len(others) >= 2
    assert {words[-1] for words in others} == {"--condition=None"}
    assert not any(
        "--condition" in word for step in plan.values() if step.lane == "bucket/records" for word in words_of(step)
    )
    lists = {"role": f"projects/{PROJECT}/roles/benchkeeper_lists", "members": [member("hub")]}
    world.answers["storage buckets get-iam-policy"] = {"bindings": [lists]}
    assert world.plan(access.grants)[key].mark is Mark.CREATE, "without its condition it is another grant"
    world.answers["storage buckets get-iam-policy"] = {"bindings": [lists | {"condition": {"title": "lists-only"}}]}
    assert world.plan(access.grants)[key].mark is Mark.SAME


ACCOUNTS_KEY = "access tick: benchkeeper_accounts on project"


def test_a_grant_that_nothing_needs_is_not_made_and_not_taken_away_silently(world):
    world.answers = empty_policies()
    assert not any("benchkeeper_accounts" in key for key in world.plan(access.grants))
    held = f"projects/{PROJECT}/roles/benchkeeper_accounts"
    world.answers["projects get-iam-policy"] = policy((held, member("tick")))
    plan = world.plan(access.grants)
    assert plan[ACCOUNTS_KEY].mark is Mark.KEEP
    assert "no profile needs it now" in plan[ACCOUNTS_KEY].because
    assert "access lifecycle: benchkeeper_accounts on project" not in plan
    assert not any("remove-iam-policy-binding" in line for step in plan.values() for line in commands(step))


def test_a_grant_that_personal_accounts_need_is_made(world):
    wanted = (*world.deployment.grants, *world.deployment.dormant_grants)
    world.deployment = replace(world.deployment, grants=wanted, dormant_grants=())
    world.answers = empty_policies()
    step = world.plan(access.grants)[ACCOUNTS_KEY]
    assert step.mark is Mark.CREATE
    assert f"--role=projects/{PROJECT}/roles/benchkeeper_accounts" in commands(step)[0]


def test_a_role_that_nothing_needs_is_not_made(world):
    world.answers["iam roles list"] = []
    assert "role benchkeeper_accounts" not in world.plan(access.roles)
    assert world.plan(access.roles)["role benchkeeper_data"].mark is Mark.CREATE


READERS = "readers@example.com"


def test_a_data_group_is_given_its_roles_beside_what_is_there(world):
    held = ("roles/bigquery.dataViewer", "roles/bigquery.jobUser")
    world.deployment = replace(world.deployment, data_roles={READERS: held})
    world.answers = empty_policies() | {
        "projects get-iam-policy": policy((held[0], "group:others@example.com"), (held[1], f"group:{READERS}"))
    }
    plan = world.plan(access.grants)
    assert plan[f"data {READERS}: {held[1]}"].mark is Mark.SAME
    step = plan[f"data {READERS}: {held[0]}"]
    assert (step.mark, step.lane) == (Mark.CREATE, "project")
    assert commands(step) == [
        f"projects add-iam-policy-binding {PROJECT} --member=group:{READERS} --role={held[0]} --condition=None"
    ]


@pytest.mark.parametrize("where", list(empty_policies()))
def test_a_policy_that_may_not_be_read_is_not_empty(world, where):
    world.answers = empty_policies() | {where: DENIED}
    with pytest.raises(NoAccessError):
        world.plan(access.grants)


def test_who_acts_as_the_agent_is_bound_on_that_account_alone(world):
    groups = {each.group for each in world.deployment.settings.catalog.assignments}
    world.answers["iam service-accounts get-iam-policy"] = policy(("roles/iam.serviceAccountUser", member("tick")))
    plan = world.plan(access.identity)
    assert plan[f"identity {account('tick')}"].mark is Mark.SAME
    assert plan[f"identity {account('lifecycle')}"].mark is Mark.CREATE
    assert {key.removeprefix("identity ") for key in plan} >= groups
    for step in plan.values():
        for line in commands(step):
            assert line.startswith(f"iam service-accounts add-iam-policy-binding {VM} --member=")
            assert line.endswith("--role=roles/iam.serviceAccountUser")


@pytest.mark.parametrize("error", [ABSENT, DENIED])
def test_an_agent_that_cannot_be_seen_is_left_to_a_person(world, error):
    world.answers["iam service-accounts get-iam-policy"] = error
    (step,) = world.plan(access.identity).values()
    assert step.mark is Mark.KEEP
    assert "docs/operations.md" in step.because


# ---- as it is printed


def new_things(world: World) -> dict[str, Any]:
    """What is there by the time that a step asks again."""
    subscription = {"subscription": f"projects/{PROJECT}/subscriptions/eventarc-1"}
    return {
        "projects get-iam-policy": {}, "functions describe": a_function(), "monitoring dashboards list": [],
        "eventarc triggers list": [{"name": TRIGGER, "transport": {"pubsub": subscription}}],
        "pubsub subscriptions describe": {}, "pubsub subscriptions get-iam-policy": {}, "logging sinks describe": a_sink(world),
        "run services describe benchkeeper-hub": {}, f"GET bigquery/v2/projects/{PROJECT}/datasets/benchkeeper": {"access": []},
    }  # fmt: skip


def test_a_printed_command_can_be_pasted_into_a_shell(company):
    world = World(company, off=frozenset(company.apis))
    world.answers = new_things(world)
    steps = make_plan(world.target())
    lines = [do for step in steps for do in asked_for(*step.work) if not isinstance(do, Call)]
    typed = [[word if isinstance(word, str) else f"{word.flag}=FILE{word.suffix}" for word in do] for do in lines]
    assert {tuple(words[:3]) for words in typed} >= {
        ("monitoring", "dashboards", "create"), ("pubsub", "subscriptions", "update"), ("functions", "deploy", "benchkeeper-tick"),
    }  # fmt: skip
    script = "gcloud() { printf '%s\\0' \"$@\"; printf '\\n\\0'; }\n" + "\n".join(map(shown, lines))
    told = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout
    assert [each.split("\0")[:-1] for each in told.split("\n\0")[:-1]] == typed


def test_what_is_known_only_later_is_printed_as_that():
    assert shown(list) == "(the next commands depend on the result)"
