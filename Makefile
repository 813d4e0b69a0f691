# Everything a contributor runs. Needs Python 3.11+ and make; the rest comes from uv.lock.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
UV := $(BIN)/uv
UV_VERSION := 0.13.8
PROTOS := $(shell find protos -name '*.proto')
# buf reads protos within the repository only: Google's are copied from the package googleapis-common-protos.
GOOGLE_PROTOS := .google-protos
# Tests, demo and benchmarks start some hundred Pythons: compiled once, each starts in a third of the time.
unexport PYTHONDONTWRITEBYTECODE
export UV_COMPILE_BYTECODE = 1

.PHONY: help demo recording audit sbom test test-chaos test-release test-pgbouncer test-citus test-compatibility bench-recovery check fmt gen gen-typescript breaking freeze bench bench-smoke bench-chart bench-memory bench-custom-feed bench-feed bench-freshness bench-pacing bench-sync bench-write bench-watch bench-storm bench-latency bench-read bench-access bench-control bench-shops bench-scale security-table audit-trials webhook-trial chaos analysis-chaos feed-gap feed-mirror fuzz run-catalog run-connector run-devstore clean bench-analysis bench-bff run-bff screenshots wheels build-requirements lint-deploy bench-export dashboard test-monitoring rolling-restart rolling-upgrade

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-16s %s\n", $$1, $$2}'

# uv is in the dev group too, so that syncing keeps it.
$(BIN)/.synced: pyproject.toml bff/pyproject.toml cli/pyproject.toml clients/python/pyproject.toml common/pyproject.toml gen/pyproject.toml uv.lock
	@test -x $(UV) || { $(PYTHON) -m venv .venv && $(BIN)/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION); }
	@$(UV) sync --quiet --frozen
	@touch $@

demo: $(BIN)/.synced ## Run the whole system with two demo shops (ONCE=1: end after the syncs)
	@$(BIN)/python -m demo $(if $(ONCE),--once)

recording: $(BIN)/.synced ## Draw docs/watch.svg: a watched sync of the demo that runs in another terminal
	@$(BIN)/python -m demo.recording

WORKERS ?= 4

test: $(BIN)/.synced ## Run all tests (WORKERS=n at a time; most of them wait)
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

audit-trials: $(BIN)/.synced ## Audits of falsified shops, and beside syncs: how many find drift, how many false alarms (TRIALS=100)
	@CATALOGSYNC_AUDIT_TRIALS=$(or $(TRIALS),100) $(BIN)/pytest -q -s tests/integration/end_to_end/test_audit_trials.py

webhook-trial: $(BIN)/.synced ## Webhooks of changing shops, lost, doubled, shuffled and late: is an older state stored, and what is the end (DELIVERIES=10000 per platform)
	@CATALOGSYNC_WEBHOOK_DELIVERIES=$(or $(DELIVERIES),10000) $(BIN)/pytest -q -s tests/integration/end_to_end/test_webhook_trial.py

test-chaos: $(BIN)/.synced ## Break real processes for a minute, then show that a missing fence is found out
	$(BIN)/pytest -n 2 --dist loadfile -m chaos tests/chaos tests/analysis

test-release: $(BIN)/.synced ## Install the packages, run the image in each overlay, restart and upgrade under load
	$(BIN)/pytest -n 2 --dist loadfile -m release tests/e2e tests/deploy

# Without the tests of the embedded PostgreSQL, which reach no server through PgBouncer.
test-pgbouncer: $(BIN)/.synced ## Run the tests of the catalog's database through PgBouncer; without it they are skipped
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --pgbouncer \
	  --ignore tests/integration/catalog_svc/test_embedded_postgres.py \
	  tests/integration/catalog_svc tests/contract/catalog_stores

test-citus: $(BIN)/.synced ## Run the tests of the catalog's database on the Citus whose coordinator is URL=postgresql://...
	@test -n '$(URL)' || { echo 'URL is missing: the coordinator of a Citus cluster; see docs/scaling.md'; exit 2; }
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --citus '$(URL)' \
	  tests/integration/catalog_svc tests/contract/catalog_stores

test-monitoring: $(BIN)/.synced ## Break a running system until each alert fires in a real Prometheus, and repair it; without it skipped
	$(BIN)/pytest -m monitoring tests/monitoring

test-compatibility: $(BIN)/.synced ## Run the smoke tests of the last release on the schema of this checkout
	@$(BIN)/python -m tests.compatibility

