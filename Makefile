# Everything runs in a virtual environment that this file makes: only Python 3.11+ and make are needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
IMAGE ?= daskjobs:dev

help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

run: $(VENV)/run ## the whole pipeline on this machine: make run ARGS="--input orders.csv"
	@$(BIN)/daskjobs run $(ARGS)

test: $(VENV)/dev ## the quick tests, which need no cluster
	@$(BIN)/python -m pytest -q -n auto $(ARGS)

test-slow: $(VENV)/dev ## the tests that run whole commands and strike them
	@$(BIN)/python -m pytest -q -n auto -m slow $(ARGS)

test-cluster: $(VENV)/dev image ## the tests on Kubernetes, in the cluster of `make cluster`: make test-cluster ARGS="-k receipt"
	docker build -t own-step:dev examples/own_step
	kind load docker-image $(IMAGE) own-step:dev --name daskjobs
	kind export kubeconfig --name daskjobs --kubeconfig $(VENV)/kubeconfig
	@KUBECONFIG=$(VENV)/kubeconfig $(MAKE) --no-print-directory test-on-cluster

test-on-cluster: $(VENV)/dev ## the tests on Kubernetes, in the cluster that KUBECONFIG names, which has the images
	@$(BIN)/python -m pytest -q -m cluster -n 3 --dist loadfile $(ARGS)

soak: $(VENV)/dev ## twenty workflows with random faults on a cluster: make soak ARGS="--seed 7"
	@PYTHONPATH=tests $(BIN)/python -m e2e.soak $(ARGS)

starts: $(VENV)/dev ## a hundred Dask clusters one after the other, with random faults of connections
	@PYTHONPATH=tests $(BIN)/python -m e2e.starts $(ARGS)

lint: $(VENV)/dev ## style and types
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

generate: $(VENV)/dev ## the tables, parameters and keywords that are made from the code, after a change of an option
	@$(BIN)/python tools/generated.py

image: ## the image of every pod: make image IMAGE=registry/daskjobs:tag (BASE=… takes another Python 3.13)
	docker build -f image/Dockerfile -t $(IMAGE) --build-arg REVISION=$$(git rev-parse HEAD) $(if $(BASE),--build-arg BASE=$(BASE)) .

cluster: ## a kind cluster with Argo Workflows and the Dask operator (needs kind, kubectl, helm)
	kind create cluster --name daskjobs
	kubectl create namespace argo
	kubectl apply --server-side -n argo -f https://github.com/argoproj/argo-workflows/releases/download/v4.1.2/install.yaml
	helm install --repo https://helm.dask.org --version 2026.3.0 --namespace dask-operator --create-namespace dask-operator dask-kubernetes-operator
	kubectl -n argo set env deployment/workflow-controller DEFAULT_REQUEUE_TIME=2s
	kubectl -n argo rollout status deployment/workflow-controller --timeout=300s
	kubectl -n dask-operator rollout status deployment --timeout=300s

lock: $(VENV)/bin/python ## resolve anew what the image has, and what builds it, into image/*.lock
	@$(TOOLS)
	@$(COMPILE) --extra s3 --extra pod -o image/requirements.lock pyproject.toml
	@$(COMPILE) --group image -o image/build.lock
	@$(subst --python-version 3.13 --python-platform linux,--python-version 3.11 --universal,$(COMPILE)) --group tools -o image/tools.lock
COMPILE = $(BIN)/uv pip compile -q --upgrade --python-version 3.13 --python-platform linux --generate-hashes --custom-compile-command 'make lock'
TOOLS = $(BIN)/pip install -q --disable-pip-version-check --require-hashes -r image/tools.lock

audit: $(VENV)/bin/python ## known vulnerabilities of what the locks name, as PyPI knows them
	@$(TOOLS)
	@for lock in image/*.lock; do $(BIN)/pip-audit --disable-pip --require-hashes -r $$lock || exit 1; done

doctor: $(VENV)/run ## what is missing on this machine
	@$(BIN)/daskjobs doctor

clean: ## remove the virtual environment and what tools left (not runs/)
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.13 …"; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/run: $(VENV)/bin/python pyproject.toml
	@echo "installing into $(VENV) (once)" && $(BIN)/pip install -q --disable-pip-version-check -e . && touch $@

$(VENV)/dev: $(VENV)/bin/python pyproject.toml
	@echo "installing into $(VENV) (once)" && $(BIN)/pip install -q --disable-pip-version-check -e '.[s3,kubernetes,dev]' && touch $@ $(VENV)/run

.PHONY: help run test test-slow test-cluster test-on-cluster soak starts lint generate image cluster lock audit doctor clean
.DEFAULT_GOAL := help
