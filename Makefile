# Every target sets up what it needs; nothing but Python 3.11+ (and make) is expected.
SHELL := /bin/bash
VENV ?= .venv
BIN := $(VENV)/bin
V1_CLIENT := .venv-x402-v1
export VENV

.PHONY: demo test up bench lint format types setup lock clean

demo: setup
	@$(BIN)/galaksio demo

test: setup $(V1_CLIENT)/.installed lint types
	$(BIN)/pytest

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

# The old x402 client needs packages of its own; the interop tests run it as a separate program.
$(V1_CLIENT)/.installed: requirements/x402-v1-client.lock | setup
	@echo "Installing the x402 v1 client into $(V1_CLIENT) ..."
	@scripts/venv.sh $(V1_CLIENT) requirements/x402-v1-client.lock
	@touch $@

clean:
	rm -rf $(VENV) $(V1_CLIENT) .mypy_cache .ruff_cache .pytest_cache
