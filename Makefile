# Two commands do all the set-up: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test lint format bench clean

help:
	@grep -E '^[a-z-]+:.*#' Makefile | sed 's/:.*#/ -/'

# A stamp per set of extras, so that a changed setup.py installs again.
$(VENV)/.demo: setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[phantom]'
	@touch $@

$(VENV)/.dev: setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@ $(VENV)/.demo

demo: $(VENV)/.demo # install and find microbleeds on a phantom with the bundled model
	$(BIN)/cmbnet demo

test: $(VENV)/.dev # install the dev extra and run every test
	$(BIN)/pytest -n 2 --dist loadgroup

lint: $(VENV)/.dev # ruff, mypy strict, import-linter, codespell
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

format: $(VENV)/.dev # let ruff write the layout
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: # remove what was built
	rm -rf $(VENV) build dist ./*.egg-info
