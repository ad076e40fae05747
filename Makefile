# Two commands matter: `make demo` and `make test`. `make help` lists all.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
UV_COMPILE = uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' -q

.PHONY: help init image node e2e promtool clients fmt lint type contracts crds acl-data install-yaml docs test soak check lock clean

help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  \033[1m%-12s\033[0m %s\n", $$1, $$2}'

.venv/.installed: requirements/dev.lock pyproject.toml
	@echo "==> Python packages (about a minute, once)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $(PYTHON) is older than 3.11; try: make PYTHON=python3.12" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps --require-hashes -r requirements/dev.lock
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

init: .venv/.installed ## Set up the Python environment

tools: init ## Get the cluster's programs, redis-server and valkey-server
	@packaging/install_cache_servers.sh
	@$(BIN)/python -m elasticache_iam_sandbox.cluster

promtool: init ## Get promtool, which tests the alert rules
	@packaging/install_promtool.sh

clients: init ## Get the example clients in Go and Node.js ready for the tests
	@$(BIN)/python packaging/prepare_clients.py

demo: tools ## Run the main job on this machine, from nothing to nothing
	@$(BIN)/python -m elasticache_iam_sandbox.demo

up: tools ## Start the same world and keep it running
	@$(BIN)/elasticache-iam sandbox up --detach --cache orders-prod:redis

down: init ## Stop it
	@$(BIN)/elasticache-iam sandbox down

image: init ## Build the operator's image (docker, or buildah as root), tell its size and what is in it
	@$(BIN)/python packaging/image/build.py

node: init ## Run a shell, or RUN='command', beside a one-node cluster (root on Linux)
	@packaging/node/install_packages.sh
	@$(BIN)/python packaging/node/node.py -- $(RUN)

e2e: tools clients ## Run the end-to-end tests: image, chart, pods on a node (root on Linux, or KUBECONFIG and IMAGE)
	@tests/e2e/run.sh $(ARGS)

test: tools clients promtool gitops ## Run the tests (all but soak and end-to-end)
	@$(BIN)/pytest -q -n 2 --dist loadfile $(ARGS)

soak: tools ## Run the long tests: every crash point, every failure, fuzzing
	@$(BIN)/pytest -q -n 2 --dist load tests/soak $(ARGS)

check: ARGS += --cov --cov-report=term --cov-fail-under=85
check: lint type contracts test ## Everything a change must pass, with branch coverage

bench: tools ## Print the benchmarks
	@$(BIN)/python benchmarks/signing.py
	@$(BIN)/python benchmarks/front.py
	@$(BIN)/python -m benchmarks.control_plane $(ARGS)
	@$(BIN)/python -m benchmarks.tokens $(ARGS)

fmt: init ## Format the code
	@$(BIN)/ruff format -q .
	@$(BIN)/ruff check -q --fix .

lint: init ## Check format and style
	@$(BIN)/ruff format --check -q .
	@$(BIN)/ruff check -q .

type: init ## Check types
	@$(BIN)/mypy

contracts: init ## Check the architecture's contracts
	@$(BIN)/lint-imports

docs: init ## Build the documentation into site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html"

crds: init ## Write the CRDs from the models
	@$(BIN)/python -m elasticache_iam.api.crd crds

acl-data: tools ## Write down the commands and categories that the servers here have
	@$(BIN)/python -m elasticache_iam_sandbox.acl_catalogue operator/elasticache_iam/core/access/catalogues

install-yaml: crds ## Write the chart's CRDs and packaging/install.yaml (builds helm, once)
	@cp crds/*.yaml charts/elasticache-iam-operator/files/crds/
	@$(BIN)/python packaging/render_install.py

.PHONY: gitops argocd aws version release
DIST ?= dist
version: init ## Write the version of pyproject.toml wherever else it stands
	@$(BIN)/python packaging/version.py
	@$(MAKE) -s install-yaml

release: init ## Build all that a release consists of into dist/, twice, and compare
	@$(BIN)/python packaging/release.py $(DIST) $(ARGS)

gitops: init ## Build the program that runs Argo CD's and Flux' own code in the tests
	@$(BIN)/python packaging/build_gitops_engine.py >/dev/null

argocd: init ## Write Argo CD's configuration from its scripts
	@$(BIN)/python packaging/render_argocd.py

aws: init ## Write the operator's policy into packaging/aws
	@$(BIN)/python packaging/render_aws.py

lock: ## Resolve the dependencies anew (needs uv)
	@$(UV_COMPILE) --all-extras --group dev -o requirements/dev.lock
	@$(UV_COMPILE) --extra operator --extra cli -c requirements/dev.lock -o requirements/operator.lock

clean: ## Remove what the commands here have made in this folder
	@rm -rf .venv .state dist site examples/clients/node/node_modules .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage*
