#!/usr/bin/env bash
# The unit tests with every Python that is promised and on this machine; the others are named at the end.
# PYTHONS="3.13 3.14" asks for others; arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

unit_tests=(tests/shared tests/quote tests/broker tests/cli tests/test_architecture.py)
wanted=${PYTHONS:-3.11 3.12 3.13}

# On the PATH, of pyenv, or one that uv knows; a shim that starts nothing is none.
find_version() { # version
  local candidate
  for candidate in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python3 \
    "$("${VENV:-.venv}/bin/uv" python find --no-python-downloads "$1" 2>/dev/null || true)"; do
    if "$candidate" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$1')" 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  return 1
}

passed=() missing=() failed=()
for version in $wanted; do
  if ! PYTHON=$(find_version "$version"); then
    missing+=("$version")
    continue
  fi
  export PYTHON
  echo "== Python $version ($PYTHON)"
  if VENV=.venv-py$version scripts/setup.sh &&
    ".venv-py$version/bin/python" -m pytest -q "${unit_tests[@]}" "$@"; then
    passed+=("$version")
  else
    failed+=("$version")
  fi
done

echo "== passed: ${passed[*]:-none}; failed: ${failed[*]:-none}; not on this machine: ${missing[*]:-none}"
[ ${#failed[@]} -eq 0 ] && [ ${#passed[@]} -gt 0 ]
