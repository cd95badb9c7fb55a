# Everything a developer or a machine runs. Each target makes what it needs: nothing has to be installed by hand.
# PYTHON picks the interpreter (PYTHON=python3.13 make test); each interpreter gets an environment of its own.
PYTHON ?= python3
# More than two, since many tests wait: for a child process, for a time limit, for a pool that goes to sleep.
TEST_PROCESSES ?= 3
TAG := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
VENV := .venv-$(TAG)
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PEERS := .venv-peers-$(TAG)
OLDEST := .venv-oldest-$(TAG)
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

.PHONY: help install environments system-packages demo test test-peers test-oldest coverage prove prove-tests check lint ruff types layers codespell validate-pyproject docs dist browser octave format clean

help:
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

install: $(STAMP) ## make the environment

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade pip
	$(PIP) install --editable '.[plot,data,numba]' --group dev
	@touch $@

environments: $(STAMP) $(PEERS)/.installed $(OLDEST)/.installed ## make the three environments (with -j3 at once)

demo: $(STAMP) ## train on natural-image patches, print, draw (demo/)
	$(BIN)/python docs/demo.py

test: $(STAMP) ## the test suite, in several processes (TEST_PROCESSES=0: in one)
	$(BIN)/python $(COVERED) -m pytest -m "not prove and not peers" -n $(TEST_PROCESSES) --dist loadfile $(PYTEST_ARGS)

test-peers: $(PEERS)/.installed ## the tests that need jax and torch, in an environment that has them
	MLFLOW_ALLOW_FILE_STORE=true MLFLOW_TRACKING_URI=file:mlruns $(PEERS)/bin/python $(COVERED) -m pytest \
		-m "(peers or optional) and not prove" -n $(TEST_PROCESSES) --dist loadfile $(PYTEST_ARGS)

$(PEERS)/.installed: pyproject.toml
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip --quiet --disable-pip-version-check install --upgrade pip
	$(PEERS)/bin/python -m pip --quiet --disable-pip-version-check install torch==2.13.0
	$(PEERS)/bin/python -m pip --quiet --disable-pip-version-check install --editable '.[plot,data,numba,jax]' --group test --group peers
	@touch $@

test-oldest: $(OLDEST)/.installed ## the estimator and a part of the core with the oldest supported libraries
	$(OLDEST)/bin/python -m pytest -m "not prove and not peers and not optional" -n 2 --dist loadfile \
		tests/estimator tests/data/test_formats.py tests/data/test_tables_in_files.py tests/engine/test_frames.py \
		tests/test_model.py tests/test_cost.py tests/test_objective.py $(PYTEST_ARGS)

$(OLDEST)/.installed: pyproject.toml tests/support/oldest.py
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip --quiet --disable-pip-version-check install $$($(PYTHON) tests/support/oldest.py)
	$(OLDEST)/bin/python -m pip --quiet --disable-pip-version-check install --no-deps --editable .
	@touch $@

coverage: $(STAMP) ## branch coverage of both suites, child processes included; slow, see CONTRIBUTING.md
	find core backends -name '*.nb[ic]' -delete # what emits machine code runs where nothing is cached
	$(BIN)/python -m coverage erase
	-$(MAKE) --keep-going test test-peers COVERED='-m coverage run'
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage json --quiet -o .coverage.json
	$(BIN)/python -m tests.support.coverage_reasons .coverage.json
	$(BIN)/python -m coverage report

# Each proof also runs alone: make prove-resume.  Run them on a quiet machine.
PROOFS := $(patsubst tests/prove/%.py,prove-%,$(sort $(wildcard tests/prove/*.py)))
prove: prove-tests $(PROOFS) ## the slow evidence, into prove/*.log

prove-tests: $(STAMP)
	@mkdir -p prove
	@bash -o pipefail -c '$(BIN)/python -m pytest -m prove $(PYTEST_ARGS) 2>&1 | tee prove/tests.log; code=$$?; test $$code = 0 -o $$code = 5' # 5: none is marked

prove-%: tests/prove/%.py $(STAMP)
	@mkdir -p prove
	@bash -o pipefail -c '$(BIN)/python -u $< 2>&1 | tee prove/$*.log'

check: lint docs ## everything static

lint: ruff codespell validate-pyproject types layers

ruff: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

layers: $(STAMP)
	$(BIN)/lint-imports

codespell: $(STAMP)
	git ls-files -z -- ':!*.png' ':!tests/golden' | xargs -0 $(BIN)/codespell

validate-pyproject: $(STAMP)
	$(BIN)/validate-pyproject pyproject.toml

format: $(STAMP) ## rewrite the sources in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP) ## build the documentation, strictly
	if [ -f mkdocs.yml ]; then NO_MKDOCS_2_WARNING=1 DISABLE_MKDOCS_2_WARNING=true $(BIN)/mkdocs build --strict --quiet; fi

dist: $(STAMP) ## sdist and wheel, checked and installed in a fresh environment
	$(BIN)/python tests/support/release.py

system-packages: ## both of these
	.ci/system-packages chromium octave

browser: ## Chromium for the tests of the report page, where it can be installed
	.ci/system-packages chromium

octave: ## Octave for the tests of the question, where it can be installed
	.ci/system-packages octave

clean: ## remove environments and everything generated
	rm -rf .venv* build dist site demo .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
