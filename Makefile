# Everything a newcomer or a CI machine needs. `make demo` and `make test` create the environment by themselves.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKERS ?= 2

.PHONY: demo test lint format types check clean comparison gsm8k bench-loop embedded

demo: $(STAMP)  ## train the embedded team's coordinator, compare it, and say how to serve it
	$(BIN)/podium demo

test: $(STAMP)  ## every test
	$(BIN)/python -m pytest -n $(WORKERS)

lint: $(STAMP)  ## lint and format check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP)  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(STAMP)  ## type check, strict
	$(BIN)/pyright

check: lint types test  ## what CI runs

comparison: $(STAMP)  ## the README's comparison table: three seeds, about half an hour
	$(BIN)/python benchmarks/comparison/run.py

gsm8k: $(STAMP)  ## train and report on recorded answers: make gsm8k POOL=path/to/gsm8k.jsonl.gz
	$(BIN)/python benchmarks/recorded/run.py $(POOL)

bench-loop: $(STAMP)  ## what the run loop itself costs per directive
	$(BIN)/python benchmarks/run_loop/run.py

embedded: $(STAMP)  ## train the embedded team's specialists again
	$(BIN)/python examples/embedded/train_specialists.py

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Podium needs Python 3.11 or newer; set PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:  ## remove the environment and what was built
	rm -rf $(VENV) build dist *.egg-info
