"""`./deploy.sh` and `python -m cli.deploy` as a person types them, with a gcloud of the test's own on the PATH, or none."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import click
import pytest

from cli.deploy import __main__ as deploy
from cli.local import __main__ as local
from shared.domain.people.unknown_leaver import edit_distance
from tests.e2e.local_run import HEARS_CTRL_C

ROOT = Path(__file__).resolve().parents[2]
PROJECT, REGION = "acme-analytics", "europe-west1"
PLACE = ("--project", PROJECT, "--region", REGION)
SERVICES = re.findall(
    r"^  (\S+\.googleapis\.com):", (ROOT / "config/deploy/apis.yaml").read_text("utf-8"), re.MULTILINE
)

# Answers as an empty project does, keeps what it was asked, and holds a command for as long as the test wants.
GCLOUD = """
import json, os, pathlib, sys
here = pathlib.Path(os.environ["HOME"])
words = [word for word in sys.argv[1:] if word != "--quiet"]
said = " ".join(words)
with (here / "journal").open("a") as journal:
    journal.write(said + "\\n")
if said.startswith(os.environ.get("HOLD", "services enable")) and (here / "began").exists():
    (here / "began").write_text("it runs")  # a pipe: the test reads at the other end
    (here / "go").read_text()
if said.startswith("version"):
    print(json.dumps({"Google Cloud SDK": os.environ.get("SDK", "528.0.0")}))
elif said.startswith("projects describe"):
    print(json.dumps({"projectNumber": "123456789012", "projectId": "acme-analytics"}))
elif said.startswith("services list"):
    print(json.dumps([{"config": {"name": name}} for name in os.environ.get("ON", "").split()]))
elif said.startswith("config get"):
    print(os.environ["ENDPOINT"])
elif said.startswith("auth print-access-token"):
    print("token")
elif said.startswith("logging sinks describe"):
    print(json.dumps({"writerIdentity": "serviceAccount:writer@gcp-sa-logging.iam.gserviceaccount.com"}))
elif said.startswith(("storage buckets describe", "storage buckets get-iam-policy")):
    print(f"ERROR: (gcloud.{'.'.join(words[:3])}) {words[3]} not found: 404.", file=sys.stderr)
    sys.exit(1)
elif "get-iam-policy" in words:
    print("{}")
elif "list" in words:
    print("[]")
"""


@dataclass
class Person:
    """Somebody with a configuration of the example's, and the programs of one folder."""

    home: Path
    environment: dict[str, str]

    @property
    def config(self) -> Path:
        return self.home / "config"

    def install(self, text: str = GCLOUD) -> None:
        """A gcloud that behaves as `text` says."""
        path = self.home / "bin" / "gcloud"
        path.write_text(f"#!{sys.executable} -IS\n{textwrap.dedent(text)}")
        path.chmod(0o755)

    def asked(self) -> list[str]:
        """The commands that this gcloud got."""
        journal = self.home / "journal"
        return journal.read_text().splitlines() if journal.exists() else []

    def changes(self) -> list[str]:
        """Those that would have changed something."""
        reads = re.compile(r"version|config get|auth print|.* ?\b(list|describe|get-iam-policy)\b")
        return [line for line in self.asked() if not reads.match(line)]

    def start(self, *words: str, stdin: int = subprocess.DEVNULL, **more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "cli.deploy", *words],
            env=self.environment | more, cwd=ROOT, text=True, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *words: str, **more: str) -> tuple[int, str, str]:
        running = self.start(*words, **more)
        out, err = running.communicate(timeout=120)
        assert "Traceback" not in out + err
        return running.returncode, out, err


