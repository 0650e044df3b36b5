"""What a plan says of the functions, who may call them and how messages are delivered: marks, reasons, and commands flag by flag."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from kit.planning import (
    ABSENT,
    AUDIENCE,
    DIGEST,
    PROJECT,
    PUBSUB,
    REGION,
    TRIGGER,
    Answers,
    World,
    a_function,
    a_sink,
    account,
    as_words,
    changed,
    commands,
    member,
    policy,
)
from msgspec.structs import replace

from cli.deploy.failures import DeployError
from cli.deploy.gcloud import Call, Command, Do
from cli.deploy.kinds import delivery, functions
from cli.deploy.run import carry_out
from cli.deploy.step import Mark, Step

# ---- functions


def a_delivery() -> dict[str, Any]:
    return {
        "name": f"projects/{PROJECT}/subscriptions/eventarc-tick-sub", "topic": f"projects/{PROJECT}/topics/workbench-tick",
        "ackDeadlineSeconds": 600, "expirationPolicy": {},
        "retryPolicy": {"minimumBackoff": "10s", "maximumBackoff": "600s"}, "messageRetentionDuration": "600s",
        "deadLetterPolicy": {"deadLetterTopic": f"projects/{PROJECT}/topics/workbench-dead-letter", "maxDeliveryAttempts": 20},
    }  # fmt: skip


def serving(found: Any = None, delivery: Any = None) -> dict[str, Any]:
    return {
        "functions list --v2": [found or a_function()],
        "functions describe benchkeeper-tick --v2": found or a_function(),
        "eventarc triggers list": [
            {"name": TRIGGER, "transport": {"pubsub": {"subscription": f"projects/{PROJECT}/subscriptions/eventarc-tick-sub"}}}
        ],
        "run services get-iam-policy benchkeeper-tick": policy(("roles/run.invoker", member("push"))),
        "pubsub subscriptions list": [delivery or a_delivery()],
        "pubsub subscriptions describe eventarc-tick-sub": delivery or a_delivery(),
        "pubsub subscriptions get-iam-policy": policy(("roles/pubsub.subscriber", PUBSUB)),
        "beta run domain-mappings list": [],
        "logging sinks list": [],
    }  # fmt: skip


def is_deploy(do: Do) -> bool:
    """True for the command that deploys, with these flags and no others."""
    words = as_words(do).split(" ") if isinstance(do, tuple) else []
    return words[:3] == ["functions", "deploy", "benchkeeper-tick"] and sorted(words[3:]) == sorted(DEPLOY)


def of_tick(world: World) -> dict[str, Step]:
    return {key: step for key, step in world.plan(functions.functions).items() if key.endswith(" benchkeeper-tick")}


DEPLOY = {
    "--gen2", f"--region={REGION}", "--runtime=python313", "--source=/upload", "--entry-point=tick", "--trigger-topic=workbench-tick",
    "--retry", f"--run-service-account={account('tick')}", f"--trigger-service-account={account('push')}",
    f"--build-service-account=projects/{PROJECT}/serviceAccounts/{account('build')}", "--no-allow-unauthenticated",
    "--ingress-settings=internal-only", "--concurrency=1", "--cpu=1", "--memory=1Gi", "--max-instances=4", "--timeout=540s",
    f"--set-env-vars=BENCHKEEPER_ENV=example,BENCHKEEPER_IAP_AUDIENCE={AUDIENCE}", f"--update-labels=managed-by=benchkeeper,benchkeeper-source={DIGEST}",
}  # fmt: skip


def test_a_function_is_deployed_with_these_flags_and_no_others(world):
    world.answers = serving() | {"functions list --v2": [], "eventarc triggers list": []}
    plan = of_tick(world)
    assert {step.mark for step in plan.values()} == {Mark.CREATE}
    (deploy,) = plan["function benchkeeper-tick"].work
    assert is_deploy(deploy)
    assert {"account", "role", "access", "bucket", "topic workbench-tick"} <= set(
        plan["function benchkeeper-tick"].needs
    )


OLD_SINK = {
    "name": "benchkeeper-people", "destination": f"pubsub.googleapis.com/projects/{PROJECT}/topics/workbench-lifecycle",
}  # fmt: skip


def moved_until(world: World, found: Any = None) -> str | None:
    """Until when the function of HR's topic would move log entries on, by the plan."""
    target = world.target()
    wanted = target.deployment.functions["benchkeeper-lifecycle"]
    return functions.environment(target, "benchkeeper-lifecycle", wanted, found).get("BENCHKEEPER_MOVE_LOGS_UNTIL")


