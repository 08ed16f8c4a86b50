# `make` lists what there is. Everything else is done by the command `gourmetgram` (.venv/bin/gourmetgram --help).

VENV    := .venv
BIN     := $(VENV)/bin
READY   := $(VENV)/.ready
# pytest arguments, e.g. make test ARGS="tests/unit -x"
ARGS    ?=
# Four test files at a time, fault tests first: much of them is waiting. WORKERS=0 runs one after the other.
WORKERS ?= 4
PYTEST  := -n $(WORKERS) --dist loadfile --no-loadscope-reorder
COVERAGE := build/coverage
# The first interpreter that is new enough; `make PYTHON=/path/to/python setup` chooses another.
PYTHON  ?= $(shell for each in python3.11 python3 python3.12 python3.13 python3.14; do \
	$$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$each && break; done)

# Some machines forbid it, and every process would compile hundreds of modules again, which takes seconds each time.
unexport PYTHONDONTWRITEBYTECODE

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# Airflow's own environment, for what is started with `gourmetgram up --with airflow`.
AIRFLOW := .venv-airflow
# MLflow's server, for `gourmetgram up --with mlflow`.
MLFLOW := .venv-mlflow
# Apache Spark's server, for OFFLINE_ENGINE=spark.
SPARK := .venv-spark

# $(call install,ENVIRONMENT,LOCK): install a lock file into an environment, and compare each package with its hash. uv takes
# seconds where pip takes two minutes. It does not read pip's configuration: where a
# mirror is set up for pip only, pip does the work. uv's list of what it installed is left out, its progress stays. (The
# make of macOS is older than .SHELLFLAGS.)
install = set -o pipefail; UV_SYSTEM_CERTS=1 $(BIN)/uv pip install --python $(1)/bin/python --no-deps -r $(2) 2>&1 \
	| sed -u '/^ [-+~] /d' || $(1)/bin/python -m pip install --disable-pip-version-check --no-deps --require-hashes -r $(2)

.PHONY: help setup setup-airflow setup-mlflow setup-spark demo test coverage lint bench chaos up down clean rehearse rehearse-quick lab lab-pull lab-build pictures docs sbom fuzz kubernetes

help: ## list the targets
	@awk -F ':[^#]*## ' '/^[a-z-]+:[^#]*## / {printf "  make %-14s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: $(READY) ## create .venv with everything in it (nothing happens when it is up to date)

$(READY): requirements/dev.txt requirements/uv.txt pyproject.toml
	@if [ -z "$(PYTHON)" ]; then \
		echo "The platform needs Python 3.11 or newer, and found none: install it, or name it with make PYTHON=/path/to/python setup."; exit 1; fi
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "The platform needs Python 3.11 or newer, and $(PYTHON) is not."; exit 1; }
	@echo "Creating $(VENV) with $$($(PYTHON) --version) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
		rm -rf $(VENV); echo "Python cannot create environments here: on Debian and Ubuntu, install python3-venv."; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@echo "Installing the pinned packages (half a minute to some minutes, the first time only) ..."
	@$(call install,$(VENV),requirements/dev.txt)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

setup-airflow: $(AIRFLOW)/.ready ## create .venv-airflow, which only Airflow uses

$(AIRFLOW)/.ready: $(READY) requirements/airflow.txt
	@echo "Creating $(AIRFLOW) ..."
	@test -x $(AIRFLOW)/bin/python || $(PYTHON) -m venv $(AIRFLOW)
	@$(call install,$(AIRFLOW),requirements/airflow.txt)
	@$(AIRFLOW)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

setup-mlflow: $(MLFLOW)/.ready ## create .venv-mlflow, which only MLflow's server uses

$(MLFLOW)/.ready: $(READY) requirements/mlflow.txt
	@echo "Creating $(MLFLOW) ..."
	@test -x $(MLFLOW)/bin/python || $(PYTHON) -m venv $(MLFLOW)
	@$(call install,$(MLFLOW),requirements/mlflow.txt)
	@touch $@

setup-spark: $(SPARK)/.ready ## create .venv-spark with Apache Spark and its jars for Iceberg (OFFLINE_ENGINE=spark)

$(SPARK)/.ready: $(READY) requirements/spark.txt gourmetgram_tools/local/spark_jars.sha256
	@echo "Creating $(SPARK) with Apache Spark (600 MB) ..."
	@test -x $(SPARK)/bin/python || $(PYTHON) -m venv $(SPARK)
	@$(call install,$(SPARK),requirements/spark.txt)
	@$(BIN)/python -m gourmetgram_tools.local.spark_setup $(SPARK)
	@touch $@

