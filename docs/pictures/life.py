"""The script that makes docs/pictures/life.svg: the plan of a move that waits for its maintenance window, and a leaver.

Run it from the project's root: .venv/bin/python docs/pictures/life.py
"""

from __future__ import annotations

import io
import sys
from datetime import time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from rich.text import Text

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(Path(__file__).parent)]

from frame import save  # noqa: E402 - the path comes first
from kit.life import Life, life, settings_with  # noqa: E402

from cli.output import Terminal  # noqa: E402
from cli.people import print_person, print_plan  # noqa: E402
from shared.domain.things.catalog import Disruption, Identity, Window  # noqa: E402
from shared.domain.things.identity import parse_email  # noqa: E402
from shared.engine.views.person import show  # noqa: E402

WEEKEND = Window(days=frozenset({5, 6}), start=time(22), length=timedelta(hours=4), zone=ZoneInfo("Europe/Berlin"))
PROFILE = {
    "identity": Identity.PERSONAL_SERVICE_ACCOUNT,
    "disruption": Disruption.WINDOW,
    "window": WEEKEND,
}


def main() -> None:
    """Record the plan of a user who changes the profile, then the state of the user after leaving."""
    someone = life(settings_with({"analyst": PROFILE, "engineer": PROFILE}), parse_email("dana.cruz@example.com"))
    someone.join(minutes=10)
    someone.write(b"a year of work" * 1_000)
    someone.move(profile="engineer", profile_said=True, minutes=3)
    out = Terminal(record=True, width=100, file=io.StringIO(), force_terminal=True)
    out.print(Text(f"$ benchkeeper plan {someone.email}", style="bold"))
    print_plan(_shown(someone)["plan"], out)
    someone.leave(minutes=12)
    out.print()
    out.print(Text(f"$ benchkeeper show {someone.email}", style="bold"))
    print_person(_shown(someone), out)
    target = ROOT / "docs" / "pictures" / "life.svg"
    save(out, target, title="Benchkeeper")
    sys.stdout.write(f"wrote {target.relative_to(ROOT)}\n")


def _shown(someone: Life) -> dict[str, object]:
    seen = show(someone.key, someone.bench.deps)
    if seen is None:
        raise SystemExit("the person was not announced")
    return seen


if __name__ == "__main__":
    main()