class Empty(BaseHTTPRequestHandler):
    """A service with nothing in it, that takes whatever is given."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def do_GET(self) -> None:
        said = b'{"error": {"code": 404, "message": "https://x/y was not found"}}' if "gone" in self.path else b"{}"
        self.send_response(200 if said == b"{}" else 404)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Empty) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        serving.join()


@pytest.fixture
def person(tmp_path: Path, endpoint: str) -> Person:
    shutil.copytree(ROOT / "config", tmp_path / "config", ignore=shutil.ignore_patterns("checked.*"))
    (tmp_path / "bin").mkdir()
    environment = {
        "PATH": str(tmp_path / "bin"), "HOME": str(tmp_path), "BENCHKEEPER_CONFIG_DIR": str(tmp_path / "config"), "ENDPOINT": endpoint,
        "COLUMNS": "200", "PYTHONUTF8": "1", "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    return Person(tmp_path, environment)


def told(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


# ---- help


def flags_of(command: click.Command) -> set[str]:
    return {name for each in command.params for name in [*each.opts, *each.secondary_opts]}


def help_text(*words: str, where: Path = ROOT, path: str = os.defpath) -> str:
    done = subprocess.run(
        [shutil.which("bash") or "bash", str(where / "deploy.sh"), *words],
        env={"PATH": path}, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return done.stdout


def section(text: str, head: str) -> set[str]:
    """The flags that begin a line of one part of the help."""
    (part,) = [each for each in text.split("\n\n") if each.startswith(head)]
    return {flag for line in part.splitlines()[1:] for flag in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", line[:18])}


def usage(text: str, command: str) -> set[str]:
    (words,) = re.findall(rf"\./deploy\.sh {command} (.*(?:\n {{20,}}.*)*)", text)  # a second line is set far in
    return set(re.findall(r"--[a-z-]+", words))


def test_the_help_names_every_flag_and_none_that_is_not():
    text = help_text("--help")
    assert section(text, "local\n") == flags_of(local.main)
    both = {name: deploy.main.commands[name] for name in ("gcp", "destroy")}
    assert section(text, "gcp and destroy") == set().union(*map(flags_of, both.values()))
    for name, command in both.items():
        assert usage(text, name) == {flag for flag in flags_of(command) if flag.startswith("--")}
    assert usage(text, "local") == flags_of(local.main)
    assert set(deploy.main.commands) == {"gcp", "destroy"}


@pytest.mark.parametrize(
    "words", [["--help"], ["-h"], ["help"], ["gcp", "--help"], ["local", "-h"], ["destroy", "--project", "p", "--help"]]
)
def test_help_needs_no_set_up(tmp_path, words):
    shutil.copy(ROOT / "deploy.sh", tmp_path)
    (tmp_path / "bin").mkdir()
    for name in ("dirname", "cat"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name) or "")
    assert help_text(*words, where=tmp_path, path=str(tmp_path / "bin")).startswith("usage: ./deploy.sh local")
    assert not (tmp_path / ".venv").exists()


def sourced(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run code after the functions of deploy.sh, in a folder of its own; packages are not installed."""
    text = (ROOT / "deploy.sh").read_text(encoding="utf-8").removesuffix('main "$@"\n')
    (folder / "functions.sh").write_text(text + "install() { echo installed; }\n", encoding="utf-8")
    for name in ("requirements.txt", "pyproject.toml", "cli/requirements.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x==1\n", encoding="utf-8")
    return subprocess.run(
        [shutil.which("bash") or "bash", "-c", f"source ./functions.sh; {code}"],
        cwd=folder,
        env={"PATH": os.defpath, "PYTHON": sys.executable, "BENCHKEEPER_NO_UV": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize("left", ["nothing", "no pip", "a link to the system's Python"])
def test_what_an_interrupted_start_left_is_made_anew(tmp_path, left):
    system = tmp_path / "system"
    system.symlink_to(sys.executable)
    if left == "no pip":
        venv.create(tmp_path / ".venv", with_pip=False)
    elif left != "nothing":
        (tmp_path / ".venv/bin").mkdir(parents=True)
        (tmp_path / ".venv/bin/python").symlink_to(os.path.realpath(sys.executable))
    done = sourced(tmp_path, "is_usable && echo usable; set_up; is_usable && echo usable; set_up")
    assert done.stdout.split("\n") == [
        "Setting up .venv (once; seconds with uv, half a minute without) …", "installed", "installed", "usable", "",
    ], done.stderr  # fmt: skip
    assert done.returncode == 0


def test_a_set_up_that_fails_is_tried_again_by_the_next_start(tmp_path):
    code = "install() { return 1; }; (set_up) || true; install() { echo installed; }; set_up"
    done = sourced(tmp_path, code)
    assert done.stdout.count("installed") == 2
    assert "deploy.sh: the packages could not be installed. Is the package index reachable?" in done.stderr


def interrupted(folder: Path, *, at: str) -> subprocess.CompletedProcess[str]:
    """A set-up with a `uv` of ours, which Ctrl-C ends at this step (or at none); what it is asked for stands in `asked`."""
    uv = folder / "bin" / "uv"
    uv.parent.mkdir(exist_ok=True)
    uv.write_text(
        f"""#!{shutil.which("bash")}
echo "$*" >>{folder}/asked
if [[ $1 == venv ]]; then
  mkdir -p .venv/bin
  ln -sf {sys.executable} .venv/bin/python
  [[ "{at}" != venv ]] || kill -INT 0
  {sys.executable} -m venv --without-pip .venv
  mkdir -p "$(echo .venv/lib/python*/site-packages)/pip"
  touch "$(echo .venv/lib/python*/site-packages)/pip/__init__.py"
elif [[ "$*" == *" {at}"* ]]; then
  kill -INT 0
fi
"""
    )
    uv.chmod(0o755)
    text = (ROOT / "deploy.sh").read_text(encoding="utf-8").removesuffix('main "$@"\n')
    (folder / "functions.sh").write_text(text, encoding="utf-8")
    for name in ("requirements.txt", "pyproject.toml", "cli/requirements.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x==1\n", encoding="utf-8")
    return subprocess.run(
        [
            sys.executable,
            "-c",
            HEARS_CTRL_C,
            shutil.which("bash") or "bash",
            "-c",
            "source ./functions.sh; set_up; echo ready",
        ],
        cwd=folder,
        env={"PATH": f"{uv.parent}:{os.defpath}", "PYTHON": sys.executable},
        start_new_session=True,  # the Ctrl-C is for its group alone
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize("at", ["venv", "-r cli/requirements.txt", "--no-deps"])
def test_ctrl_c_while_it_is_set_up_is_one_line_and_the_next_start_sets_up_anew(tmp_path, at):
    done = interrupted(tmp_path, at=at)
    assert "ready" not in done.stdout
    assert done.stderr == "deploy.sh: stopped while .venv was set up. The next start sets it up again.\n"
    assert done.returncode == 130
    (tmp_path / "asked").unlink()
    done = interrupted(tmp_path, at="nowhere")
    assert done.stdout.endswith("ready\n"), done.stderr
    assert [line.split()[0] for line in (tmp_path / "asked").read_text().splitlines()] == ["venv", "pip", "pip"]
    (tmp_path / "asked").unlink()
    assert interrupted(tmp_path, at="nowhere").stdout == "ready\n"  # and from then on it has nothing to do
    assert not (tmp_path / "asked").exists()


def started(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [shutil.which("bash") or "bash", str(ROOT / "deploy.sh"), *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_it_has_to_be_said_what_to_do():
    done = started()
    assert done.returncode == 2
    assert done.stderr.endswith("deploy.sh: name a command: local, gcp, destroy or sbom\n")


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["locl"], "local"), (["lcoal", "--port", "1"], "local"), (["Local"], "local"), (["gpc"], "gcp"), (["destory"], "destroy"),
        (["sbm"], "sbom"), (["local", "--prot", "1"], "--port"), (["local", "--hubport=1"], "--hub-port"),
        (["gcp", "--projct", "p"], "--project"), (["destroy", "--dryrun"], "--dry-run"), (["google"], None), (["--project", "p"], None),
        (["local", "--"], None), (["local", "--p"], None), (["*"], None), ([""], None), (["local", "--[a-z]"], None),
    ],
)  # fmt: skip
def test_a_wrong_word_is_one_line_with_the_nearest_valid_one(words, meant):
    """Before anything is set up."""
    done = started(*words)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("deploy.sh: there is no ")
    assert re.findall(r"Did you mean '(.*?)'\?", line) == ([meant] if meant else [])
    assert "./deploy.sh --help" in line


@pytest.mark.parametrize(
    ("one", "other", "edits"),
    [
        ("", "", 0),
        ("a", "", 1),
        ("", "ab", 2),
        ("gcp", "gcp", 0),
        ("kitten", "sitting", 3),
        ("ab", "ba", 2),
        ("flaw", "lawn", 2),
    ],
)
def test_edits_are_counted_as_elsewhere(tmp_path, one, other, edits):
    assert edit_distance(one, other, 9) == edits
    assert sourced(tmp_path, f"count_edits '{one}' '{other}'; echo $edits").stdout == f"{edits}\n"


# ---- wrong use


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["gcp"], "Missing option '--project'"), (["destroy", "--yes"], "Missing option '--project'"),
        (["gcp", *PLACE, "--regoin", "x"], "No such option '--regoin'"), (["up"], "there is no command 'up'"),
    ],
)  # fmt: skip
def test_wrong_use_is_told_by_its_exit_code(person, words, said):
    code, out, err = person.run(*words)
    assert (code, out) == (2, "")
    assert said.replace("'", "") in err.replace("'", "").replace(":", "")


