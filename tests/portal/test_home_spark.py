"""Spark environments on the analyst's page: started, seen coming, opened, deleted, refused, described."""

from __future__ import annotations

import re

from kit.hub import ANA, Hub, hub_settings, make_hub, plain
from msgspec.structs import replace

from portal.app import create_app
from shared.domain.things.catalog import ClusterIdentity, Environment, MasterTemplate
from shared.domain.things.clusters import ClusterState
from shared.domain.things.identity import user_key_for

REFRESH = '<noscript><meta http-equiv="refresh"'


def test_started_seen_coming_opened_and_deleted_by_forms_alone(two: Hub) -> None:
    ana = two.browser(ANA)
    assert ana.post("/spark/single-node/start").headers["Location"] == "/?said=spark-start#spark"
    text = ana.text("/")
    assert ("Starting" in text, REFRESH in text) == (True, True)
    two.life().minutes(6)
    text = ana.text("/")
    known = two.record().status.cluster("single-node")
    assert known is not None
    assert known.jupyter_url.startswith("https://")
    assert f'href="{known.jupyter_url}"' in text
    assert known.name in text
    assert REFRESH not in text
    assert "as you, not BigQuery" in text
    assert re.search(
        r"Deleted after 1 h without a job, at the latest .*\d\d:\d\d.* Files in Cloud Storage stay\.", plain(text)
    )
    assert f"enable-personal-auth-session {known.name} --region=europe-west1" in text
    assert ana.post("/spark/single-node/delete").headers["Location"] == "/?said=spark-delete#spark"
    assert "Deleting" in ana.text("/")
    two.life().minutes(6)
    assert "Deleting" not in ana.text("/")
    assert two.woken == [user_key_for(ANA)] * 2


def test_deleting_asks_first_without_the_script_too(two: Hub) -> None:
    ana = two.browser(ANA)
    ana.post("/spark/single-node/start")
    text = ana.text("/parts/spark")
    (asked,) = re.findall(r'<details[^>]*class="confirm">(.*?)</details>', text, re.DOTALL)
    assert "Data on its disks is lost" in asked
    assert 'action="/spark/single-node/delete"' in asked


def test_a_second_start_makes_no_second_cluster(two: Hub) -> None:
    ana = two.browser(ANA)
    ana.post("/spark/single-node/start")
    assert ana.post("/spark/single-node/start").headers["Location"] == "/?said=already#spark"
    two.life().minutes(6)
    creates = [call for call in two.bench.calls() if call["method"].endswith("clusters.create")]
    assert len(creates) <= 1
    assert len(two.bench.deps.clusters.of(user_key_for(ANA))) == 1


def test_more_than_allowed_is_refused_with_what_is_allowed() -> None:
    profile = hub_settings().catalog.profiles["analyst"]
    hub = make_hub(hub_settings({"analyst": {"spark": replace(profile.spark, max_clusters=1)}}))
    hub.joined()
    ana = hub.browser(ANA)
    assert ana.post("/spark/single-node/start").status_code == 303
    answer = ana.post("/spark/personal-auth-cluster/start", headers={"HX-Request": "true"})
    assert (answer.status_code, answer.headers["HX-Retarget"]) == (409, "#notice")
    assert "1 Spark cluster at a time" in answer.get_data(as_text=True)


def test_size_and_price_are_what_the_template_says() -> None:
    settings = hub_settings()
    masters = {
        "big": MasterTemplate(
            name="big",
            text="config:\n  masterConfig: {machineTypeUri: n2-standard-16}\n  workerConfig: {numInstances: 4, "
            "machineTypeUri: n2-standard-16}\n",
        ),
        "odd": MasterTemplate(name="odd", text="config:\n  masterConfig: {machineTypeUri: x9-odd}\n"),
    }
    environments = {"big": Environment(title="Groß", hourly_cost=4.25), "odd": Environment(title="Odd")}
    settings = hub_settings({"analyst": {"templates": ("big", "odd")}})
    settings = replace(settings, catalog=replace(settings.catalog, masters=masters, environments=environments))
    hub = make_hub(settings)
    hub.joined()
    text = plain(hub.browser(ANA).text("/parts/spark"))
    assert "5 machines, 80 vCPUs, 320 GB of memory · 4.25 EUR an hour" in text
    assert re.search(r"3 machines(?! ·)", text)


