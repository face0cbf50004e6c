# Everything a contributor or CI needs; each target makes its own virtual environment.
# On a bare Debian: apt install python3 python3-venv git make

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

BENCH := build/bench-venv

.PHONY: demo test soak test-browser check format docs bench clean

demo: $(VENV)/.run ## the main job on a sample, killed once and continued
	@$(BIN)/python sample_inputs/demo.py

test: $(VENV)/.dev ## the tests, two minutes
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

soak: $(VENV)/.dev ## the long tests, and many more examples of the others, eight minutes
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal --timeout 900 -o faulthandler_timeout=890 \
	  -m 'soak or hypothesis' --hypothesis-profile soak

test-browser: $(VENV)/.browser ## the page of `report` in Chromium, which it installs if it can
	$(BIN)/python -m pytest -m browser tests/browser

check: $(VENV)/.dev ## formatting, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.dev ## format and repair what can be repaired
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.dev ## the reference and the man page, from the code
	$(BIN)/python docs/reference.py

bench: $(BENCH)/.ready ## speed beside other clients, ten minutes; QUICK=1: two minutes
	$(BENCH)/bin/python benchmarks/run.py $(if $(QUICK),--quick) $(if $(TEN_MILLION),--ten-million)

clean: ## remove what the targets made
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; say PYTHON=… to make."; exit 1; }
	$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "On Debian: apt install python3-venv"; exit 1; }

$(VENV)/.run: pyproject.toml | $(BIN)/python
	@echo "Setting up $(VENV) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	@echo "Setting up $(VENV) with the tools for tests and checks …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/.run

$(VENV)/.browser: pyproject.toml | $(VENV)/.dev
	@command -v chromium >/dev/null || { apt-get update && apt-get install --yes chromium; } \
	  >/dev/null 2>&1 || echo "Chromium cannot be installed here (apt install chromium)."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,browser]'
	@touch $@

# An environment of its own, so that uvloop is not in the one of the tests.
$(BENCH)/.ready: pyproject.toml benchmarks/requirements.txt
	$(PYTHON) -m venv $(BENCH)
	@echo "Setting up $(BENCH) for the benchmark …"
	@$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check \
	  --editable '.[speed]' --requirement benchmarks/requirements.txt
	@touch $@
