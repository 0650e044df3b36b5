"""The commands `evidence` and `as-of`.

`evidence` makes or checks a package for an auditor; `as-of` shows each user's access on a past day.
"""

from __future__ import annotations

import getpass
import shutil
import subprocess
from datetime import UTC, date, datetime
from pathlib import Path
from zipfile import BadZipFile

import click

from cli.context import FAILED, App, Day, guarded, output_option, pass_app, stop
from cli.output import complain, console, print_csv, print_json, say, table
from cli.users import say_unknown, user_key
from shared.domain.things.times import rfc3339
from shared.engine.views.evidence import AccessThen, Period, all_records, as_of, gather, one_record
from shared.evidence import digest_of, faults_of, package, read_package, zipped

_DAY = Day()
_COLUMNS = ("user_key", "user", "known", "access", "profile", "cause", "group", "since", "why")
_VERIFY = "verify"


@click.command()
@click.argument("what", nargs=-1, metavar="USER | verify PACKAGE")
@click.option("--all", "everybody", is_flag=True, help="About all people.")
@click.option("--from", "first", type=_DAY, default=None, help="The first day (UTC). Default: the first recorded day.")
@click.option("--to", "last", type=_DAY, default=None, help="The last day (UTC). Default: today.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    help="The package to write: a folder, or a file NAME.zip. Default: evidence-DAY.zip",
)
@click.option(
    "--digest", default="", help="With verify: the digest of the manifest, as printed when the package was made."
)
@output_option()
@pass_app
@guarded
def evidence(
    app: App,
    what: tuple[str, ...],
    first: datetime | None,
    last: datetime | None,
    out: Path | None,
    digest: str,
    *,
    output: str,
    everybody: bool,
) -> None:
    """Write the evidence about USER, or with --all about all people: facts, decisions, changes, access times, snapshots, approvals, proof of leaving.

    Every table is a CSV and a JSON file; manifest.json has the SHA-256 of each. `evidence verify PACKAGE` detects a single changed byte.
    """
    if what[:1] == (_VERIFY,):
        if len(what) != 2 or everybody:  # noqa: PLR2004 - the word and the package
            raise click.UsageError("Name a package: benchkeeper evidence verify PACKAGE")
        _verify(Path(what[1]), digest, output)
        return
    if (len(what) == 1) == everybody or len(what) > 1:
        raise click.UsageError("Name a USER, or use --all.")
    _make(app, what[0] if what else "", (first, last), out, output)


def _make(app: App, user: str, days: tuple[datetime | None, datetime | None], out: Path | None, output: str) -> None:
    deps, (first, last) = app.deps, days
    now = deps.clock.now()
    period = Period(first=first.date() if first else date(1970, 1, 1), last=last.date() if last else now.date())
    if period.last < period.first:
        raise click.UsageError("--to is before --from.")
    place = out or Path(f"evidence-{now:%Y-%m-%d}.zip")
    _check_place(place)
    if user:
        records = one_record(user_key(app, user), deps)
        if not records:
            say_unknown(app, user)
        found, about = gather([records], period, deps), str(records[0].user_key)
    else:
        found, about = gather(all_records(deps), period, deps), "everybody"
    asked_by = f"{getpass.getuser()} on the command line"
    files = package(found, period, about=about, asked_by=asked_by, at=now, policy=deps.policy_digest, commit=_commit())
    if place.suffix == ".zip":
        place.write_bytes(zipped(files))
    else:
        place.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (place / name).write_bytes(content)
    if output == "json":
        print_json({"place": str(place), "records": found.records, "files": sorted(files), "digest": digest_of(files)})
        return
    say(f"Wrote {place}: {found.records} record{'s' if found.records != 1 else ''}, {len(files)} files.")
    say(f"Digest of the manifest, to keep elsewhere: {digest_of(files)}")


def _check_place(place: Path) -> None:
    """Raise a usage error if the package cannot be written to `place`, before minutes are spent on gathering evidence."""
    if place.suffix == ".zip":
        if place.is_dir():
            raise click.UsageError(f"{place} is a folder. Name a file, or a folder without .zip.")
        if not place.parent.is_dir():
            raise click.UsageError(
                f"The folder {place.parent} does not exist. Create it, or choose another place with --out."
            )
        return
    if place.exists() and not place.is_dir():
        raise click.UsageError(f"{place} is a file. Name a folder, or a file NAME.zip.")
    if place.is_dir() and any(place.iterdir()):
        raise click.UsageError(f"{place} is not empty.")


def _commit() -> str:
    """Return the git commit of the folder that this program runs from; "" without git or outside a git repository."""
    git = shutil.which("git")
    if git is None:
        return ""
    folder = Path(__file__).parent
    done = subprocess.run([git, "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603 - fixed words
    return done.stdout.strip() if done.returncode == 0 else ""


def _verify(path: Path, digest: str, output: str) -> None:
    try:
        files = read_package(path)
    except (OSError, BadZipFile) as error:
        complain(f"{path} cannot be read as a package: {error}")
        stop(FAILED)
    faults = faults_of(files, digest=digest)
    for fault in faults:
        complain(f"{path}: {fault}.")
    if output == "json":
        print_json({"package": str(path), "faults": list(faults), "digest": digest_of(files)})
    if faults:
        stop(FAILED)
    if output == "json":
        return
    say(f"{path}: nothing was altered, removed or added. Digest of the manifest: {digest_of(files)}")


@click.command(name="as-of")
@click.argument("day", type=_DAY, metavar="DAY")
@click.option("--with-none", is_flag=True, help="Also show people without access.")
@output_option("table", "json", "csv")
@pass_app
@guarded
def as_of_day(app: App, day: datetime, output: str, *, with_none: bool) -> None:
    """Show each user's access at the end of DAY (UTC), with its start and its reason, from the audit's entries.

    A person whose record existed then, but who has no entry, is shown as not known.
    """
    deps = app.deps
    if day.date() > deps.clock.now().date():
        raise click.UsageError(f"{day:%Y-%m-%d} is in the future: access on that day is not known yet.")
    found = sorted(as_of(day.date(), all_records(deps), deps), key=lambda each: each.user)
    rows = [_row(each) for each in found if with_none or each.access or not each.known]
    if output == "json":
        print_json(rows)
    elif output == "csv":
        print_csv(rows, _COLUMNS)
    elif not rows:
        say(f"No one had access at the end of {day:%Y-%m-%d}.")
    else:
        shown = [
            (each.user, _said(each), f"{each.since:%Y-%m-%d %H:%M}" if each.since else "-", each.why)
            for each in found
            if with_none or each.access or not each.known
        ]
        console().print(table([("USER", "fold"), ("HAD", "whole"), ("SINCE (UTC)", "whole"), ("WHY", "fold")], shown))


def _said(each: AccessThen) -> str:
    if not each.known:
        return "not known"
    return each.profile or "access" if each.access else "none"


def _row(each: AccessThen) -> dict[str, object]:
    return {
        "user_key": each.user_key,
        "user": each.user,
        "known": each.known,
        "access": each.access,
        "profile": each.profile,
        "cause": each.cause,
        "group": each.group,
        "since": rfc3339(each.since.astimezone(UTC)) if each.since is not None else None,
        "why": each.why,
    }
