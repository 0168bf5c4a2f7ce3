# Every target sets up what it needs; nothing but Python 3.11+ (and make) is expected.
SHELL := /bin/bash
VENV ?= .venv
BIN := $(VENV)/bin
V1_CLIENT := .venv-x402-v1
X402_CLIENTS := $(V1_CLIENT) .venv-x402-1.0.0 .venv-x402-2.25.0
NODE_CLIENTS := tests/interop/node/node_modules
export VENV

.PHONY: demo test interop compose-test up bench lint format types setup lock clean

demo: setup
	@$(BIN)/galaksio demo

test: setup $(V1_CLIENT)/.installed lint
	@scripts/test.sh

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

types: setup
	$(BIN)/mypy

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
	rm -rf $(VENV) $(X402_CLIENTS) $(NODE_CLIENTS) .mypy_cache .ruff_cache .pytest_cache