def holding(until: str) -> dict[str, Any]:
    return {"serviceConfig": {"environmentVariables": {"BENCHKEEPER_MOVE_LOGS_UNTIL": until}}}


def test_log_entries_are_moved_on_for_a_week_where_a_sink_still_goes_to_hrs_topic(world):
    assert moved_until(world) is None
    world.answers = {"logging sinks list --organization": [OLD_SINK]}
    assert moved_until(world) == "2026-12-05T12:00:00Z"
    assert moved_until(world, holding("2026-12-01T00:00:00Z")) == "2026-12-05T12:00:00Z"
    wanted = world.deployment.functions["benchkeeper-directory"]
    seen = functions.environment(world.target(), "benchkeeper-directory", wanted)
    assert "BENCHKEEPER_MOVE_LOGS_UNTIL" not in seen


@pytest.mark.parametrize(
    ("held", "kept"),
    [
        ("2026-12-05T12:00:00Z", True), ("2026-11-28T12:00:01Z", True), ("2026-11-28T12:00:00Z", False),
        ("2026-11-01T00:00:00Z", False), ("soon", False), ("", False),
    ],
)  # fmt: skip
def test_the_time_is_kept_while_it_is_to_come(world, held, kept):
    """A second run finds the sink changed: it must neither begin the week anew nor end it."""
    world.answers = {"logging sinks list --organization": [a_sink(world, "organization")]}
    assert moved_until(world, holding(held)) == (held if kept else None)


def test_whoever_takes_up_wishes_knows_for_whom_the_proxy_signs(world):
    target = world.target()
    told = {
        name: functions.environment(target, name, wanted).get("BENCHKEEPER_IAP_AUDIENCE")
        for name, wanted in target.deployment.functions.items()
    }
    assert {name for name, audience in told.items() if audience != AUDIENCE} == {
        "benchkeeper-dead-letter",
        "benchkeeper-notify",
    }


def test_a_function_as_it_should_be(world):
    world.answers = serving()
    assert {step.mark for step in of_tick(world).values()} == {Mark.SAME}


@pytest.mark.parametrize(
    ("path", "to", "because"),
    [
        (("state",), "FAILED", "state FAILED -> ACTIVE"),
        (("labels", "benchkeeper-source"), None, f"source nothing -> {DIGEST[:12]}"),
        (("labels",), None, f"source nothing -> {DIGEST[:12]}"),
        (("buildConfig", "runtime"), "python312", "runtime python312 -> python313"),
        (("buildConfig", "entryPoint"), "lifecycle", "entry point lifecycle -> tick"),
        (
            ("eventTrigger", "retryPolicy"),
            "RETRY_POLICY_DO_NOT_RETRY",
            "retry RETRY_POLICY_DO_NOT_RETRY -> RETRY_POLICY_RETRY",
        ),
        (("eventTrigger", "serviceAccountEmail"), "x@y", "caller x@y -> benchkeeper-push@"),
        (("eventTrigger", "trigger"), "gone", "its trigger is missing"),
        (("serviceConfig", "serviceAccountEmail"), "x@y", "account x@y -> benchkeeper-tick@"),
        (("serviceConfig", "ingressSettings"), "ALLOW_ALL", "ingress ALLOW_ALL -> ALLOW_INTERNAL_ONLY"),
        (("serviceConfig", "maxInstanceRequestConcurrency"), 80, "concurrency 80 -> 1"),
        (("serviceConfig", "availableCpu"), "2", "cpu 2 -> 1"),
        (("serviceConfig", "availableMemory"), "256M", "memory 256M -> 1Gi"),
        (("serviceConfig", "maxInstanceCount"), 100, "most instances 100 -> 4"),
        (("serviceConfig", "timeoutSeconds"), 60, "timeout 60 -> 540"),
    ],
)
def test_a_function_that_differs_is_deployed_anew(world, path, to, because):
    world.answers = serving(changed(a_function(), *path, to=to))
    step = of_tick(world)["function benchkeeper-tick"]
    assert step.mark is Mark.CHANGE
    assert step.because.startswith(because)
    deploy, then = step.work
    assert is_deploy(deploy)
    assert callable(then)


