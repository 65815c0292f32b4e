# `make demo` and `make test` need Python 3.11 or newer, and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-all clean

demo: $(VENV)/.installed
	rm -rf snellen-demo
	$(BIN)/snellen demo --out snellen-demo

test: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n auto --dist loadfile

test-all: $(VENV)/.installed-trackers
	$(BIN)/pytest -n auto --dist loadfile -m slow
	$(BIN)/pytest -m ray

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

$(VENV)/.installed-trackers: $(VENV)/.installed-dev
	$(BIN)/pip install --quiet -c constraints.txt -e '.[mlflow,wandb]'
	touch $@

clean:
	rm -rf $(VENV) snellen-demo
