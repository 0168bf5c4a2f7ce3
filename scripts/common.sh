# Shared by the setup scripts: finds a Python, makes a virtual environment, installs a lock file into it.

find_python() {
  if [ -n "${PYTHON:-}" ]; then echo "$PYTHON"; return; fi
  local candidate
  for candidate in python3 python3.13 python3.12 python3.11 python3.14; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo "$candidate"; return; fi
  done
  echo "Galaksio needs Python 3.11 or newer on the PATH (or PYTHON=/path/to/python3)." >&2
  return 1
}

make_venv() { # folder
  local python
  python=$(find_python)
  if [ ! -x "$1/bin/python" ] && ! "$python" -m venv "$1"; then
    echo "Python's venv module is missing: install it (Debian and Ubuntu: apt install python3-venv)." >&2
    return 1
  fi
}

# pip's own settings (a mirror, a certificate) hold for uv too.
use_pip_settings() { # venv folder
  local mirror=${PIP_INDEX_URL:-$("$1/bin/python" -m pip config get global.index-url 2>/dev/null || true)}
  if [ -n "$mirror" ]; then export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$mirror}; fi
  if [ -n "${PIP_CERT:-}" ]; then export SSL_CERT_FILE=${SSL_CERT_FILE:-$PIP_CERT}; fi
}

install_uv() { # venv folder
  "$1/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.lock
}

install_locked() { # uv program, venv folder, lock file
  "$1" pip install --quiet --python "$2/bin/python" --require-hashes -r "$3"
}
