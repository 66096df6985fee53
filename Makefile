# make run   the app on http://127.0.0.1:8050      make test   every check and test      make install   their shared half
PYTHON ?= python3
MODEL ?= smollm2-135m
PORT ?= 8050
VENV := .venv
BIN := $(VENV)/bin
# Modules are compiled when they are first imported, which most never are: half the time of an installation.
PIP := $(BIN)/python -m pip install --disable-pip-version-check --no-compile -c constraints.txt

# Idle threads sleep instead of spinning: tests share two cores with a browser and a worker process.
export OMP_WAIT_POLICY ?= PASSIVE

.DELETE_ON_ERROR:
.PHONY: install run test checks browser model ioi circuit clean help

help:
	@head -1 Makefile | cut -c3-

install: $(VENV)/.installed

# The stamps make a second run start in seconds; a change of the pins or of the dependencies installs again.
$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/pyvenv.cfg
	$(PIP) -e .
	@touch $@

$(VENV)/.installed-test: pyproject.toml constraints.txt | $(VENV)/pyvenv.cfg
	$(PIP) -e '.[test,images]'
	@touch $(VENV)/.installed $@

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: Python 3.11 or newer is needed, and $(PYTHON) is not that."; \
	  echo "hint: name another one: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "error: $(PYTHON) cannot create a virtual environment."; \
	  echo "hint: on Debian or Ubuntu: apt install python3-venv"; exit 2; }

# Where the model cannot be had, `serve` says so and opens the bundled one.
run: install
	@$(BIN)/workbench serve $(MODEL) --port $(PORT)

test: $(VENV)/.installed-test browser model checks
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --ignore tests/browser
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadfile tests/browser

checks: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

model: $(VENV)/.installed-test
	@$(BIN)/workbench models --fetch smollm2-135m || test "$$CI" != true

# docs/ioi-smollm2.md and its figures, from the experiment files in docs/ioi/.
ioi: model
	$(BIN)/python docs/ioi/report.py

# docs/circuit-smollm2.html, from the search and the evaluation in docs/ioi/.
circuit: model
	$(BIN)/python docs/ioi/circuit.py

browser:
	@sh tests/browser/ensure-chromium.sh

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
