"""What a plan says of the hub page: its function, the proxy in front, who may open it, its domain, and as whom clusters run."""

from __future__ import annotations

from typing import Any

import pytest
from kit.planning import (
    ABSENT,
    COMPUTE,
    DENIED,
    DIGEST,
    IAP,
    NUMBER,
    PROJECT,
    REGION,
    World,
    a_function,
    a_mapping,
    a_page,
    account,
    changed,
    commands,
    marks,
    member,
    policy,
    words_of,
)
from msgspec.structs import replace

from cli.deploy.destroy import make_destroy_plan
from cli.deploy.gcloud import Call
from cli.deploy.kinds import billing, functions, spark
from cli.deploy.step import Mark, Step
from shared.domain.things.catalog import ClusterIdentity, MasterTemplate

HUB, OPENER = "benchkeeper-hub", "roles/iap.httpsResourceAccessor"
ANALYSTS, ENGINEERS = "group:data-analysts@example.com", "group:data-engineers@example.com"
DOMAIN = "notebooks.example.com"
ON = {"metadata": {"name": HUB, "annotations": {"run.googleapis.com/iap-enabled": "true"}}}
OFF: dict[str, Any] = {"metadata": {"name": HUB, "annotations": {}}}
WHERE = ["--resource-type=cloud-run", f"--service={HUB}", f"--region={REGION}"]
DEPLOY = {
    "--gen2", f"--region={REGION}", "--runtime=python313", "--source=/upload", "--entry-point=hub", "--trigger-http",
    f"--run-service-account={account('hub')}",
    f"--build-service-account=projects/{PROJECT}/serviceAccounts/{account('build')}", "--no-allow-unauthenticated",
    "--ingress-settings=all", "--concurrency=16", "--cpu=1", "--memory=1Gi", "--max-instances=5", "--timeout=60s",
    f"--set-env-vars=BENCHKEEPER_ENV=example,BENCHKEEPER_IAP_AUDIENCE=/projects/{NUMBER}/locations/{REGION}/services/{HUB}",
    f"--update-labels=managed-by=benchkeeper,benchkeeper-source={DIGEST}",
}  # fmt: skip


def serving(**more: Any) -> dict[str, Any]:
    """A page as it should be."""
    return {
        "functions list --v2": [a_page()],
        f"run services describe {HUB}": ON,
        f"run services get-iam-policy {HUB}": policy(("roles/run.invoker", IAP)),
        "beta iap web get-iam-policy": policy((OPENER, ANALYSTS), (OPENER, ENGINEERS)),
        "beta run domain-mappings list": [a_mapping()],
        "eventarc triggers list": [],
        **more,
    }


def with_options(world: World, **options: Any) -> None:
    world.deployment = replace(world.deployment, options=replace(world.deployment.options, **options))


def of_page(world: World) -> dict[str, Step]:
    found = world.plan(functions.functions)
    return {key: step for key, step in found.items() if HUB in key or step.kind in {"opener", "domain"}}


# ---- the function


def test_the_page_is_deployed_with_these_flags_and_no_others(world):
    world.answers = serving() | {"functions list --v2": [], "beta run domain-mappings list": []}
    plan = of_page(world)
    assert {step.mark for step in plan.values()} == {Mark.CREATE}
    words = words_of(plan[f"function {HUB}"])
    assert words[:3] == ["functions", "deploy", HUB]
    assert sorted(words[3:]) == sorted(DEPLOY)
    assert f"caller {HUB}" in plan[f"proxy {HUB}"].needs
    assert plan[f"opener {ANALYSTS}"].needs == plan[f"domain {DOMAIN}"].needs == (f"proxy {HUB}",)


