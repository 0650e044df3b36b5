#!/usr/bin/env bash
# Runs every check and every test: sets up .venv if needed, then runs lint, types, import contracts and tests.
#   ./tests/run.sh [--all] [--runs N] [arguments for pytest]
#   ./tests/run.sh --simulate [--seed N] [--histories K] [--scene NAME] [--coverage] [--replay FILE] [--trace FILE]
#   ./tests/run.sh --pinned [--renew] [--against COMMIT]
#   ./tests/run.sh --real-cloud --project P [--with-person] [--list | --clean-up RUN | --help]
#   ./tests/run.sh --mutants record FOLDER… | run [--seed N] [--count K] [--only NUMBER…] | list
# --simulate: runs only the simulator; the last line is the digest of its journal.
# --pinned: checks that the product makes the calls that are pinned in tests/data/pinned-calls.txt.
# --real-cloud: asks a real project the questions that no document answers; creates resources that cost money, and removes them.
# --mutants: finds the small changes of decisions and orchestration that no test notices.
# --all: also runs the slow tests, and 2000 histories; --runs N: runs N histories, other ones each time (default: the same 500).
# docs/testing.md says which tests are slow, and how long everything takes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Compiled modules are stored: otherwise each of the hundreds of programs that tests start would compile the product again.
unset PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE
readonly PYTHON_BIN=.venv/bin

say() {
  printf '%3d:%02d  %s\n' $((SECONDS / 60)) $((SECONDS % 60)) "$1"
}

die() {
  printf 'run.sh: %s\n' "$1" >&2
  exit 1
}

# Installs the pinned packages of the tests into the .venv of deploy.sh, and again if the pins changed.
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
  if [[ ! -f .venv-unfinished && -f .venv/.benchkeeper-tests && "$(cat .venv/.benchkeeper-tests)" == "$stamp" ]]; then
    return 0
  fi
  say 'Setting up .venv (once; a minute or two)'
  # An incomplete .venv of an interrupted run is created again, as ./deploy.sh does.
  if [[ -f .venv-unfinished ]] || ! $PYTHON_BIN/python -c 'import pip, sys; sys.exit(sys.prefix == sys.base_prefix)' 2>/dev/null; then
    rm -rf .venv
    "$python" -m venv .venv || die 'the .venv could not be created.'
  fi
  : >.venv-unfinished
  install_packages || die 'the packages could not be installed. Is the package index reachable? See the lines above.'
  $PYTHON_BIN/python -m pip install -qq --disable-pip-version-check --no-deps -e . ||
    die 'Benchkeeper itself could not be installed into .venv. See the lines above.'
  printf '%s' "$stamp" >.venv/.benchkeeper-tests
  # deploy.sh needs fewer packages than the tests: its own stamp tells it that its set-up is done.
  cat requirements.txt cli/requirements.txt pyproject.toml | cksum | tr -d ' \n' >.venv/.benchkeeper
  rm .venv-unfinished
}

# uv installs the same pins in a fraction of pip's time, and compiles them on all cores. Where none is installed, pip fetches the
# pinned one first. uv does not read pip's settings (a mirror of the index, for one): if it fails, pip installs everything.
install_packages() {
  local -a pip=("$PYTHON_BIN/python" -m pip install -qq --disable-pip-version-check)
  local uv
  uv=$(command -v uv) || {
    uv=$PYTHON_BIN/uv
    sed -n '/^uv==/,/[^\\]$/p' tests/requirements.txt | "${pip[@]}" --require-hashes -r /dev/stdin || true
  }
  "$uv" pip install --quiet --compile-bytecode --python $PYTHON_BIN/python -r tests/requirements.txt 2>/dev/null ||
    "${pip[@]}" -r tests/requirements.txt
}

# Runs a check. The other checks run even if it fails; the exit status reports the failure.
failed=''
check() {
  say "$1"
  "${@:2}" || failed+=" '$1'"
}

# Installs JupyterLab in an environment of its own, for the tests that need it. Without JupyterLab, these tests report the reason.
set_up_jupyter() {
  python -c 'from cli.local.jupyter import ensure_jupyter; ensure_jupyter(lambda _: None)' >/dev/null 2>&1 || true
}

# Compiles the tests' modules once: the workers begin at the same moment, and each would compile all modules itself.
compile_tests() {
  compgen -G 'tests/__pycache__/conftest.*-pytest-*.pyc' >/dev/null || python -m pytest --collect-only -qq >/dev/null 2>&1 || true
}

cores() {
  getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2
}

# Runs a module of the tests with its arguments, in place of this script.
run_module() {
  set_up >&2
  PYTHONPATH=tests:. exec $PYTHON_BIN/python -m "$@"
}

main() {
  if [[ ${1:-} == --simulate ]]; then
    run_module kit.simulator "${@:2}"
  fi
  if [[ ${1:-} == --pinned ]]; then
    run_module kit.simulator.pins "${@:2}"
  fi
  if [[ ${1:-} == --real-cloud ]]; then
    run_module real_cloud "${@:2}"
  fi
  if [[ ${1:-} == --mutants ]]; then
    run_module kit.mutants "${@:2}"
  fi
  local -a more=() files=()
  local all='' runs=${BENCHKEEPER_RUNS:-} which='not slow and not alone' said jupyter modules types file
  while (($#)); do
    case "$1" in
      --all)
        all=yes
        which='not alone'
        shift
        ;;
      --runs)
        [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || die '--runs takes a number'
        runs=$2
        shift 2
        ;;
      *)
        more+=("$1")
        shift
        ;;
    esac
  done
  export BENCHKEEPER_RUNS=${runs:-${all:+2000}}
  export BENCHKEEPER_RUNS=${BENCHKEEPER_RUNS:-500}
  set_up
  export PATH="$PWD/$PYTHON_BIN:$PATH"
  said=$(mktemp)
  set_up_jupyter &
  jupyter=$!
  compile_tests &
  modules=$!
  # mypy runs beside pytest, which often waits: on a fresh clone, mypy needs one core for a quarter of a minute.
  mypy >"$said" 2>&1 &
  types=$!
  check 'ruff check' ruff check --quiet .
  check 'ruff format' ruff format --quiet --check .
  check 'shellcheck' shellcheck ./*.sh tests/*.sh .ci/run
  check 'lint-imports' lint-imports --no-cache
  wait "$jupyter" "$modules"
  say "pytest ($BENCHKEEPER_RUNS histories${all:+, the slow tests too})"
  # Two workers a core: many tests wait for programs that they started. `worksteal`: an idle worker takes tests from busy workers.
  python -m pytest -n $((2 * $(cores))) --dist worksteal -m "$which" --durations=10 ${more[@]+"${more[@]}"} || failed+=" 'pytest'"
  check 'mypy' wait "$types"
  cat "$said"
  rm -f "$said"
  # Tests that measure time run last and alone.
  while IFS= read -r file; do
    files+=("$file")
  done < <(grep -rl --include='test_*.py' 'mark\.alone' tests || true)
  if ((${#files[@]} && ! ${#more[@]})); then
    check 'pytest, tests that measure time' python -m pytest -m alone "${files[@]}"
  fi
  [[ -z $failed ]] || die "failed:$failed"
}

main "$@"
