"""The only package of the wheel, with the command `benchkeeper`.

The packages of the repository have common names (`cli`, `shared`, `functions`), because Cloud Functions needs main.py beside
these packages. Installed under these names, they could collide with other packages. So the wheel contains them, main.py and
`config` inside this package, in the same layout as in a checkout. The command adds the package's folder to `sys.path` of
its own process.
"""

from __future__ import annotations

import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
ROOT = _HERE if (_HERE / "main.py").exists() else _HERE.parent  # in a wheel; in a checkout


def run() -> None:
    """Run the command line. If Ctrl-C is pressed while it is imported, print "Aborted!" and exit with code 1."""
    sys.path.insert(0, str(ROOT))
    try:
        from cli.main import main  # noqa: PLC0415 - it can be found from here on

        main(prog_name="benchkeeper")
    except KeyboardInterrupt:
        print("\nAborted!", file=sys.stderr)  # noqa: T201 - cli.output may not be loaded yet
        sys.exit(1)
