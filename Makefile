# `make demo` and `make test` set themselves up: they need Python 3.11 or newer, and make.
PYTHON ?= python3
WORKERS ?= 2
BIN := .venv/bin
STAMP := .venv/installed

.PHONY: demo test lint format lock setup clean help

help:
	@echo "make demo    the whole job on the packaged sample; ends in demo-output/report.html"
	@echo "make test    lint, types and tests"
	@echo "make setup   the environment in .venv, from requirements.lock"
	@echo "make format  lay the code out and mend what ruff can mend"
	@echo "make lock    resolve the dependencies of pyproject.toml again"

demo: $(STAMP)
	$(BIN)/hybrid-land demo --out demo-output

test: lint
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --pythonpath $(BIN)/python

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

setup: $(STAMP)

# The stamp is made last, so an interrupted installation starts again.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed, found " + sys.version.split()[0] + "; run: make PYTHON=python3.11 $(MAKECMDGOALS)")'
	rm -f $@
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation --no-index -e .
	touch $@

# uv resolves for every platform and Python at once and writes hashes, without the index's address.
lock:
	test -x .cache/lock/bin/uv || { $(PYTHON) -m venv .cache/lock && .cache/lock/bin/python -m pip install uv; }
	.cache/lock/bin/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
	    --generate-hashes --no-emit-index-url --no-emit-find-links --upgrade \
	    --custom-compile-command "make lock" --output-file requirements.lock
	! grep -n "://" requirements.lock

clean:
	rm -rf .venv .cache build dist demo-output
