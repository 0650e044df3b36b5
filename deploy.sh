#!/usr/bin/env bash
# Installs and starts Benchkeeper on this machine, or deploys it to Google Cloud. Needs Python 3.11+ and its package index; gcp also gcloud.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

usage() {
  cat <<'TEXT'
usage: ./deploy.sh local   [--port PORT] [--hub-port PORT] [--with-jupyter]
                           [--jupyter-port PORT] [--allow-host NAME]
                           [--speed N] [--data DIR] [--no-examples]
       ./deploy.sh gcp     --project P --region R [--env NAME]
                           [--organization N] [--dry-run] [--verbose] [--yes]
       ./deploy.sh destroy --project P [--region R] [--env NAME]
                           [--dry-run] [--verbose] [--yes]
       ./deploy.sh sbom

  local    run the whole system on this machine: the embedded cloud, the
           functions, the scheduled ticks
  gcp      deploy to Google Cloud: make a plan first, change only what differs;
           safe to run again
  destroy  remove what gcp made; the buckets, the environments and their data
           stay
  sbom     write the list of components to dist/: CycloneDX, licences, and known
           vulnerabilities, if the vulnerability service can be reached

local
  --port PORT          the embedded cloud's port on 127.0.0.1 (default 8900)
  --hub-port PORT      the sign-in and the hub page (default: the next port)
  --with-jupyter       run a real JupyterLab for each running environment;
                       installs it once, in .venv-jupyter
  --jupyter-port PORT  the gateway to the JupyterLabs (default: the port after
                       that of the hub page)
  --allow-host NAME    another name by which a container calls the port
                       (default: only this machine's own names)
  --speed N            virtual seconds per real second, always (default: 60
                       while an operation is under way, so that a create of
                       four minutes takes four seconds, else 1)
  --data DIR           keep the state in DIR, so that it survives a restart
                       (default: a new temporary folder)
  --no-examples        do not announce the people of config/examples/

gcp and destroy (both run gcloud with its present login)
  --project P          the project's id
  --region R           the region of functions and environments, for example
                       europe-west1; optional for destroy
  --env NAME           read config/settings.NAME.yaml; gcp writes the file if
                       there is none (default prod)
  --organization N     gcp only: the number of the organization whose logs
                       report changes of groups and accounts; stored in the
                       settings
  --dry-run            print the plan and change nothing: + create, ~ change,
                       = same, - delete, ! not changed
  --verbose, -v        print every command, and unchanged resources
  --yes, -y            do not ask before changing anything

The deployment is data: config/deploy/*.yaml. Operations: docs/operations.md.
TEXT
}

die() {
  printf 'deploy.sh: %s\n' "$1" >&2
  exit "${2:-1}"
}

# Asks "Did you mean ...?" with the word that is at most two letters away from the first argument; prints nothing if there is none.
did_you_mean() {
  local word=$1 candidate best='' most=3
  shift
  for candidate in "$@"; do
    count_edits "$word" "$candidate"
    if ((edits < most)); then
      most=$edits best=$candidate
    fi
  done
  [[ -z $best ]] || printf "Did you mean '%s'? " "$best"
}

# Sets `edits` to the number of letters to insert, delete or replace that turn one word into the other.
count_edits() {
  local i j above left
  local -a row=()
  for ((j = 0; j <= ${#2}; j++)); do row[j]=$j; done
  for ((i = 1; i <= ${#1}; i++)); do
    left=$i above=$((i - 1))
    for ((j = 1; j <= ${#2}; j++)); do
      edits=$above
      [[ ${1:i-1:1} == "${2:j-1:1}" ]] || edits=$((edits + 1))
      above=${row[j]}
      ((above + 1 >= edits)) || edits=$((above + 1))
      ((left + 1 >= edits)) || edits=$((left + 1))
      row[j - 1]=$left left=$edits
    done
    row[${#2}]=$left
  done
  edits=${row[${#2}]}
}

# A wrong word is reported before anything is set up.
refuse_wrong_words() {
  local known word meant
  known=$(usage)
  case "$1" in
    local | gcp | destroy | sbom) ;;
    *)
      meant=$(did_you_mean "$1" local gcp destroy sbom)
      die "there is no command '$1'. ${meant}The commands are local, gcp, destroy and sbom; see ./deploy.sh --help." 2
      ;;
  esac
  # shellcheck disable=SC2046 # the words of the usage, one by one
  for word in "${@:2}"; do
    word=${word%%=*}
    if [[ $word == --* && ! $known =~ [[:space:]\[]"$word"[][:space:],] ]]; then
      meant=$(did_you_mean "$word" $(options_of "$known"))
      die "there is no option '$word'. ${meant}./deploy.sh --help shows all." 2
    fi
  done
}

options_of() {
  local rest=$1
  while [[ $rest =~ (--[a-z-]+)(.*) ]]; do
    printf '%s\n' "${BASH_REMATCH[1]}"
    rest=${BASH_REMATCH[2]}
  done
}

# Prints the first Python that is new enough; the user may name one with PYTHON=.
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

# Creates .venv with the pinned packages, and installs them again if the pins changed. Until the set-up ends, .venv is marked as
# incomplete; an incomplete .venv of an interrupted run is created again.
readonly UNFINISHED=.venv-unfinished
set_up() {
  local python stamp
  python=$(find_python) || die 'Python 3.11 or newer is needed and was not found. Install it, or name it: PYTHON=/path/to/python3.12 ./deploy.sh …'
  stamp=$(cat requirements.txt cli/requirements.txt pyproject.toml | cksum | tr -d ' \n')
  if [[ ! -f $UNFINISHED && -f .venv/.benchkeeper && "$(cat .venv/.benchkeeper)" == "$stamp" ]]; then
    return 0
  fi
  is_usable || has_uv || "$python" -c 'import venv, ensurepip' 2>/dev/null ||
    die "$python has no venv module. Install it (on Debian and Ubuntu: apt-get install python3-venv) and run this again."
  trap 'die "stopped while .venv was set up. The next start sets it up again." 130' INT TERM
  echo 'Setting up .venv (once; seconds with uv, half a minute without) …'
  if ! is_usable; then
    : >$UNFINISHED
    make_venv "$python"
  fi
  : >$UNFINISHED
  install -r cli/requirements.txt ||
    die 'the packages could not be installed. Is the package index reachable? See the lines above.'
  install --no-deps -e . ||
    die 'Benchkeeper itself could not be installed into .venv. See the lines above.'
  printf '%s' "$stamp" >.venv/.benchkeeper
  rm $UNFINISHED
  trap - INT TERM
}

# Packages are installed only into an environment of our own, never through a link that leads to the system's Python.
is_usable() {
  [[ ! -f $UNFINISHED ]] && .venv/bin/python -c 'import pip, sys; sys.exit(sys.prefix == sys.base_prefix)' 2>/dev/null
}

# uv (https://docs.astral.sh/uv/) does the same in a few seconds, if it is installed. --seed and ensurepip: tests and people use pip.
make_venv() {
  rm -rf .venv
  if has_uv; then
    uv venv --quiet --seed --python "$1" .venv || die 'the .venv could not be created. See the lines above.'
    return 0
  fi
  "$1" -m venv .venv || die 'the .venv could not be created. See the lines above.'
}

has_uv() {
  [[ -z ${BENCHKEEPER_NO_UV:-} ]] && command -v uv >/dev/null 2>&1
}

install() {
  local said
  if has_uv; then
    uv pip install --quiet --compile-bytecode --python .venv/bin/python "$@"
    return
  fi
  said=$(mktemp) # pip's warnings are shown only if pip fails
  if .venv/bin/python -m pip install --disable-pip-version-check --progress-bar off "$@" 2>"$said" | show_progress "$@"; then
    rm -f "$said"
    return 0
  fi
  cat "$said" >&2
  rm -f "$said"
  return 1
}

# Shows pip's lines as one progress line such as "3 of 40". If the output is not a terminal, prints a line for every tenth package.
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

# The components of the product: the packages of the command, which include those of the functions, in an environment with nothing else.
make_sbom() {
  local folder product tools
  folder=$(mktemp -d)
  # shellcheck disable=SC2064 # the folder's present name
  trap "rm -rf '$folder'" EXIT
  product=$folder/product tools=$folder/tools
  echo 'Installing the packages to examine, and the tools that examine them …'
  .venv/bin/python -m venv --without-pip "$product"
  .venv/bin/python -m venv --without-pip "$tools"
  install_into "$product" cli/requirements.txt || die 'the packages could not be installed. See the lines above.'
  install_into "$tools" cli/sbom/requirements.txt || die 'the tools could not be installed. See the lines above.'
  mkdir -p dist
  "$tools/bin/cyclonedx-py" environment --pyproject pyproject.toml --mc-type application --output-reproducible \
    --output-file dist/sbom.cdx.json "$product/bin/python"
  "$tools/bin/pip-licenses" --python "$product/bin/python" --from=mixed --with-urls --format=csv --output-file dist/licences.csv >/dev/null
  echo 'dist/sbom.cdx.json (CycloneDX) and dist/licences.csv are written.'
  rm -f dist/audit.json
  # --strict: otherwise a package that the service does not know would count as one without vulnerabilities.
  if "$tools/bin/pip-audit" --requirement cli/requirements.txt --require-hashes --disable-pip --strict --progress-spinner off \
    --format json --output dist/audit.json 2>"$folder/said"; then
    echo 'dist/audit.json is written: no known vulnerability.'
  elif [[ -s dist/audit.json ]]; then
    die 'there are packages with known vulnerabilities: dist/audit.json names them.'
  else
    echo "Known vulnerabilities were not looked up: $(tail -n 1 "$folder/said")"
  fi
}

install_into() {
  if has_uv; then
    uv pip install --quiet --python "$1/bin/python" -r "$2"
  else
    .venv/bin/python -m pip --python "$1/bin/python" install -qq --disable-pip-version-check --no-compile -r "$2"
  fi
}

main() {
  case " $* " in *' --help '* | *' -h '* | ' help ') usage && return 0 ;; esac
  if ((!$#)); then
    usage >&2
    die 'name a command: local, gcp, destroy or sbom' 2
  fi
  refuse_wrong_words "$@"
  set_up
  case "$1" in
    local) exec .venv/bin/python -m cli.local "${@:2}" ;;
    gcp | destroy) exec .venv/bin/python -m cli.deploy "$@" ;;
    sbom) make_sbom ;;
  esac
}

main "$@"