check: $(BIN)/.synced .venv-bench/.synced $(GOOGLE_PROTOS)/.synced ## Lint, format, types, migrations, contracts, stale generated code and chart
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@$(BIN)/python -m tests.lint_migrations
	@$(MAKE) --no-print-directory lint-deploy
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code protos
	@$(MAKE) --no-print-directory breaking
	$(UV) lock --quiet --check
	.venv-bench/bin/python -m bench.chart --check
	$(BIN)/pytest --quiet -m chart tests/unit/bench
	@$(BIN)/python -m tests.security.access_table --check
	@$(BIN)/python -m tools.dashboard --check
	@$(MAKE) --no-print-directory gen GEN_OUT=.gen-check
	@diff -r --exclude=__pycache__ --exclude='*.egg-info' .gen-check/catalogsync gen/catalogsync \
	  || { echo 'gen/ is stale: run make gen'; exit 1; }
	@test ! -d .gen-check/$(TYPESCRIPT_GEN) || diff -r .gen-check/$(TYPESCRIPT_GEN) $(TYPESCRIPT_GEN) \
	  || { echo '$(TYPESCRIPT_GEN) is stale: run make gen'; exit 1; }
	@rm -rf .gen-check

dashboard: $(BIN)/.synced ## Write deploy/monitoring/grafana/catalogsync.json from tools/dashboard_panels.py
	@$(BIN)/python -m tools.dashboard

security-table: $(BIN)/.synced ## Write the table of docs/security.md from the access rules of the contract
	@$(BIN)/python -m tests.security.access_table

fmt: $(GOOGLE_PROTOS)/.synced ## Format and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/buf format --write protos

$(GOOGLE_PROTOS)/.synced: $(BIN)/.synced
	@mkdir -p $(GOOGLE_PROTOS)/google/{api,rpc}
	@cd $$($(BIN)/python -c 'import pathlib, google.rpc.status_pb2 as m; print(pathlib.Path(m.__file__).parents[2])') \
	  && cp google/api/field_behavior.proto $(CURDIR)/$(GOOGLE_PROTOS)/google/api/ \
	  && cp google/rpc/{error_details,status}.proto $(CURDIR)/$(GOOGLE_PROTOS)/google/rpc/
	@touch $@

GEN_OUT ?= gen
GEN_BIN := .venv-gen/bin

.venv-gen/.synced: uv.lock $(BIN)/.synced
	@UV_PROJECT_ENVIRONMENT=.venv-gen $(UV) sync --quiet --frozen --only-group gen
	@touch $@

gen: .venv-gen/.synced $(GOOGLE_PROTOS)/.synced ## Generate gen/ and the TypeScript of clients/typescript from protos/
	@rm -rf $(GEN_OUT)/catalogsync/{catalog,connector,errors,options,types} && mkdir -p $(GEN_OUT)/catalogsync
	@PATH="$(CURDIR)/$(GEN_BIN):$$PATH" $(GEN_BIN)/python -m grpc_tools.protoc -I protos -I $(GOOGLE_PROTOS) \
	  --python_out=$(GEN_OUT) --grpc_python_out=$(GEN_OUT) \
	  --mypy_out=quiet:$(GEN_OUT) --mypy_grpc_out=quiet,only_async:$(GEN_OUT) $(PROTOS)
	@test $(GEN_OUT) = gen || cp gen/catalogsync/{py.typed,service_config.json} $(GEN_OUT)/catalogsync/
	@if $(HAS_NODE); then $(MAKE) --no-print-directory gen-typescript; \
	  else echo 'Node 20 with npm is not installed: $(TYPESCRIPT_GEN) is neither generated nor checked'; fi

TYPESCRIPT := clients/typescript
HAS_NODE := command -v npm >/dev/null && node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' 2>/dev/null
TYPESCRIPT_GEN := $(TYPESCRIPT)/src/gen
# Below this folder; empty for the repository itself.
TYPESCRIPT_OUT := $(if $(filter-out gen,$(GEN_OUT)),$(GEN_OUT),.)
TYPESCRIPT_BUF := PATH="$(CURDIR)/$(TYPESCRIPT)/node_modules/.bin:$$PATH" $(BIN)/buf
# What the client reads of Google's protos. Without their comments: the repository has no text of others.
GOOGLE_TYPES := BadRequest ErrorInfo ResourceInfo RetryInfo Status

