"""The script that makes docs/pictures/terminal.svg: the output of `./deploy.sh local` and `benchkeeper show`.

Run it from the project's root: .venv/bin/python docs/pictures/make.py
"""

from __future__ import annotations

import io
import json
import sys
from datetime import datetime
from pathlib import Path

from rich.text import Text

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(Path(__file__).parent)]

from frame import save  # noqa: E402 - the path comes first
from kit.inprocess import START, make_bench  # noqa: E402
from kit.reading import news_of  # noqa: E402

from cli.local.follow import final_rows, look, picture  # noqa: E402
from cli.output import Terminal, print_fleet  # noqa: E402
from cli.people import print_person  # noqa: E402
from shared.domain.things.identity import parse_email, user_key_for  # noqa: E402
from shared.engine.news.deliver import deliver  # noqa: E402
from shared.engine.sweeps.sweeps import sweep  # noqa: E402
from shared.engine.views.person import show  # noqa: E402


def main() -> None:
    """Deliver the examples to a system in memory, and record the output."""
    bench = make_bench(start=START)
    people = []
    for path in sorted((ROOT / "config" / "examples").glob("*.json")):
        body = path.read_bytes()
        for news in news_of(body, published=bench.now, message_id=path.stem):
            deliver(news, bench.deps)
        email = parse_email(json.loads(body)["user"])
        people.append((user_key_for(email), str(email)))
    out = Terminal(record=True, width=100, file=io.StringIO(), force_terminal=True)
    since: dict[str, datetime] = {}
    bench.advance(minutes=2)
    sweep("due", bench.deps)
    out.print(Text("$ ./deploy.sh local", style="bold"))
    out.print("Benchkeeper is running at http://127.0.0.1:8900 (project benchkeeper-local). Ctrl-C ends it.")
    out.print(picture(look(people, bench.deps, since), 3))
    out.print()
    for _ in range(5):
        bench.advance(minutes=1)
        sweep("due", bench.deps)
    print_fleet(final_rows(look(people, bench.deps, since)), out)
    out.print()
    out.print(Text("$ benchkeeper show b.okafor@example.com", style="bold"))
    seen = show(user_key_for(parse_email("b.okafor@example.com")), bench.deps)
    if seen is None:
        raise SystemExit("nobody was announced: is config/examples empty?")
    print_person(seen, out)
    target = ROOT / "docs" / "pictures" / "terminal.svg"
    save(out, target, title="Benchkeeper")
    sys.stdout.write(f"wrote {target.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