demo: setup setup-airflow $(if $(SPARK_REMOTE)$(SPARK_HOME),,$(if $(filter spark,$(OFFLINE_ENGINE)),setup-spark)) ## all of it at work: traffic, a viral image, training data, a model, an audit; it stays up to browse
	@$(BIN)/gourmetgram demo $(ARGS)

test: setup setup-airflow setup-mlflow setup-spark ## all tests, on servers of their own (ARGS="..." goes to pytest)
	@$(BIN)/pytest $(PYTEST) $(ARGS)

fuzz: setup ## many random requests to both APIs, and many orders of faults for the state machines (an hour or more)
	@$(BIN)/pytest $(PYTEST) --hypothesis-profile=many -o faulthandler_timeout=0 tests/contract/api_v1/test_description.py \
		$(wildcard tests/integration/*/test_*_machine.py tests/integration/*/*/test_*_machine.py) $(ARGS)

coverage: setup setup-airflow setup-mlflow setup-spark ## the same, then the share of lines and branches that ran, services included; it has a floor
	@rm -rf $(COVERAGE) && mkdir -p $(COVERAGE)
	@$(BIN)/coverage run -m pytest $(PYTEST) $(ARGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

lint: setup ## style, types, layering
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

docs: setup ## build the site of the lab and its documents into build/docs, without a network
	@# From nothing each time: parts of pages come from code and pictures, whose changes Sphinx does not see.
	@rm -rf build/docs build/doctrees
	@$(BIN)/sphinx-build -W --keep-going --quiet -c docs -d build/doctrees . build/docs
	@echo "The site is built: open build/docs/index.html in a browser."

bench: setup ## measure the platform on this machine (about 20 minutes)
	@$(BIN)/python -m bench $(ARGS)

chaos: setup ## an hour of random faults under traffic, compared with the clients' history (ARGS="--minutes 5 --seed 7")
	@$(BIN)/python -m tests.chaos.nemesis $(ARGS)

rehearse: setup ## walk the Compose lab with stand-in images on this Debian machine, as root (ARGS="--operations" ...)
	@$(BIN)/python -m tests.lab $(ARGS)

rehearse-quick: setup ## the same for stages 2 to 4, without Airflow and Jupyter
	@$(BIN)/python -m tests.lab --quick $(ARGS)

pictures: setup ## draw the pictures of images/ again (needs Chromium; the first time, D2 is compiled for some minutes)
	@$(BIN)/python -m images.draw $(ARGS)

kubernetes: setup ## apply the Kubernetes manifests to a real API server (the first time, it is compiled for about ten minutes)
	@$(BIN)/python -m tests.support.kubernetes.programs
	@$(BIN)/pytest -n 0 tests/integration/gourmetgram_tools/kubernetes $(ARGS)

sbom: setup ## list all pinned packages with their hashes as CycloneDX documents in build/sbom
	@test -x build/sbom/venv/bin/python || $(PYTHON) -m venv build/sbom/venv
	@$(call install,build/sbom/venv,requirements/sbom.txt)
	@for lock in dev airflow mlflow; do build/sbom/venv/bin/python -W ignore -m cyclonedx_py requirements requirements/$$lock.txt \
		--pyproject pyproject.toml --output-reproducible -o build/sbom/$$lock.json; done
	@echo "The documents are build/sbom/dev.json, airflow.json and mlflow.json."

up: setup ## start the local stack with all services
	@$(BIN)/gourmetgram up

down: ## stop the local stack; its data stays
	@test ! -x $(BIN)/gourmetgram || $(BIN)/gourmetgram down

lab: setup ## make the notebooks of the lab from chameleon/source
	@$(BIN)/python chameleon/build.py

COMPOSE := docker compose -f docker/docker-compose.yaml --profile '*'
# Set when MINIO_IMAGE names another publisher's image, which is fetched and not built.
OTHER_MINIO = $(shell $(COMPOSE) config --images minio | grep -v '^gourmetgram-minio:')

lab-pull: ## fetch every image of the Compose lab that is not built here (some GB: before the lesson)
	@$(COMPOSE) pull --ignore-buildable
	@$(if $(OTHER_MINIO),$(COMPOSE) pull minio)

lab-build: ## build the images of the Compose lab (about 10 minutes the first time, half of it for MinIO)
	@$(COMPOSE) build $$($(COMPOSE) config --services | grep -vx '$(if $(OTHER_MINIO),minio)')

clean: down ## delete .venv and caches; data of stacks stays (gourmetgram down --wipe deletes it)
	rm -rf $(VENV) $(AIRFLOW) $(MLFLOW) $(SPARK) build dist *.egg-info .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
