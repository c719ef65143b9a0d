# `make demo` and `make test` set up everything they need on a fresh machine.
PYTHON ?= python3
BIN := .venv/bin
DEMO := runs/demo
# A process a core, each with one thread: the tests are many and small.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist worksteal
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow check docs format

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(INSTALLED) ## make .venv and install the toolkit with its tools

$(INSTALLED): pyproject.toml constraints.txt bpnet/version.py
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[video,dev]'
	@if [ -d .git ] && ! git config core.hooksPath >/dev/null; then $(BIN)/pre-commit install >/dev/null; fi
	touch $@

demo: setup $(DEMO)/sample/features.h5 ## render videos, train, evaluate and answer: a few minutes after setup
	$(BIN)/bpnet train experiment=demo data.root=$(DEMO)/sample run_dir=$(DEMO)/train resume=auto
	$(BIN)/bpnet evaluate checkpoint=$(DEMO)/train split=test out=$(DEMO) report=5 videos=$(DEMO)/sample/videos
	@echo "open $(DEMO)/report.html"

$(DEMO)/sample/features.h5: | setup
	$(BIN)/bpnet features sample $(DEMO)/sample

test: setup ## the default tests
	$(PYTEST)

test-slow: setup ## the slow tests
	$(PYTEST) -m "slow and not gpu"

check: setup ## format, lint, types, import rules, docstrings
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pydoclint -q bpnet features

docs: setup ## the documentation as a site: site/index.html
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[docs]'
	$(BIN)/mkdocs build --strict --quiet

format: setup ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
