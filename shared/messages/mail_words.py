"""The texts of mails, rendered in Jinja's sandbox from `config/messages/<language>/<stage>.txt` and `layout.html`.

A text begins with `Subject: …` and an empty line; its paragraphs follow. The HTML part has the same paragraphs, escaped. Times are
written in the user's time zone, and the text in the user's language, if HR states the attributes `time_zone` and
`language`. Jinja is imported with the first mail only.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared.domain.record.parts import ABOUT_A_LEAVER, Mail, Stage, Trouble
from shared.domain.record.record import UserRecord
from shared.domain.things.times import zone_of
from shared.engine.ports.mail import Letter, NotAcceptedError
from shared.faults import ConfigFault, nearest, unreadable

if TYPE_CHECKING:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

LAYOUT = "layout.html"
_SUBJECT = "Subject: "
_EVERYWHERE = ("person", "page", "contact", "zone")
_OF_LAYOUT = ("subject", "paragraphs", "page", "language", "link")
TIMES = frozenset({"at", "since", "of", "notebook_until", "files_until"})
# What a stage's text may name beside `_EVERYWHERE`. A fact that the mail lacks is an empty text.
FACTS: Mapping[Stage, tuple[str, ...]] = {
    Stage.READY: (),
    Stage.WILL_STOP: ("at",),
    Stage.STOPPED: ("at", "since", "cause"),
    Stage.WILL_CHANGE: ("at", "replaces"),
    Stage.RESTORED: ("at", "of", "end"),
    Stage.WILL_BE_PUT_AWAY: ("at", "since", "days"),
    Stage.PUT_AWAY: ("at", "since"),
    Stage.ACCESS_ENDED: ("at", "kept", "notebook_until", "files_until"),
    Stage.WILL_BE_DELETED: ("at", "days"),
    Stage.DELETED: ("at",),
}
_FORMATS = {"en": "%d %b %Y, %H:%M", "de": "%d.%m.%Y, %H:%M"}
_NEUTRAL = "%Y-%m-%d %H:%M"
_LONGEST_NAME = 80
_LONGEST_SUBJECT = 200
_LANGUAGE = re.compile(r"[a-z]{2}")
_RIGHT_TO_LEFT = frozenset({"R", "AL"})
_FIRST_STRONG, _POP = "\u2068", "\u2069"


class MailWords:
    """A writer of mails from the texts in a folder. `language` and `zone` are the defaults for users without their own."""

    def __init__(self, folder: Path, *, language: str, zone: str, page: str, contact: str) -> None:
        self._folder = folder
        self._language, self._zone, self._page, self._contact = language, zone, page, contact

    def write(self, mail: Mail, record: UserRecord, recipients: Sequence[str], now: datetime) -> Letter:
        """Return the mail as plain text and HTML. Raise `NotAcceptedError` if its text cannot be rendered."""
        language, zone = self._language_of(mail, record, now), self._zone_of(mail, record, now)
        names = {
            "person": person_of(record, now),
            "page": self._page,
            "contact": self._contact,
            "zone": str(zone),
            **{name: said(name, mail.facts.get(name, ""), zone, language) for name in FACTS[mail.stage]},
        }
        try:
            subject, text = _rendered(self._folder, language, mail.stage, names)
            html = (
                _environment(self._folder, escapes=True)
                .get_template(LAYOUT)
                .render(
                    subject=subject,
                    paragraphs=[part.split("\n") for part in re.split(r"\n{2,}", text.strip())],
                    page=self._page,
                    language=language,
                    link="/manage" if mail.stage in ABOUT_A_LEAVER else "/",
                )
            )
        except Exception as error:  # a text of the configuration may do anything that Jinja lets it
            raise NotAcceptedError(Trouble.TEXT, f"{language}/{mail.stage.value}: {type(error).__name__}") from error
        return Letter(
            recipients=tuple(recipients),
            subject=subject,
            text=text,
            html=html,
            language=language,
            message_id=message_id(record.user_key, mail),
            at=now,
        )

    def _language_of(self, mail: Mail, record: UserRecord, now: datetime) -> str:
        """Return the user's language if the texts exist in it, else the language of the settings.

        Mails about a leaver go to other people, so they are in the language of the settings.
        """
        said = None if mail.stage in ABOUT_A_LEAVER else record.facts.attribute("language", now)
        wanted = said[:2].lower() if isinstance(said, str) else ""
        has_it = bool(_LANGUAGE.fullmatch(wanted)) and (self._folder / wanted / f"{mail.stage.value}.txt").exists()
        return wanted if has_it else self._language

    def _zone_of(self, mail: Mail, record: UserRecord, now: datetime) -> tzinfo:
        said = None if mail.stage in ABOUT_A_LEAVER else record.facts.attribute("time_zone", now)
        try:
            return zone_of(said if isinstance(said, str) and said else self._zone)
        except (ValueError, OSError, KeyError):  # what HR states may be anything
            return zone_of(self._zone)


def message_id(user_key: str, mail: Mail) -> str:
    """Return the part of the Message-ID before the @. It is the same for the same user, stage and episode."""
    return hashlib.sha256(f"{user_key}\n{mail.stage.value}\n{mail.episode}".encode()).hexdigest()[:40]


def person_of(record: UserRecord, now: datetime) -> str:
    """Return the person's name for a mail, as one short line: HR's attribute `name`, if stated, and the address."""
    stated, address = record.facts.attribute("name", now), _shown(record.email)
    name = _shown(stated) if isinstance(stated, str) else ""
    return f"{name} ({address})" if name and name != address else address


def _shown(text: str) -> str:
    name = plain(text)
    if len(name) > _LONGEST_NAME:
        name = f"{name[: _LONGEST_NAME - 1]}…"
    if any(unicodedata.bidirectional(each) in _RIGHT_TO_LEFT for each in name):
        return f"{_FIRST_STRONG}{name}{_POP}"  # the sentence around it keeps its direction
    return name


def plain(text: str) -> str:
    """Return a text from outside as one line without control and formatting characters."""
    shown = "".join(" " if each.isspace() else each for each in text)
    return " ".join("".join(each for each in shown if unicodedata.category(each)[0] != "C").split())


def said(name: str, value: str, zone: tzinfo, language: str) -> str:
    """Return a fact as text: a time in that zone, rounded to the minute; any other value unchanged."""
    if name not in TIMES or not value:
        return value
    at = datetime.fromisoformat(value) + timedelta(seconds=30)
    local = at.astimezone(zone)
    return f"{local.strftime(_FORMATS.get(language, _NEUTRAL))} {local.strftime('%Z')}"


def _environment(folder: Path, *, escapes: bool) -> ImmutableSandboxedEnvironment:
    from jinja2 import FileSystemLoader, StrictUndefined  # noqa: PLC0415 - only with the first mail
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415 - same

    return ImmutableSandboxedEnvironment(
        loader=FileSystemLoader(folder),
        autoescape=escapes,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
    )


def _rendered(folder: Path, language: str, stage: Stage, names: Mapping[str, str]) -> tuple[str, str]:
    """Return the subject and the text of a mail. Template syntax inside the values is not rendered."""
    made = _environment(folder, escapes=False).get_template(f"{language}/{stage.value}.txt").render(names)
    first, _, rest = made.partition("\n")
    text = re.sub(r"\n{3,}", "\n\n", rest.strip())
    return plain(first.removeprefix(_SUBJECT))[:_LONGEST_SUBJECT], f"{text}\n"


def words_faults(folder: Path, language: str) -> Iterator[ConfigFault]:
    """Yield a fault for each text that is missing or empty, cannot be rendered, names an unknown value, or has no subject."""
    if not (folder / language).is_dir():
        yield ConfigFault(
            str(folder / language),
            0,
            "",
            "the folder does not exist",
            f"Put the texts in the language '{language}' into it.",
        )
    for each in sorted(path for path in folder.glob("*") if path.is_dir()):
        for stage in Stage:
            yield from _text_faults(each / f"{stage.value}.txt", (*_EVERYWHERE, *FACTS[stage]), has_subject=True)
    yield from _text_faults(folder / LAYOUT, _OF_LAYOUT, has_subject=False)


def _text_faults(path: Path, names: Sequence[str], *, has_subject: bool) -> Iterator[ConfigFault]:
    from jinja2 import TemplateSyntaxError, nodes  # noqa: PLC0415 - a function has no use for the checks
    from jinja2.meta import find_undeclared_variables  # noqa: PLC0415 - same

    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        yield ConfigFault(str(path), 0, "", "the file does not exist", "Write it, or copy the shipped one.")
        return
    except (OSError, UnicodeDecodeError) as error:
        yield unreadable(path, error)
        return
    try:
        tree = _environment(path.parent, escapes=not has_subject).parse(text)
    except TemplateSyntaxError as error:
        yield ConfigFault(str(path), error.lineno, "", f"is not a valid Jinja template: {error.message}", "")
        return
    unknown = find_undeclared_variables(tree) - set(names)
    for name in sorted(unknown):
        lines = [node.lineno for node in tree.find_all(nodes.Name) if node.name == name]
        yield ConfigFault(str(path), min(lines, default=1), name, f"no value '{name}'", nearest(name, names))
    if unknown:
        return
    if has_subject and not text.startswith(_SUBJECT):
        yield ConfigFault(str(path), 1, "", "the first line is not a subject", "Begin with: Subject: …")
        return
    yield from _rendering_faults(path, names, has_subject=has_subject)


def _rendering_faults(path: Path, names: Sequence[str], *, has_subject: bool) -> Iterator[ConfigFault]:
    """Yield a fault if the text cannot be rendered with all values, or with none."""
    for value in ("x", ""):
        given: dict[str, Any] = dict.fromkeys(names, value)
        if not has_subject:
            given["paragraphs"] = [["x"]]
        try:
            made = _environment(path.parent, escapes=not has_subject).get_template(path.name).render(given)
        except Exception as error:  # noqa: BLE001 - as in `MailWords.write`
            line = _line_of(error, path)
            yield ConfigFault(str(path), line, "", f"cannot be rendered: {type(error).__name__}: {error}", "")
            return
        if has_subject and not made.partition("\n")[2].strip():
            yield ConfigFault(str(path), 0, "", "there is no text after the subject", "Write what happened.")
            return


def _line_of(error: Exception, path: Path) -> int:
    """Return the line of the text at which rendering failed, 0 if unknown."""
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
