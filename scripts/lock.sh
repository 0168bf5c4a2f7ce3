#!/usr/bin/env bash
# Rebuilds the lock files: every version and hash pinned, no index address inside.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=.venv/bin/uv
compile=("$uv" pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url
         --no-emit-find-links --quiet "$@")
echo "uv" | "${compile[@]}" - -o requirements/bootstrap.lock
"${compile[@]}" pyproject.toml --all-extras -c requirements/bootstrap.lock -o requirements/dev.lock
"${compile[@]}" pyproject.toml --extra otel -c requirements/dev.lock -o requirements/service.lock
"${compile[@]}" pyproject.toml --extra devnet -c requirements/dev.lock -o requirements/devnet.lock
echo "pip-audit" | "${compile[@]}" - -o requirements/audit.lock
echo "x402==0.2.1" | "${compile[@]}" - -o requirements/x402-v1-client.lock
echo "x402==1.0.0" | "${compile[@]}" - -o requirements/x402-1.0.0-client.lock
echo "x402[evm,httpx]==2.25.0" | "${compile[@]}" - -o requirements/x402-2.25.0-client.lock
