#!/usr/bin/env bash
# pytest on all cores; a few tests that failed are tried once more, alone (docs/decisions/0016). TEST_ONCE=1: they are not.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${VENV:-.venv}/bin
few=3

cache=$(mktemp -d)
trap 'rm -rf "$cache"' EXIT

# By file, because modules share expensive fixtures; in our order (tests/conftest.py), the longest first.
status=0
"$bin/pytest" -o "cache_dir=$cache" -n auto --dist loadfile --no-loadscope-reorder "$@" || status=$?
[ "$status" -eq 1 ] && [ -z "${TEST_ONCE:-}" ] || exit "$status"

failed=$("$bin/python" -c 'import json, sys; print(*json.load(open(sys.argv[1])), sep="\n")' "$cache/v/cache/lastfailed")
[ "$(wc -l <<< "$failed")" -le "$few" ] || exit "$status"

echo "== what failed, once more and alone"
"$bin/pytest" -o "cache_dir=$cache" --last-failed "$@" || exit $?
echo "== FAILED AMONG THE OTHERS, PASSED ALONE: a race, in the test or in the product. How it failed stands above."
echo "$failed"