$(TYPESCRIPT)/node_modules/.installed: $(TYPESCRIPT)/package-lock.json
	@cd $(TYPESCRIPT) && npm ci --ignore-scripts --no-audit --no-fund --silent
	@touch $@

gen-typescript: $(TYPESCRIPT)/node_modules/.installed $(GOOGLE_PROTOS)/.synced ## Generate the TypeScript of clients/typescript; `make gen` does it too
	@rm -rf $(TYPESCRIPT_OUT)/$(TYPESCRIPT_GEN)
	@$(TYPESCRIPT_BUF) generate --output $(TYPESCRIPT_OUT) --path protos/catalogsync --exclude-path protos/catalogsync/connector
	@$(TYPESCRIPT_BUF) build --exclude-source-info --output $(GOOGLE_PROTOS)/types.binpb \
	  $(GOOGLE_TYPES:%=--type google.rpc.%) --type google.api.field_behavior
	@$(TYPESCRIPT_BUF) generate --output $(TYPESCRIPT_OUT) $(GOOGLE_PROTOS)/types.binpb
	@{ echo '// @generated from gen/catalogsync/service_config.json'; echo 'export const SERVICE_CONFIG ='; \
	  cat gen/catalogsync/service_config.json; } > $(TYPESCRIPT_OUT)/$(TYPESCRIPT_GEN)/service_config.ts

FROZEN := protos/frozen.binpb

breaking: $(GOOGLE_PROTOS)/.synced ## Compare the contracts with the frozen ones; `make check` does it too
	$(BIN)/buf breaking protos --against $(FROZEN)

freeze: $(GOOGLE_PROTOS)/.synced ## Freeze the contracts as they are: what clients may rely on from now on
	$(BIN)/buf build protos -o $(FROZEN) --exclude-source-info

# What the benchmarks compare with, and draw with, lives apart from what they measure.
.venv-bench/.synced: uv.lock $(BIN)/.synced
	@UV_PROJECT_ENVIRONMENT=.venv-bench $(UV) sync --quiet --frozen --only-group bench
	@touch $@

.venv-audit/.synced: uv.lock $(BIN)/.synced
	@UV_PROJECT_ENVIRONMENT=.venv-audit $(UV) sync --quiet --frozen --only-group audit
	@touch $@

.venv-lint/.synced: uv.lock $(BIN)/.synced
	@UV_PROJECT_ENVIRONMENT=.venv-lint $(UV) sync --quiet --frozen --only-group lint
	@touch $@

