"""Files of an earlier day on the analyst's and the manager's page: what there is, what a restore replaces, and its undo."""

from __future__ import annotations

import re

import pytest
from kit.hub import ANA, MIA, Hub, hub_settings, make_hub, plain
from kit.life import Life
from msgspec.structs import replace

from shared.domain.record.copies import copies_of
from shared.domain.things.identity import user_key_for
from shared.engine.sweeps.sweeps import sweep


@pytest.fixture
def saved(hub: Hub) -> Hub:
    """Ana's notebook runs, and its files were saved an hour ago."""
    life = hub.joined(ANA)
    life.write(b"an hour ago")
    sweep("idle", hub.bench.deps)
    life.minutes(60)
    life.write(b"now")
    return hub


def life_of(hub: Hub) -> Life:
    return hub.life(ANA)


def copy_of(text: str) -> str:
    found = re.search(r'<option value="(nb-[a-z0-9-]+)">', text)
    assert found is not None
    return found[1]


def test_the_page_says_when_files_were_saved_and_what_a_restore_replaces(saved: Hub) -> None:
    text = plain(saved.browser(ANA).text("/"))
    assert "Saved 08:08 UTC (1 h ago), 1 day kept" in text
    assert "Your home directory returns to its state at that time." in text
    assert "Packages and environments outside of it are not in the copies" in text
    assert "saved first and kept for seven days" in text
    assert "nb-ana-silva-7bda2560ce1b-" not in text, "names of snapshots are for administrators"


def test_before_the_first_copy_the_page_says_that_one_comes(hub: Hub) -> None:
    hub.joined(ANA)
    text = hub.browser(ANA).text("/")
    assert "No copy yet" in plain(text)
    assert 'id="restore"' not in text


def test_a_profile_without_copies_says_nothing_of_them() -> None:
    settings = hub_settings()
    profiles = {name: replace(profile, snapshots=None) for name, profile in settings.catalog.profiles.items()}
    hub = make_hub(replace(settings, catalog=replace(settings.catalog, profiles=profiles)))
    hub.joined(ANA)
    assert "Restore files" not in hub.browser(ANA).text("/")


def test_files_come_back_by_a_form_and_the_undo_is_offered_for_a_week(saved: Hub) -> None:
    ana = saved.browser(ANA)
    answer = ana.post("/notebook/restore", copy=copy_of(ana.text("/")))
    assert (answer.status_code, answer.headers["Location"]) == (303, "/?said=restore#notebook")
    text = plain(ana.text("/?said=restore"))
    assert "The present ones are saved first." in text
    assert "Restore these" not in text
    life_of(saved).minutes(15)
    assert life_of(saved).files() == b"an hour ago"
    text = ana.text("/")
    assert "Your files are those of 08:08 UTC (1 h 15 min ago), as you requested." in plain(text)
    found = re.search(r'name="copy" value="(nb-[a-z0-9-]+)"', text)
    assert found is not None
    assert ana.post("/notebook/restore/undo", copy=found[1]).headers["Location"] == "/?said=undo#notebook"
    life_of(saved).minutes(15)
    assert life_of(saved).files() == b"now"
    saved.bench.advance(days=8)
    life_of(saved).minutes(12)
    assert "undo-restore" not in ana.text("/")


def test_one_click_that_is_sent_twice_is_one_restore(saved: Hub) -> None:
    saved.loses_wake_ups = True
    ana = saved.browser(ANA)
    name = copy_of(ana.text("/"))
    first, second = ana.post("/notebook/restore", copy=name), ana.post("/notebook/restore", copy=name)
    assert [each.headers["Location"][2:].split("#")[0] for each in (first, second)] == ["said=restore", "said=already"]
    assert ": Restore files of an earlier day" in plain(ana.text("/"))
    saved.take_up(user_key_for(ANA))
    life_of(saved).minutes(20)
    restores = [call for call in saved.bench.calls() if call["method"] == "RestoreInstance"]
    assert len(restores) == 1


@pytest.mark.parametrize("name", ["", "nb-ben-d1", "x" * 300, "<script>", "../x"])
def test_what_is_no_copy_of_hers_is_refused(saved: Hub, name: str) -> None:
    ana = saved.browser(ANA)
    for path in ("/notebook/restore", "/notebook/restore/undo"):
        answer = ana.post(path, copy=name)
        assert answer.status_code == 409
        assert "<script>" not in answer.get_data(as_text=True)
    assert not saved.woken


def test_the_page_for_scripts_has_the_copies(saved: Hub) -> None:
    files = saved.browser(ANA).get("/api/me").get_json()["files"]
    assert [each["saved_at"] for each in files["copies"]] == ["2026-11-23T08:08:00Z"]
    assert (files["kept"], files["keep"], files["is_restoring"], files["undo"]) == (1, 7, False, "")


def test_an_administrator_restores_and_undoes_from_the_persons_page(saved: Hub) -> None:
    mia, key = saved.browser(MIA), user_key_for(ANA)
    page = f"/manage/people/{key}"
    text = mia.text(page)
    assert "Last saved 08:08 UTC (1 h ago), 1 day kept." in plain(text)
    (name,) = [s.name for s in copies_of(saved.record().status)]
    asked = f"{page}/acts/restore?copy={name}"
    assert asked.replace("&", "&amp;") in text
    confirm = plain(mia.text(asked))
    assert "The person's home directory returns to its state at that time." in confirm.replace("&#39;", "'")
    assert "the files of 08:08 UTC" in confirm
    assert "stop instance" in confirm
    answer = mia.post(f"{page}/acts/restore", copy=name)
    assert answer.headers["Location"].endswith("said=restore")
    life_of(saved).minutes(15)
    assert life_of(saved).files() == b"an hour ago"
    before = saved.record().status.data.restored.before
    assert f"{page}/acts/undo-restore?copy={before}" in mia.text(page)
    mia.post(f"{page}/acts/undo-restore", copy=before)
    life_of(saved).minutes(15)
    assert life_of(saved).files() == b"now"


def test_a_copy_of_somebody_else_is_not_found_for_an_administrator(saved: Hub) -> None:
    mia, page = saved.browser(MIA), f"/manage/people/{user_key_for(ANA)}"
    assert mia.get(f"{page}/acts/restore?copy=nb-ben-d1").status_code == 404
    assert mia.post(f"{page}/acts/undo-restore", copy="nb-ben-d1").status_code == 404


def test_trouble_with_copies_is_said(saved: Hub) -> None:
    saved.bench.fault(call="compute.disks.createSnapshot", operation_error={"code": "INTERNAL", "message": "no"})
    saved.bench.advance(hours=24)
    life_of(saved).minutes(1)
    sweep("idle", saved.bench.deps)
    life_of(saved).minutes(12)
    assert "A copy of the files failed; another is taken later." in plain(saved.browser(ANA).text("/"))
