"""`./tests/run.sh --real-cloud --project P [--with-person] …`: the contract suite for a real project; see docs/testing.md."""

from __future__ import annotations

import argparse
import secrets
import signal
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from real_cloud.asking import Cloud, Place, RealClock, Run
from real_cloud.cleaning import clean_up
from real_cloud.ledger import Ledger
from real_cloud.questions import QUESTIONS
from real_cloud.report import Verdict
from real_cloud.running import ask_all, occupants, plan_text, skipped
from real_cloud.scrub import Scrubber

from shared.cloud.http.clients import Clients, CloudConfig
from shared.domain.things.errors import AccessDeniedError, CloudUnavailableError

RUNS = Path("real-cloud-runs")
_ZONE = "europe-west1-b"
_OK, _DIFFERS, _LEFT, _REFUSED, _INTERRUPTED = 0, 1, 2, 3, 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./tests/run.sh --real-cloud",
        description="Ask a real project what no document settles. Needs gcloud, logged in.",
        epilog="Exit status: 0 all held, 1 something differs or was not found out, "
        "2 something is left to remove, 3 not begun, 130 interrupted.",
    )
    add = parser.add_argument
    add("--project", metavar="P", help="an empty test project")
    add("--zone", default=_ZONE, help=f"where the instance is made ({_ZONE})")
    add("--network", default="", help="projects/P/global/networks/N; else the default one")
    add("--subnet", default="", help="projects/P/regions/R/subnetworks/S, with --network")
    add("--with-person", action="store_true", help="ask what needs somebody at a browser, too")
    add("--viewer", default="", metavar="ADDRESS", help="a second account, without rights, for --with-person")
    add(
        "--reader",
        action="append",
        default=[],
        metavar="ACCOUNT",
        help="a service account whose sight of the metrics is asked",
    )
    add("--shared-project", action="store_true", help="go on in a project that is in use")
    add("--yes", action="store_true", help="do not ask whether to go on")
    add("--list", action="store_true", help="show the questions and the estimate, and end")
    add("--clean-up", metavar="RUN", help="remove what is left of an earlier run")
    return parser


def main(words: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = _parser()
    asked = parser.parse_args(words)
    if asked.viewer and not asked.with_person:
        parser.error("--viewer needs --with-person: somebody looks with that account")
    if bool(asked.network) != bool(asked.subnet):
        parser.error("--network and --subnet go together")
    chosen = [q for q in QUESTIONS if not skipped(q, has_person=asked.with_person, has_viewer=bool(asked.viewer))]
    if asked.list:
        for question in QUESTIONS:
            mark = "" if question in chosen else f"  [{'--viewer' if question.needs_viewer else '--with-person'}]"
            first = question.asked.asks.partition("?")[0] + "?"
            _say(f"{question.asked.name}{mark}\n{textwrap.indent(textwrap.fill(first, 76), '    ')}")
        _say(f"\n{plan_text(chosen)}")
        return _OK
    clock = RealClock()
    cloud = Cloud(lambda account: _clients(asked.project or "", account), clock)
    if asked.clean_up:
        return _clean_up(asked.clean_up, cloud, clock)
    if not asked.project:
        parser.error("name an empty test project with --project P")
    caller, number = (
        _gcloud("config", "get", "account"),
        _gcloud("projects", "describe", asked.project, "--format=value(projectNumber)"),
    )
    place = Place(asked.project, number, asked.zone, caller, asked.network, asked.subnet)
    if (found := occupants(place, cloud)) and not asked.shared_project:
        _say(f"{asked.project} is in use. It has:")
        for each in found[:10]:
            _say(f"  {each}")
        _say("Take an empty project. --shared-project goes on all the same: none of these")
        _say("is touched, but the project's quotas are shared.")
        return _REFUSED
    _say(f"As {caller} in {asked.project}, {asked.zone}:\n\n{plan_text(chosen)}\n")
    if not asked.yes and not _agreed(asked.project):
        return _REFUSED
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)
    return _run(asked, place, cloud, clock)