def test_a_function_of_another_environment_is_deployed_anew(world):
    world.answers = serving(
        changed(a_function(), "serviceConfig", "environmentVariables", "BENCHKEEPER_ENV", to="prod")
    )
    step = of_tick(world)["function benchkeeper-tick"]
    assert step.mark is Mark.CHANGE
    assert "environment" in step.because


def test_a_function_that_another_account_builds_is_deployed_anew(world):
    found = changed(a_function(), "buildConfig", "serviceAccount", to=f"projects/{PROJECT}/serviceAccounts/x@y")
    world.answers = serving(found)
    assert of_tick(world)["function benchkeeper-tick"].mark is Mark.CHANGE


def test_a_function_without_our_label_is_given_it_or_destroy_leaves_it_standing(world):
    world.answers = serving(changed(a_function(), "labels", "managed-by"))
    assert of_tick(world)["function benchkeeper-tick"].mark is Mark.CHANGE


def test_a_function_with_an_endpoint_of_its_own_is_deployed_anew(world):
    found = changed(
        a_function(), "serviceConfig", "environmentVariables", "BENCHKEEPER_API_ENDPOINT", to="http://127.0.0.1:1"
    )
    world.answers = serving(found)
    assert of_tick(world)["function benchkeeper-tick"].mark is Mark.CHANGE


def test_a_function_of_another_topic_is_left_alone(world):
    world.answers = serving(changed(a_function(), "eventTrigger", "pubsubTopic", to="projects/p/topics/x"))
    step = of_tick(world)["function benchkeeper-tick"]
    assert step.mark is Mark.KEEP
    assert "delete the function, run this again" in step.because


@pytest.mark.parametrize(
    ("held", "mark", "does"),
    [
        ([], Mark.CREATE, [f"add-iam-policy-binding {member('push')}"]),
        ([member("push")], Mark.SAME, []),
        ([member("push"), "allUsers"], Mark.CHANGE, ["remove-iam-policy-binding allUsers"]),
        (
            ["allUsers", "allAuthenticatedUsers", "user:x@acme.example"], Mark.CHANGE,
            ["remove-iam-policy-binding allUsers", "remove-iam-policy-binding allAuthenticatedUsers", f"add-iam-policy-binding {member('push')}"],
        ),
    ],
)  # fmt: skip
def test_who_may_call_a_function(world, held, mark, does):
    world.answers = serving() | {"run services get-iam-policy": policy(*(("roles/run.invoker", who) for who in held))}
    del world.answers["run services get-iam-policy benchkeeper-tick"]
    step = of_tick(world)["caller benchkeeper-tick"]
    assert step.mark is mark
    lines = [line.split() for line in commands(step)]
    assert [f"{words[2]} {words[5].removeprefix('--member=')}" for words in lines] == does
    assert all(
        words[3:5] + words[6:] == ["benchkeeper-tick", f"--region={REGION}", "--role=roles/run.invoker"]
        for words in lines
    )


