"""A policy as plain values and back, and the limits of changes in it."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from kit.inprocess import local_settings
from msgspec.structs import replace

from shared.domain.plan.guard_settings import GuardSettings
from shared.domain.policy.policy_codec import (
    VERSION,
    UnknownContentError,
    _Content,
    _from_plain,
    content_of,
    digest_of,
    plain,
    policy_digest,
    read_plain,
    read_unbounded,
    with_content,
)
from shared.domain.things.notebook import Network
from shared.domain.things.structs import to_dict
from shared.settings.values import Settings

OWN = local_settings().policy()


def test_a_content_gives_the_same_policy_back():
    assert with_content(OWN, content_of(OWN)) == OWN


def test_the_content_decides_and_the_wiring_stays():
    other = replace(
        OWN,
        retention=timedelta(days=9),
        network=Network(network="projects/p/global/networks/n", subnet="projects/p/regions/r/subnetworks/s"),
        project="elsewhere",
    )
    found = with_content(OWN, content_of(other))
    assert (found.retention, found.network, found.project) == (timedelta(days=9), other.network, OWN.project)
    assert found.template_context == OWN.template_context + other.network.subnet


def test_topics_are_no_policy():
    hr = OWN.sources["hr"]
    moved = replace(OWN, sources={**OWN.sources, "hr": replace(hr, topic="hr-news-2")})
    assert policy_digest(moved) == policy_digest(OWN)
    assert with_content(moved, content_of(OWN)).sources["hr"].topic == "hr-news-2"


def test_the_digest_changes_with_the_content_and_not_with_the_order_of_keys():
    content = content_of(OWN)
    assert digest_of(dict(reversed(content.items()))) == digest_of(content)
    assert policy_digest(replace(OWN, retention=timedelta(days=9))) != policy_digest(OWN)


@pytest.mark.parametrize(
    "hand",
    [
        lambda c: {**c, "version": 2},
        lambda c: {**c, "colour": "green"},
        lambda c: {**c, "guard": {**c["guard"], "colour": "green"}},
        lambda c: {**c, "catalog": {**c["catalog"], "profiles": {"x": {"name": "x"}}}},
        lambda c: {key: value for key, value in c.items() if key != "version"},
    ],
)
def test_what_this_program_does_not_understand_is_refused(hand):
    with pytest.raises(UnknownContentError):
        with_content(OWN, hand(content_of(OWN)))


def test_a_bound_of_the_files_is_none_of_the_policy_in_force():
    content = content_of(OWN)
    profiles = {
        name: {**raw, "title": "", "boot_disk": {"size_gb": 9, "type": "PD_OF_YESTERDAY"}}
        for name, raw in content["catalog"]["profiles"].items()
    }
    older = {
        **content,
        "catalog": {**content["catalog"], "profiles": profiles},
        "guard": {**content["guard"], "per_hour": 10_001, "share": 0.0, "day_factor": 25},
        "network": {**content["network"], "subnet": "of another form"},
    }
    found = with_content(OWN, older)
    assert (found.guard.per_hour, found.guard.share, found.network.subnet) == (10_001, 0.0, "of another form")
    assert {profile.boot_disk.size_gb for profile in found.catalog.profiles.values()} == {9}
    assert digest_of(content_of(found)) == digest_of(older), "as it was, in every other part too"


def test_what_is_read_without_bounds_is_what_is_read_with_them():
    settings = local_settings()
    content = {**content_of(settings.policy()), "version": VERSION}
    for source in content["sources"].values():
        source["topic"] = "news"
    assert read_unbounded(content, _Content, _from_plain) == read_plain(content, _Content)
    plain_settings = json.loads(
        json.dumps({**to_dict(settings), "config_dir": str(settings.config_dir)}, default=plain)
    )
    assert read_unbounded(plain_settings, Settings, _from_plain) == read_plain(plain_settings, Settings) == settings


@pytest.mark.parametrize(
    "spoil",
    [
        lambda c: c["guard"].update(per_hour="many"),
        lambda c: c["guard"].update(colour="green"),
        lambda c: c["network"].update(subnet=["x"]),
        lambda c: c.update(catalog=[]),
        lambda c: c.update(zones="europe-west1-b"),
        lambda c: c.update(retention="long"),
        lambda c: next(iter(c["catalog"]["profiles"].values())).update(disruption="whenever"),
        lambda c: next(iter(c["catalog"]["profiles"].values())).pop("machine_type"),
    ],
)
def test_without_bounds_a_wrong_type_is_refused_all_the_same(spoil):
    content = content_of(OWN)
    content["guard"]["per_hour"] = 0  # outside the bounds: the other way of reading
    spoil(content)
    with pytest.raises(UnknownContentError):
        with_content(OWN, content)


def test_what_was_added_since_an_older_program_wrote_it_is_our_own():
    older = {key: value for key, value in content_of(OWN).items() if key != "guard"}
    assert with_content(OWN, older) == OWN


@pytest.mark.parametrize(("fleet", "limit"), [(0, 20), (100, 20), (400, 20), (1000, 50), (4000, 200), (100_000, 200)])
def test_an_hours_limit_grows_with_the_fleet_up_to_a_bound(fleet, limit):
    assert GuardSettings().per_hour_of(fleet) == limit


@pytest.mark.parametrize(("size", "limit"), [(1, None), (5, None), (6, 3), (12, 6), (100, 50)])
def test_of_those_who_share_something_half_is_the_limit_once_they_are_six(size, limit):
    assert GuardSettings().per_hour_of_group(size) == limit


@pytest.mark.parametrize(
    ("changes", "looser"),
    [
        ({}, False),
        ({"per_hour": 21}, True),
        ({"per_hour": 19}, False),
        ({"approvers": 1}, True),
        ({"patience": None}, False),
        ({"patience": timedelta(hours=1)}, True),
        ({"wait_alone": timedelta(minutes=1)}, True),
    ],
)
def test_looser_is_what_lets_more_through(changes, looser):
    assert replace(GuardSettings(), **changes).is_looser_than(GuardSettings()) is looser