def test_why_the_last_one_failed_is_said_until_the_next_start(two: Hub) -> None:
    ana = two.browser(ANA)
    ana.post("/spark/single-node/start")
    two.life().minutes(6)
    ana.post("/spark/single-node/delete")
    two.life().minutes(6)
    (known,) = two.record().status.clusters or (None,)
    assert known is not None
    two.edit(ANA, clusters=(replace(known, diagnosis="No route to the subnetwork."),))
    assert "No route to the subnetwork." in ana.text("/")
    ana.post("/spark/single-node/start")
    assert "No route to the subnetwork." not in ana.text("/")


def test_a_cluster_of_an_earlier_profile_can_still_be_deleted_and_not_started(two: Hub) -> None:
    ana = two.browser(ANA)
    ana.post("/spark/single-node/start")
    two.life().minutes(6)
    settings = two.bench.settings
    analyst = replace(settings.catalog.profiles["analyst"], templates=())
    catalog = replace(settings.catalog, profiles={**settings.catalog.profiles, "analyst": analyst})
    engine = replace(two.deps.engine, base_policy=replace(two.deps.engine.policy, catalog=catalog))
    two.app = create_app(replace(two.deps, engine=engine))
    later = two.browser(ANA)
    text = later.text("/parts/spark")
    assert ('action="/spark/single-node/start"' in text, 'action="/spark/single-node/delete"' in text) == (
        False,
        True,
    )
    assert later.post("/spark/single-node/start").status_code == 409
    assert later.post("/spark/single-node/delete").status_code == 303


def test_a_profile_without_templates_has_an_empty_state() -> None:
    hub = make_hub(hub_settings({"analyst": {"templates": (), "session_templates": ()}}))
    hub.joined()
    assert "Your profile has no Spark." in hub.browser(ANA).text("/")


def test_a_long_list_of_long_names_is_a_page() -> None:
    names = [f"environment-{number}" for number in range(60)]
    text = hub_settings().catalog.masters["single-node"].text
    masters = {name: MasterTemplate(name=name, text=text) for name in names}
    title = "Donaudampfschifffahrtsgesellschaftskapitänsmützen بيئة"
    environments = {name: Environment(title=title, description="ñ" * 300) for name in names}
    settings = hub_settings({"analyst": {"templates": tuple(names)}})
    settings = replace(settings, catalog=replace(settings.catalog, masters=masters, environments=environments))
    hub = make_hub(settings)
    hub.joined()
    found = hub.browser(ANA).text("/")
    assert len(re.findall(r'<li aria-labelledby="spark-', found)) == 60
    ids = re.findall(r'\sid="([^"]+)"', found)
    assert len(ids) == len(set(ids))


def test_clusters_with_an_account_of_ones_own_say_whose() -> None:
    profile = hub_settings().catalog.profiles["analyst"]
    own = replace(profile.spark, identity=ClusterIdentity.PERSONAL_SERVICE_ACCOUNT)
    hub = make_hub(hub_settings({"analyst": {"spark": own}}))
    hub.joined()
    ana = hub.browser(ANA)
    ana.post("/spark/single-node/start")
    hub.life().minutes(8)
    known = hub.record().status.cluster("single-node")
    assert known is not None
    assert known.state is ClusterState.RUNNING, known
    text = ana.text("/")
    assert f"{hub.record().status.account.account_id}@" in text
    assert "enable-personal-auth-session" not in text


def test_serverless_sessions_are_named(two: Hub) -> None:
    sessions = two.bench.settings.catalog.profiles["analyst"].session_templates
    assert sessions
    title = two.bench.settings.catalog.environment(sessions[0]).title
    assert f"Spark without a cluster: choose {title} in JupyterLab's launcher." in plain(two.browser(ANA).text("/"))