def test_the_first_time_the_region_is_asked_for(person):
    code, _, err = person.run("gcp", "--project", PROJECT)
    assert code == 1
    assert told(err) == [
        "✗ There is no config/settings.prod.yaml yet.", "  Use --region, for example --region europe-west1, to create it.",
    ]  # fmt: skip


def test_what_was_never_deployed_is_not_taken_down(person):
    code, _, err = person.run("destroy", "--project", PROJECT, "--env", "nowhere")
    assert code == 1
    assert told(err)[0] == "✗ There is no config/settings.nowhere.yaml: it is not known what was deployed."


@pytest.mark.parametrize("flag", [("--project", "Acme Analytics"), ("--region", "europe"), ("--env", "../prod")])
def test_a_name_of_the_wrong_shape_is_wrong_use(person, flag):
    person.install()
    given = dict(zip(PLACE[::2], PLACE[1::2], strict=True)) | dict([flag])
    code, _, err = person.run("gcp", "--dry-run", *(word for pair in given.items() for word in pair))
    assert code == 2
    assert flag[0] in err
    assert not list(person.home.glob("*.yaml"))


# ---- gcloud itself


def test_without_gcloud_a_person_is_told_where_it_is(person):
    code, _, err = person.run("gcp", *PLACE, "--yes")
    assert code == 1
    assert told(err) == [
        "✗ gcloud is not installed.", "  Install the Google Cloud CLI: https://cloud.google.com/sdk/docs/install",
    ]  # fmt: skip


