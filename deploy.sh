#!/usr/bin/env bash
# Puts Benchkeeper where it runs: this machine, or Google Cloud. It needs Python 3.11+ and its package index; gcp needs gcloud too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

usage() {
  cat <<'TEXT'
usage: ./deploy.sh local   [--port PORT] [--hub-port PORT] [--speed N] [--data DIR] [--no-examples]
                           [--with-jupyter] [--jupyter-port PORT] [--allow-host NAME]
       ./deploy.sh gcp     --project P --region R [--env NAME] [--organization N] [--dry-run] [--verbose] [--yes]
       ./deploy.sh destroy --project P [--region R] [--env NAME] [--dry-run] [--verbose] [--yes]

  local    the whole system on this machine: the embedded cloud, the functions, the scheduled ticks
  gcp      the whole system on Google Cloud: plans first, changes only what differs, safe to run again
  destroy  takes down what gcp made; the bucket, the environments and their data stay

local
  --port PORT     the embedded cloud's port on 127.0.0.1 (default 8900)
  --hub-port PORT the sign-in and the hub page (default: the next port)
  --with-jupyter  a real JupyterLab for each environment that runs; installs it once, in .venv-jupyter
  --jupyter-port PORT  the way to the JupyterLabs (default: the port after the hub page's)
  --allow-host NAME  a further name by which a container calls the port (default: this machine's own names alone)
  --speed N       virtual seconds per real second (default 60: a four-minute create takes four seconds)
  --data DIR      keep the state in DIR, so that it survives a restart (default: a fresh temporary folder)
  --no-examples   do not announce the people of config/examples/

gcp and destroy (they run gcloud, as whoever is logged in there)
  --project P     the project's id
  --region R      the region of functions and environments, for example europe-west1
  --env NAME      reads config/settings.NAME.yaml, and writes it when there is none (default prod)
  --organization N  gcp only: the organization's number, whose logs tell of groups and accounts; kept in the settings file
  --dry-run       print the plan and change nothing: + create, ~ change, = same, - delete, ! left alone
  --verbose, -v   print every command, and what stays the same
  --yes, -y       do not ask before changing anything

What is deployed is data: config/deploy/*.yaml. What to do when: docs/operations.md.
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

# A .venv with the pinned packages; they are installed again when the pins changed. One that an interrupted run left half made is made
# anew.
set_up() {
  local python stamp
  python=$(find_python) || die 'Python 3.11 or newer is needed and was not found. Install it, or name it: PYTHON=/path/to/python3.12 ./deploy.sh …'
  stamp=$(cat requirements.txt cli/requirements.txt pyproject.toml | cksum | tr -d ' \n')
  if [[ -f .venv/.benchkeeper && "$(cat .venv/.benchkeeper)" == "$stamp" ]]; then
    return 0
  fi
  is_usable || has_uv || "$python" -c 'import venv, ensurepip' 2>/dev/null ||
    die "$python has no venv module. Install it (on Debian and Ubuntu: apt-get install python3-venv) and run this again."
  echo 'Setting up .venv (once; about a minute) …'
  is_usable || make_venv "$python"
  install -r cli/requirements.txt ||
    die 'the packages could not be installed. Is the package index reachable? See the lines above.'
  install --no-deps -e . ||
    die 'Benchkeeper itself could not be installed into .venv. See the lines above.'
  printf '%s' "$stamp" >.venv/.benchkeeper
}

# Packages go into an environment of our own and nowhere else: never through a link that leads to the system's Python.
is_usable() {
  .venv/bin/python -c 'import pip, sys; sys.exit(sys.prefix == sys.base_prefix)' 2>/dev/null
}

# uv (https://docs.astral.sh/uv/) does the same in a few seconds, where somebody has it. --seed and ensurepip: tests and people use pip.
make_venv() {
  rm -rf .venv
  if has_uv; then
    uv venv --quiet --seed --python "$1" .venv || die 'the .venv could not be made. See the lines above.'
    return 0
  fi
  "$1" -m venv .venv || die 'the .venv could not be made. See the lines above.'
}

has_uv() {
  [[ -z ${BENCHKEEPER_NO_UV:-} ]] && command -v uv >/dev/null 2>&1
}

install() {
  local said
  if has_uv; then
    uv pip install --quiet --python .venv/bin/python "$@"
    return
  fi
  said=$(mktemp) # what pip warns of is shown if it fails
  if .venv/bin/python -m pip install --disable-pip-version-check --progress-bar off "$@" 2>"$said" | show_progress "$@"; then
    rm -f "$said"
    return 0
  fi
  cat "$said" >&2
  rm -f "$said"
  return 1
}

# pip's lines as one that moves: which package of how many. Where nobody looks, every tenth.
show_progress() {
  local line name count=0 all=1
  [[ -f ${2:-} ]] && all=$(grep -c == "$2")
  while IFS= read -r line; do
    case "$line" in
      Collecting\ * | Requirement\ already\ satisfied:*)
        count=$((count + 1))
        name=${line#*: }
        name=${name#Collecting }
        name=${name%% *}
        if [[ -t 1 ]]; then
          printf '\r\033[K  %d of %d  %s' "$((count > all ? all : count))" "$all" "${name%%[=<>;]*}"
        elif ((count % 10 == 0)); then
          printf '  %d of %d\n' "$((count > all ? all : count))" "$all"
        fi
        ;;
      Installing\ collected\ packages:*)
        if [[ -t 1 ]]; then printf '\r\033[K'; fi
        if ((all > 1)); then echo '  unpacking …'; fi
        ;;
    esac
  done
  if [[ -t 1 ]]; then printf '\r\033[K'; fi
}

main() {
  case " $* " in *' --help '* | *' -h '* | ' help ') usage && return 0 ;; esac
  case "${1:-}" in
    local)
      shift
      set_up
      exec .venv/bin/python -m cli.local "$@"
      ;;
    gcp | destroy)
      set_up
      exec .venv/bin/python -m cli.deploy "$@"
      ;;
    *)
      usage >&2
      die "say what to do: local, gcp or destroy" 2
      ;;
  esac
}

main "$@"
