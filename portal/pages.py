"""The responses: a page, a fragment with its ETag, JSON, and a problem in the form that the client requested."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime
from fractions import Fraction
from typing import Any

import flask
from markupsafe import Markup, escape

from portal import csrf
from portal.cost_view import short_cost
from portal.deps import current
from portal.language import ENGLISH, LANGUAGES, Words, words_of
from portal.problems import Problem
from portal.reader import duration_text, local, moment_text, relative_text
from portal.visit import Visit, may, visit
from shared.domain.intent.roles import Right
from shared.domain.things.money import rounded
from shared.domain.things.times import rfc3339

PROBLEM_JSON = "application/problem+json"
ADMIN_PAGE = "manage.index"  # the first page of a role that may see everything
_NAMES = frozenset({"Google", "Spark"})  # first words of texts that keep their capital behind a number
LOOKS_AFTER = (
    "looks-after"  # a cookie that only keeps the link to the manager's pages visible; these pages check the role
)
FIND_PAGE = "manage.help_desk"  # the first page of the help desk
_WRITTEN_TIME = re.compile(
    r"\b(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) )?(\d{4}-\d\d-\d\d) (\d\d:\d\d(?::\d\d)?) UTC\b", re.ASCII
)


def install(app: flask.Flask) -> None:
    """Register the filters and globals that every template may use."""
    app.jinja_env.filters["moment"] = moment
    app.jinja_env.filters["clock"] = clock
    app.jinja_env.filters["day"] = day
    app.jinja_env.filters["told"] = told
    app.jinja_env.filters["word"] = word
    app.jinja_env.filters["counted"] = counted
    app.jinja_env.filters["figures"] = figures
    app.jinja_env.filters["number"] = lambda count: figures(f"{count:,}")
    app.jinja_env.filters["of_sentence"] = of_sentence
    app.jinja_env.filters["rfc3339"] = rfc3339
    app.jinja_env.filters["duration"] = duration_text
    app.jinja_env.filters["money"] = lambda amount, currency: figures(money(amount, currency))
    app.jinja_env.filters["short_cost"] = short_cost
    app.jinja_env.filters["price"] = lambda amount, currency: figures(price(amount, currency))
    app.jinja_env.globals["asset"] = _asset
    app.jinja_env.globals["csrf_field"] = csrf_field
    app.jinja_env.add_extension("jinja2.ext.i18n")
    app.jinja_env.policies["ext.i18n.trimmed"] = True
    app.jinja_env.install_gettext_callables(  # type: ignore[attr-defined]
        lambda text: words().of_template(text),
        lambda one, many, number: words().plural(one, many, number),
        newstyle=True,
    )
    app.context_processor(_context)


def words() -> Words:
    """Return the words of the reader's language."""
    return words_of(visit().language)


def is_htmx() -> bool:
    """Return True if the page's script sent the request: it expects a fragment and puts it into the page."""
    return flask.request.headers.get("HX-Request") == "true"


def page(template: str, *, status: int = 200, **values: Any) -> flask.Response:
    """Return a template as a response: a whole page, or a part of a page."""
    return flask.make_response(flask.render_template(template, **values), status)


def fragment(template: str, **values: Any) -> flask.Response:
    """Return a part of a page, or 304 without a body if it is unchanged since the browser got it (`If-None-Match`)."""
    body = flask.render_template(template, **values).encode()
    response = flask.Response(body)
    response.set_etag(hashlib.sha256(body).hexdigest()[:20])
    response.make_conditional(flask.request)
    return response


def json_answer(value: Any, *, status: int = 200, media: str = "application/json") -> flask.Response:
    """Return one JSON object, with its keys in the order given."""
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return flask.Response(body + "\n", status=status, content_type=media)


def go(address: str) -> flask.Response:
    """Redirect to another address with GET (303), so that a reload does not send the form again."""
    return flask.make_response(flask.redirect(address, code=303))


def wants_json() -> bool:
    """Return True for the routes that scripts use, and for clients that prefer JSON."""
    if flask.request.path.startswith("/api/") or flask.request.path.endswith(".json"):
        return True
    offered = ["text/html", "application/json"]
    return flask.request.accept_mimetypes.best_match(offered, default="text/html") == "application/json"


def answer_problem(problem: Problem, present: Visit) -> flask.Response:
    """Return the problem in the form that the client requested, with the request id under which it is logged."""
    if wants_json():
        value = {
            "title": problem.title,
            "status": problem.status,
            "detail": problem.message,
            "reason": problem.reason,
            "request": present.request_id,
        }
        response = json_answer(value, status=problem.status, media=PROBLEM_JSON)
    else:
        template = "notice.html" if is_htmx() else "problem.html"
        response = page(template, status=problem.status, problem=problem, request_id=present.request_id)
        if is_htmx():
            response.headers["HX-Retarget"], response.headers["HX-Reswap"] = "#notice", "innerHTML"
    if problem.retry_after_s is not None:
        response.headers["Retry-After"] = str(problem.retry_after_s)
    if problem.allow:
        response.headers["Allow"] = ", ".join(problem.allow)
    return response