def test_an_old_gcloud_is_refused(person):
    person.install()
    code, _, err = person.run("gcp", *PLACE, "--dry-run", SDK="400.0.0")
    assert code == 1
    assert told(err) == ["✗ gcloud 400.0.0 is too old; 528 or newer is needed.", "  Run: gcloud components update"]
    assert [line.split()[0] for line in person.asked()] == ["version"]


def test_a_gcloud_that_cannot_start_is_told_in_its_own_words(person):
    person.install("import sys; sys.exit('ERROR: Cloud SDK requires a newer Python.')")
    code, _, err = person.run("gcp", *PLACE, "--dry-run")
    assert code == 1
    assert "ERROR: Cloud SDK requires a newer Python." in told(err)[0]


# ---- the plan, the question, the end


def test_a_dry_run_asks_nothing_and_changes_nothing(person):
    person.install()
    code, out, err = person.run("gcp", *PLACE, "--dry-run")
    assert (code, err) == (0, "")
    assert f"{len(SERVICES) - 4} services are off" in out
    assert "+ file config/settings.prod.yaml" in out
    assert person.changes() == []
    assert not (person.config / "settings.prod.yaml").exists()


def answer(person: Person, words: tuple[str, ...], typed: bytes, **more: str) -> tuple[int, str, str]:
    """Run it at a terminal and type."""
    ours, theirs = pty.openpty()
    try:
        running = person.start(*words, stdin=theirs, **more)
        os.write(ours, typed)
        out, err = running.communicate(timeout=120)
    finally:
        os.close(ours)
        os.close(theirs)
    return running.returncode, out, err


