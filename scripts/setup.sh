#!/usr/bin/env bash
# Makes .venv from the lock file: `scripts/setup.sh` (idempotent; does nothing when the lock has not changed).
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-}
if [ -z "$python" ]; then
  for candidate in python3 python3.13 python3.12 python3.11 python3.14; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$candidate; break; fi
  done
fi
if [ -z "$python" ]; then
  echo "Galaksio needs Python 3.11 or newer on the PATH (or PYTHON=/path/to/python3)." >&2; exit 1
fi

venv=${VENV:-.venv}
stamp=$venv/.installed
want=$(cat requirements/bootstrap.lock requirements/dev.lock pyproject.toml scripts/setup.sh | cksum; pwd)
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ] && exit 0

if [ ! -x "$venv/bin/python" ] && ! "$python" -m venv "$venv"; then
  echo "Python's venv module is missing: install it (Debian and Ubuntu: apt install python3-venv)." >&2; exit 1
fi
# pip's own settings (a mirror, a proxy's certificate) hold for uv too.
mirror=$("$venv/bin/python" -m pip config get global.index-url 2>/dev/null || true)
[ -n "${PIP_INDEX_URL:-$mirror}" ] && export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-${PIP_INDEX_URL:-$mirror}}
[ -n "${PIP_CERT:-}" ] && export SSL_CERT_FILE=${SSL_CERT_FILE:-$PIP_CERT}

echo "Installing the locked packages into $venv ..."
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.lock
"$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --require-hashes -r requirements/dev.lock
"$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --no-deps --no-build-isolation -e .
echo "$want" > "$stamp"
