"""The page in German: nothing of it is missing, nothing of it is English, and what somebody typed stays as it was typed."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from string import Formatter

import pytest
import yaml
from kit.german import PAGES, WORDS, bare_texts, english_in, german, sentences_of, template_texts
from kit.hub import ANA, NOBODY, Hub, hub_settings, make_hub
from msgspec.structs import replace
from werkzeug.datastructures import LanguageAccept

from portal.language import LANGUAGES, Words, entries_of, language_of, words_of
from shared.domain.fleet.fleet import Notes
from shared.domain.people.events import Moved
from shared.domain.record.status import ConditionStatus, ConditionType, set_condition
from shared.domain.things.catalog import Disruption
from shared.domain.things.errors import Reason
from shared.domain.things.identity import user_key_for

ROOT = Path(__file__).parents[2]
# The templates that a person without a role sees, and the frame of all others.
OF_ANALYSTS = sorted([*(PAGES / "home").glob("*.html"), *PAGES.glob("*.html")])
# Code whose sentences a person reads on the own page: words of a state, answers to a click, and errors of Google Cloud.
SENTENCES = [
    *(ROOT / "shared/domain/notebook").glob("*.py"),
    *(ROOT / "shared/domain/spark").glob("*.py"),
    ROOT / "shared/domain/plan/step.py",
    ROOT / "shared/domain/things/power.py",
    ROOT / "shared/domain/snapshot/copies.py",
    ROOT / "shared/domain/intent/wish.py",
    ROOT / "shared/domain/intent/restoring.py",
    ROOT / "shared/cloud/http/translate.py",
    *(ROOT / "shared/cloud/notebook").glob("*.py"),
    *(ROOT / "shared/cloud/dataproc").glob("clusters.py"),
    ROOT / "portal/home.py",
    ROOT / "portal/notebook_view.py",
    ROOT / "portal/spark_view.py",
    ROOT / "portal/preferences.py",
    ROOT / "portal/problems.py",
]


@pytest.fixture
def ana() -> Hub:
    hub = make_hub()
    hub.joined(ANA)
    return hub


def say(hub: Hub, reason: Reason, message: str, status: ConditionStatus = ConditionStatus.FALSE) -> None:
    found = set_condition(
        hub.record().status.conditions, ConditionType.NOTEBOOK_READY, status, reason, message, hub.bench.now
    )
    hub.edit(ANA, conditions=found)


# ---- nothing is missing


def test_each_text_of_a_template_has_its_german() -> None:
    known = entries_of("de")
    texts = set(template_texts(OF_ANALYSTS))
    assert len(texts) > 100
    assert sorted(texts - known.keys()) == []


def test_no_text_of_these_templates_stands_outside_a_translation() -> None:
    assert {path.name: bare_texts(path) for path in OF_ANALYSTS if bare_texts(path)} == {}


def test_each_sentence_that_code_says_to_people_has_its_german() -> None:
    seen, missing = 0, []
    for path in SENTENCES:
        for text in sentences_of(path):
            sentence = re.sub(r"^7(?= [A-Z])(?! Spark cluster)", "", text).strip()
            if " " not in sentence or not re.match(r"[A-Z]|7 (?:[A-Zt]|cop)", sentence) or sentence[-1] not in ".!":
                continue
            seen += 1
            missing += [f"{path.name}: {part}" for part, known in WORDS.told(sentence) if not known]
    assert (seen > 120, missing) == (True, [])


def test_the_entries_agree_with_their_english() -> None:
    raw = yaml.safe_load((ROOT / "portal/words.yaml").read_text())
    assert len({entry["en"] for entry in raw}) == len(raw), "an English text stands there twice"
    for entry in raw:
        names = [{name for _, name, _, _ in Formatter().parse(entry[code]) if name} for code in ("en", "de")]
        assert names[1] <= names[0], entry
        tags = [sorted(re.findall(r"</?[a-z]+", entry[code])) for code in ("en", "de")]
        assert tags[0] == tags[1], entry


# ---- nothing is English


def test_a_notebook_that_runs(ana: Hub) -> None:
    browser = german(ana)
    html = browser.text("/")
    assert '<html lang="de">' in html
    assert "Läuft" in html
    assert "JupyterLab öffnen" in html
    assert english_in(html) == []
    for part in ("/parts/notebook", "/parts/spark"):
        assert english_in(f"<body>{browser.text(part)}") == []


def test_a_notebook_that_is_warned_of_and_costs(ana: Hub) -> None:
    now = ana.bench.now
    key = user_key_for(ANA)
    notes = Notes(
        taken_at=now, idle_stops={key: now + timedelta(minutes=20)}, last_used={key: now - timedelta(hours=3)}
    )
    ana.bench.deps.fleet.write_notes(replace(notes, costs={key: 1234.5}, costs_month="2026-11", costs_at=now))
    ana.edit(ANA, idle_warned_at=now)
    html = german(ana).text("/")
    assert "1.234,50 EUR diesen Monat" in html
    assert "Stoppt " in html
    assert english_in(html) == []


def test_each_answer_to_a_click(ana: Hub) -> None:
    browser = german(ana)
    for path, fields in (
        ("/notebook/keep-on", {"until": "2h"}),
        ("/notebook/keep-on/cancel", {}),
        ("/notebook/restart", {}),
        ("/notebook/stop", {}),
        ("/notebook/stop", {}),
        ("/spark/single-node/start", {}),
    ):
        answer = browser.post(path, headers={"HX-Request": "true"}, **fields)
        assert answer.status_code == 200, path
        assert english_in(f"<body>{answer.get_data(as_text=True)}") == [], path
    ana.life().minutes(12)
    assert english_in(browser.text("/")) == []


def test_a_notebook_on_its_way_and_its_history() -> None:
    hub = make_hub()
    hub.joined(ANA, minutes=2)
    browser = german(hub)
    assert english_in(browser.text("/")) == []
    hub.life().minutes(10)
    browser.post("/notebook/stop")
    hub.life().minutes(5)
    html = browser.text("/history")
    assert "Notebook: Gestoppt" in html
    assert english_in(html) == []


@pytest.mark.parametrize(
    "message",
    [
        "Google Cloud has no such machines in this zone just now; Benchkeeper tries again.",
        "The project's quota 'CPUS' (limit 8 in europe-west1) is used up. An administrator can ask Google for more.",
        "The profile 'data engineer' does not exist any more. An administrator must restore it.",
        "Your notebook was stopped: nobody has used it since 2026-11-23 08:00 UTC. Your files are kept.",
        "Google Cloud takes too long to start the notebook; an administrator should look.",
    ],
)
def test_sentences_of_the_record(ana: Hub, message: str) -> None:
    say(ana, Reason.STOCKOUT, message)
    html = german(ana).text("/")
    assert english_in(html) == []
    assert 'lang="en"' not in html.split("<main", 1)[-1]


def test_a_move_that_waits_for_a_window() -> None:
    hub = make_hub(hub_settings({"engineer": {"disruption": Disruption.WHEN_IDLE}}))
    hub.joined(ANA).tell(Moved, profile="engineer", profile_said=True)
    message = "Your notebook is running. A change to its machine is made in the maintenance window that opens on Sun 2026-11-29 03:00 UTC."
    say(hub, Reason.UPDATE_PENDING, message, ConditionStatus.TRUE)
    html = german(hub).text("/")
    assert "im Wartungsfenster, das " in html
    assert "So. 29. Nov. 04:00" in html
    assert english_in(html) == []


def test_who_has_no_notebook_and_who_left(ana: Hub) -> None:
    stranger = german(ana, NOBODY).get("/")
    assert (stranger.status_code, english_in(stranger.get_data(as_text=True))) == (403, [])
    ana.left(ANA)
    gone = german(ana).get("/")
    assert (gone.status_code, english_in(gone.get_data(as_text=True))) == (403, [])


def test_problems(ana: Hub) -> None:
    browser = german(ana)
    answers = [
        browser.get("/nowhere"),
        browser.get("/manage"),
        browser.post("/preferences/time-zone", zone="Mars"),
        browser.post("/preferences/language", language="tlh"),
        browser.post("/notebook/stop", csrf="forged"),
        browser.post("/notebook/restore", copy="none-of-mine"),
        browser.post("/spark/none/start"),
    ]
    for answer in answers:
        assert english_in(answer.get_data(as_text=True)) == [], answer.request.path


def test_what_no_entry_knows_is_marked_as_english_and_escaped(ana: Hub) -> None:
    say(ana, Reason.STUCK, "Frobnication of <b>the</b> machine is late. Your files are kept.")
    html = german(ana).text("/")
    assert '<span lang="en">Frobnication of &lt;b&gt;the&lt;/b&gt; machine is late.</span> Ihre Dateien bleiben' in html


def test_what_somebody_typed_is_not_translated() -> None:
    assert WORDS.short("Start the Spark environment <i>Running</i>") == "Die Spark-Umgebung <i>Running</i> starten"
    assert list(WORDS.told("The profile 'Stopped' does not exist any more.")) == [
        ("Das Profil „Stopped“ gibt es nicht mehr.", True)
    ]


# ---- which language


@pytest.mark.parametrize(
    ("cookie", "accepts", "language"),
    [
        ("", "", "en"),
        ("", "de", "de"),
        ("", "de-AT,de;q=0.8,en;q=0.5", "de"),
        ("", "fr,en;q=0.9,de;q=0.1", "en"),
        ("", "en-GB", "en"),
        ("", "*", "en"),
        ("de", "en", "de"),
        ("en", "de", "en"),
        ("../../etc", "de", "de"),
        ("fr", "en", "en"),
    ],
)
def test_the_readers_choice_beats_the_browsers(cookie: str, accepts: str, language: str) -> None:
    parsed = [(part.partition(";q=")[0], float(part.partition(";q=")[2] or 1)) for part in accepts.split(",") if part]
    assert language_of({"language": cookie} if cookie else {}, LanguageAccept(parsed)) == language


def test_the_choice_is_kept_and_leads_back(ana: Hub) -> None:
    browser = ana.browser(ANA)
    assert "Your notebook" in browser.text("/")
    answer = browser.post("/preferences/language", language="de", back="/history")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/history")
    assert "Verlauf Ihres Notebooks" in browser.text("/history")
    assert browser.post("/preferences/language", language="en", back="//evil.example").headers["Location"] == "/"
    assert "History of your notebook" in browser.text("/history")
    assert browser.post("/preferences/language", language="<b>").status_code == 409


def test_what_scripts_read_stays_english(ana: Hub) -> None:
    plainly = ana.browser(ANA)
    plainly.client.set_cookie("tz", "Europe/Berlin")
    assert german(ana).get("/api/me").json == plainly.get("/api/me").json


def test_english_is_as_it_is_written() -> None:
    words = words_of("en")
    for text in ("Anything at all. Really.", "Tue 24 Nov 14:05", "1,234.50 EUR", ""):
        assert (words.short(text), words.figures(text), list(words.told(text))) == (text, text, [(text, True)])
    assert list(LANGUAGES) == ["en", "de"]
    assert list(Words({"A {n}.": "B {n}."}).told("A 3. A 4.")) == [("B 3.", True), ("B 4.", True)]
