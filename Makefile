# Everything from one command, on any machine that has Python 3.11 or newer, git and make.
#
#   make demo      watch a signup survive a kill, a lost answer and an impatient user
#   make test      the tests
#   make check     the whole gate: format, lint, types, imports, tests
#
# Each target makes its environment first (.venv, from hash-pinned requirements) and makes it
# again only when the requirements change. PYTHON=python3.12 chooses an interpreter; it gets an
# environment of its own (.venv-3.12). ARGS is handed on: make test ARGS="-k fence -x".

.DEFAULT_GOAL := help
SHELL := /bin/sh
.SHELLFLAGS := -eu -c
.DELETE_ON_ERROR:

ARGS ?=
JOBS ?= 4

ifeq ($(origin PYTHON),undefined)
PYTHON := python3
VENV := .venv
else
VENV := .venv-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
endif

BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST := $(BIN)/python -m pytest
FAST := not slow and not wheel

.PHONY: help
help: ## what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

# ── the environment ────────────────────────────────────────────────────────────────────────────

$(BIN)/uv: requirements/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "troth needs Python 3.11 or newer; this is %s. Choose one: make PYTHON=python3.12 ..." % sys.version.split()[0])'
	@if test -x $@; then \
	    $@ pip install --quiet --python $(BIN)/python --require-hashes -r $<; \
	else \
	    echo "making $(VENV)" >&2; \
	    $(PYTHON) -m venv $(VENV) >&2; \
	    $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $< >&2; \
	fi
	@touch $@

# The project itself is installed without its dependencies: they are in dev.txt, pinned and hashed.
$(READY): requirements/dev.txt pyproject.toml | $(BIN)/uv
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: env
env: $(READY) ## the environment alone

.PHONY: pins
pins: | $(BIN)/uv ## compile requirements/*.txt again (ARGS=--upgrade for newer versions)
	@$(BIN)/python tools/pins.py $(ARGS)

# ── to see it work ─────────────────────────────────────────────────────────────────────────────

.PHONY: demo
demo: $(READY) ## the example signup against a hostile world (ARGS=--json for machines)
	@$(BIN)/python -m examples.signup.demo $(ARGS)

# ── the gate ───────────────────────────────────────────────────────────────────────────────────

.PHONY: outsiders
outsiders: $(READY) # programs that tests run: a browser, a message broker (root installs what is missing)
	@$(BIN)/python -m tools.debian

.PHONY: test
test: $(READY) outsiders ## the tests, without soaks
	@$(PYTEST) -n $(JOBS) --dist loadgroup -m "$(FAST)" $(if $(ARGS),,--ignore tests/lab) $(ARGS)
	@$(if $(ARGS),,$(PYTEST) -n $(JOBS) --dist loadgroup -m "$(FAST)" tests/lab) # the lab looks at all that a program has imported

.PHONY: formatted
formatted: $(READY)
	@$(BIN)/ruff format --check .

.PHONY: lint
lint: $(READY) ## ruff
	@$(BIN)/ruff check .

.PHONY: imports
imports: $(READY) ## who may import whom
	@$(BIN)/lint-imports --no-logo

.PHONY: types
types: $(READY) ## mypy --strict
	@$(BIN)/mypy --strict src tools examples tests/house tests/typing/accepted.py

.PHONY: check
check: formatted lint imports types test ## the whole gate (make -k check: all of it, even after a failure)

.PHONY: format
format: $(READY) ## let ruff format and fix what it can
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

.PHONY: matrix-faults
matrix-faults: $(READY) ## every effect meets every fault, counted at the other side (writes docs/reference/fault-matrix.md)
	@$(BIN)/python -m tools.gen_matrix

.PHONY: test-matrix
test-matrix: $(READY) ## PostgreSQL 15, and every other Python that is found
	@$(BIN)/python -m tools.matrix --jobs $(JOBS) $(ARGS)

.PHONY: test-wheel
test-wheel: $(READY) ## build the wheel, install it into empty environments, run the command
	@$(PYTEST) -n 0 -m wheel tests/house $(ARGS)

.PHONY: soak
soak: $(READY) ## the long ones
	@$(PYTEST) -n 0 -m slow $(ARGS)

# ── measuring, releasing ───────────────────────────────────────────────────────────────────────

.venv-bench/.ready: requirements/bench.txt pyproject.toml | $(BIN)/uv
	@$(BIN)/uv venv --quiet --allow-existing --python $(PYTHON) .venv-bench
	@$(BIN)/uv pip install --quiet --python .venv-bench/bin/python --require-hashes -r requirements/bench.txt
	@$(BIN)/uv pip install --quiet --python .venv-bench/bin/python --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: bench
bench: .venv-bench/.ready ## measure troth, and others beside it on the same machine
	@.venv-bench/bin/python -m bench $(ARGS)

.PHONY: build
build: $(READY) ## wheel and sdist, in dist/
	@rm -rf dist
	@$(BIN)/uv build --quiet --no-build-isolation --python $(BIN)/python --out-dir dist
	@ls dist

.PHONY: clean
clean: ## remove environments, caches and what was built
	@rm -rf .venv .venv-* dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
