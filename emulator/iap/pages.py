"""The pages that the embedded cloud shows to users: sign-in, no access, not running.

They need neither a script nor any other file.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import DictLoader, Environment
from werkzeug.wrappers import Response

_STYLE = """
:root { color-scheme: light dark; --ink: #1f1f24; --soft: #55555f; --paper: #fbfbfd; --card: #ffffff; --line: #83838f;
  --main: #1f4fbf; --on-main: #ffffff; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ececf1; --soft: #b4b4c0; --paper: #16161a; --card: #202027; --line: #85859a; --main: #a9c3ff; --on-main: #0d1b3d; }
}
* { box-sizing: border-box; }
body { margin: 0; font: 1rem/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); }
main { max-width: 34rem; margin: 0 auto; padding: 2rem 1rem 3rem; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p { margin: 0 0 1rem; }
.soft { color: var(--soft); }
ul { list-style: none; margin: 0; padding: 0; display: grid; gap: .5rem; }
button, input, .button { font: inherit; color: inherit; border: 1px solid var(--line); border-radius: .5rem; padding: .6rem .9rem;
  background: var(--card); }
ul button { width: 100%; text-align: start; display: grid; cursor: pointer; }
ul b { font-weight: 600; }
button:hover, .button:hover { border-color: var(--main); }
:focus-visible { outline: 3px solid var(--main); outline-offset: 2px; }
.row { display: flex; flex-wrap: wrap; align-items: center; gap: .5rem; }
.row input { flex: 1 1 14rem; min-width: 0; }
.main { background: var(--main); color: var(--on-main); border-color: var(--main); cursor: pointer; }
.button { display: inline-block; text-decoration: none; }
.fault { border-inline-start: 4px solid #c62828; padding-inline-start: .75rem; }
a { color: var(--main); }
"""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>{{ style|safe }}</style>
</head>
<body>
<main>
<h1>{{ title }}</h1>
{% block inner %}{% endblock %}
</main>
</body>
</html>
"""

_SIGN_IN = """{% extends "page" %}
{% block inner %}
<p class="soft">This page exists in the embedded cloud only. It takes the place of Google's own sign-in, and accepts any address without a password.</p>
{% if signed_in %}<p>You are signed in as <strong>{{ signed_in }}</strong>. <a href="/_sign_out">Sign out</a></p>
{% endif %}{% if fault %}<p class="fault" role="alert" id="fault">{{ fault }}</p>
{% endif %}{% if people %}<h2 id="people">As one of the example people</h2>
<form method="post" action="/_sign_in">
<input type="hidden" name="mark" value="{{ mark }}">
<input type="hidden" name="continue" value="{{ back }}">
<ul aria-labelledby="people">
{% for person in people %}<li><button name="email" value="{{ person.email }}"><b>{{ person.name }}</b>
<span>{{ person.email }}</span>{% if person.note %}<span class="soft">{{ person.note }}</span>{% endif %}</button></li>
{% endfor %}</ul>
</form>
{% endif %}<h2>As another person</h2>
<form method="post" action="/_sign_in">
<input type="hidden" name="mark" value="{{ mark }}">
<input type="hidden" name="continue" value="{{ back }}">
<p class="row"><label for="email">E-mail address</label>
<input id="email" name="email" type="text" inputmode="email" required autocomplete="email" autocapitalize="none" spellcheck="false" value="{{ typed }}"
{%- if fault %} aria-invalid="true" aria-describedby="fault"{% endif %}>
<button class="main">Sign in</button></p>
</form>
{% endblock %}
"""

_NOTICE = """{% extends "page" %}
{% block inner %}
<p>{{ text }}</p>
{% for label, address in links %}<p><a class="button" href="{{ address }}">{{ label }}</a></p>
{% endfor %}{% endblock %}
"""

_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()


@dataclass(frozen=True, slots=True)
class Person:
    """A person whom the sign-in page offers."""

    email: str
    name: str
    note: str = ""


_ENGINE = Environment(autoescape=True, loader=DictLoader({"page": _PAGE, "sign-in": _SIGN_IN, "notice": _NOTICE}))


def sign_in_page(
    *,
    people: Sequence[Person],
    mark: str,
    back: str,
    signed_in: str = "",
    fault: str = "",
    typed: str = "",
    may_lead_to: str = "",
) -> Response:
    """Return the sign-in page, with status 400 if there is a `fault`.

    `may_lead_to` are other origins to which the form may redirect.
    """
    html = _ENGINE.get_template("sign-in").render(
        title="Sign in",
        style=_STYLE,
        people=people,
        mark=mark,
        back=back,
        signed_in=signed_in,
        fault=fault,
        typed=typed,
    )
    return _page(html, 400 if fault else 200, f"'self' {may_lead_to}".strip())


def notice_page(
    title: str, text: str, *, status: int, links: Sequence[tuple[str, str]] = (), again_in: int = 0
) -> Response:
    """Return a page with one message and links. `again_in` is the number of seconds after which a retry makes sense.

    The page does not reload by itself, because each reload sends a screen reader back to the top.
    """
    html = _ENGINE.get_template("notice").render(title=title, style=_STYLE, text=text, links=links)
    made = _page(html, status, "'none'")
    if again_in:
        made.headers["Retry-After"] = str(again_in)
    return made


def _page(html: str, status: int, form_action: str) -> Response:
    made = Response(html, status=status, content_type="text/html; charset=utf-8")
    made.headers["Content-Security-Policy"] = (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action {form_action}; frame-ancestors 'none'; base-uri 'none'"
    )
    made.headers["Cache-Control"] = "no-store"
    # Not no-referrer: with it, browsers send the page's own form with `Origin: null`.
    made.headers["Referrer-Policy"] = "same-origin"
    made.headers["X-Content-Type-Options"] = "nosniff"
    return made
