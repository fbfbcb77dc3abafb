# Everything is set up in .venv on first use; see README.md.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
BOARD ?= icebreaker

.DEFAULT_GOAL := help
.PHONY: help run test test-long prove nightly mutation lint doctor benchmark bitstream clean

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

run: $(VENV)/.run ## Estimate DeiT-Tiny on the default accelerator
	@$(BIN)/python -m sim.estimate --model deit_t

test: $(VENV)/.test ## Run the tests (about half an hour on two cores)
	@$(BIN)/python -m pytest -q -n auto -m "not long and not prove"

test-long: $(VENV)/.test $(VENV)/.fpga ## Run the tests that take minutes each
	@$(BIN)/python -m pytest -q -m long

prove: $(VENV)/.test ## Prove claims about the RTL for all inputs (under 20 minutes)
	@$(BIN)/python -m pytest -q -n auto -m prove

nightly: $(VENV)/.test ## Run new random programs, resets and damaged files, and show what they cover
	@seed=$${VERNIER_SEED:-$$(date +%s)}; $(BIN)/python -m tests.random_runs --seed $$seed && \
		VERNIER_SEED=$$seed $(BIN)/python -m pytest -q tests/sim/harness/test_core_reset.py && \
		$(BIN)/python -m tests.fuzz --seed $$seed --count 10000 && \
		$(BIN)/python -m tests.fuzz.bounds --checked --seed $$seed --programs 20 --mutants 2000

mutation: $(VENV)/.test ## Try one-line mutants of golden and rtl, and show which the tests miss (hours)
	@mkdir -p build && $(BIN)/python -m tests.mutation --out build/mutants.jsonl

lint: $(VENV)/.test ## Check the code with ruff
	@$(BIN)/ruff check .

doctor: $(VENV)/.run ## Show what is installed, and what is missing
	@$(BIN)/python -m sim.doctor || true

benchmark: $(VENV)/.run ## Compare golden inference and its GEMM with torch
	@$(BIN)/python -m benchmarks.vit
	@$(BIN)/python -m benchmarks.gemm

bitstream: $(VENV)/.fpga ## Build a self-testing bitstream (BOARD=icebreaker)
	@$(BIN)/python -m rtl.build --board $(BOARD)

clean: ## Remove the environment and everything built
	rm -rf $(VENV) build

$(VENV)/.python:
	@.ci/check-system $(PYTHON)
	@echo "Creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.run: $(VENV)/.python pyproject.toml constraints.txt
	@echo "Installing the packages of make run into $(VENV) (a few minutes the first time)"
	@$(PIP) --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.run
	@echo "Installing the packages of make test into $(VENV)"
	@$(PIP) --editable '.[test]'
	@touch $@

$(VENV)/.fpga: $(VENV)/.run
	@echo "Installing the FPGA tools into $(VENV)"
	@$(PIP) --editable '.[fpga]'
	@touch $@
