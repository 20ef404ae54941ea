# Two commands matter: `make demo` and `make test`. `make help` lists the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
CLUSTER ?= steno-demo
ifneq ($(shell $(PYTHON) -c 'import sys; print(sys.version_info >= (3, 11))' 2>/dev/null),True)
$(error missing: Python 3.11 or later as $(PYTHON). Install it, or name it: make PYTHON=/path/to/python3.12)
endif

.PHONY: help demo clean-demo test check e2e kubeconfig cluster-up cluster-down cluster-status sync generate format

help: ## This list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | expand -t 18

demo: ## A kind cluster with Steno, two jobs and a live session, and what they made
	@$(PYTHON) -m hack.demo up --name $(CLUSTER)

clean-demo: ## Deletes the demo's cluster, images and registry
	@$(PYTHON) -m hack.demo down --name $(CLUSTER)

kubeconfig: ## Prints the path of the demo cluster's kubeconfig
	@$(PYTHON) -m hack.cluster kubeconfig --name $(CLUSTER)

test: ## Everything that proves the project: lint, types, tests, charts, e2e on kind
	@$(PYTHON) -m hack.test

check: ## The part of `make test` without a cluster, about three minutes
	@$(PYTHON) -m hack.check

e2e: ## The e2e tests alone; ARGS go to pytest, STENO_E2E_KEEP=1 keeps the cluster
	@$(PYTHON) -m hack.test e2e $(ARGS)

cluster-up: ## A kind cluster with four GPUs (of a test device plugin), S3 and a registry
	@$(PYTHON) -m hack.cluster up --name $(CLUSTER)

cluster-down: ## Deletes it
	@$(PYTHON) -m hack.cluster down --name $(CLUSTER)

cluster-status: ## What runs where
	@$(PYTHON) -m hack.cluster status --name $(CLUSTER)

sync: ## The Python environment in .venv
	@$(PYTHON) -c 'from hack import uv; uv.sync()'

generate: sync ## Writes crds/, the chart's copy and docs/reference.md from the models, and the code of proto/
	@.venv/bin/python -m steno_codegen.crd && .venv/bin/python -m steno_codegen.reference && .venv/bin/python -m hack.protos

format: sync ## Formats the code
	@.venv/bin/ruff check --fix . ; .venv/bin/ruff format .
