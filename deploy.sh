#!/usr/bin/env bash
# Puts Benchkeeper where it runs. `./deploy.sh local` needs nothing but Python 3.11+ and its package index.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

usage() {
  cat <<'TEXT'
usage: ./deploy.sh local [--port PORT] [--speed N] [--data DIR] [--no-examples]

  local   the whole system on this machine: the embedded cloud, the functions, the scheduled ticks

  --port PORT     the one port on 127.0.0.1 (default 8900)
  --speed N       virtual seconds per real second (default 60: a four-minute create takes four seconds)
  --data DIR      keep the state in DIR, so that it survives a restart (default: a fresh temporary folder)
  --no-examples   do not announce the people of config/examples/
TEXT
}

die() {
  printf 'deploy.sh: %s\n' "$1" >&2
  exit "${2:-1}"
}

# Prints the first Python that is new enough; a person may name one with PYTHON=.
find_python() {
  local candidate
  for candidate in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11 python; do
    if command -v "$candidate" >/dev/null 2>&1 &&
      "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      printf '%s\n' "$candidate"
      return 0
    fi
  done
  return 1
}

# A .venv with the pinned packages; made anew only when the pins changed.
set_up() {
  local python stamp
  python=$(find_python) || die 'Python 3.11 or newer is needed and was not found. Install it, or name it: PYTHON=/path/to/python3.12 ./deploy.sh local'
  "$python" -c 'import venv, ensurepip' 2>/dev/null ||
    die "$python has no venv module. Install it (on Debian and Ubuntu: apt-get install python3-venv) and run this again."
  stamp=$(cat requirements.txt cli/requirements.txt pyproject.toml | cksum | tr -d ' \n')
  if [[ -f .venv/.benchkeeper && "$(cat .venv/.benchkeeper)" == "$stamp" ]]; then
    return 0
  fi
  echo 'Setting up .venv (once; about a minute) …'
  [[ -x .venv/bin/python ]] || "$python" -m venv .venv || die 'the .venv could not be made.'
  .venv/bin/python -m pip install -qq --disable-pip-version-check -r cli/requirements.txt ||
    die 'the packages could not be installed. Is the package index reachable? See the lines above.'
  .venv/bin/python -m pip install -qq --disable-pip-version-check --no-deps -e . ||
    die 'Benchkeeper itself could not be installed into .venv. See the lines above.'
  printf '%s' "$stamp" >.venv/.benchkeeper
}

main() {
  case "${1:-}" in
    local)
      shift
      case " $* " in *' --help '* | *' -h '*) usage && return 0 ;; esac
      set_up
      exec .venv/bin/python -m cli.local "$@"
      ;;
    -h | --help | help)
      usage
      ;;
    *)
      usage >&2
      die "say what to do: local" 2
      ;;
  esac
}

main "$@"