@pytest.mark.parametrize(
    ("on", "question", "typed", "ends"),
    [
        ("", "Turn these services on?", b"n\n", (1, [])), (" ".join(SERVICES), "Do this?", b"no way\n\n", (1, [])),
        (" ".join(SERVICES), "Do this?", b"\x04", (130, ["Stopped. Nothing was changed."])),
    ],
)  # fmt: skip
def test_whoever_declines_changes_nothing(person, on, question, typed, ends):
    person.install()
    code, out, err = answer(person, ("gcp", *PLACE), typed, ON=on)
    assert (code, told(err)) == ends
    assert question in out
    assert "Traceback" not in out + err
    assert person.changes() == []
    assert not (person.config / "settings.prod.yaml").exists()


def test_without_a_terminal_nobody_is_asked(person):
    person.install()
    code, _, err = person.run("gcp", *PLACE, ON=" ".join(SERVICES))
    assert code == 1
    assert told(err) == [
        "✗ The question cannot be asked, because stdin is not a terminal.",
        "  Use --yes to go ahead, or --dry-run to see only the plan.",
    ]
    assert person.changes() == []


def test_a_dry_run_shows_what_the_question_is_about(person):
    person.install()
    _, dry, _ = person.run("gcp", *PLACE, "--dry-run", ON=" ".join(SERVICES))
    _, wet, _ = answer(person, ("gcp", *PLACE), b"n\n", ON=" ".join(SERVICES))
    planned = [line for line in dry.splitlines() if line.startswith("+ ")]
    assert len(planned) > 40
    assert planned == [line for line in wet.splitlines() if line.startswith("+ ")]


def held(person: Person, *words: str, **more: str) -> subprocess.Popen[str]:
    """A run whose gcloud is at work on `HOLD`, until somebody writes into the pipe `go`."""
    person.install()
    for name in ("began", "go"):
        os.mkfifo(person.home / name)
    running = person.start(*words, **more)
    assert (person.home / "began").read_text() == "it runs"
    return running


def test_ctrl_c_lets_the_command_end_and_begins_no_other(person):
    running = held(person, "gcp", *PLACE, "--yes")
    running.send_signal(signal.SIGINT)
    (person.home / "go").write_text("on")
    out, err = running.communicate(timeout=60)
    assert running.returncode == 1
    assert "Traceback" not in out + err
    assert [line.split()[:2] for line in person.changes()] == [["services", "enable"]]
    assert "✔ + services all" in out
    assert not (person.config / "settings.prod.yaml").exists()


def test_ctrl_c_at_work_tells_what_was_done_and_what_is_left(person):
    running = held(
        person,
        "gcp",
        *PLACE,
        "--yes",
        ON=" ".join(SERVICES),
        HOLD=f"storage buckets create gs://{PROJECT}-benchkeeper ",
    )
    running.send_signal(signal.SIGINT)
    (person.home / "go").write_text("on")
    out, err = running.communicate(timeout=60)
    assert (running.returncode, err) == (1, "")
    lines = told(out)
    done = [line for line in lines if line.startswith("✔ ")]
    left = [line for line in lines if line.endswith("  left for the next run: it needs a run that is not stopped")]
    assert any(line.startswith(f"✔ + bucket {PROJECT}-benchkeeper ") for line in done)
    assert {line.split("  ")[0] for line in left} >= {
        "- function benchkeeper-tick", "- delivery benchkeeper-tick", "- job benchkeeper-due",
    }  # fmt: skip
    summary = rf"Deployed: {len(done)} done in 0m\d\ds, 0 failed, {len(left)} left\. Run it again: it continues where it stopped\."
    assert re.fullmatch(summary, lines[-1])
    assert not any("functions deploy" in line or "scheduler" in line for line in person.changes())


@pytest.mark.parametrize("words", [("gcp", *PLACE, "--yes"), ("destroy", *PLACE, "--env", "example", "--yes")])
def test_ctrl_c_while_it_looks_changes_nothing(person, words):
    running = held(person, *words, ON=" ".join(SERVICES), HOLD="pubsub topics list")
    running.send_signal(signal.SIGINT)
    (person.home / "go").write_text("on")
    out, err = running.communicate(timeout=60)
    assert (running.returncode, told(err)) == (130, ["Stopped. Nothing was changed."])
    assert "Plan:" not in out
    assert person.changes() == []
    assert not (person.config / "settings.prod.yaml").exists()


