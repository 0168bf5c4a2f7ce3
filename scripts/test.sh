#!/usr/bin/env bash
# All tests on all cores, and the type checker beside them: tests wait for processes half of their time.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${VENV:-.venv}/bin
# Some hundred processes import the same modules: none should compile them again.
unset PYTHONDONTWRITEBYTECODE

said=$(mktemp)
"$bin/mypy" > "$said" 2>&1 &
mypy=$!
trap 'kill "$mypy" 2>/dev/null || true; rm -f "$said"' EXIT

# By file, because modules share expensive fixtures; in our order (tests/conftest.py), the longest first.
status=0
"$bin/pytest" -n auto --dist loadfile --no-loadscope-reorder "$@" || status=$?

echo "== mypy"
wait "$mypy" || status=1
cat "$said"
exit "$status"