UPDATE = (
    "pubsub subscriptions update eventarc-tick-sub --ack-deadline=600 --min-retry-delay=10s --max-retry-delay=600s "
    "--message-retention-duration=600s --expiration-period=never --dead-letter-topic=workbench-dead-letter --max-delivery-attempts=20"
)
FORWARD = (
    f"pubsub subscriptions add-iam-policy-binding eventarc-tick-sub --member={PUBSUB} --role=roles/pubsub.subscriber"
)
AS_EVENTARC_MAKES_IT = {
    "name": f"projects/{PROJECT}/subscriptions/eventarc-tick-sub", "topic": f"projects/{PROJECT}/topics/workbench-tick",
    "ackDeadlineSeconds": 10, "expirationPolicy": {}, "messageRetentionDuration": "86400s",
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "to", "because"),
    [
        (("ackDeadlineSeconds",), 10, "ack deadline 10 -> 600"),
        (("retryPolicy", "minimumBackoff"), "1s", "least delay 1s -> 10s"),
        (("retryPolicy",), None, "least delay nothing -> 10s, most delay nothing -> 600s"),
        (("messageRetentionDuration",), "86400s", "retention 86400s -> 600s"),
        (("deadLetterPolicy",), None, "dead letter nothing -> workbench-dead-letter, attempts nothing -> 20"),
        (("deadLetterPolicy", "maxDeliveryAttempts"), 5, "attempts 5 -> 20"),
        (("expirationPolicy", "ttl"), "2678400s", "expires after 2678400s -> nothing"),
    ],
)
def test_a_delivery_that_differs_is_made_right(world, path, to, because):
    world.answers = serving(delivery=changed(a_delivery(), *path, to=to))
    step = of_tick(world)["delivery benchkeeper-tick"]
    assert (step.mark, step.because) == (Mark.CHANGE, because)
    assert commands(step) == [UPDATE]
    assert {"function benchkeeper-tick", "access"} <= set(step.needs)


def test_a_delivery_whose_dead_letters_may_not_go_is_made_right(world):
    world.answers = serving() | {
        "pubsub subscriptions get-iam-policy": policy(("roles/pubsub.subscriber", "user:x@acme.example"))
    }
    step = of_tick(world)["delivery benchkeeper-tick"]
    assert (step.mark, step.because) == (Mark.CHANGE, "Pub/Sub may not forward from it")
    assert commands(step) == [FORWARD]


def test_a_delivery_of_the_default_expiry_would_expire(world):
    world.answers = serving(delivery=changed(a_delivery(), "expirationPolicy"))
    step = of_tick(world)["delivery benchkeeper-tick"]
    assert step.mark is Mark.CHANGE
    assert commands(step) == [UPDATE]


def test_the_delivery_of_a_new_function_is_made_right_as_it_is_found_then(world):
    world.answers = serving(delivery=AS_EVENTARC_MAKES_IT) | {
        "functions list --v2": [],
        "pubsub subscriptions get-iam-policy": {},
    }
    step = of_tick(world)["delivery benchkeeper-tick"]
    assert (step.mark, step.because) == (Mark.CREATE, "dead letter after 20 attempts, never expires")
    assert commands(step) == [UPDATE, FORWARD]


def test_a_delivery_that_needs_no_dead_letter_has_none(world):
    own = world.deployment.functions["benchkeeper-dead-letter"]
    assert own.delivery.dead_letter_topic is None
    function = a_function() | {"name": f"projects/{PROJECT}/locations/{REGION}/functions/benchkeeper-dead-letter"}
    there = a_delivery() | {"topic": f"projects/{PROJECT}/topics/workbench-dead-letter"}
    world.answers = serving(delivery=there) | {
        "functions describe benchkeeper-dead-letter --v2": function, "pubsub subscriptions get-iam-policy": {},
    }  # fmt: skip
    step = delivery.step(world.target(), "benchkeeper-dead-letter", own, function)
    assert step.mark is Mark.CHANGE
    (line,) = commands(step)
    assert "--clear-dead-letter-policy" in line.split()
    assert "--max-delivery-attempts" not in line


def test_a_function_without_a_trigger_is_said_to_have_none(world):
    world.answers = serving() | {"eventarc triggers list": None}
    with pytest.raises(DeployError, match="has no trigger"):
        commands(of_tick(world)["delivery benchkeeper-tick"])


