"""The hub page: cold and warm answers, the manager's pages with ten thousand users, and a thousand users who open their page at once.

The CPU time and the memory with a list of a hundred thousand users are measured, too. One functions-framework process
with the function `hub` runs on a port of its own, over the embedded cloud. Headers are signed as Identity-Aware Proxy
signs them. The baseline is a functions-framework function that only says hello, called in the same way in the same run.
The product's own adapter writes the records; the fleet list is written by the call that sweeps use.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from benching import ROOT, arguments, compiled_environment, free_port, header, judge, median, percentile, say
from cloud_calls import calls, named
from kit.inprocess import Bench, make_bench
from msgspec.structs import replace
from opening import first_byte_s
from people import MODEL, settled

from emulator.iap.signing import claims_of
from shared.domain.fleet.fleet import FleetPoint, FleetSnapshot, Notes
from shared.domain.record.record import RecordRow, UserRecord, row_of
from shared.domain.things.identity import UserEmail, instance_id_for, parse_email, user_key_for
from shared.domain.things.power import NOTEBOOK, Usage, month_of
from shared.settings import Settings, project_override_variables

AUDIENCE = "/projects/123456789012/locations/europe-west1/services/benchkeeper-hub"
ADMIN = parse_email("mia.chen@example.com")
FEW, MANY = 10, 10_000
HUGE = 100_000
HUGE_CPU_S, HUGE_MB = 0.5, 256
_STEADY = 20
MANAGER = (
    "/manage",
    "/manage/people",
    "/manage/people?q=person.99&sort=hours&order=down",
    "/manage/people?view=leavers",
    "/manage/people?view=unused",
    "/manage/costs",
    "/manage/messages",
    "/manage/changes",
)
COLD = {"/": 3.0, "/manage": 5.0}  # times the hello; the second one reads ten thousand rows
_PATIENCE_S = 60.0
_HELLO = '''import functions_framework


@functions_framework.http
def hello(request):
    """Do nothing, so that only the server's own cost is measured."""
    return "hello"