OVERLAYS := $(wildcard deploy/kubernetes/overlays/*)
SCRIPTS := $(wildcard .ci/*) deploy/make-secrets

# Everything offline: schemas and rules are in the packages. The scripts within workflows are linted, too.
lint-deploy: .venv-lint/.synced ## Lint Dockerfile, compose file, Kubernetes overlays, workflows and shell scripts
	@.venv-lint/bin/hadolint deploy/Dockerfile
	@.venv-lint/bin/check-jsonschema --quiet --builtin-schema vendor.compose-spec deploy/compose.yaml
	@mkdir -p .lint && rm -f .lint/*
	@for overlay in $(OVERLAYS); do \
	  $(BIN)/python -m tests.deploy.kustomize $$overlay > .lint/$${overlay##*/}.yaml || exit 1; \
	done
	@.venv-lint/bin/kubernetes-validate --strict --quiet .lint/*.yaml
	@.venv-lint/bin/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@.venv-lint/bin/zizmor --offline --quiet --no-progress --persona pedantic .github/workflows
	@$(BIN)/python -m tests.deploy.workflow_scripts .lint
	@.venv-lint/bin/shellcheck $(SCRIPTS) .lint/*.sh
	@$(MAKE) --no-print-directory build-requirements BUILD_REQUIREMENTS=.lint/build-requirements.txt
	@diff .lint/build-requirements.txt deploy/build-requirements.txt \
	  || { echo 'deploy/build-requirements.txt is stale: run make build-requirements'; exit 1; }

# The wheels that a service or a client is installed from; catalogsync holds both services.
WHEELS := catalogsync catalogsync-bff catalogsync-cli catalogsync-client catalogsync-common catalogsync-protos
EXPORT := $(UV) export --quiet --frozen --no-dev --all-extras --no-header --no-annotate

audit: .venv-audit/.synced ## Known vulnerabilities in what the lock pins; fails if a package could not be looked up
	@mkdir -p .audit
	@$(EXPORT) --all-packages --no-emit-workspace --format requirements.txt --output-file .audit/requirements.txt >/dev/null
	@.venv-audit/bin/python -m tools.audit .audit/requirements.txt

wheels: ## Build the wheels that are published into dist/wheels, with tools that are pinned by hash
	@$(PYTHON) -m venv --clear .venv-build
	@.venv-build/bin/pip install --quiet --disable-pip-version-check --require-hashes --requirement deploy/build-requirements.txt
	@rm -rf dist/wheels && PATH="$(CURDIR)/.venv-build/bin:$$PATH" VIRTUAL_ENV="$(CURDIR)/.venv-build" \
	  uv build --quiet --all-packages --wheel --no-build-isolation --out-dir dist/wheels
	@rm -f dist/wheels/.gitignore

build-requirements: $(BIN)/.synced ## Write deploy/build-requirements.txt from the group "build" of uv.lock
	@{ echo '# What builds the wheels and the image. Written by `make build-requirements`.'; \
	  $(UV) export --quiet --frozen --only-group build --no-header --no-annotate --format requirements.txt; } > $(BUILD_REQUIREMENTS)

BUILD_REQUIREMENTS ?= deploy/build-requirements.txt

sbom: .venv-audit/.synced ## Software bills of materials (CycloneDX JSON) of the wheels, in dist/sbom
	@mkdir -p dist/sbom
	@for wheel in $(WHEELS); do $(EXPORT) --package $$wheel --format cyclonedx1.5 --output-file dist/sbom/$$wheel.cdx.json >/dev/null \
	  || exit 1; done
	@.venv-audit/bin/python -m tools.sbom $(WHEELS:%=dist/sbom/%.cdx.json)

bench: $(BIN)/.synced .venv-bench/.synced ## Run all benchmarks, keep and show their results; takes over an hour (ONLY="write sync")
	@$(BIN)/python -m bench $(ONLY)

bench-smoke: $(BIN)/.synced .venv-bench/.synced ## Small benchmarks: has a ratio fallen below half of its record? (ONLY="write")
	@$(BIN)/python -m bench.smoke $(ONLY)

bench-chart: $(BIN)/.synced .venv-bench/.synced ## Draw the chart and write the table of docs/performance.md from bench/results
	@.venv-bench/bin/python -m bench.chart
	@$(BIN)/python -m bench.readme

bench-memory: $(BIN)/.synced ## Peak memory of the services at 50,000 and 1,000,000 variants
	@$(BIN)/python -m bench.memory

bench-custom-feed: $(BIN)/.synced ## Memory and event loop stalls of the connector at a feed of 1 GiB with lines of 4 MB
	@$(BIN)/python -m bench.custom_feed

bench-sync: $(BIN)/.synced .venv-bench/.synced ## Whole syncs, compared with dlt and the legacy services; takes an hour
	@$(BIN)/python -m bench.sync

bench-write: $(BIN)/.synced ## Our batch writer, compared with an ORM, multi-row upserts and raw COPY
	@$(BIN)/python -m bench.write

bench-pacing: $(BIN)/.synced ## Query cost of reading a Shopify shop: points used of those available, and per 10,000 variants
	@$(BIN)/python -m bench.pacing

bench-shops: $(BIN)/.synced ## 200 small shops beside one of 1,000,000 items; takes 15 minutes
	@$(BIN)/python -m bench.shops

bench-scale: $(BIN)/.synced ## 1, 2 and 4 replicas of both services: rows/s, and rows per CPU second
	@$(BIN)/python -m bench.scale

bench-watch: $(BIN)/.synced ## What 100, 1,000 and 5,000 watchers take, get and cost
	@$(BIN)/python -m bench.watch

bench-bff: $(BIN)/.synced ## How soon browsers at the BFF see a change, what each costs, first event through proxies
	@$(BIN)/python -m bench.bff

bench-storm: $(BIN)/.synced ## How soon 5,000 watchers are back after all their connections broke at once
	@$(BIN)/python -m bench.storm

bench-latency: $(BIN)/.synced ## How soon the catalog answers, starts and cancels syncs, idle and under load
	@$(BIN)/python -m bench.latency

bench-freshness: $(BIN)/.synced ## How soon a changed price is visible, by webhooks and beside a full sync
	@$(BIN)/python -m bench.freshness

bench-feed: $(BIN)/.synced ## Catch-up, latency and memory of followers of the item feed
	@$(BIN)/python -m bench.feed

bench-export: $(BIN)/.synced ## `catalogsync export` of 1,000,000 items in each format: rows/s, memory, and what limits it
	@$(BIN)/python -m bench.export

bench-analysis: $(BIN)/.synced ## How fast and how soon workers get analysis tasks, and what the analysis costs a first load
	@$(BIN)/python -m bench.analysis

bench-read: $(BIN)/.synced ## How soon the catalog answers each kind of read of a shop of 1,000,000 items
	@$(BIN)/python -m bench.read

bench-access: $(BIN)/.synced ## What authentication and authorization add to the time of a call
	@$(BIN)/python -m bench.access

bench-control: $(BIN)/.synced ## Queue, schedules, retention, watch polls and starts with 100,000 shops
	@$(BIN)/python -m bench.control

bench-recovery: $(BIN)/.synced ## How soon syncs go on after one thing broke; takes 20 minutes
	@$(BIN)/python -m tests.chaos.recovery

MINUTES ?= 1

chaos: $(BIN)/.synced ## Break real processes for MINUTES=n and look for what got lost (SEED=n: the same faults)
	@$(BIN)/python -m tests.chaos --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

TASKS ?= 10000
CONTROL_TASKS ?= 1000

analysis-chaos: $(BIN)/.synced ## Analyze TASKS=n images while workers, replicas and PostgreSQL are killed; then CONTROL_TASKS=n without the fence (SEED=n)
	@$(BIN)/python -m tests.analysis --tasks $(TASKS) $(if $(SEED),--seed $(SEED))
	@$(BIN)/python -m tests.analysis --tasks $(CONTROL_TASKS) $(if $(SEED),--seed $(SEED)) --unfenced

CHANGES ?= 100000

feed-gap: $(BIN)/.synced ## Commit CHANGES=n changes while writers are killed: do followers of the feeds miss one? (SEED=n)
	@$(BIN)/python -m tests.feed gap --changes $(CHANGES) $(if $(SEED),--seed $(SEED))

KILLS ?= 100

feed-mirror: $(BIN)/.synced ## Kill a consumer of the item feed KILLS=n times: does it end with the stored items? (SEED=n)
	@$(BIN)/python -m tests.feed mirror --kills $(KILLS) $(if $(SEED),--seed $(SEED))

SYNCS ?= 100

rolling-restart: $(BIN)/.synced ## Replace all processes one by one while SYNCS=n syncs run: what do clients see, is anything lost?
	@$(BIN)/python -m tests.rolling restart --syncs $(SYNCS)

rolling-upgrade: $(BIN)/.synced ## The same from one release to the next and back, with its migration (SYNCS=n, OLD=commit or last)
	@$(BIN)/python -m tests.rolling upgrade --syncs $(SYNCS) $(if $(OLD),--old $(OLD))

REQUESTS ?= 10000

fuzz: $(BIN)/.synced ## Send REQUESTS=n generated requests to each method of a running pair (SEED=n: the same requests)
	@$(BIN)/python -m tests.security.fuzz --requests $(REQUESTS) $(if $(SEED),--seed $(SEED)) $(if $(METHOD),--method $(METHOD))

run-catalog: $(BIN)/.synced ## Run catalog_svc with the settings of the environment
	$(BIN)/python -m catalog_svc

run-bff: $(BIN)/.synced ## Run the BFF and its page with the settings of the environment (BFF_DEV_LOGIN=1: without a platform)
	$(BIN)/python -m catalogsync_bff

screenshots: $(BIN)/.synced ## Draw docs/screenshots: the states of the page, in chromium (apt-get install chromium)
	@$(BIN)/python -m tests.browser.screenshots

run-connector: $(BIN)/.synced ## Run connector_svc with the settings of the environment
	$(BIN)/python -m connector_svc

SHOPS ?= shopify:demo.myshopify.com:products=200 woocommerce:store.example:products=200

run-devstore: $(BIN)/.synced ## Serve generated shops on 127.0.0.1:8443 (SHOPS="...": python -m devstore --help)
	$(BIN)/python -m devstore $(foreach shop,$(SHOPS),--shop $(shop))

clean: ## Remove what the other targets made
	rm -rf .venv .venv-gen .venv-bench .venv-audit .venv-build .venv-lint .audit .lint .gen-check $(GOOGLE_PROTOS) .demo .mypy_cache .ruff_cache .pytest_cache \
	  $(TYPESCRIPT)/{node_modules,dist,build}
