#!/usr/bin/env bash
# Known weaknesses of every package that a lock file names, by pip-audit. Needs the network.
# Packages are looked up by name and version; nothing is installed but the auditor, into a venv of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

venv=.venv-audit
[ -x "$venv/bin/pip-audit" ] || scripts/venv.sh "$venv" requirements/audit.lock
# Each exception has its reason in docs/decisions/0014-openapi-fuzzing-audits.md.
ignored=()
# Old on purpose: what they have is told, and is no failure.
old=(requirements/x402-v1-client.lock requirements/x402-1.0.0-client.lock)
# A database of one's own that answers as OSV does.
asked=(--vulnerability-service "${AUDIT_SERVICE:-pypi}")
if [ -n "${AUDIT_OSV_URL:-}" ]; then asked=(--vulnerability-service osv --osv-url "$AUDIT_OSV_URL"); fi

status=0
for lock in requirements/*.lock; do
  echo "== $lock"
  # Strict: a package that could not be looked up has not passed.
  "$venv/bin/pip-audit" --strict --requirement "$lock" --require-hashes --disable-pip --progress-spinner off \
    "${asked[@]}" "${ignored[@]/#/--ignore-vuln=}" && continue
  if [[ " ${old[*]} " == *" $lock "* ]]; then echo "(a stock client of that time, for the tests)"; else status=1; fi
done
exit "$status"