def until(running: subprocess.Popen[str], text: str) -> None:
    assert running.stdout is not None
    seen = ""
    while text not in seen:
        one = running.stdout.read(1)
        assert one, f"it ended without {text!r}: {seen}"
        seen += one


@pytest.mark.parametrize(
    ("on", "before", "said", "changes"),
    [
        (" ".join(SERVICES), [], "Stopped. Nothing was changed.", []),
        ("", ["Turn these services on?"], "Stopped. The changes made so far are listed above.", ["services enable"]),
    ],
)
def test_ctrl_c_at_the_question_is_a_no(person, on, before, said, changes):
    person.install()
    ours, theirs = pty.openpty()
    try:
        running = person.start("gcp", *PLACE, stdin=theirs, ON=on)
        for question in before:
            until(running, question)
            os.write(ours, b"y\n")
        until(running, "Do this?")
        running.send_signal(signal.SIGINT)
        os.write(ours, b"y\n")
        out, err = running.communicate(timeout=60)
    finally:
        os.close(ours)
        os.close(theirs)
    assert running.returncode == 130
    assert told(err) == [said]
    assert "Traceback" not in out
    assert [" ".join(line.split()[:2]) for line in person.changes()] == changes
    assert not (person.config / "settings.prod.yaml").exists()


def test_ctrl_c_twice_ends_it_at_once(person):
    running = held(person, "gcp", *PLACE, "--yes")
    # The first of two that are sent at once may be lost: signals do not queue.
    while running.poll() is None:
        running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "Traceback" not in out + err
    (person.home / "go").write_text("on")  # lets gcloud go, which does not hear of it


def test_a_journal_of_a_gcloud_is_what_the_test_thinks(person):
    """The test's own gcloud: a command that changes something is seen."""
    person.install()
    subprocess.run(
        [str(person.home / "bin/gcloud"), "pubsub", "topics", "create", "x", "--quiet"],
        env=person.environment,
        check=True,
    )
    answered = subprocess.run(
        [str(person.home / "bin/gcloud"), "services", "list"],
        env=person.environment | {"ON": "a b"},
        capture_output=True,
        check=True,
    )
    assert person.changes() == ["pubsub topics create x"]
    assert len(json.loads(answered.stdout)) == 2


def test_a_fault_names_the_file_of_the_person(person):
    with (person.config / "profiles.yaml").open("a", encoding="utf-8") as file:
        file.write("nonsense: 1\n")
    code, _, err = person.run("gcp", *PLACE, "--dry-run")
    assert code == 2
    assert "unknown key 'nonsense'" in err
    assert str(person.config / "profiles.yaml") in err


@pytest.mark.parametrize(
    ("machine", "lacks"), [("n9-standard-4", False), ("e2-standard-64", False), ("n9-gone-4", True)]
)
def test_the_project_judges_what_it_offers_before_anything_is_changed(person, machine, lacks):
    """Its answer wins over the shipped table, which knows neither n9 nor so large an e2; no address of a call is shown."""
    person.install()
    profiles = person.config / "profiles.yaml"
    profiles.write_text(profiles.read_text(encoding="utf-8").replace("e2-standard-4", machine), encoding="utf-8")
    person.environment["ON"] = " ".join(SERVICES)
    code, out, err = person.run("gcp", *PLACE, "--yes" if lacks else "--dry-run")
    assert "http" not in err
    assert person.changes() == []
    if lacks:
        assert code == 2
        assert f"{profiles}:" in err
        assert f"profiles.analyst.machine_type: the project has no machine type '{machine}'" in err
    else:
        assert (code, err) == (0, "")
        assert "Note" not in out


def test_a_fault_of_what_is_deployed_names_the_file_of_the_person(person):
    jobs = person.config / "deploy" / "jobs.yaml"
    jobs.write_text(jobs.read_text(encoding="utf-8").replace('"0 * * * *"', '"61 * * * *"'), encoding="utf-8")
    code, _, err = person.run("gcp", *PLACE, "--dry-run")
    assert code == 2
    assert f"{jobs}:" in err
    assert "'61 * * * *' is not a schedule" in err