class Deploying(Answers):
    """A project in which a deployed function gets a new trigger, with a subscription as Eventarc makes it."""

    def __init__(self, answers: dict[str, Any]) -> None:
        super().__init__(answers)
        self.done: list[str] = []

    def do(self, do: Command | Call) -> None:
        self.done.append(as_words(do))
        if "functions deploy" in self.done[-1]:
            new = f"projects/{PROJECT}/subscriptions/eventarc-tick-sub-new"
            self.answers["eventarc triggers list"] = [{"name": TRIGGER, "transport": {"pubsub": {"subscription": new}}}]
            self.answers["pubsub subscriptions describe eventarc-tick-sub-new"] = AS_EVENTARC_MAKES_IT | {"name": new}
            self.answers["pubsub subscriptions get-iam-policy"] = {}


class NoWaiting(threading.Event):
    """An event that is not waited for."""

    def wait(self, timeout: float | None = None) -> bool:  # noqa: ARG002 - the signature of an event
        return self.is_set()


def test_a_function_that_is_deployed_anew_gets_its_new_subscription_made_right(world):
    """The plan saw the old subscription, which was as it should be: its own step does nothing."""
    gcloud = Deploying(serving(changed(a_function(), "serviceConfig", "timeoutSeconds", to=60)))
    target = replace(world.target(), gcloud=gcloud)
    plan = {step.key: step for step in functions.functions(target) if step.key.endswith(" benchkeeper-tick")}
    assert plan["delivery benchkeeper-tick"].mark is Mark.SAME
    outcome = carry_out(
        list(plan.values()), gcloud, started=lambda _: None, ended=lambda _: None, stop=NoWaiting()
    )  # fmt: skip
    assert not outcome.failed
    assert gcloud.done[0].startswith("functions deploy benchkeeper-tick ")
    assert gcloud.done[1:] == [
        line.replace("eventarc-tick-sub ", "eventarc-tick-sub-new ") for line in (UPDATE, FORWARD)
    ]


# ---- what somebody deleted by hand: the plan mends it, and does not end over it


def test_a_service_that_is_gone_from_under_its_function_is_made_again(world):
    world.answers = serving() | {"run services get-iam-policy benchkeeper-tick": ABSENT}
    assert of_tick(world)["caller benchkeeper-tick"].mark is Mark.CREATE


def test_a_subscription_that_is_gone_from_under_its_trigger_is_told(world):
    world.answers = serving() | {"pubsub subscriptions list": [], "pubsub subscriptions get-iam-policy": ABSENT}
    step = of_tick(world)["delivery benchkeeper-tick"]
    assert step.mark is Mark.KEEP
    assert step.because.endswith("so the function gets no messages: delete function benchkeeper-tick, run this again")


def test_a_subscription_that_went_meanwhile_is_told_with_what_to_do(world):
    world.answers = serving(delivery=changed(a_delivery(), "ackDeadlineSeconds", to=10))
    world.answers["pubsub subscriptions describe eventarc-tick-sub"] = ABSENT
    with pytest.raises(DeployError, match="subscription of function benchkeeper-tick is gone") as caught:
        commands(of_tick(world)["delivery benchkeeper-tick"])
    assert f"gcloud functions delete benchkeeper-tick --gen2 --region={REGION}" in caught.value.remedy


def test_a_subscription_of_a_topic_that_was_deleted_is_left_until_it_is_empty(world):
    world.answers = serving(delivery=a_delivery() | {"topic": "_deleted-topic_"})
    step = of_tick(world)["delivery benchkeeper-tick"]
    assert step.mark is Mark.KEEP
    assert step.because.endswith("once it is empty delete function benchkeeper-tick, run this again")


def test_the_function_that_proposes_the_files_knows_who_deployed_them_and_that_is_no_difference(
    world,
):
    target = replace(world.target(), deployer="dev@acme.com")
    for name, wanted in target.deployment.functions.items():
        words = " ".join(str(word) for word in functions._command(target, name, wanted, None))
        told = (
            "BENCHKEEPER_DEPLOYED_BY=dev@acme.com" in words and "BENCHKEEPER_DEPLOYED_AT=2026-11-28T12:00:00Z" in words
        )
        assert told is (wanted.entry_point == "tick")
    found = changed(a_function(), "serviceConfig", "environmentVariables", "BENCHKEEPER_DEPLOYED_BY", to="eve@acme.com")
    world.answers = serving(found)
    assert {step.mark for step in of_tick(world).values()} == {Mark.SAME}
