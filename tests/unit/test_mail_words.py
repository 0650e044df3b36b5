"""The words of mails: every text in every language, names that try to break out, and faults of texts with their lines."""

from __future__ import annotations

import email
import email.policy
import shutil
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kit.inprocess import ROOT
from msgspec.structs import replace

from portal.language import words_of
from shared.checking import check_all
from shared.cloud.mail.smtp import as_bytes
from shared.domain.intent.wanted import new_record
from shared.domain.people.facts import ATTRIBUTE, Facts
from shared.domain.people.statements import Statement
from shared.domain.record.parts import Mail, MailState, Stage
from shared.domain.record.record import UserRecord
from shared.domain.things.identity import parse_email
from shared.domain.things.power import PowerCause
from shared.engine.ports.mail import NotAcceptedError
from shared.engine.views.words import POWER
from shared.messages.mail_words import FACTS, TIMES, MailWords, words_faults

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
TEXTS = ROOT / "config" / "messages"
LANGUAGES = ("en", "de")
SENDER = "notebooks@example.com"
ARABIC = "محمد بن عبد الله الخوارزمي"


def words(folder: Path = TEXTS, language: str = "en") -> MailWords:
    return MailWords(folder, language=language, zone="Europe/Berlin", page="https://n.example.com", contact="the desk")


def person(**attributes: object) -> UserRecord:
    facts = Facts.none()
    for name, value in attributes.items():
        said = Statement(event_id="e", occurred_at=NOW, effective_at=NOW, value=value, withdraws=False)
        facts = facts.with_statement(f"{ATTRIBUTE}{name}", said)
    return replace(new_record(parse_email("Ñandú O'Neil+test@sub.example.co"), NOW), facts=facts)


def mail(stage: Stage, **facts: str) -> Mail:
    given_ = {name: NOW.isoformat() if name in TIMES else "" for name in FACTS[stage]} | facts
    return Mail(stage=stage, episode="e", state=MailState.DUE, at=NOW, decided_at=NOW, facts=given_)


def parsed(raw: bytes) -> EmailMessage:
    found = email.message_from_string(raw.decode(), policy=email.policy.default)  # headers may be UTF-8 (RFC 6532)
    assert isinstance(found, EmailMessage)
    return found


def text_of(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    assert part is not None
    return str(part.get_content())


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("stage", Stage)
def test_every_text_makes_a_mail_with_both_parts(stage, language):
    letter = words(language=language).write(mail(stage, days="1", end="Done", kept="until"), person(), ["a@b.co"], NOW)
    message = parsed(as_bytes(letter, SENDER))
    assert message.defects == []
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Message-ID"] == f"<{letter.message_id}@example.com>"
    assert message["Date"].datetime == NOW
    assert (message["Subject"], message["To"]) == (letter.subject, "a@b.co")
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    assert "https://n.example.com" in text_of(message, "html")
    assert "{" not in text_of(message, "plain")
    assert text_of(message, "plain").strip()


def test_the_same_mail_has_the_same_id_and_others_have_others():
    one, same = mail(Stage.READY), mail(Stage.READY)
    made = [words().write(each, person(), ["a@b.co"], NOW + timedelta(hours=n)) for n, each in enumerate((one, same))]
    other = words().write(replace(one, episode="another"), person(), ["a@b.co"], NOW)
    assert made[0].message_id == made[1].message_id != other.message_id


def test_times_are_in_the_zone_and_words_in_the_language_of_the_person():
    about = mail(Stage.WILL_STOP, at="2026-11-23T17:10:00+00:00")
    assert "23 Nov 2026, 18:10 CET" in words().write(about, person(), ["a@b.co"], NOW).text
    there = person(language="de-AT", time_zone="Asia/Kolkata")
    assert "23.11.2026, 22:40 IST" in words().write(about, there, ["a@b.co"], NOW).text
    for odd in ("../../etc", "xx", "", 7, "klingon"):
        letter = words().write(about, person(language=odd, time_zone=odd), ["a@b.co"], NOW)
        assert (letter.language, "18:10 CET" in letter.text) == ("en", True)


@settings(max_examples=30, deadline=None)
@given(st.text(min_size=1, max_size=300) | st.from_regex(r"=\?utf-8\?q\?(x|=0D=0A|_|:|Bcc){1,9}\?="))
@example("=?utf-8?q?x=0D=0ABcc:_eve@elsewhere.example=0D=0A=0D=0ABody?=")
@example(f"{ARABIC} " * 7)
@example("x" * 300)
def test_no_name_breaks_out_of_a_header_a_line_or_the_page(name):
    letter = words().write(mail(Stage.ACCESS_ENDED, kept="until"), person(name=name), ["a@b.co"], NOW)
    message = parsed(as_bytes(letter, SENDER))
    assert set(message.keys()) == {
        "Subject", "From", "To", "Date", "Message-ID", "Auto-Submitted", "X-Auto-Response-Suppress", "Content-Language",
        "MIME-Version", "Content-Type",
    }  # fmt: skip
    assert len(message.get_all("To")) == 1
    assert "\n" not in letter.subject
    assert message["Subject"] == letter.subject
    assert letter.html.count("<script") == 0
    assert letter.html.count("<p ") == words().write(
        mail(Stage.ACCESS_ENDED, kept="until"), person(name="x"), ["a@b.co"], NOW
    ).html.count("<p ")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("<img src=x onerror=alert(1)>", "&lt;img src=x onerror=alert(1)&gt;"),
        ("{{ 7 * 7 }} {% raw %}", "{{ 7 * 7 }} {% raw %}"),
        ("Ana\r\nBcc: x@example.com", "Ana Bcc: x@example.com"),
        (f"\u202e{ARABIC}", f"\u2068{ARABIC}\u2069"),
        ("x" * 500, "x" * 79 + "…"),
    ],
)
def test_names_are_shown_as_they_are_and_no_more(name, shown):
    letter = words().write(mail(Stage.DELETED), person(name=name), ["a@b.co"], NOW)
    assert shown in letter.html


