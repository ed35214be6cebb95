#!/usr/bin/env bash
# Holds the criteria of an environment, for cron: silent when they hold, else all that was said.
# Exit codes are pytest's own and 10 where a criterion is breached.
#   docs/monitoring/criteria.sh ENVIRONMENT [PYTEST OPTIONS]
set -uo pipefail
environment="${1:?which environment? Usage: criteria.sh ENVIRONMENT [PYTEST OPTIONS]}"
shift
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
if [ -x .venv/bin/python ]; then python=.venv/bin/python; else python=python3; fi
said="$("${PYTHON:-$python}" -m pytest validation/test_criteria.py --env "$environment" \
  --benchmark-only --benchmark-json="reports/criteria-$(date -u +%Y%m%dT%H%M%SZ).json" \
  -o migration_report=reports/monitoring.html -o migration_log=reports/monitoring.log \
  -p no:cacheprovider "$@" 2>&1)"
code=$?
if [ "$code" -ne 0 ]; then
  if [ "$code" -eq 10 ]; then echo "BREACHED: a criterion of $environment does not hold."
  else echo "NOT MEASURED: the criteria of $environment (exit code $code)."; fi
  printf '%s\n' "$said"
fi
exit "$code"
