# Every target sets up what it needs; nothing but Python 3.11+ (and make) is expected.
SHELL := /bin/bash
VENV ?= .venv
BIN := $(VENV)/bin
V1_CLIENT := .venv-x402-v1
X402_CLIENTS := $(V1_CLIENT) .venv-x402-1.0.0 .venv-x402-2.25.0
NODE_CLIENTS := tests/interop/node/node_modules
export VENV

.PHONY: demo test fuzz interop compose-test up bench lint format types pythons audit setup lock clean

demo: setup
	@$(BIN)/galaksio demo

test: setup $(V1_CLIENT)/.installed lint
	@scripts/test.sh

# Much more of what `make test` asks the services by their OpenAPI documents; takes minutes.
fuzz: setup
	FUZZ_EXAMPLES=$${FUZZ_EXAMPLES:-200} $(BIN)/pytest tests/openapi/test_fuzz.py

# Stock clients pay at the real services and use a cache. Needs node and npm.
interop: setup $(X402_CLIENTS:=/.installed) $(NODE_CLIENTS)/.installed
	$(BIN)/pytest tests/interop -m interop

# Where Docker or Podman is: build the images, start the stack, buy, scale, kill, take down.
compose-test: setup
	@scripts/compose-test.sh

up: setup
	@$(BIN)/galaksio up

bench: setup
	@for program in benchmarks/[a-z]*.py; do echo "== $$program"; $(BIN)/python $$program || exit 1; done

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# For each Python that is promised.
types: setup
	@for version in 3.11 3.12 3.13; do echo "== mypy for Python $$version"; $(BIN)/mypy --python-version $$version || exit 1; done

# The unit tests with each Python that is promised and on this machine.
pythons: setup
	@scripts/pythons.sh

# Known weaknesses of what the lock files name. Needs the network.
audit: setup
	@scripts/audit.sh

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

setup:
	@scripts/setup.sh

lock: setup
	scripts/lock.sh

# An x402 client needs packages of its own; the interop tests run it as a separate program.
.venv-x402-%/.installed: requirements/x402-%-client.lock | setup
	@echo "Installing the x402 client into $(@D) ..."
	@scripts/venv.sh $(@D) $<
	@touch $@

$(NODE_CLIENTS)/.installed: tests/interop/node/package-lock.json
	@echo "Installing the npm clients into $(@D) ..."
	@cd tests/interop/node && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

clean:
	rm -rf $(VENV) .venv-audit .venv-py3.* $(X402_CLIENTS) $(NODE_CLIENTS) .mypy_cache .ruff_cache .pytest_cache