'''


@dataclass(frozen=True, slots=True)
class Server:
    """The function, folder and environment of a functions-framework process."""

    target: str
    folder: Path
    environment: dict[str, str]

    @contextmanager
    def running(self) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
        """Start the process, and yield its port and the process; it may not listen yet."""
        port = free_port()
        command = [
            str(Path(sys.executable).with_name("functions-framework")), "--target", self.target,
            "--source", str(self.folder / "main.py"), "--signature-type", "http", "--host", "127.0.0.1", "--port", str(port),
        ]  # fmt: skip
        process = subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            yield port, process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def first_answer_s(server: Server, path: str, token: str) -> float:
    """Return the seconds from starting the process to the first byte of its first answer.

    Raise `AssertionError` if the status is not 200, and `RuntimeError` if the process does not listen within a minute.
    """
    begun = time.perf_counter()
    with server.running() as (port, _):
        while time.perf_counter() - begun < _PATIENCE_S:
            with suppress(ConnectionRefusedError):
                status, _ = first_byte_s(port, path, token)
                took = time.perf_counter() - begun
                assert status == 200, f"{path} answered {status}"
                return took
            time.sleep(0.002)
    raise RuntimeError(f"{server.target} did not listen")


def others(bench: Bench, like: UserRecord, count: int) -> list[UserEmail]:
    """Write the records of `count` users like the given one, and return their addresses."""
    emails = [parse_email(f"person.{number}@example.com") for number in range(count)]
    for email in emails:
        status = like.status.changed(instance_id=instance_id_for(email))
        bench.deps.records.save(replace(like, user_key=user_key_for(email), email=email, status=status), expected=None)
    return emails


def show(bench: Bench, like: UserRecord, count: int) -> None:
    """Move the clock by a minute, and write a fleet list of `count` users as the next sweep would."""
    bench.advance(minutes=1)
    now = bench.now
    model = row_of(like)
    points = tuple(
        FleetPoint(at=now.replace(day=1 + hour // 24, hour=hour % 24), running=hour, resting=9, moving=1, attention=0)
        for hour in range(24 * (now.day - 1))
    )
    moved = int(now.timestamp()) // 60 % _STEADY  # those of one in twenty people are others than in the list before
    rows = [_row(model, number, now if number % _STEADY == moved else None) for number in range(count)]
    rows.sort(key=lambda row: row.user_key)
    bench.deps.fleet.write_fleet(FleetSnapshot(taken_at=now, rows=tuple(rows), points=points))


def _row(model: RecordRow, number: int, moved: datetime | None) -> RecordRow:
    email = parse_email(f"person.{number}@example.com")
    return replace(
        model,
        user_key=user_key_for(email),
        email=email,
        instance_id=instance_id_for(email),
        cost_center=f"CC-{number % 40}",
        reason=("Ready", "Ready", "Stopped", "Idle", "Stuck")[number % 5],
        usage={NOTEBOOK: Usage(month="2026-11", ran_s=number * 7)},
        ready_since=moved or model.ready_since,
        meter=model.meter.replace("1795420800", str(1795420800 + number)),
        ready_took_s=240.0 + number % 90,
    )


def token_of(bench: Bench, email: str) -> str:
    """Return the value of the header that Identity-Aware Proxy would now add to this user's request; valid for ten minutes."""
    return bench.cloud.iap.signer.sign(claims_of(email, AUDIENCE, issued=int(bench.now.timestamp())))


def admit(bench: Bench) -> None:
    """Create the owners' group of the local settings, and make the administrator (`ADMIN`) a member of it."""
    group = bench.settings.roles.owner
    assert group is not None
    labels = {"cloudidentity.googleapis.com/groups.discussion_forum": ""}
    body = {"parent": "customers/C046psxkn", "groupKey": {"id": group}, "labels": labels}
    bench.control("POST", "/v1/groups", body)
    bench.deps.groups.join(group, ADMIN)


@contextmanager
def servers(settings: Settings, url: str) -> Iterator[tuple[Server, Server]]:
    """Yield the hello server and the hub server, not yet started. The hub's configuration was checked before, as in a deployment."""
    with tempfile.TemporaryDirectory(prefix="benchkeeper-hub-") as made:
        folder = Path(made)
        (folder / "hello").mkdir()
        (folder / "hello" / "main.py").write_text(_HELLO)
        shutil.copytree(settings.config_dir, folder / "config")
        environment = compiled_environment(
            **{
                **project_override_variables(replace(settings, api_endpoint=url)),
                "BENCHKEEPER_CONFIG_DIR": str(folder / "config"),
                "BENCHKEEPER_IAP_AUDIENCE": AUDIENCE,
            }
        )
        subprocess.run(
            [sys.executable, "-m", "shared.settings", settings.env],
            cwd=ROOT,
            env=environment,
            check=True,
            capture_output=True,
        )
        yield Server("hello", folder / "hello", environment), Server("hub", ROOT, environment)


def cold(bench: Bench, hello: Server, hub: Server, rounds: int) -> None:
    """Measure alternating cold starts; the first round only compiles modules, and does not count."""
    pages = {"hello": (hello, "/", ""), "/": (hub, "/", MODEL), "/manage": (hub, "/manage", ADMIN)}
    took: dict[str, list[float]] = {name: [] for name in pages}
    for number in range(rounds + 1):
        for name, (server, path, who) in pages.items():
            seconds = first_answer_s(server, path, token_of(bench, who) if who else "")
            if number:
                took[name].append(seconds)
    for name, values in took.items():
        say(f"cold {name:10} {median(values):.3f} s to the first byte (fastest {min(values):.3f})")
    for name in list(pages)[1:]:
        ratio = median([mine / bare for mine, bare in zip(took[name], took["hello"], strict=True)])
        judge(f"RATIO cold {name} / hello", ratio, COLD[name])


def warm(bench: Bench, like: UserRecord, hello: Server, hub: Server, rounds: int) -> None:
    """Measure the answers of running processes: the hello function, the user's page and the manager's pages.

    Calls to the cloud are counted with few and with many users; the numbers must be equal.
    """
    pages = ("/", *MANAGER)
    counted: dict[str, list[str]] = {path: [] for path in pages}
    took: dict[str, list[float]] = {path: [] for path in ("hello", *pages)}
    with hello.running() as (hello_port, _), hub.running() as (port, _):
        _listening(hello_port, "/", "")
        _listening(port, "/", token_of(bench, MODEL))
        for people in (FEW, MANY):
            show(bench, like, people)
            _asked(bench, port, "/manage/messages")  # who is an administrator is known from here on
            fresh = _asked(bench, port, "/manage")
            say(f"first /manage after a sweep wrote the list of {people:,}: {fresh * 1e3:.0f} ms")
            for path in pages:
                _asked(bench, port, path)
                calls(bench)
                _asked(bench, port, path)
                counted[path].append(named(calls(bench)))
        for _ in range(rounds):
            took["hello"].append(first_byte_s(hello_port, "/", "")[1])
            for path in pages:
                took[path].append(_asked(bench, port, path))
    bare = median(took["hello"])
    say(f"warm hello {bare * 1e3:.1f} ms")
    for path, values in took.items():
        if path == "hello":
            continue
        few, many = counted[path]
        say(
            f"warm {path}: {median(values) * 1e3:.1f} ms (p95 {percentile(values, 0.95) * 1e3:.1f}), "
            f"{median(values) / bare:.0f}x hello; calls at {FEW} people: {few}; at {MANY:,}: {many}"
        )
        assert few == many, f"{path}: {few} calls at {FEW} people, {many} at {MANY}"
    for path in MANAGER:
        judge(f"warm {path} at {MANY:,} people", median(took[path]) * 1e3, 300, unit=" ms")


def _asked(bench: Bench, port: int, path: str) -> float:
    status, took = first_byte_s(port, path, token_of(bench, ADMIN if path.startswith("/manage") else MODEL))
    assert status == 200, f"{path} answered {status}"
    return took


def _listening(port: int, path: str, token: str) -> None:
    end = time.perf_counter() + _PATIENCE_S
    while time.perf_counter() < end:
        with suppress(ConnectionRefusedError):
            assert first_byte_s(port, path, token)[0] == 200
            return
        time.sleep(0.01)
    raise RuntimeError("nobody listens")


def at_nine(bench: Bench, emails: list[UserEmail], hello: Server, hub: Server) -> None:
    """Measure all users opening their pages at once, fifty at a time."""
    found = {}
    for name, server in (("hello", hello), ("hub", hub)):
        with server.running() as (port, _):
            _listening(port, "/", token_of(bench, MODEL) if name == "hub" else "")
            tokens = [token_of(bench, email) if name == "hub" else "" for email in emails]
            answer = subprocess.run(
                [sys.executable, str(ROOT / "bench" / "opening.py"), str(port), "50"],
                input="\n".join(tokens), text=True, capture_output=True, check=True,
            )  # fmt: skip
        found[name] = json.loads(answer.stdout)
        took = found[name]["took"]
        assert took, f"{name}: no answer was 200"
        say(
            f"{len(emails):,} people open {name}: p50 {percentile(took, 0.5):.2f} s, p99 {percentile(took, 0.99):.2f} s, "
            f"{len(emails) / found[name]['all_s']:.0f} a second, {found[name]['errors']} errors"
        )
    judge("errors", found["hub"]["errors"], 0, unit="")
    ratio = percentile(found["hub"]["took"], 0.99) / percentile(found["hello"]["took"], 0.99)
    judge("RATIO p99 hub / p99 hello", ratio, 20)


def huge(bench: Bench, like: UserRecord, hub: Server) -> None:
    """Measure pages over a list of a hundred thousand users: the CPU time of answers, and the memory. A list of ten users goes first.

    The first answer after a new list counts apart from the four that follow.
    """
    with hub.running() as (port, process):
        _listening(port, "/", token_of(bench, MODEL))
        _asked(bench, port, "/manage/messages")
        for people in (FEW, HUGE):
            for path in ("/", "/manage", "/manage/people", "/manage/people"):
                show(bench, like, people)
                note(bench, people)
                took = [_cpu_of(process, lambda path=path: _asked(bench, port, path)) for _ in range(5)]
                say(
                    f"{people:,} people, {path}: {took[0]:.2f} s CPU after a new list, {median(took[1:]) * 1e3:.0f} ms then"
                )
                if people == HUGE and path != "/manage/people":
                    judge(f"CPU of the first {path} after a new list", took[0], HUGE_CPU_S, unit=" s")
            say(f"memory: {_peak_mb(process):.0f} MB")
        judge("memory with two lists", _peak_mb(process), HUGE_MB, unit=" MB")


def note(bench: Bench, count: int) -> None:
    """Write the notes for the pages of `count` users, as a sweep does."""
    keys = [user_key_for(parse_email(f"person.{number}@example.com")) for number in range(count)]
    times = dict.fromkeys(keys, bench.now)
    bench.deps.fleet.write_notes(
        Notes(
            taken_at=bench.now,
            idle_stops=times,
            last_used=times,
            looked=times,
            costs={key: number % 997 / 10 for number, key in enumerate(keys)},
            costs_month=month_of(bench.now),
            costs_at=bench.now,
        )
    )


def _workers(process: subprocess.Popen[bytes]) -> list[Path]:
    """Return the folders in `/proc` of the server's worker processes."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [Path("/proc") / child for child in children]


def _cpu_of(process: subprocess.Popen[bytes], work: Callable[[], object]) -> float:
    """Return the CPU seconds that the server's worker processes use during `work`."""

    def spent() -> float:
        fields = [(each / "stat").read_text().rpartition(")")[2].split() for each in _workers(process)]
        return sum(int(each[11]) + int(each[12]) for each in fields) / os.sysconf("SC_CLK_TCK")

    before = spent()
    work()
    return spent() - before


def _peak_mb(process: subprocess.Popen[bytes]) -> float:
    lines = [line for each in _workers(process) for line in (each / "status").read_text().splitlines()]
    return max(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def main() -> None:
    asked = arguments(__doc__)
    opening = 100 if asked.quick else 1_000
    header(f"The hub page, {MANY:,} people in the list, {opening:,} at nine, load {os.getloadavg()[0]:.1f}")
    bench = make_bench()
    like = settled(bench)
    admit(bench)
    emails = others(bench, like, opening)
    show(bench, like, MANY)
    with bench.cloud, servers(bench.settings, bench.cloud.url) as (hello, hub):
        huge(bench, like, hub)
        show(bench, like, MANY)
        cold(bench, hello, hub, 2 if asked.quick else 7)
        warm(bench, like, hello, hub, 5 if asked.quick else 20)
        at_nine(bench, emails, hello, hub)


if __name__ == "__main__":
    main()
