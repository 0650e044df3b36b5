#!/bin/sh
""":"
exec /usr/bin/python3 -I "$0" "$@"
"""  # The line above hands a shell's run to Python: Workbench may run a post-startup script either way.
# Reports the activity of this Workbench VM to Benchkeeper every two minutes: kernels, terminals, CPU, GPU, Spark, memory kills, disk.
#
# Only for profiles with personal service accounts. Upload this file, and name it as the profile's `reporter` (docs/operations.md, "A
# reporter on the VM"). Workbench runs it without arguments at each start: it copies itself and a systemd timer to /run, which is in
# memory, so that a full disk does not stop it. The timer then runs it with `report`: a short process that writes one guest attribute.
#
# Standard library only. A value that cannot be read is left out of the report. The report has only numbers, no content of the
# person's work. It can keep the notebook running for a limited time, and never stop it.

import http.client
import json
import os
import sys
from datetime import datetime, timezone

NAME = "activity-reporter"
HOME = "/home/jupyter"
JUPYTER = "127.0.0.1:8080"
METADATA = "metadata.google.internal"
ATTRIBUTE = "/computeMetadata/v1/instance/guest-attributes/benchkeeper/activity"
PATIENCE_S = 4  # of each call
MOST_BYTES = 2_000_000  # of an answer that is read
MOST_REPORT = 1_000  # bytes
AHEAD_S = 60  # a time stamp may be so far ahead of this clock
SERVICE = """[Unit]
Description=Reports the activity of this notebook to Benchkeeper

[Service]
Type=oneshot
ExecStart=/usr/bin/python3 -I {script} report
TimeoutStartSec=60
MemoryMax=64M
Nice=10
"""
# Monotonic times: a jump of the clock neither delays the timer nor triggers it.
TIMER = """[Unit]
Description=Runs {name} every two minutes

[Timer]
OnActiveSec=20s
OnUnitActiveSec=120s
AccuracySec=5s

[Install]
WantedBy=timers.target
"""


def main(arguments):
    """Install this script if there are no arguments, else run the command in the first argument. Return the exit code.

    A report that could not be written gives 0, too, because the timer runs again in two minutes.
    """
    options = {"--metadata": METADATA, "--jupyter": JUPYTER, "--proc": "/proc", "--home": HOME, "--run": "/run"}
    command = arguments[0] if arguments else "install"
    for name, value in zip(arguments[1::2], arguments[2::2]):
        if name not in options:
            return complain(f"unknown option {name}")
        options[name] = value
    if command == "install":
        return install(options["--run"])
    if command == "show":
        print(json.dumps(report(options), indent=2))
        return 0
    if command != "report":
        return complain(f"unknown command {command}; the commands are install, report and show")
    try:
        send(options["--metadata"], report(options))
    except (OSError, ValueError, http.client.HTTPException) as error:
        complain(f"not reported, tried again in two minutes: {type(error).__name__}: {error}")
    return 0


def complain(text):
    """Write an error message to the journal, and return exit code 2. A full or missing journal is not an error."""
    try:
        sys.stderr.write(f"{NAME}: {text}\n")
        sys.stderr.flush()
    except OSError:
        pass
    return 2


def install(run):
    """Copy this script and its timer to /run, and start the timer. Safe to run twice. Return the exit code."""
    folder, units = os.path.join(run, "benchkeeper"), os.path.join(run, "systemd", "system")
    script = os.path.join(folder, "reporter.py")
    with open(os.path.abspath(__file__), encoding="utf-8") as own:
        text = own.read()
    for path, content in (
        (script, text),
        (os.path.join(units, f"{NAME}.service"), SERVICE.format(script=script)),
        (os.path.join(units, f"{NAME}.timer"), TIMER.format(name=NAME)),
    ):
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(content)
    for command in (("daemon-reload",), ("restart", f"{NAME}.timer")):
        if os.spawnvp(os.P_WAIT, "systemctl", ["systemctl", *command]) != 0:
            return complain("systemctl " + " ".join(command) + " failed")
    return 0


