# `make demo`, `make test` and `make lint` need Python 3.11 or newer, make and a network.
# Each sets up in $(VENV) what it needs; a second run starts at once.

PYTHON ?= python3
VENV ?= .venv
GO ?= go
# Tests mostly wait for programs: two of them keep one core busy.
JOBS ?= $(shell echo $$((2 * $$(getconf _NPROCESSORS_ONLN))))
ARGS ?=

PIP = $(VENV)/bin/python -m pip --disable-pip-version-check
INSTALL = $(PIP) install --quiet --constraint constraints.txt
EDITABLE = --build-constraint constraints.txt --editable .

.DEFAULT_GOAL := help
.PHONY: help demo test cluster-tools bench lint format constraints clean

help:
	@echo "make demo    show the main job on a simulated provider; ARGS=--once plays it and ends"
	@echo "make test    run the tests; ARGS are pytest's, for example ARGS='-k drain -n0'"
	@echo "make cluster-tools  build a Kubernetes to test with, once; takes ten minutes, and Go"
	@echo "make bench   measure wakes on the simulated provider, and a cluster of 10,000 apps"
	@echo "make lint    check style, types, layers and the Dockerfile"
	@echo "make format  put the code into the shape that lint wants"
	@echo "make constraints  try the newest versions of everything, and write them down"
	@echo "make clean   remove $(VENV) and everything else that was made here"

demo: $(VENV)/.with-paastis
	@$(VENV)/bin/paastis demo $(ARGS)

test: $(VENV)/.with-dev
	$(VENV)/bin/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

cluster-tools:
	@GO="$(GO)" $(PYTHON) -m tests.cluster.tools

bench: $(VENV)/.with-dev
	$(VENV)/bin/python -m bench.wakes
	$(VENV)/bin/python -m bench.cluster

lint: $(VENV)/.with-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/hadolint Dockerfile

format: $(VENV)/.with-dev
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

# --- what the above need, made once ------------------------------------------------------------

$(VENV)/.made:
	@command -v $(PYTHON) >/dev/null || { echo "paastis needs Python 3.11 or newer, and there is no $(PYTHON) here. Name one: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit("paastis needs Python 3.11 or newer, but $(PYTHON) is %s. Name another: make PYTHON=/path/to/python3.12" % sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments: its venv or ensurepip is missing. Debian and Ubuntu have them in the package python3-venv." >&2; exit 1; }
	@echo "Setting up $(VENV) with $(PYTHON), once; this takes a minute."
	@$(PYTHON) -m venv $(VENV)
	@# The tested pip first: older ones know neither dependency groups nor build constraints.
	@$(INSTALL) pip
	@touch $@

$(VENV)/.with-paastis: pyproject.toml constraints.txt paastis/__init__.py $(VENV)/.made
	@echo "Installing paastis and what it needs into $(VENV)."
	@$(INSTALL) $(EDITABLE)
	@touch $@

$(VENV)/.with-dev: pyproject.toml constraints.txt paastis/__init__.py $(VENV)/.made
	@echo "Installing paastis, what it needs and what its tests need into $(VENV)."
	@$(INSTALL) $(EDITABLE) --group dev
	@touch $(VENV)/.with-paastis $@

# --- now and then ------------------------------------------------------------------------------

FRESH = build/newest

constraints:
	rm -rf $(FRESH)
	$(PYTHON) -m venv $(FRESH)
	$(FRESH)/bin/python -m pip install --quiet --upgrade pip
	$(FRESH)/bin/python -m pip install --quiet '.' --group dev hatchling editables
	{ sed '/^[^#]/,$$d' constraints.txt; $(FRESH)/bin/python -m pip freeze --all --exclude paastis --exclude setuptools; } > $(FRESH)/constraints.txt
	cp $(FRESH)/constraints.txt constraints.txt

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
