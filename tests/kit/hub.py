"""The hub page over the in-process cloud: real tokens signed as Identity-Aware Proxy signs them, and browsers that keep cookies."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import flask
import jinja2
from flask.testing import FlaskClient
from jinja2.bccache import Bucket
from msgspec.structs import replace
from werkzeug.test import TestResponse

from emulator.iap.signing import IapSigner, claims_of
from kit.inprocess import START, Bench, make_bench
from kit.life import Life, settings_with
from kit.routes import keep_builders
from portal.app import create_app
from portal.csrf import SCRIPT, SCRIPT_HEADER
from portal.deps import PortalDeps, portal_deps
from portal.routes import JSON, Place, Route
from shared.cloud.identity.iap import HEADER
from shared.domain.intent.batches import Batch, Entry, to_json
from shared.domain.intent.roles import Roles
from shared.domain.people.events import Joined, Left, Woken
from shared.domain.record.cuts import CutClass, StepKind
from shared.domain.record.record import UserRecord
from shared.domain.things.identity import UserEmail, UserKey, parse_email, user_key_for
from shared.engine.decisions.letters import letter_digest
from shared.engine.news.deliver import deliver
from shared.engine.ports.inbox import DeadLetter, LetterRow
from shared.engine.sweeps.sweeps import sweep
from shared.settings import Settings
from shared.wiring import sign_in

AUDIENCE = "/projects/123456789012/locations/europe-west1/services/benchkeeper-hub"
ADMINS = "hub-admins@example.com"
ANA = parse_email("ana.silva@example.com")
BEN = parse_email("ben.okafor@example.com")
MIA = parse_email("mia.chen@example.com")  # the administrator
NOBODY = parse_email("norah.stranger@example.com")  # signed in, and known to nobody
# A list of people that somebody was shown once; nobody on it waits.
SHOWN = Batch(
    cause=CutClass.EMPLOYMENT,
    source="hr",
    entries=(Entry(user_key=user_key_for(BEN), ref="0" * 16, steps=(StepKind.STOP,)),),
    since=START,
)
# A message that was handled long ago; a world has it once `Hub.keep_letter` was called.
LETTER = LetterRow(
    letter_id="sample",
    sent_at=START,
    reason="UnknownProfile",
    detail="There is no such profile.",
    users=(user_key_for(ANA),),
)
# Values with which every route can be asked, by parameter name. A module that brings routes adds its own.
SAMPLES = {
    "template": "single-node",
    "filename": "hub.css",
    "until": "1h",
    "zone": "Europe/Berlin",
    "language": "de",
    "back": "/",
    "user_key": user_key_for(ANA),
    "who": ANA,
    "act": "reconcile",
    "digest": SHOWN.digest,
    "letter": letter_digest(LETTER),
    "verb": "dismiss",
    "list": "0" * 32,
    "verdict": "approve",
    "reason": "case 4711",
    "copy": "nb-ana-silva-0123456789ab-d1",
    "q": "ana",
    **dict.fromkeys(("standing", "state", "profile", "cost_center", "needs", "presence", "view", "sort", "order"), ""),
}


class CompiledTemplates(jinja2.BytecodeCache):
    """The page's templates, compiled once a process: the tests make a thousand applications."""

    def __init__(self) -> None:
        self._kept: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self._kept:
            bucket.bytecode_from_string(self._kept[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._kept[bucket.key] = bucket.bytecode_to_string()


flask.Flask.jinja_options = {"bytecode_cache": CompiledTemplates()}
# Routes that show or change an environment of one's own: without one they say whom to ask.
NEEDS_ENVIRONMENT = ("home.", "api.me")
_TOKEN = re.compile(r'name="csrf" value="([^"]+)"')


def hub_settings(changes: dict[str, dict[str, Any]] | None = None, **more: Any) -> Settings:
    """The local settings with a hub: an audience, a group of administrators, whom to ask."""
    own = {
        "iap_audience": AUDIENCE,
        "roles": Roles(owner=ADMINS),
        "contact": "data-platform@example.com",
        "currency": "EUR",
    }
    return settings_with(changes, **{**own, **more})


@dataclass
class Browser:
    """One person's browser: cookies, and the token of the forms that it has seen.

    `signed` gives the header that Identity-Aware Proxy puts on each request, signed at that moment; `own` are sent too.
    """

    client: FlaskClient
    own: dict[str, str] = field(default_factory=dict)
    token: str = ""
    signed: Callable[[], dict[str, str]] = dict

    @property
    def headers(self) -> dict[str, str]:
        return {**self.signed(), **self.own}

    def get(self, path: str, **headers: str) -> TestResponse:
        answer = self.client.get(path, headers={**self.headers, **_dashed(headers)}, buffered=True)
        found = _TOKEN.search(answer.get_data().decode(errors="replace"))  # an archive is no text
        if found is not None:
            self.token = found[1]
        return answer

    def post(self, path: str, *, csrf: str | None = None, headers: dict[str, str] | None = None, **fields: str) -> Any:
        """Send a form; the token is that of the last page, as a browser has it. Without a page yet, the page is opened."""
        if csrf is None and not self.token:
            self.get("/")
        token = self.token if csrf is None else csrf
        return self.client.post(path, data={"csrf": token, **fields}, headers={**self.headers, **(headers or {})})

    def send(self, path: str, *, headers: dict[str, str] | None = None, body: Any = None) -> Any:
        """Change something as a script does: JSON, with the header of our own and without a token."""
        own = {SCRIPT_HEADER: SCRIPT} if headers is None else headers
        return self.client.post(path, json={} if body is None else body, headers={**self.headers, **own})

    def text(self, path: str) -> str:
        return self.get(path).get_data(as_text=True)


@dataclass
class Hub:
    """One page, the world that it shows, and whom it woke.

    A wake-up does what the lifecycle function does with it, at once; with `loses_wake_ups` it never arrives.
    """

    bench: Bench
    signer: IapSigner
    deps: PortalDeps
    app: Any
    woken: list[UserKey] = field(default_factory=list)
    loses_wake_ups: bool = False

    def wake(self, user_key: UserKey) -> None:
        self.woken.append(user_key)
        if not self.loses_wake_ups:
            self.take_up(user_key)

    def take_up(self, user_key: UserKey) -> None:
        """A wake-up arrives at the lifecycle function."""
        woken = Woken(event_id=f"wake-{len(self.woken)}", user_key=user_key, occurred_at=self.bench.now)
        deliver(woken, self.bench.deps)

    def taken_up_at(self, moment: int, user_key: UserKey) -> None:
        """Let the lifecycle function take up what waits for a person, so many steps of calls from now."""
        left = moment

        def step() -> None:
            nonlocal left
            left -= 1
            if left < 0:
                self.bench.adapter.around = lambda: None
                self.take_up(user_key)

        self.bench.adapter.around = step

    def token(self, email: str, *, kid: str | None = None, key: Any = None, **claims: Any) -> str:
        """A signed header's value; claims may be changed, key and key id too."""
        made = {**claims_of(email, AUDIENCE, issued=int(self.bench.now.timestamp())), **claims}
        return self.signer.sign({name: value for name, value in made.items() if value is not None}, key=key, kid=kid)

    def browser(self, email: UserEmail | None, **claims: Any) -> Browser:
        """A browser of somebody; None: Identity-Aware Proxy was gone round."""
        client = self.app.test_client()
        if email is None:
            return Browser(client=client)
        return Browser(client=client, signed=lambda: {HEADER: self.token(email, **claims)})

    def life(self, email: UserEmail = ANA) -> Life:
        return Life(self.bench, email)

    def record(self, email: UserEmail = ANA) -> UserRecord:
        stored = self.bench.stored(user_key_for(email))
        assert stored is not None
        return stored.record

    def joined(self, email: UserEmail = ANA, *, minutes: int = 8, **more: Any) -> Life:
        """Somebody who joined that long ago."""
        life = self.life(email)
        life.tell(Joined, **more)
        life.minutes(minutes)
        return life

    def left(self, email: UserEmail = ANA, *, minutes: int = 5) -> None:
        life = self.life(email)
        life.serial = 100
        life.tell(Left)
        life.minutes(minutes)

    def swept(self) -> None:
        """The hourly sweep and the idle one have seen everybody: the manager's page has something to show."""
        for name in ("drift", "idle"):
            sweep(name, self.bench.deps)

    def edit(self, email: UserEmail, **status: Any) -> None:
        """Change what a record says of what cannot be read back."""
        stored = self.bench.deps.records.load(user_key_for(email))
        assert stored is not None
        self.bench.deps.records.save(stored.record.with_status(**status), expected=stored)

    def keep_letter(self, row: LetterRow = LETTER, *, body: bytes = b"{}") -> LetterRow:
        """Keep a message that could not be processed, and return its row as a listing has it."""
        letters, now = self.bench.deps.dead_letters, self.bench.now
        letters.store(DeadLetter(row=row, source="s", received_at=now, body=body, size=len(body), attributes={}))
        return next(each for each in letters.rows() if each.letter_id == row.letter_id)

    def lines(self, message: str = "Answered request") -> list[dict[str, Any]]:
        return [facts for _, said, facts in self.bench.log.lines if said == message]

    def make_admin(self, email: UserEmail = MIA) -> None:
        """Put somebody into the group of administrators, which is made when it is not there."""
        self.bench.deps.groups.join(ADMINS, email)


def make_hub(settings: Settings | None = None, **changes: Any) -> Hub:
    """A page over a new world in which Mia is an administrator. `changes` are of the page's dependencies."""
    bench = make_bench(settings=settings or hub_settings(), component="hub")
    signer = bench.cloud.iap.signer
    signed = sign_in(bench.settings, bench.clients, clock=bench.deps.clock, log=bench.log)

    def wake(user_key: UserKey) -> None:
        hub.wake(user_key)

    deps = replace(portal_deps(bench.settings, bench.deps, sign_in=signed, wake=wake), **changes)
    for _, group in bench.settings.roles.groups():
        make_group(bench, group)
    bench.deps.decisions.put_list(to_json(SHOWN))
    keep_builders()
    hub = Hub(bench=bench, signer=signer, deps=deps, app=create_app(deps))
    if bench.settings.roles.owner is not None:
        hub.make_admin()
    return hub


def make_group(bench: Bench, address: str) -> None:
    """A Google group that our functions may manage, as an administrator makes it."""
    labels = {"cloudidentity.googleapis.com/groups.discussion_forum": ""}
    bench.control(
        "POST", "/v1/groups", {"parent": "customers/C046psxkn", "groupKey": {"id": address}, "labels": labels}
    )


def _dashed(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def plain(html: str) -> str:
    """What a person reads: no tags, single spaces."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html)).replace(" ,", ",").replace(" .", ".")


def path_of(route: Route) -> str:
    """The route's address with sample values."""
    return re.sub(r"<(?:[a-z]+:)?([a-z_]+)>", lambda found: SAMPLES[found[1]], route.rule)


def form_of(route: Route) -> dict[str, str]:
    """The fields of a route's form with sample values."""
    return {param.name: SAMPLES[param.name] for param in route.params if param.place is Place.FORM}


def ask(browser: Browser, route: Route) -> TestResponse:
    """Ask for a route as its form or link would."""
    if route.takes == JSON:
        sent: TestResponse = browser.send(path_of(route))
        return sent
    if route.method == "POST":
        answer: TestResponse = browser.post(path_of(route), **form_of(route))
        return answer
    return browser.get(path_of(route))


__all__ = [
    "ADMINS", "ANA", "AUDIENCE", "BEN", "MIA", "NEEDS_ENVIRONMENT", "NOBODY", "SAMPLES", "SHOWN",
    "Browser", "Hub", "ask", "form_of", "hub_settings", "make_hub", "path_of", "plain",
]  # fmt: skip