def test_an_address_of_any_name_is_quoted_as_it_must_be():
    letter = words().write(mail(Stage.READY), person(), ["ñandú o'neil+test@münchen.example"], NOW)
    message = parsed(as_bytes(letter, SENDER))
    (address,) = message["To"].addresses
    assert (address.username, address.domain) == ("ñandú o'neil+test", "xn--mnchen-3ya.example")
    bad = replace(letter, recipients=("a@b.co\r\nBcc: x@example.com",))
    with pytest.raises(NotAcceptedError):
        as_bytes(bad, SENDER)


# --- faults of texts


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return shutil.copytree(ROOT / "config", tmp_path / "config", ignore=shutil.ignore_patterns("checked.*"))


def faults(folder: Path) -> list[str]:
    return [
        str(fault).removeprefix(f"{folder}/") for fault in check_all(env="local", config_dir=folder, environ={}).faults
    ]


def test_the_shipped_texts_have_no_fault(folder):
    assert faults(folder) == []
    assert list(words_faults(folder / "messages", "de")) == []


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("en/ready.txt", None, "messages/en/ready.txt: the file does not exist. Write it, or copy the shipped one."),
        ("en/ready.txt", "Subject: x\n\nHi {{ persn }}\n", "messages/en/ready.txt:3: persn: no value 'persn'. Did you mean 'person'?"),
        ("de/ready.txt", "Subject: x\n\n{% if %}\n", "messages/de/ready.txt:3: is not a valid Jinja template"),
        ("en/ready.txt", "Hello\n", "messages/en/ready.txt:1: the first line is not a subject. Begin with: Subject: …"),
        ("en/ready.txt", "Subject: x\n\n", "messages/en/ready.txt: there is no text after the subject"),
        ("en/ready.txt", "Subject: x\n\n{{ person.__class__.__mro__ }}\n", "messages/en/ready.txt:3: cannot be rendered: SecurityError"),
        ("layout.html", "{{ sbject }}", "messages/layout.html:1: sbject: no value 'sbject'. Did you mean 'subject'?"),
    ],
)  # fmt: skip
def test_a_fault_of_a_text_is_named_with_file_and_line(folder, name, text, said):
    path = folder / "messages" / name
    if text is None:
        path.unlink()
    else:
        path.write_text(text, encoding="utf-8")
    (fault,) = faults(folder)
    assert fault.startswith(said)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("smtp: {host: smtp.x.co, port: 25}", "Google Cloud blocks port 25; use 587 (starttls) or 465 (tls)"),
        ("smtp: {host: smtp.x.co, security: none}", "would cross the network in clear text"),
        ("language: fr, smtp: {host: smtp.x.co}", "messages/fr: the folder does not exist"),
        ("language: en", "names neither smtp nor chat"),
        ("smtp: {host: 'a b'}", "messages.smtp.host"),
        ("smtp: {host: smtp.x.co, password: x}", "unknown key 'password'"),
    ],
)
def test_a_fault_of_the_settings_says_why(folder, written, said):
    with (folder / "settings.local.yaml").open("a", encoding="utf-8") as file:
        file.write(f"messages: {{from: n@example.com, page: 'https://n.example.com', {written}}}\n")
    assert any(said in fault for fault in faults(folder)), faults(folder)


TOLD_CAUSES = (
    PowerCause.IDLE, PowerCause.UNSEEN, PowerCause.STOPPED_BY_ADMINISTRATOR, PowerCause.STOPPED_OUTSIDE
)  # fmt: skip


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("cause", TOLD_CAUSES)
def test_a_mail_says_a_reason_as_the_page_and_the_command_line_do(cause, language):
    letter = words(language=language).write(mail(Stage.STOPPED, cause=cause.value), person(), ["a@b.co"], NOW)
    said = words_of(language).short(POWER[cause])
    text = text_of(parsed(as_bytes(letter, SENDER)), "plain")
    assert f"{'The reason' if language == 'en' else 'Der Grund'}: {said}" in text
    others = {POWER[other] for other in TOLD_CAUSES} - {POWER[cause]}
    assert len(others) == 3
    assert not any(words_of(language).short(other) in text for other in others)


def test_no_other_mail_says_a_reason_in_words_of_its_own():
    naming = [path.parent.name for path in TEXTS.glob("*/*.txt") if "cause ==" in path.read_text(encoding="utf-8")]
    assert sorted(naming) == sorted(LANGUAGES)  # only `stopped.txt` names causes
