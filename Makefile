# `make demo` shows Steno, `make check` is the loop while working, `make test` is what CI runs. `make help` lists the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
CLUSTER ?= steno-demo
ifneq ($(shell $(PYTHON) -c 'import sys; print(sys.version_info >= (3, 11))' 2>/dev/null),True)
$(error missing: Python 3.11 or later as $(PYTHON). Install it, or name it: make PYTHON=/path/to/python3.12)
endif

.PHONY: help demo clean-demo check lint unit test test-long image kind-up kind-down kind-status kubeconfig deploy e2e sync generate format

help: ## This list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | expand -t 14

demo: ## A kind cluster with Steno, two jobs and a live session, and their results
	@$(PYTHON) -m hack.demo up --name $(CLUSTER)

clean-demo: ## Delete the demo's cluster and images
	@$(PYTHON) -m hack.demo down --name $(CLUSTER)

check: ## `lint` and `unit`, about three minutes
	@$(PYTHON) -m hack.check

lint: ## Style, layers, generated files, types
	@$(PYTHON) -m hack.check lint

unit: sync ## Unit and property tests; ARGS go to pytest: make unit ARGS='operator/tests/plan -k quota'
	@.venv/bin/pytest -m "not apiserver and not slow and not e2e" $(ARGS)

test: ## Everything that proves the project: lint, types, tests, charts, e2e on kind
	@$(PYTHON) -m hack.test

test-long: ## Hundreds of random recordings and pages through real models, thousands without: about an hour
	@$(PYTHON) -m hack.test long

image: ## The two images, named after their content (`docker build` makes them as well: see build/images)
	@$(PYTHON) -m hack.images build

kind-up: ## A kind cluster with four test GPUs and an S3 server
	@$(PYTHON) -m hack.cluster up --name $(CLUSTER)

kind-down: ## Delete it
	@$(PYTHON) -m hack.cluster down --name $(CLUSTER)

kind-status: ## What runs where
	@$(PYTHON) -m hack.cluster status --name $(CLUSTER)

kubeconfig: ## Print the path of its kubeconfig
	@$(PYTHON) -m hack.cluster kubeconfig --name $(CLUSTER)

deploy: ## Build what changed, load it into the cluster, install or upgrade the chart
	@$(PYTHON) -m hack.deploy --name $(CLUSTER)

e2e: ## The e2e tests alone; ARGS go to pytest, STENO_E2E_KEEP=1 keeps the cluster
	@$(PYTHON) -m hack.test e2e $(ARGS)

sync: ## The Python environment in .venv
	@$(PYTHON) -c 'from hack import uv; uv.sync()'

generate: sync ## Write crds/, the chart's copy and docs/reference.md from the models, and the code of proto/
	@.venv/bin/python -m steno_codegen.crd && .venv/bin/python -m steno_codegen.reference && .venv/bin/python -m hack.protos

format: sync ## Format the code
	@.venv/bin/ruff check --fix . ; .venv/bin/ruff format .
