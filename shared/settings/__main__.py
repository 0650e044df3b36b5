"""The command `python -m shared.settings [ENV]`, which checks the configuration and stores the result for cold starts."""

from __future__ import annotations

import sys

from shared.settings import ConfigError, checked, load_settings

if __name__ == "__main__":
    try:
        sys.stdout.write(f"{checked.write(load_settings(env=''.join(sys.argv[1:2]) or None, trust_checked=False))}\n")
    except ConfigError as error:
        sys.exit(str(error))