def test_a_page_as_it_should_be(world):
    world.answers = serving()
    plan = of_page(world)
    assert {step.mark for step in plan.values()} == {Mark.SAME}
    assert set(plan) == {
        f"function {HUB}", f"caller {HUB}", f"proxy {HUB}", f"opener {ANALYSTS}", f"opener {ENGINEERS}", f"domain {DOMAIN}",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "to", "because"),
    [
        (("serviceConfig", "ingressSettings"), "ALLOW_INTERNAL_ONLY", "ingress ALLOW_INTERNAL_ONLY -> ALLOW_ALL"),
        (("serviceConfig", "serviceAccountEmail"), "x@y", "account x@y -> benchkeeper-hub@"),
        (("serviceConfig", "timeoutSeconds"), 540, "timeout 540 -> 60"),
        (("serviceConfig", "environmentVariables", "BENCHKEEPER_IAP_AUDIENCE"), None, "environment "),
        (("serviceConfig", "environmentVariables", "BENCHKEEPER_IAP_AUDIENCE"), "/projects/1", "environment "),
    ],
)
def test_a_page_that_differs_is_deployed_anew_and_gets_its_proxy_back(world, path, to, because):
    world.answers = serving() | {"functions list --v2": [changed(a_page(), *path, to=to)]}
    step = of_page(world)[f"function {HUB}"]
    assert step.mark is Mark.CHANGE
    assert step.because.startswith(because)
    assert len(commands(step)) == 1
    world.answers[f"run services describe {HUB}"] = OFF  # what was set at the service went with the deployment
    deploy, proxied = commands(of_page(world)[f"function {HUB}"])
    assert deploy.startswith(f"functions deploy {HUB} ")
    assert proxied == f"beta run services update {HUB} --region={REGION} --iap"


def test_a_function_of_that_name_that_hears_a_topic_is_left(world):
    trigger = a_function()["eventTrigger"]
    world.answers = serving() | {"functions list --v2": [a_page() | {"eventTrigger": trigger}]}
    step = of_page(world)[f"function {HUB}"]
    assert step.mark is Mark.KEEP
    assert "delete the function" in step.because


# ---- the proxy


def test_a_proxy_that_is_off_is_turned_on(world):
    world.answers = serving() | {f"run services describe {HUB}": OFF}
    step = of_page(world)[f"proxy {HUB}"]
    assert (step.mark, step.because) == (Mark.CHANGE, "Identity-Aware Proxy is off, so nobody can open it")
    assert commands(step) == [f"beta run services update {HUB} --region={REGION} --iap"]


def test_a_service_that_was_deleted_by_hand_is_not_asked_for_more(world):
    world.answers = serving() | {
        f"run services describe {HUB}": ABSENT,
        f"run services get-iam-policy {HUB}": ABSENT,
        "beta iap web get-iam-policy": ABSENT,
    }
    plan = of_page(world)
    assert {key for key, step in plan.items() if step.mark is Mark.CREATE} == {
        f"caller {HUB}", f"proxy {HUB}", f"opener {ANALYSTS}", f"opener {ENGINEERS}",
    }  # fmt: skip


def test_only_the_proxy_may_call_the_page(world):
    public = policy(("roles/run.invoker", "allUsers"), ("roles/run.invoker", "group:x@example.com"))
    world.answers = serving() | {f"run services get-iam-policy {HUB}": public}
    step = of_page(world)[f"caller {HUB}"]
    assert (step.mark, step.because) == (Mark.CHANGE, "everyone can call it")
    shut, agent, let_in = commands(step)
    assert shut.startswith(f"run services remove-iam-policy-binding {HUB} ")
    assert "--member=allUsers" in shut
    assert agent == "beta services identity create --service=iap.googleapis.com"
    assert let_in.endswith(f"--member={IAP} --role=roles/run.invoker")


# ---- who may open it


def test_who_may_open_the_page_is_added_and_nobody_taken_away(world):
    theirs = "user:auditor@example.com"
    world.answers = serving(**{"beta iap web get-iam-policy": policy((OPENER, ANALYSTS), (OPENER, theirs))})
    plan = of_page(world)
    assert marks(plan)[f"opener {ANALYSTS}"] is Mark.SAME
    assert words_of(plan[f"opener {ENGINEERS}"]) == [
        "beta", "iap", "web", "add-iam-policy-binding", *WHERE, f"--member={ENGINEERS}", f"--role={OPENER}", "--condition=None",
    ]  # fmt: skip
    assert not any("auditor" in key for key in plan)


def test_a_page_that_nobody_may_open_says_what_to_write(world):
    with_options(world, hub_access=[])
    world.answers = serving(**{"beta iap web get-iam-policy": {}})
    step = of_page(world)["opener nobody"]
    assert step.mark is Mark.KEEP
    groups = ", ".join(sorted({f"group:{each.group}" for each in world.deployment.settings.catalog.assignments}))
    assert f"hub_access: [{groups}]" in step.because
    world.answers["beta iap web get-iam-policy"] = policy((OPENER, "user:auditor@example.com"))
    assert "opener nobody" not in of_page(world)


# ---- its domain


