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

status=0
for lock in requirements/*.lock; do
  echo "== $lock"
  # Strict: a package that could not be looked up has not passed.
  "$venv/bin/pip-audit" --strict --requirement "$lock" --require-hashes --disable-pip --progress-spinner off \
    --vulnerability-service "${AUDIT_SERVICE:-pypi}" "${ignored[@]/#/--ignore-vuln=}" || status=1
done
exit "$status"
