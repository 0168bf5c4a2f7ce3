#!/usr/bin/env bash
# Builds the images, starts the stack of docker-compose.yaml on its own local payment network, buys a run, a store
# and a cache, scales the executor to three, kills one of them during paid runs, and takes everything down again.
# Only the images are left (tag `test`), and a Galaksio of compose that runs on this machine is not touched.
set -euo pipefail
cd "$(dirname "$0")/.."

bin=$PWD/${VENV:-.venv}/bin
export COMPOSE_PROJECT_NAME=galaksio-test-$$
export GALAKSIO_TAG=${COMPOSE_TEST_TAG:-test}
# Ports that nobody is likely to have.
export BROKER_PORTS=127.0.0.1:${COMPOSE_TEST_BROKER_PORT:-18080}
export PUBLIC_BASE_URL=http://$BROKER_PORTS
export QUOTE_PORTS=${COMPOSE_TEST_QUOTE_PORT:-18081}
export DEVNET_PORT=${COMPOSE_TEST_DEVNET_PORT:-18402}
export DOOR_SUBNET=${COMPOSE_TEST_SUBNET:-10.231.78.0/24}
WAIT_S=180

skip() { echo "compose-test: skipped, $1. The compose file and the Dockerfiles are checked as text by tests/containers."; exit 0; }

find_compose() { # sets `engine`, `compose` and `files`
  local words
  for engine in docker podman; do
    "$engine" info >/dev/null 2>&1 || continue
    for words in "$engine compose" "$engine-compose"; do
      $words version >/dev/null 2>&1 || continue
      compose=$words files=(-f docker-compose.yaml)
      if [ "$engine" = podman ]; then files+=(-f deploy/podman.yaml); fi
      return
    done
  done
  skip "no container engine with compose answers on this machine"
}

stack() { $compose "${files[@]}" --profile devnet "$@"; }

take_down() { # what was built stays for the next time
  local status=$?
  trap - EXIT
  if [ "$status" != 0 ]; then stack ps --all; stack logs --no-color --tail 60; fi
  stack down --volumes --remove-orphans --timeout 10 >/dev/null 2>&1 || true
  rm -rf "$home"
  exit "$status"
}

say() { echo "== $*"; }

wait_until() { # sentence, command...
  local sentence=$1 end=$((SECONDS + WAIT_S))
  shift
  until "$@" >/dev/null 2>&1; do
    if [ "$SECONDS" -ge "$end" ]; then echo "compose-test: $sentence: not within $WAIT_S s" >&2; return 1; fi
    sleep 1
  done
}

ready() { "$bin/python" - "$1" <<'PY'
import sys
import urllib.request

urllib.request.build_opener(urllib.request.ProxyHandler({})).open(sys.argv[1], timeout=5)
PY
}

three_healthy() { # asked by hand, because not every engine asks by itself
  local id
  [ "$(stack ps --quiet executor | wc -l)" = 3 ] || return 1
  for id in $(stack ps --quiet executor); do
    $engine exec "$id" python -c "import urllib.request as u; u.urlopen('http://127.0.0.1:8082/health', timeout=2)" ||
      return 1
  done
}

find_compose
home=$(mktemp -d)
trap take_down EXIT

if [ "${COMPOSE_TEST_BUILD:-yes}" = yes ]; then
  say "building the images"
  stack build
fi

say "starting the stack, with nothing set"
stack up --detach --no-build
broker=$PUBLIC_BASE_URL
wait_until "the broker is ready" ready "$broker/health/ready"

say "paying for a run, a store and a cache"
check=("$bin/python" -m tests.containers.purchases --broker "$broker" --devnet "http://127.0.0.1:$DEVNET_PORT")
export GALAKSIO_HOME=$home
"${check[@]}" all

say "three executors"
stack up --detach --no-build --no-recreate --scale executor=3
wait_until "three executors are healthy" three_healthy
# The broker asks for their addresses every 10 s.
sleep 12
"${check[@]}" runs 9

say "killing one of them during paid runs"
"${check[@]}" runs 9 --meanwhile "$engine kill $(stack ps --quiet executor | head -n 1)"
"${check[@]}" all

say "compose-test: all of it works"