def moment(when: datetime) -> Markup:
    """Return `<time>` with the moment on the reader's clock and its distance from now."""
    present = visit()
    now = present.now()
    return Markup('<time datetime="{}">{}</time> <span class="relative">({})</span>').format(
        rfc3339(when), _time(moment_text(when, now, present.zone)), _time(relative_text(when, now))
    )


def clock(when: datetime) -> Markup:
    """Return `<time>` with the moment on the reader's clock, without the distance from now that `moment` adds."""
    present = visit()
    return Markup('<time datetime="{}">{}</time>').format(
        rfc3339(when), _time(moment_text(when, present.now(), present.zone))
    )


def day(when: datetime) -> Markup:
    """Return `<time>` as a day on the reader's calendar: `28 Nov`, with the year if it is not the present year."""
    present = visit()
    there, here = local(when, present.zone), local(present.now(), present.zone)
    year = "" if there.year == here.year else f" {there.year}"
    return Markup('<time datetime="{}">{}</time>').format(rfc3339(when), _time(f"{there.day} {there:%b}{year}"))


def told(text: str, *, clock: bool = True) -> Markup:
    """Return a sentence of the record, escaped, in the reader's language, with its times on the reader's clock.

    Times are recognized as `2026-11-23 14:05 UTC`, with or without a weekday before. Without `clock`, they are not
    converted.
    """
    present = visit()

    def here(found: re.Match[str]) -> str:
        try:
            when = datetime.fromisoformat(f"{found[1]}T{found[2]}+00:00")
        except ValueError:
            return found[0]
        shown = _time(moment_text(when, present.now(), present.zone))
        return Markup('<time datetime="{}">{}</time>').format(rfc3339(when), shown)

    parts = [
        escape(part) if is_known else Markup('<span lang="en">{}</span>').format(part)
        for part, is_known in words().told(str(text))
    ]
    shown = " ".join(parts)
    return Markup(_WRITTEN_TIME.sub(here, shown) if clock else shown)  # noqa: S704 - the text is escaped first; only times are inserted


def word(text: str) -> str:
    """Return a word or a sentence in the reader's language, as text: for attributes, and for texts without a time."""
    return words().short(text)


def counted(text: str) -> str:
    """Return a text for use after a number. In English, the text's first letter is lower case unless it begins a name."""
    found, first = word(text), text.partition(" ")[0]
    is_plain = visit().language == ENGLISH and first[1:] == first[1:].lower() and first not in _NAMES
    return f"{found[:1].lower()}{found[1:]}" if is_plain else found


def figures(text: str) -> str:
    """Return the text with its numbers in the format of the reader's language."""
    return words().figures(text)


def of_sentence(text: str) -> str:
    """Return a heading for use within a sentence. In German, nouns keep their capital letter."""
    return text.lower() if visit().language == ENGLISH else text


def _time(text: str) -> str:
    return words().short(text)


def _asset(name: str) -> str:
    """Return the URL of a static file."""
    return current().assets.url(name)


def money(amount: float | Fraction, currency: str) -> str:
    """Return an amount as `1,234.50 EUR`. Amounts are rounded only here."""
    return f"{rounded(amount) if isinstance(amount, Fraction) else amount:,.2f} {currency}"


def price(amount: float, currency: str) -> str:
    """Return an hourly price. Small prices keep their significant digits: `0.045 EUR`."""
    return money(amount, currency) if amount >= 0.1 or amount == 0 else f"{amount:.2g} {currency}"  # noqa: PLR2004 - a tenth


def csrf_field() -> Markup:
    """Return the hidden field that every form that changes something needs."""
    return Markup('<input type="hidden" name="{}" value="{}">').format(csrf.FIELD, escape(csrf.give_token(visit())))


def _context() -> dict[str, Any]:
    portal, present = current(), visit()
    return {
        "person": present.person,
        "contact": word(portal.deps.contact),
        "env": portal.deps.env,
        "language": present.language,
        "languages": LANGUAGES,
        "zone_name": present.zone.key if present.zone is not None else None,
        "look_after_url": flask.url_for(FIND_PAGE if may(Right.FIND) and not may(Right.READ) else ADMIN_PAGE),
        "looks_after": flask.request.cookies.get(LOOKS_AFTER) == "1",
        "may": {right.value for right in Right if may(right)},
    }
