#!/usr/bin/env bash
# Pins every package with its version and hashes, for each list of what is installed together. Needs uv and the package index.
#   ./tests/lock.sh            what is pinned stays as long as pyproject.toml allows it
#   ./tests/lock.sh --upgrade  the newest versions that pyproject.toml allows; more arguments go to uv, too
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

command -v uv >/dev/null || {
  echo 'lock.sh: uv is needed: pip install uv' >&2
  exit 1
}

# Universal: for every platform, and every Python from the oldest that is supported. The smaller list binds the larger one.
lock() {
  local target=$1
  shift
  echo "$target"
  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
    --output-file "$target" "$@" >/dev/null
}

readonly DEPENDENCIES=cli/requirements.txt
lock tests/requirements.txt pyproject.toml --extra dev "$@"
lock $DEPENDENCIES pyproject.toml --constraints tests/requirements.txt
lock requirements.txt --group functions --constraints $DEPENDENCIES
lock cli/sbom/requirements.txt --group sbom "$@"
lock emulator/jupyter/requirements.txt --group jupyter "$@"
lock bench/peers/requirements.txt --group peers "$@"
