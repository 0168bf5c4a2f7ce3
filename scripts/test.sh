#!/usr/bin/env bash
# All tests, and the type checker beside them: tests wait for processes half of their time.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${VENV:-.venv}/bin
# Some hundred processes import the same modules: none should compile them again.
unset PYTHONDONTWRITEBYTECODE

said=$(mktemp)
"$bin/mypy" > "$said" 2>&1 &
mypy=$!
trap 'kill "$mypy" 2>/dev/null || true; rm -f "$said"' EXIT

status=0
scripts/pytest.sh "$@" || status=$?

echo "== mypy"
wait "$mypy" || status=1
cat "$said"
exit "$status"
