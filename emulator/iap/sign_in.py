"""The sign-in page, which accepts any address without proof. It takes the place of Google's own sign-in."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from werkzeug.utils import redirect
from werkzeug.wrappers import Request, Response

from emulator.errors import ApiError
from emulator.iap.pages import Person, notice_page, sign_in_page
from emulator.iap.sessions import SESSION_S, Session, Sessions, same
from emulator.iap.signing import named, subject_of
from emulator.wire.http import Call, Route, json_body, route
from emulator.wire.origin import is_unasked

PATHS = ("/_sign_in", "/_sign_out", "/_gcp_iap/clear_login_cookie", "/_gcp_iap/identity")
_EMAIL = re.compile(r"[^@\s\x00-\x1f\"<>]{1,64}@[^@\s\x00-\x1f\"<>/]{1,190}\.[^@\s\x00-\x1f\"<>/]{2,63}")
_PATH = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*")  # a browser reads // and /\ as the start of another host
_MOST_FORM = 8192
_MOST_PEOPLE = 200
_PERSON_FIELDS = {"email", "name", "note"}


class SignIn:
    """The sign-in, which keeps the user's address in a cookie.

    `may_open` returns True if another host accepts tickets of this sign-in.
    """

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions
        self.people: list[Person] = []
        self.may_open: Callable[[str], bool] = lambda _host: False
        self.other_origins = ""
        self.port = 0

    @property
    def cookie(self) -> str:
        """The session cookie's name. It contains the port, because browsers do not separate cookies by port."""
        return f"emulated_iap_{self.port}"

    def routes(self) -> list[Route]:
        """Return the routes of `/_emulator/people`: the people whom the page offers."""
        return [
            route("GET", "/_emulator/people", None, self._listing),
            route("POST", "/_emulator/people", None, self._offer),
        ]

    def session_of(self, request: Request) -> Session | None:
        """Return the session of the request, or None."""
        return self.sessions.read(request.cookies.get(self.cookie, ""), place="hub")

    def ask(self, request: Request) -> Response:
        """Ask a user who is not signed in to sign in: answer a browser's GET with a redirect, every other request with 401.

        The 401 is a page if the client accepts HTML, such as a browser that sends a form.
        """
        if request.method == "GET" and "text/html" in request.headers.get("Accept", ""):
            path = str(request.environ["RAW_URI"])
            return redirect(f"/_sign_in?{urlencode({'continue': path if self._is_ours(path) else '/'})}", 302)
        if "text/html" in request.headers.get("Accept", ""):  # a form that was sent after signing out
            text = "You are signed out, so nothing was changed. Sign in, and repeat the action on the page."
            return notice_page("Sign in first", text, status=401, links=[("Sign in", "/_sign_in?continue=/")])
        return Response("Sign in first.\n", 401, content_type="text/plain; charset=utf-8")

    def respond(self, request: Request) -> Response:
        """Return the response for a path in `PATHS`; 405 for a method that the path does not take."""
        match request.path:
            case "/_sign_in" if request.method == "POST":
                return self._enter(request)
            case "/_sign_in" if request.method in {"GET", "HEAD"}:
                return self._page(request)
            case "/_gcp_iap/identity" if request.method in {"GET", "HEAD"}:
                return self.identity(request)
            case "/_sign_out" | "/_gcp_iap/clear_login_cookie" if request.method in {"GET", "POST"}:
                return self.leave(request)
            case _:
                return Response("This page takes GET and POST.\n", 405, content_type="text/plain; charset=utf-8")

    def leave(self, request: Request) -> Response:
        """Sign out, also at the environments' hosts.

        A request that another site caused is refused, so that only the user's own click signs out.
        """
        if is_unasked(request):
            text = "Another site tried to sign you out. You are still signed in."
            return notice_page(
                "Nothing was done", text, status=403, links=[("Sign out", "/_sign_out"), ("To the page", "/")]
            )
        session = self.session_of(request)
        if session is not None:
            self.sessions.end(session)
        back = self._back(request.args.get("continue", "/"))
        made = redirect(f"/_sign_in?{urlencode({'continue': back})}", 303)
        made.delete_cookie(self.cookie, httponly=True, samesite="Lax")
        return made

    def identity(self, request: Request) -> Response:
        """Return the user's identity, as IAP does at its own special URL. Ask a user who is not signed in to sign in."""
        session = self.session_of(request)
        if session is None:
            return self.ask(request)
        found = {"email": named(session.email), "sub": subject_of(session.email)}
        return Response(json.dumps(found), content_type="application/json")

    def _page(self, request: Request, *, fault: str = "", typed: str = "", back: str | None = None) -> Response:
        back = self._back(request.args.get("continue", "/")) if back is None else back
        session = self.session_of(request)
        if session is not None and not fault and back.startswith("http://"):
            return self._onward(session, back)
        nonce = request.cookies.get(self._nonce, "") or secrets.token_hex(16)
        made = sign_in_page(
            people=self.people,
            mark=self.sessions.form_mark(nonce),
            back=back,
            signed_in=session.email if session is not None else "",
            fault=fault,
            typed=typed,
            may_lead_to=self.other_origins,
        )
        made.set_cookie(self._nonce, nonce, httponly=True, samesite="Lax", path="/_sign_in")
        return made

    @property
    def _nonce(self) -> str:
        return f"{self.cookie}_form"

    def _enter(self, request: Request) -> Response:
        if (request.content_length or _MOST_FORM + 1) > _MOST_FORM:
            return _refused("This page has no such form.")
        nonce, form = request.cookies.get(self._nonce, ""), request.form
        if (
            not nonce
            or not same(form.get("mark", ""), self.sessions.form_mark(nonce))
            or not self._same_origin(request)
        ):
            return _refused(
                "The form was not sent by this page, or cookies are off. Open the page again and repeat your choice."
            )
        typed = form.get("email", "").strip()
        back = self._back(form.get("continue", "/"))
        email = typed.lower()
        if not _EMAIL.fullmatch(email):
            text = f"“{typed[:80]}” is not an e-mail address. An address looks like ana.silva@example.com."
            return self._page(request, fault=text, typed=typed[:254], back=back)
        before = self.session_of(request)
        if before is not None:
            self.sessions.end(before)
        session = self.sessions.begin(email)
        made = self._onward(session, back)
        value = self.sessions.cookie(session, place="hub")
        made.set_cookie(self.cookie, value, max_age=SESSION_S, httponly=True, samesite="Lax")
        return made

    def _same_origin(self, request: Request) -> bool:
        origin = request.headers.get("Origin")
        return origin is None or origin == f"http://{request.host}"

    def _onward(self, session: Session, back: str) -> Response:
        """Redirect to the page that the user came from; a URL at another host gets a ticket."""
        if not back.startswith("http://"):
            return redirect(back, 303)
        parts = urlsplit(back)
        ticket = self.sessions.ticket(session, host=parts.netloc)
        pairs = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] != "ticket"]
        query = urlencode([*pairs, ("ticket", ticket)])
        return redirect(urlunsplit(("http", parts.netloc, parts.path or "/", query, "")), 303)

    def _back(self, asked: str) -> str:
        """Return the target after sign-in: a path of this front or a URL at an environment's host.

        Return `/` for anything else.
        """
        if self._is_ours(asked):
            return asked
        parts = urlsplit(asked) if asked.startswith("http://") and asked.isascii() and asked.isprintable() else None
        if parts is not None and "\\" not in asked and "@" not in parts.netloc and self.may_open(parts.netloc):
            return asked
        return "/"

    @staticmethod
    def _is_ours(path: str) -> bool:
        return _PATH.fullmatch(path) is not None and not path.startswith(PATHS)

    def _listing(self, _call: Call) -> Any:
        return {"people": [{"email": each.email, "name": each.name, "note": each.note} for each in self.people]}

    def _offer(self, call: Call) -> Any:
        self.people = read_people(json_body(call.request))
        return self._listing(call)


