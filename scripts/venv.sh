#!/usr/bin/env bash
# Makes a second virtual environment: scripts/venv.sh FOLDER LOCKFILE (after scripts/setup.sh).
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh
make_venv "$1"
use_pip_settings "$1"
install_locked "${VENV:-.venv}/bin/uv" "$1" "$2"