@pytest.mark.parametrize(
    ("mapping", "mark", "because"),
    [
        (a_mapping(), Mark.SAME, ""),
        (a_mapping(ready="Unknown"), Mark.KEEP, "certificate: notebooks CNAME ghs.googlehosted.com."),
        (changed(a_mapping(ready="False"), "status", "resourceRecords"), Mark.KEEP, "run this again in a minute"),
        (a_mapping(route="somebody-elses"), Mark.KEEP, "it leads to somebody-elses, which is not Benchkeeper's"),
        (a_mapping(domain="other.example.com"), Mark.CREATE, "DNS records"),
    ],
)
def test_a_domain(world, mapping, mark, because):
    world.answers = serving(**{"beta run domain-mappings list": [mapping]})
    step = of_page(world)[f"domain {DOMAIN}"]
    assert step.mark is mark
    assert because in step.because
    if mark is Mark.CREATE:
        assert commands(step) == [
            f"beta run domain-mappings create --service={HUB} --domain={DOMAIN} --region={REGION}"
        ]


def test_without_a_domain_nothing_is_asked_about_domains(world):
    with_options(world, hub_domain=None)
    world.answers = serving()
    del world.answers["beta run domain-mappings list"]
    assert not any(step.kind == "domain" for step in of_page(world).values())


# ---- taking it down


def taken_down(world: World, **more: Any) -> dict[str, Step]:
    """The page's part of the plan, in a project that has nothing else."""
    nothing = {
        "workbench instances list": [], "storage buckets": ABSENT, "scheduler jobs list": [], "secrets list": [], "logging": [], "monitoring": [],
        "pubsub": [], "projects get-iam-policy": {}, "iam": [], "iam service-accounts get-iam-policy": {},
        "GET v3": {}, "GET bigquery": ABSENT,
    }  # fmt: skip
    world.answers = nothing | serving(**more)
    return {step.key: step for step in make_destroy_plan(world.target())}


def test_destroy_closes_the_page_for_whom_we_let_in_and_takes_its_domain(world):
    theirs = "user:auditor@example.com"
    plan = taken_down(world, **{"beta iap web get-iam-policy": policy((OPENER, ANALYSTS), (OPENER, theirs))})
    assert {step.mark for step in plan.values()} == {Mark.DELETE}
    assert set(plan) == {f"opener {ANALYSTS}", f"domain {DOMAIN}", f"function {HUB}"}
    assert words_of(plan[f"opener {ANALYSTS}"])[3:] == [
        "remove-iam-policy-binding", *WHERE, f"--member={ANALYSTS}", f"--role={OPENER}", "--condition=None",
    ]  # fmt: skip
    assert {"opener", "domain"} <= set(plan[f"function {HUB}"].needs)
    assert commands(plan[f"domain {DOMAIN}"]) == [
        f"beta run domain-mappings delete --domain={DOMAIN} --region={REGION}"
    ]


def test_destroy_leaves_a_page_and_a_domain_that_are_not_ours(world):
    elsewhere = {"beta run domain-mappings list": [a_mapping(route="somebody-elses")]}
    assert f"domain {DOMAIN}" not in taken_down(world, **elsewhere)
    theirs = a_page() | {"labels": {"managed-by": "terraform"}}
    plan = taken_down(world, **{"functions list --v2": [theirs]})
    assert marks(plan) == {f"function {HUB}": Mark.KEEP}


# ---- as whom clusters run


def run_as(world: World, *, profile: str = "", text: str = "") -> None:
    """Give every profile's clusters an identity, or every master an account."""
    settings = world.deployment.settings
    catalog = settings.catalog
    if profile:
        profiles = {
            name: replace(each, spark=replace(each.spark, identity=ClusterIdentity(profile)))
            for name, each in catalog.profiles.items()
        }
        catalog = replace(catalog, profiles=profiles)
    if text:
        masters = {name: MasterTemplate(name=name, text=text) for name in catalog.masters}
        catalog = replace(catalog, masters=masters)
    world.deployment = replace(world.deployment, settings=replace(settings, catalog=catalog))


OWN = f"spark@{PROJECT}.iam.gserviceaccount.com"


