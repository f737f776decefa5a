# The one way to set up, check and try hist2st_pyg, here and in CI. `make help` lists the targets.

VENV := .venv
BIN := $(VENV)/bin
# Each candidate is run, not just looked up: a version manager's shim may be on the path without a Python behind it.
PYTHON ?= $(firstword $(foreach name,python3.11 python3,$(shell \
	$(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(name))))
# Every install sees every pin, so that no step moves what an earlier one installed.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
JOBS := $(shell nproc 2>/dev/null || echo 1)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup lint test test-slow coverage install-check demo docs dist clean

help: ## list the targets
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/make \1|\2/p' Makefile | column -t -s '|'

setup: $(VENV)/.ready ## install everything into .venv (about 5 minutes, once)

lint: setup ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict hist2st_pyg benchmarks

# One thread of torch a process: two processes with two threads each on two cores wait for each other.
test: lint ## lint, then all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(JOBS) --maxprocesses 8 --dist worksteal

test-slow: setup ## the tests that take minutes: runs killed at many moments, bad inputs by the hundred
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(JOBS) --maxprocesses 8 --dist worksteal -m slow

# What a user's pip does: no extra, no compiler (CC and CXX fail), nothing of .venv.
install-check: ## pip install into a fresh environment without a compiler, doctor, a short training (about 3 minutes)
	rm -rf build/install
	$(PYTHON) -m venv build/install/venv
	CC=false CXX=false build/install/venv/bin/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt .
	cd build/install && venv/bin/hist2st doctor
	cd build/install && venv/bin/hist2st train --data.name synthetic --data.test '[C1, C2]' --training.epochs 1 \
		--wandb disabled --output run
	cd build/install && venv/bin/hist2st evaluate run --output evaluation.json
	rm -rf build/install

# The slow tests run what the quick ones leave out of the error branches.
coverage: setup ## the share of the package that all tests run, at least 95 % (branches counted)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(JOBS) --maxprocesses 8 --dist worksteal \
		-m 'slow or not slow' --cov --cov-report=term --cov-report=html:build/coverage --cov-fail-under=95

demo: setup ## train and predict on synthetic sections
	$(BIN)/hist2st demo

# Nitpicky, and a warning is an error: a name that is referred to and not there, a page in no menu, a notebook that fails.
# DOCS_SKIP_NOTEBOOKS='notebooks/*' leaves the notebooks as they are; DOCS_OFFLINE=1 links no names of other projects.
docs: setup ## the documentation site, with executed notebooks, in docs/_build/html (about 10 minutes)
	$(INSTALL) --no-build-isolation --editable '.[docs]'
	$(BIN)/python -m sphinx -b html -n -W --keep-going docs docs/_build/html
	@echo "Open docs/_build/html/index.html"

dist: setup ## the wheel and the source distribution, checked, in dist
	$(INSTALL) --no-build-isolation --editable '.[dist]'
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*

clean: ## remove build outputs and caches (.venv stays)
	rm -rf build dist docs/_build docs/api/generated *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -f .coverage .coverage.*
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# torch comes first because torch-scatter is compiled against the torch that is installed, which an isolated build does not
# see. Its build does not use ninja, so MAX_JOBS means nothing to it; setuptools' own setting compiles its parts in parallel.
$(VENV)/.ready: setup.cfg pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer was not found; name one: make $(MAKECMDGOALS) PYTHON=..." >&2; exit 1; }
	@echo "[1/4] Virtual environment $(VENV) ($(PYTHON)), pip, setuptools"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(INSTALL) pip setuptools wheel
	@echo "[2/4] torch"
	@$(INSTALL) torch
	@echo "[3/4] torch-scatter (compiled where pip has no wheel of it yet: a few minutes)"
	@printf '[build_ext]\nparallel = %s\n' '$(JOBS)' > $(VENV)/build.cfg
	@DIST_EXTRA_CONFIG='$(abspath $(VENV)/build.cfg)' $(INSTALL) --no-build-isolation torch-scatter
	@$(BIN)/python -c 'import torch_scatter' 2>/dev/null || { \
		echo "      (the torch-scatter in pip's cache was built for another torch; compiling it anew)"; \
		DIST_EXTRA_CONFIG='$(abspath $(VENV)/build.cfg)' $(INSTALL) --no-build-isolation --no-cache-dir --no-deps \
			--force-reinstall torch-scatter; }
	@echo "[4/4] hist2st_pyg and everything else"
	@$(INSTALL) --no-build-isolation --editable '.[dev,scatter,cluster,bench,ray,slides,spatialdata,pathways,hub,completion]'
	@touch $@
	@echo "Ready: $(BIN)/hist2st --help"