def read_people(body: Any) -> list[Person]:
    """Return the people of `{"people": [{email, name, note}]}` or of the bare list.

    Raise `ApiError` 400, which names the fault, for anything else.
    """
    rows = body["people"] if isinstance(body, dict) and set(body) == {"people"} else body
    if not isinstance(rows, list) or len(rows) > _MOST_PEOPLE:
        raise _invalid(f"a list of at most {_MOST_PEOPLE} is needed, alone or as the only field `people`")
    people = []
    for row in rows:
        if not isinstance(row, dict) or set(row) - _PERSON_FIELDS:
            raise _invalid(f"a person has the fields {', '.join(sorted(_PERSON_FIELDS))}, not {row!r}")
        texts = [row.get("email", ""), row.get("name", ""), row.get("note", "")]
        if not all(isinstance(text, str) for text in texts) or not _EMAIL.fullmatch(texts[0].lower()):
            raise _invalid(f"`email` is an address, `name` and `note` are texts: {row!r}")
        people.append(Person(email=texts[0].lower(), name=texts[1] or texts[0], note=texts[2]))
    return people


def _invalid(text: str) -> ApiError:
    return ApiError("INVALID_ARGUMENT", f"People: {text}")


def _refused(text: str) -> Response:
    return notice_page("You are not signed in", text, status=403, links=[("Sign in", "/_sign_in")])