def _run(asked: argparse.Namespace, place: Place, cloud: Cloud, clock: RealClock) -> int:
    ident = secrets.token_hex(4)
    folder = RUNS / ident
    ledger = Ledger.begin(folder, ident=ident, project=place.project, zone=place.zone)
    _say(f"Run {ident}. Should this machine die:\n  ./tests/run.sh --real-cloud --clean-up {ident}")
    scrub = Scrubber(
        project=place.project,
        number=place.number,
        run=ident,
        addresses=[each for each in (place.caller, asked.viewer) if each],
    )
    run = Run(
        ident, place, cloud, clock, folder, ledger, scrub, lambda text: _say(_timed(clock, text)),
        ask_person=_ask if asked.with_person else None, readers=tuple(asked.reader), viewer=asked.viewer,
    )  # fmt: skip
    try:
        answers = ask_all(run)
    except KeyboardInterrupt:
        return _LEFT if ledger.left() else _INTERRUPTED
    finally:
        _say(f"Report: {folder}/report.md\nAnswers for the golden tests: {folder}/recorded/")
    if ledger.left():
        return _LEFT
    return _DIFFERS if any(answer.verdict in {Verdict.DIFFERS, Verdict.UNKNOWN} for _, answer in answers) else _OK


def _clean_up(ident: str, cloud: Cloud, clock: RealClock) -> int:
    ledger = Ledger(RUNS / ident)
    try:
        ledger.run()
    except (FileNotFoundError, IndexError):
        known = ", ".join(sorted(each.name for each in RUNS.glob("*"))) or "none"
        _say(f"run.sh: there is no run {ident} in {RUNS}/ (known: {known})")
        return _REFUSED
    return _LEFT if clean_up(ledger, cloud, clock, _say) else _OK


def _clients(project: str, account: str) -> Clients:
    """Return the product's clients with a token of gcloud's: the caller's, or that of a service account that they may act as."""
    return Clients(CloudConfig(project=project, bucket="", api_endpoint=None, token=_token(account)))


def _token(account: str) -> str:
    """Return an access token; raise the product's errors, so that a moment without network ends neither run nor clean-up."""
    as_whom = [f"--impersonate-service-account={account}"] if account else []
    try:
        return _gcloud("auth", "print-access-token", *as_whom)
    except SystemExit as error:
        kind = AccessDeniedError if account else CloudUnavailableError
        raise kind(user_message="gcloud gives no token.", detail=str(error)) from error


def _gcloud(*words: str) -> str:
    """Return what gcloud prints; end the program with its own words if it fails."""
    try:
        done = subprocess.run(["gcloud", *words], capture_output=True, text=True, timeout=120, check=False)
    except FileNotFoundError:
        raise SystemExit("run.sh: gcloud is not on the PATH. Install the Google Cloud SDK.") from None
    if done.returncode or not done.stdout.strip():
        last = done.stderr.strip().split("\n")[-1] or "it printed nothing"
        raise SystemExit(f"run.sh: gcloud {' '.join(words[:2])}: {last}\nLog in first: gcloud auth login")
    return done.stdout.strip()


def _agreed(project: str) -> bool:
    if not sys.stdin.isatty():
        _say("run.sh: nobody can be asked here. --yes goes on without a question.")
        return False
    if input("Type the project's name to go on: ").strip() == project:
        return True
    _say("Nothing was done.")
    return False


def _ask(text: str) -> str:
    return input(f"\a\n{text}: ")


def _say(text: str) -> None:
    with suppress(OSError):  # a terminal that was closed must not end the clean-up
        print(text, flush=True)  # noqa: T201 - a program for a person


def _timed(clock: RealClock, text: str) -> str:
    """Return the text with the time, wrapped; what begins with `!` holds commands and stays in one line."""
    if text.startswith("!"):
        return text
    indent = " " * 10
    begin = f"{clock.now():%H:%M:%S}  "
    return textwrap.fill(
        text, 80, initial_indent=begin, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
