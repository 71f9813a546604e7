# make demo   the embedded model fills in a mask, a minute after a clone
# make test   lint, types and all tests against the installed wheel, in an environment of its own

PYTHON ?= python3
DEMO := .venv-demo
DEV := .venv
PIP_FLAGS := --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test lint types check clean

demo: $(DEMO)/.installed
	$(DEMO)/bin/bert-mobile fill-mask "The capital of France is [MASK]."

test: lint types check

lint: $(DEV)/.installed
	$(DEV)/bin/ruff check
	$(DEV)/bin/ruff format --check

types: $(DEV)/.installed
	$(DEV)/bin/mypy

check: $(DEV)/.installed
	$(DEV)/bin/pip install $(PIP_FLAGS) --no-deps --force-reinstall .
	$(DEV)/bin/python -m pytest

$(DEMO)/.installed: pyproject.toml constraints.txt $(shell find src -type f -not -name '*.pyc')
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/pip install $(PIP_FLAGS) --upgrade --force-reinstall --no-deps .
	$(DEMO)/bin/pip install $(PIP_FLAGS) .
	touch $@

# torch first and by its exact pin: an index with a build for processors alone answers with that.
$(DEV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DEV)
	$(DEV)/bin/pip install $(PIP_FLAGS) torch==2.13.0
	$(DEV)/bin/pip install $(PIP_FLAGS) ".[train,export,litert,hub,emissions,peers,dev]"
	touch $@

clean:
	rm -rf $(DEMO) $(DEV) dist .pytest_cache .mypy_cache .ruff_cache
