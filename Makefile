# Everything a newcomer or a CI machine needs. `make demo` and `make test` create the environment by themselves.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
USE := $(VENV)/.installed
STAMP := $(VENV)/.installed-dev
PEERS := .venv-peers
INSTALL := -m pip install --quiet --disable-pip-version-check --no-compile
BENCH ?=
WORKERS ?= 2

.PHONY: demo test bubblewrap postgresql lint format types check clean comparison gsm8k bench-loop bench-decision bench-journal bench-telemetry bench-peers \
	embedded fault-matrix chaos studies studies-quick

demo: $(USE)  ## train the embedded team's coordinator, compare it, and say how to serve it
	$(BIN)/podium demo

test: $(STAMP) bubblewrap postgresql  ## every test
	$(BIN)/python -m pytest -n $(WORKERS)

fault-matrix: $(STAMP) postgresql  ## every fault under every coordinator; writes docs/fault-matrix.md, two minutes
	$(BIN)/python -m pytest -n $(WORKERS) tests/faults --junitxml=build/fault-matrix.xml --deselect tests/faults/test_report.py
	$(BIN)/python -m tests.faults.report build/fault-matrix.xml docs/fault-matrix.md

bubblewrap:  ## what the sandbox of the python tool is made with; without it, its tests say that they are skipped
	@command -v bwrap >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get -qq update \
		&& apt-get -qq install -y --no-install-recommends bubblewrap; } || echo "bubblewrap is not installed, and cannot be"

postgresql:  ## for the tests of the journal; without it, they say that they are skipped
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null \
		|| { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get -qq update \
		&& apt-get -qq install -y --no-install-recommends postgresql; } || echo "PostgreSQL is not installed, and cannot be"

lint: $(STAMP)  ## lint and format check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP)  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(STAMP)  ## type check, strict
	$(BIN)/pyright

check: lint types test  ## what CI runs

comparison: $(USE)  ## the README's comparison table: three seeds, about half an hour
	$(BIN)/python benchmarks/comparison/run.py

gsm8k: $(USE)  ## train and report on recorded answers: make gsm8k POOL=path/to/gsm8k.jsonl.gz
	$(BIN)/python benchmarks/recorded/run.py $(POOL)

bench-loop: $(USE)  ## what the run loop itself costs per directive
	$(BIN)/python benchmarks/run_loop/run.py

bench-decision: $(USE)  ## how long a learned coordinator takes to decide
	$(BIN)/python benchmarks/decision/run.py

bench-journal: $(USE)  ## what it costs to write a run down
	$(BIN)/python benchmarks/journal/run.py

bench-peers: $(PEERS)/.installed  ## what a step costs beside LangGraph and AutoGen core; about a minute with BENCH=--quick
	$(PEERS)/bin/python benchmarks/orchestration/run.py $(BENCH)

bench-telemetry: $(STAMP)  ## what traces and metrics cost
	$(BIN)/python benchmarks/telemetry/run.py

chaos: $(USE)  ## ten thousand runs through one process, with faults: nothing may be lost or left over, memory grows by less than 250 bytes a run
	$(BIN)/python benchmarks/chaos/run.py --results benchmarks/chaos --grown 250 $(BENCH)

studies: $(USE)  ## every study under reproductions/ in its full form: some hours; POOL=path/to/gsm8k.jsonl.gz: on recorded answers too
	for each in reproductions/*/run.py; do $(BIN)/python $$each || exit 1; done
	$(if $(POOL),$(BIN)/python reproductions/every_budget/run.py --pool $(POOL))

studies-quick: $(USE)  ## every study in about a minute each; figures go to build/studies
	for each in reproductions/*/run.py; do \
		$(BIN)/python $$each --quick --output build/studies/$$(basename $$(dirname $$each)) || exit 1; done

embedded: $(USE)  ## train the embedded team's specialists again
	$(BIN)/python examples/embedded/train_specialists.py

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Podium needs Python 3.11 or newer; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); false; }  # half of one would be taken for a whole one

$(USE): pyproject.toml | $(BIN)/python
	@echo "installing Podium and what it needs into $(VENV) ..."
	$(BIN)/python $(INSTALL) --editable '.[serve,train]'
	@touch $@

$(STAMP): pyproject.toml | $(BIN)/python
	@echo "installing Podium and its development tools into $(VENV) ..."
	$(BIN)/python $(INSTALL) --editable '.[dev]'
	@$(BIN)/python -W ignore -m compileall -qq -j 2 $(VENV)/lib || true  # tests count compilers' warnings as errors
	@touch $@ $(USE)

$(PEERS)/.installed: pyproject.toml benchmarks/orchestration/requirements.txt
	@echo "installing Podium and its peers into $(PEERS) ..."
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python $(INSTALL) --requirement benchmarks/orchestration/requirements.txt --editable .
	@touch $@

clean:  ## remove the environment and what was built
	rm -rf $(VENV) $(PEERS) build dist *.egg-info
