# Both commands set up what they need; a second run starts at once.
PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check
INPUTS := pyproject.toml constraints.txt

.PHONY: demo test test-slow check format clean

demo: $(VENV)/.runtime  ## update an emulated PPMID on a virtual dongle, from service request to alerts
	@$(VENV)/bin/chf demo $(DEMO)

test: $(VENV)/.dev  ## run the tests, but those that take minutes; the programs under test wait a lot, so four at a time
	@$(VENV)/bin/python -m pytest -n 4 --dist worksteal -m "not slow" $(TESTS)

test-slow: $(VENV)/.dev  ## run those that take minutes
	@$(VENV)/bin/python -m pytest -m slow $(TESTS)

check: $(VENV)/.dev  ## lint, types, layers: what the tests check too, quicker to run while writing
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

format: $(VENV)/.dev
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

clean:
	rm -rf $(VENV) .venvs .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "chf needs Python 3.11 or later; name one with make PYTHON=...")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: $(INPUTS) | $(VENV)/bin/python
	@echo "Setting up $(VENV) ..." >&2
	@$(PIP) install --quiet -c constraints.txt -e . >&2
	@touch $@

$(VENV)/.dev: $(INPUTS) | $(VENV)/bin/python
	@echo "Setting up $(VENV) for the tests ..." >&2
	@$(PIP) install --quiet -c constraints.txt -e '.[dev]' >&2
	@touch $(VENV)/.runtime $@
