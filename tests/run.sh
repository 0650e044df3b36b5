#!/usr/bin/env bash
# Every check and every test, on a fresh clone too: sets itself up in .venv, then lint, types, contracts, tests.
#   ./tests/run.sh [--runs N] [arguments for pytest]      --runs N: so many histories, other ones each time (default: the same 500)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export PYTHONDONTWRITEBYTECODE=1
unset PYTHONPATH PYTHONHOME
readonly PYTHON_BIN=.venv/bin

say() {
  printf '%3d:%02d  %s\n' $((SECONDS / 60)) $((SECONDS % 60)) "$1"
}

die() {
  printf 'run.sh: %s\n' "$1" >&2
  exit 1
}

# The .venv of deploy.sh, with the pinned packages of the tests; made anew only when the pins changed.
set_up() {
  local candidate python='' stamp
  for candidate in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11 python; do
    if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      python=$candidate
      break
    fi
  done
  [[ -n $python ]] || die 'Python 3.11 or newer with its venv module is needed and was not found; name it with PYTHON='
  stamp=$(cat tests/requirements.txt pyproject.toml | cksum | tr -d ' \n')
  if [[ -f .venv/.benchkeeper-tests && "$(cat .venv/.benchkeeper-tests)" == "$stamp" ]]; then
    return 0
  fi
  say 'Setting up .venv (once; a minute or two)'
  [[ -x $PYTHON_BIN/python ]] || "$python" -m venv .venv || die 'the .venv could not be made.'
  $PYTHON_BIN/python -m pip install -qq --disable-pip-version-check -r tests/requirements.txt ||
    die 'the packages could not be installed. Is the package index reachable? See the lines above.'
  $PYTHON_BIN/python -m pip install -qq --disable-pip-version-check --no-deps -e . ||
    die 'Benchkeeper itself could not be installed into .venv. See the lines above.'
  printf '%s' "$stamp" >.venv/.benchkeeper-tests
  # deploy.sh needs less than this: it finds its work done, by its own stamp.
  cat requirements.txt cli/requirements.txt pyproject.toml | cksum | tr -d ' \n' >.venv/.benchkeeper
}

# A check that fails does not keep the rest from being looked at; the exit status remembers it.
failed=''
check() {
  say "$1"
  "${@:2}" || failed+=" '$1'"
}

main() {
  local -a more=()
  export BENCHKEEPER_RUNS=${BENCHKEEPER_RUNS:-500}
  while (($#)); do
    case "$1" in
      --runs)
        [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || die '--runs takes a number'
        BENCHKEEPER_RUNS=$2
        shift 2
        ;;
      *)
        more+=("$1")
        shift
        ;;
    esac
  done
  set_up
  export PATH="$PWD/$PYTHON_BIN:$PATH"
  check 'ruff check' ruff check --quiet .
  check 'ruff format' ruff format --quiet --check .
  check 'shellcheck' shellcheck ./*.sh tests/*.sh .ci/run
  check 'lint-imports' lint-imports --no-cache
  check 'mypy' mypy
  say "pytest ($BENCHKEEPER_RUNS examples a property)"
  # `worksteal`: two workers, and the one that is done takes over from the one that is not.
  python -m pytest -n 2 --dist worksteal --durations=10 ${more[@]+"${more[@]}"} || failed+=" 'pytest'"
  [[ -z $failed ]] || die "failed:$failed"
}

main "$@"
