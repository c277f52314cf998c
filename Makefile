# Two commands do all the set-up: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help docs demo demo-edge test test-fast lint format bench card clean train-smoke conformance mutation

help:
	@grep -E '^[a-z-]+:.*#' Makefile | sed 's/:.*#/ -/'

# A stamp per set of extras, so that a changed setup.py installs again.
$(VENV)/.demo: setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[phantom]'
	@touch $@

$(VENV)/.edge: setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[edge,phantom]'
	@touch $@

$(VENV)/.dev: setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@ $(VENV)/.demo $(VENV)/.edge

demo: $(VENV)/.demo # install and find microbleeds on a phantom with the bundled model
	$(BIN)/cmbnet demo

demo-edge: $(VENV)/.edge # scanner, node and PACS (Orthanc) on this machine; what comes back
	$(BIN)/python deploy/edge/demo.py

test: $(VENV)/.dev # install the dev extra and run every test
	$(BIN)/pytest -n 2 --dist loadgroup

test-fast: $(VENV)/.dev # the tests that take no server, browser or training
	$(BIN)/pytest -n 2 --dist loadgroup --fast -m "not browser"

lint: $(VENV)/.dev # ruff, mypy strict, import-linter, codespell
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

format: $(VENV)/.dev # let ruff write the layout
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# picai_eval and panoptica hold numpy and rich back, so they get an environment of their own.
conformance: # score the same masks with picai_eval and panoptica
	$(PYTHON) -m venv .venv-oracles
	.venv-oracles/bin/pip install --quiet picai_eval==1.4.13 panoptica==2.1.7 nibabel scipy \
		scikit-image scikit-learn statsmodels click pytest hypothesis qsm-forward==0.32
	.venv-oracles/bin/python -m pytest tests/conformance

mutation: $(VENV)/.dev # break cmbnet.evaluation on purpose and count what the tests notice
	$(BIN)/python benchmarks/mutation.py

train-smoke: $(VENV)/.dev # train on toy phantoms, kill, resume, export, predict, evaluate: minutes
	PATH="$(CURDIR)/$(BIN):$$PATH" training/smoke.sh

# Measured on cohorts of benchmarks/cohort.sh: their results.json under benchmarks/card.
card: $(VENV)/.dev # write MODEL_CARD.md from the default bundle and what was measured
	$(BIN)/cmbnet card default --notes benchmarks/card/notes.md -o MODEL_CARD.md \
		--results benchmarks/card/test-cohort.json \
		--elsewhere "on another simulator" benchmarks/card/another-simulator.json \
		--elsewhere "on thick slices with gaps between them" benchmarks/card/gaps.json \
		--elsewhere "outside the range of training" benchmarks/card/out-of-distribution.json

docs: $(VENV)/.dev # build the documentation site into build/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

clean: # remove what was built
	rm -rf $(VENV) .venv-oracles build dist ./*.egg-info
