"""The one package of the wheel, and the command `benchkeeper`.

The tree's own packages have common names (`cli`, `shared`, `functions`), because Cloud Functions wants main.py and them side by side.
In a wheel they must not lie beside other people's packages: all of them, with main.py and `config`, lie in this package as they lie in a
checkout. The command puts that folder on `sys.path` of its own process alone.
"""

from __future__ import annotations

import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
ROOT = _HERE if (_HERE / "main.py").exists() else _HERE.parent  # in a wheel; in a checkout


def run() -> None:
    """Run the command line. A Ctrl-C while it loads ends it as one during a command does."""
    sys.path.insert(0, str(ROOT))
    try:
        from cli.main import main  # noqa: PLC0415 - it can be found from here on

        main(prog_name="benchkeeper")
    except KeyboardInterrupt:
        print("\nAborted!", file=sys.stderr)  # noqa: T201 - cli.output may not be loaded yet
        sys.exit(1)