@pytest.mark.parametrize(
    ("text", "email"),
    [
        ("config:\n  gceClusterConfig:\n    internalIpOnly: true\n", COMPUTE),
        ("config: {}\n", COMPUTE),
        ("config: [", COMPUTE),
        (f"config:\n  gceClusterConfig:\n    serviceAccount: {OWN}\n", OWN),
        (f"config:\n  gceClusterConfig:\n    serviceAccount: projects/-/serviceAccounts/{OWN}\n", OWN),
    ],
)
def test_the_functions_may_make_clusters_that_run_as_what_the_masters_name(world, text, email):
    run_as(world, profile="personal-auth", text=text)
    world.answers = {f"iam service-accounts get-iam-policy {email}": {}}
    plan = world.plan(spark.grants)
    assert marks(plan) == {
        f"access {name}: benchkeeper_run_as on {email}": Mark.CREATE for name in ("lifecycle", "tick")
    }
    role = f"projects/{PROJECT}/roles/benchkeeper_run_as"
    assert commands(plan[f"access tick: benchkeeper_run_as on {email}"]) == [
        f"iam service-accounts add-iam-policy-binding {email} --member={member('tick')} --role={role}"
    ]
    world.answers = {
        f"iam service-accounts get-iam-policy {email}": policy((role, member("tick")), (role, member("lifecycle")))
    }
    assert set(marks(world.plan(spark.grants)).values()) == {Mark.SAME}


def test_clusters_that_run_as_peoples_own_accounts_need_no_other(world):
    run_as(world, profile="personal-service-account")
    world.answers = {}
    assert world.plan(spark.grants) == {}


@pytest.mark.parametrize("error", [ABSENT, DENIED])
def test_an_account_that_nothing_can_be_granted_on_is_named(world, error):
    run_as(world, profile="personal-auth")
    world.answers = {"iam service-accounts get-iam-policy": error}
    (step,) = world.plan(spark.grants).values()
    assert (step.key, step.mark) == (f"access on {COMPUTE}", Mark.KEEP)
    assert error.cause in step.because


def test_destroy_takes_what_ours_may_run_as(world):
    run_as(world, profile="personal-auth")
    role = f"projects/{PROJECT}/roles/benchkeeper_run_as"
    held = policy((role, member("tick")), (role, "user:somebody@example.com"))
    plan = taken_down(world, **{f"iam service-accounts get-iam-policy {COMPUTE}": held})
    key = f"access benchkeeper-tick benchkeeper_run_as on {COMPUTE}"
    assert [each for each in plan if each.startswith("access ")] == [key]
    assert commands(plan[key]) == [
        f"iam service-accounts remove-iam-policy-binding {COMPUTE} --member={member('tick')} --role={role}"
    ]


# ---- who reads the costs

DATASET = f"GET bigquery/v2/projects/{PROJECT}/datasets/benchkeeper"
EXPORT = "GET bigquery/v2/projects/acme-billing/datasets/billing"
VIEW = {"view": {"projectId": PROJECT, "datasetId": "benchkeeper", "tableId": "cost_by_user"}}
THEIRS = {"role": "OWNER", "userByEmail": "owner@example.com"}
READER = {"role": "READER", "userByEmail": account("tick")}
READS = "access tick: bigquery.dataViewer on cost-dataset"


def costs(world: World, *access: dict[str, Any], export: Any = (VIEW,)) -> dict[str, Step]:
    found = {"location": "EU", "access": list(access)}
    view = {"view": {"query": world.deployment.cost_view}}
    world.answers = {
        EXPORT: {"location": "EU", "access": list(export)},
        DATASET: found,
        f"{DATASET}/tables/cost_by_user": view,
    }
    return world.plan(billing.views)


def test_the_tick_reads_the_costs_and_who_else_does_goes_on(world):
    step = costs(world, THEIRS)[READS]
    assert step.mark is Mark.CREATE
    (letting,) = step.work
    assert callable(letting)
    (call,) = letting()
    assert isinstance(call, Call)
    assert (call.verb, call.body) == ("PATCH", {"access": [THEIRS, READER]})


@pytest.mark.parametrize("entry", [READER, READER | {"role": "roles/bigquery.dataViewer"}])
def test_a_reader_that_is_there_is_not_added_again(world, entry):
    assert set(marks(costs(world, THEIRS, entry)).values()) == {Mark.SAME}


def test_an_export_that_does_not_let_the_view_read_is_named(world):
    step = costs(world, READER, export=(THEIRS,))["authorized cost_by_user"]
    assert step.mark is Mark.KEEP
    assert "acme-billing.billing does not let the view read yet" in step.because


def test_destroy_takes_our_reader_and_no_other(world):
    more = {
        f"{DATASET}/tables/cost_by_user": {"labels": {"managed-by": "benchkeeper"}},
        DATASET: {"access": [THEIRS, READER]},
    }
    step = taken_down(world, **more)["access benchkeeper-tick on dataset benchkeeper"]
    (shutting,) = step.work
    assert callable(shutting)
    (call,) = shutting()
    assert isinstance(call, Call)
    assert (call.verb, call.body) == ("PATCH", {"access": [THEIRS]})
