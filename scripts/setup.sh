#!/usr/bin/env bash
# Makes the virtual environment from the lock file (idempotent; does nothing when the lock has not changed).
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

venv=${VENV:-.venv}
stamp=$venv/.installed
want=$(cat requirements/bootstrap.lock requirements/dev.lock pyproject.toml scripts/setup.sh scripts/common.sh | cksum; pwd)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ]; then exit 0; fi

echo "Installing the locked packages into $venv ..."
make_venv "$venv"
use_pip_settings "$venv"
install_uv "$venv"
install_locked "$venv/bin/uv" "$venv" requirements/dev.lock
"$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --no-deps --no-build-isolation -e .
scripts/memcached.sh >/dev/null 2>&1 || true
echo "$want" > "$stamp"
