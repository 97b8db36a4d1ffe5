# `make` alone lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# An environment of its own: what the audit needs is no part of the tested versions.
AUDIT := $(VENV)/audit
LOWEST := $(VENV)/lowest
# Where uv finds torch for it: builds without CUDA, which are far smaller, have an index of their own.
LOWEST_TORCH ?= --torch-backend cpu
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Two processes of one thread each: tiny models gain nothing from more threads. They take file after file in the order
# of tests/conftest.py.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

.PHONY: help install finetune generate test test-fast test-slow test-lowest bench lint types docs wheel audit clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

install: $(VENV)/.installed  ## create .venv and install the tested versions into it

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade --constraint constraints.txt pip setuptools
	$(PIP) install --quiet --constraint constraints.txt torch
	$(PIP) install --quiet --constraint constraints.txt --no-build-isolation --editable '.[dev]'
	touch $@

finetune: install  ## train on the embedded digits and evaluate every subset of the modalities
	$(BIN)/python run_finetune.py

generate: install  ## train on the embedded digits to write, draw and speak, and write samples
	$(BIN)/python run_finetune.py --task generation

test: install  ## all tests but the slow ones
	$(PYTEST) -m 'not slow'

test-fast: install  ## without transformers' common tests and training runs
	$(PYTEST) -m 'not slow and not training' --ignore=tests/test_common.py

test-slow: install  ## the slow tests alone
	$(PYTEST) -m slow

test-lowest:  ## the fast tests with the lowest versions that pyproject.toml allows
	test -x $(LOWEST)/bin/uv || { python3.11 -m venv $(LOWEST) && \
		$(LOWEST)/bin/python -m pip --disable-pip-version-check install --quiet uv; }
	$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST)/bin/python --resolution lowest-direct $(LOWEST_TORCH) \
		--editable '.[test]'
	$(PYTEST:$(BIN)/python=$(LOWEST)/bin/python) -m 'not slow and not training' --ignore=tests/test_common.py

bench: install  ## measure everything and write docs/benchmarks.md
	$(PIP) install --quiet --constraint constraints.txt --no-build-isolation --editable '.[bench]'
	$(BIN)/python -m benchmarks

lint: install  ## ruff, and the types of what is public
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(MAKE) --no-print-directory types

types: install
	rm -f demo/*.pyi  # which Gradio writes beside a component that runs
	mkdir -p $(VENV)/types
	ln -sfn ../.. $(VENV)/types/mixture_of_transformers
	ln -sfn ../../command $(VENV)/types/mixture_of_transformers_command
	$(BIN)/mypy --cache-dir $(VENV)/types/.cache

docs: install  ## build the site of the documentation into build/site
	$(PIP) install --quiet --constraint constraints.txt --no-build-isolation --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

wheel: install  ## build the distribution into dist/, look into it and try it in an empty environment
	$(BIN)/python .ci/wheel.py

audit: install  ## look the tested versions up among the known vulnerabilities
	test -x $(AUDIT)/bin/pip-audit || { $(PYTHON) -m venv $(AUDIT) && \
		$(AUDIT)/bin/python -m pip --disable-pip-version-check install --quiet pip-audit; }
	@$(AUDIT)/bin/pip-audit --strict --no-deps --disable-pip --requirement constraints.txt > $(AUDIT)/report 2>&1; \
	status=$$?; grep -v '^WARNING' $(AUDIT)/report | tail -n 20; \
	if grep -q 'could not be audited\|ConnectionError' $(AUDIT)/report; then \
		echo "Nothing was audited: the database of vulnerabilities cannot be reached from this machine."; fi; \
	exit $$status

clean:  ## remove what builds and runs leave behind
	rm -rf $(VENV) build dist outputs .hf_common *.egg-info .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
