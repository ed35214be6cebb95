#!/usr/bin/env bash
# Turns the options of the migration framework into one pytest call, which it prints.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: ./run_unified_migration.sh [MODE] [OPTIONS] [-- PYTEST OPTIONS]

Modes (one of them; --full where none is given)
  --full             run all seven phases, then validate
  --component NAME   run one component, with the prerequisites that are not done yet
  --validate         run validation only: the seven criteria, and that contents agree
  --resume           go on where the last run ended (the default of --full; said aloud)

Options
  --dry-run          print what would be changed, change nothing
  --env ENV          development (default), staging, production, or the path of a TOML file
  --force            skip prerequisite checks
  --debug            log at debug level, show tracebacks of expected failures
  --checkpoint PATH  where checkpoints are kept (a file, or a postgresql:// URL)
  -h, --help         this text

Everything after -- goes to pytest as it is, such as --junit-xml=reports/junit.xml.
`pytest --help` explains the options that pytest itself gained (group "migration").

Examples
  ./run_unified_migration.sh --full
  ./run_unified_migration.sh --component vector-index-creation
  ./run_unified_migration.sh --validate
  ./run_unified_migration.sh --full --dry-run --env staging
TEXT
}

refuse() {
  printf '%s\n  to mend it: ./run_unified_migration.sh --help lists the options\n' "$1" >&2
  exit 4
}

value_of() {
  [ $# -ge 2 ] && [ -n "$2" ] && [ "${2#--}" = "$2" ] || refuse "$1 needs a value."
}

mode="" options=() paths=(phases/ validation/)
choose() {
  [ -z "$mode" ] || [ "$mode" = "$1" ] || refuse "$mode and $1 can't be given together."
  mode="$1"
}

while [ $# -gt 0 ]; do
  case "$1" in
    --env=* | --checkpoint=* | --component=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
  esac
  case "$1" in
    --full) choose --full ;;
    --validate) choose --validate; paths=(validation/ --benchmark-only) ;;
    --component) value_of "$@"; choose --component; paths=(phases/); options+=(--component "$2"); shift ;;
    --resume) options+=(--resume) ;;
    --dry-run) options+=(--dry-run) ;;
    --force) options+=(--force) ;;
    --debug) options+=(--migration-debug) ;;
    --env | --checkpoint) value_of "$@"; options+=("$1" "$2"); shift ;;
    -h | --help) usage; exit 0 ;;
    --) shift; options+=("$@"); break ;;
    *) refuse "Unknown option: $1." ;;
  esac
  shift
done

# Paths that the caller means are the caller's; the suite is found beside this script.
for index in "${!options[@]}"; do
  case "${options[$index]}" in
    --env | --checkpoint)
      next="${options[$((index + 1))]}"
      case "$next" in *://* | /*) ;; */* | *.toml | *.db) options[index + 1]="$PWD/$next" ;; esac
      ;;
  esac
done
cd "$(dirname "${BASH_SOURCE[0]}")"
if [ -x .venv/bin/python ]; then python=.venv/bin/python; else python=python3; fi
command -v "${PYTHON:-$python}" >/dev/null || refuse "There is no python3 on PATH."
set -- "${PYTHON:-$python}" -m pytest "${paths[@]}" ${options[@]+"${options[@]}"}
printf '+'; printf ' %q' "$@"; printf '\n'
exec "$@"
