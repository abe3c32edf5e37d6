# Every target installs what it needs: Python packages into .venv as uv.lock pins them, Debian packages
# only where they are missing. Needed beforehand: Python 3.11 or newer with venv and pip, and make.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
# Tests run in this many processes; each starts servers of its own.
TEST_JOBS ?= 2

BIN := .venv/bin
INSTALLED := .venv/.installed
CODE := gatekeeper tests bench scripts

export UV_PROJECT_ENVIRONMENT := .venv
export UV_PYTHON_DOWNLOADS := never
export UV_LINK_MODE := copy

.PHONY: help install demo test soak check lint types bench screenshots binary lock clean

help:
	@echo "make demo         the gateway with sample data and the console; nothing else is needed"
	@echo "make test         lint, types and all tests"
	@echo "make check        lint, types and the tests that need no server: seconds"
	@echo "make soak         the long tests: suites of drivers, other languages, large volumes"
	@echo "make bench        PostgreSQL directly, through pgbouncer and through Gatekeeper, side by side"
	@echo "make screenshots  pictures of the running program, into screenshots/"
	@echo "make binary       one executable file, into dist/"
	@echo "make lock         resolve the dependencies anew, into uv.lock"

install: $(INSTALLED)

# pip brings the uv that the lock file pins, and uv everything else.
$(INSTALLED): uv.lock pyproject.toml
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv .venv
	@uv=$$(sed -n '/^name = "uv"$$/{n;s/^version = "\(.*\)"$$/\1/p}' uv.lock); \
	    [ "$$($(BIN)/uv --version 2>/dev/null | cut -d' ' -f2)" = "$$uv" ] || \
	    $(BIN)/python -m pip install -q --disable-pip-version-check "uv==$$uv"
	$(BIN)/uv sync -q --frozen --inexact
	@touch $@

demo: $(INSTALLED)
	@$(BIN)/gatekeeper demo $(DEMO)

test: $(INSTALLED) lint types
	scripts/debian-packages postgresql-15 tmux libcairo2 fonts-dejavu-core
	$(BIN)/pytest -n $(TEST_JOBS) --dist loadfile

soak: $(INSTALLED)
	$(BIN)/pytest -m soak

check: $(INSTALLED) lint types
	$(BIN)/pytest -q -m "not server and not terminal and not soak"

lint: $(INSTALLED)
	$(BIN)/uv lock -q --check
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)

types: $(INSTALLED)
	$(BIN)/mypy

bench: $(INSTALLED)
	scripts/debian-packages pgbouncer
	$(BIN)/python -m bench $(BENCH)

screenshots: $(INSTALLED)
	scripts/debian-packages tmux libcairo2 fonts-dejavu-core
	$(BIN)/python scripts/screenshots.py

binary: $(INSTALLED)
	$(BIN)/uv sync -q --frozen --inexact --group binary
	$(BIN)/pyinstaller -y --clean --distpath dist --workpath build scripts/gatekeeper.spec
	dist/gatekeeper check rules.toml

lock:
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv .venv
	@[ -x $(BIN)/uv ] || $(BIN)/python -m pip install -q --disable-pip-version-check uv
	$(BIN)/uv lock --upgrade --default-index https://pypi.org/simple
	@! grep -oE '"https?://[^/"]+' uv.lock | grep -vE '^"https://(pypi\.org|files\.pythonhosted\.org)$$' || \
	    { echo "uv.lock names another host than PyPI's: lock again without it"; exit 1; }

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