def report(options):
    """Return the report of the VM's present activity. A value that cannot be read is left out: unknown does not mean none."""
    proc = options["--proc"]
    found = {"v": 1, "at": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")}
    parts = {
        "boot": lambda: text_of(proc, "sys/kernel/random/boot_id").strip()[:36],
        "up": lambda: int(uptime(proc)),
        "kernels": lambda: kernels(options["--jupyter"]),
        "terminals": lambda: terminals(options["--jupyter"]),
        "connections": lambda: connections(proc, options["--jupyter"]),
        "cores": lambda: cores(proc, options["--run"]),
        "gpu": gpu,
        "spark": spark_applications,
        "killed": lambda: counter(proc, "vmstat", "oom_kill"),
        "memory_gb": lambda: round(counter(proc, "meminfo", "MemTotal:") / 1024**2, 1),
        "disk": lambda: fill(options["--home"]),
    }
    for name, read in parts.items():
        try:
            value = read()
        except Exception:  # an error in one part must not prevent the report of the others
            continue
        if value is not None:
            found[name] = value
    return found


def send(metadata, found):
    """Write the report as the guest attribute.

    Raise OSError, HTTPException or ValueError if the metadata server refuses the report, or if the report is too long.
    """
    body = json.dumps(found, separators=(",", ":"))
    if len(body) > MOST_REPORT:
        raise ValueError(f"the report has {len(body)} bytes")
    host, _, path = metadata.partition("/")
    headers = {"Metadata-Flavor": "Google", "Content-Type": "text/plain"}
    call(host, "PUT", (f"/{path}" if path else "") + ATTRIBUTE, body, headers)


def call(host, verb, path, body=None, headers=None):
    """Return the body of a successful answer.

    Raise ValueError for any other answer and for one that is too large; OSError or HTTPException if the call fails.
    """
    connection = http.client.HTTPConnection(host, timeout=PATIENCE_S)
    try:
        connection.request(verb, path, body=body, headers=headers or {})
        answer = connection.getresponse()
        if not 200 <= answer.status < 300:
            raise ValueError(f"{host} answered {answer.status}")
        content = answer.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise ValueError(f"the answer of {host} is larger than {MOST_BYTES} bytes")
        return content
    finally:
        connection.close()


def ask(jupyter, what):
    """Return the list of objects that Jupyter's API has under the name `what`. Raise ValueError for any other content.

    `no_track_activity` keeps the request from counting as use of the notebook.
    """
    host, _, base = jupyter.partition("/")
    found = json.loads(call(host, "GET", f"{'/' + base if base else ''}/api/{what}?no_track_activity=1"))
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise ValueError(f"{what} is not a list of objects")
    return found


def kernels(jupyter):
    """Return the numbers of busy and idle kernels, and the seconds since the latest activity of any kernel, if known.

    A kernel in an unknown state counts as busy.
    """
    found = ask(jupyter, "kernels")
    busy = sum(1 for each in found if each.get("execution_state") in ("busy", "unknown"))
    told = {"busy": busy, "idle": len(found) - busy}
    age = youngest(found)
    return told if age is None else {**told, "age": age}


def terminals(jupyter):
    """Return the number of terminals, and the seconds since the latest activity of any terminal, if known."""
    found = ask(jupyter, "terminals")
    age = youngest(found)
    return {"count": len(found)} if age is None else {"count": len(found), "age": age}


def youngest(found):
    """Return the seconds since the latest `last_activity`; None if there is none.

    The result is an age and not a time, so that a wrong clock does no harm. A time more than a minute in the future was
    written before the clock was set back, so such a time is ignored.
    """
    now, ages = datetime.now(timezone.utc), []
    for each in found:
        try:
            text = str(each["last_activity"]).replace("Z", "+00:00")
            moment = datetime.fromisoformat(text)
            age = (now - (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc))).total_seconds()
            if age > -AHEAD_S:
                ages.append(max(0, int(age)))
        except (KeyError, TypeError, ValueError):
            continue
    return min(ages, default=None)


def text_of(*path):
    with open(os.path.join(*path), encoding="utf-8", errors="replace") as file:
        return file.read(MOST_BYTES)


def counter(proc, name, key):
    """Return the number after a key in /proc/vmstat or /proc/meminfo; None if the key is missing."""
    for line in text_of(proc, name).splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == key:
            return int(words[1])
    return None


def uptime(proc):
    """Return the seconds since the start of the machine. A change of the clock does not affect them."""
    return float(text_of(proc, "uptime").split()[0])


def cores(proc, run):
    """Return the average number of CPU cores in use since the previous report; None if that report stored no usable value."""
    words = [int(word) for word in text_of(proc, "stat").splitlines()[0].split()[1:9]]
    busy = (sum(words) - words[3] - words[4]) / os.sysconf("SC_CLK_TCK")  # without idle and iowait
    now, path = uptime(proc), os.path.join(run, "benchkeeper", "cpu")
    try:
        before = [float(word) for word in text_of(path).split()]
    except (OSError, ValueError):
        before = []
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="ascii") as file:
            file.write(f"{busy} {now}")
    except OSError:
        pass  # the next report has no cores either
    if len(before) != 2 or not 1 <= now - before[1] or busy < before[0]:
        return None
    return round((busy - before[0]) / (now - before[1]), 2)


def connections(proc, jupyter):
    """Return the number of established connections to JupyterLab's port."""
    port = f":{int(jupyter.partition('/')[0].rpartition(':')[2]):04X}"
    count = 0
    for name in ("net/tcp", "net/tcp6"):
        try:
            lines = text_of(proc, name).splitlines()[1:]
        except OSError:
            continue
        count += sum(1 for line in lines if (words := line.split())[1].endswith(port) and words[3] == "01")
    return count


def gpu():
    """Return the utilization of the busiest GPU, from 0 to 1; None if there is no GPU."""
    pipe = os.popen("timeout 5 nvidia-smi --query-gpu=utilization.gpu --format=csv,noheader,nounits 2>/dev/null")
    with pipe:
        shares = [int(line) for line in pipe.read(10_000).split() if line.isdigit()]
    return max(shares) / 100 if shares else None


def spark_applications():
    """Return the number of running Spark applications that serve their pages on the ports from 4040 to 4044.

    An application takes the next free port from 4040 on, so the search ends at the first port that nobody serves.
    """
    running = 0
    for port in range(4040, 4045):
        try:
            found = json.loads(call(f"127.0.0.1:{port}", "GET", "/api/v1/applications?status=running"))
        except ConnectionRefusedError:
            break
        except (OSError, ValueError, http.client.HTTPException):
            continue
        running += len(found) if isinstance(found, list) else 0
    return running


def fill(home):
    """Return the used percentage of the disk with the user's files, like df; None if the disk has no blocks."""
    disk = os.statvfs(home)
    used = disk.f_blocks - disk.f_bfree
    room = used + disk.f_bavail
    return None if room <= 0 else -(-100 * used // room)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
