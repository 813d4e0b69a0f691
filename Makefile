# Everything a contributor runs. Needs Python 3.11+ and make; the rest comes from uv.lock.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
UV := $(BIN)/uv
UV_VERSION := 0.13.8
PROTOS := $(shell find protos -name '*.proto')

.PHONY: help demo test check fmt gen breaking bench-memory bench-sync chaos run-catalog run-connector run-devstore clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-16s %s\n", $$1, $$2}'

# uv is in the dev group too, so that syncing keeps it.
$(BIN)/.synced: pyproject.toml gen/pyproject.toml uv.lock
	@test -x $(UV) || { $(PYTHON) -m venv .venv && $(BIN)/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION); }
	@$(UV) sync --quiet --frozen
	@touch $@

demo: $(BIN)/.synced ## Run the whole system with two demo shops (ONCE=1: end after the syncs)
	@$(BIN)/python -m demo $(if $(ONCE),--once)

test: $(BIN)/.synced ## Run all tests
	$(BIN)/pytest

check: $(BIN)/.synced ## Lint, format, types, protos, stale generated code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code protos
	$(UV) lock --quiet --check
	@$(MAKE) --no-print-directory gen GEN_OUT=.gen-check
	@diff -r --exclude=__pycache__ --exclude='*.egg-info' .gen-check/catalogsync gen/catalogsync \
	  && rm -rf .gen-check || { echo 'gen/ is stale: run make gen'; exit 1; }

fmt: $(BIN)/.synced ## Format and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/buf format --write protos

GEN_OUT ?= gen
GEN_BIN := .venv-gen/bin

.venv-gen/.synced: uv.lock $(BIN)/.synced
	@UV_PROJECT_ENVIRONMENT=.venv-gen $(UV) sync --quiet --frozen --only-group gen
	@touch $@

gen: .venv-gen/.synced ## Generate gen/ from protos/
	@rm -rf $(GEN_OUT)/catalogsync/{catalog,connector,errors} && mkdir -p $(GEN_OUT)/catalogsync
	@PATH="$(CURDIR)/$(GEN_BIN):$$PATH" $(GEN_BIN)/python -m grpc_tools.protoc -I protos -I third_party \
	  --python_out=$(GEN_OUT) --grpc_python_out=$(GEN_OUT) \
	  --mypy_out=quiet:$(GEN_OUT) --mypy_grpc_out=quiet,only_async:$(GEN_OUT) $(PROTOS)
	@test $(GEN_OUT) = gen || cp gen/catalogsync/{py.typed,service_config.json} $(GEN_OUT)/catalogsync/

breaking: $(BIN)/.synced ## Compare the contracts with main
	$(BIN)/buf breaking --against '.git#branch=main'

bench-memory: $(BIN)/.synced ## Peak memory of the services at 50,000 and 1,000,000 variants
	@$(BIN)/python -m bench.memory

bench-sync: $(BIN)/.synced ## Speed and cost of whole syncs, first and again
	@$(BIN)/python -m bench.sync

MINUTES ?= 1

chaos: $(BIN)/.synced ## Break real processes for MINUTES=n and look for what got lost (SEED=n: the same faults)
	@$(BIN)/python -m tests.chaos --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

run-catalog: $(BIN)/.synced ## Run catalog_svc with the settings of the environment
	$(BIN)/python -m catalog_svc

run-connector: $(BIN)/.synced ## Run connector_svc with the settings of the environment
	$(BIN)/python -m connector_svc

clean: ## Remove what the other targets made
	rm -rf .venv .venv-gen .gen-check .demo .mypy_cache .ruff_cache .pytest_cache
