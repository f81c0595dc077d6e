# Every target makes the virtual environment that it needs; only Python 3.11 or 3.12 and make are presumed.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= $(shell for p in python3.12 python3.11 python3 python; do \
	if $$p -c 'import sys; sys.exit(not ((3, 11) <= sys.version_info[:2] < (3, 13)))' 2>/dev/null; then echo $$p; break; fi; done)
VENV := .venv
BIN := $(VENV)/bin
RUN_READY := $(VENV)/.run-ready
DEV_READY := $(VENV)/.dev-ready
CONFIG ?=
ARGS ?=

.PHONY: help run test lint types unit test-slow bench picture lock clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(RUN_READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "shoal needs Python 3.11 or 3.12 on the PATH (or: make PYTHON=/path/to/python3.12 ...)"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV_READY): $(RUN_READY) requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

run: $(RUN_READY) ## the service on its own sandbox: http://127.0.0.1:8787
	@$(BIN)/shoal run $(if $(CONFIG),--config $(CONFIG)) $(ARGS)

test: lint types unit ## everything that guards a change: lint, types, tests

lint: $(DEV_READY) ## ruff: format and rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(DEV_READY) ## mypy, strict
	$(BIN)/mypy

unit: $(DEV_READY) ## the tests alone (fetches Chromium from the system's packages where it may)
	@tests/install-parts
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

test-slow: $(DEV_READY) ## long suites: many random kill -9, long soaks
	$(BIN)/python -m pytest -m slow $(ARGS)

bench: $(DEV_READY) ## the benchmarks, each with its rival in the same run
	$(BIN)/python -m benchmarks.run $(ARGS)

picture: $(DEV_READY) ## makes the pictures of README and docs from a running service
	$(BIN)/python -m tests.browser.picture docs/pictures

lock: ## pins again, with hashes, for both Pythons (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-annotate --no-emit-find-links pyproject.toml --extra build -o requirements.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-annotate --no-emit-find-links pyproject.toml --extra build --extra dev -c requirements.lock -o requirements-dev.lock

clean: ## removes what the targets made (the environment too)
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
