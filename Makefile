# Everything runs in a virtual environment that this file makes: only Python 3.11+ and make are needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
IMAGE ?= daskjobs:dev

help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

run: $(VENV)/run ## the whole pipeline on this machine: make run ARGS="--input orders.csv"
	@$(BIN)/daskjobs run $(ARGS)

test: $(VENV)/dev ## all tests that need no cluster
	@$(BIN)/python -m pytest -q $(ARGS)

soak: $(VENV)/dev ## twenty workflows with random faults on a cluster: make soak ARGS="--seed 7"
	@PYTHONPATH=tests $(BIN)/python -m e2e.soak $(ARGS)

lint: $(VENV)/dev ## style and types
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

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

lock: $(VENV)/bin/python ## resolve the image's dependencies anew, into image/requirements.lock
	@$(BIN)/pip install -q --disable-pip-version-check uv
	@$(BIN)/uv pip compile -q --upgrade --python-version 3.13 --python-platform linux --extra s3 --extra pod \
		--generate-hashes --custom-compile-command 'make lock' -o image/requirements.lock pyproject.toml

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

.PHONY: help run test soak lint image lock doctor clean cluster
.DEFAULT_GOAL := help
