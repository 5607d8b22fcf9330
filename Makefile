# Each target makes the environment that it needs; only Python, make and git must be there.
.DELETE_ON_ERROR:
.PHONY: demo test test-fast check schema docs pictures bench emulators infra-tools bootstrap secrets plan deploy destroy clean

PYTHON ?= python3
BIN := .venv/bin

demo: .venv/demo  ## Play a week of a real pipeline
	@$(BIN)/phasegate demo

test: .venv/dev  ## Run all tests
	$(BIN)/pytest -n auto --dist worksteal

test-fast: .venv/dev  ## Run the tests of core, commands and contracts on local backends, in half a minute
	PHASEGATE_EMULATORS=none $(BIN)/pytest -n auto --dist worksteal -m 'not slow' tests/core tests/cli tests/contracts tests/test_logs.py

check: .venv/dev  ## Lint and check types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy --config-file shared/pyproject.toml
	for each in functions/*/main.py; do $(BIN)/mypy --config-file shared/pyproject.toml $$each || exit; done
	$(BIN)/mypy --config-file shared/pyproject.toml infra/archive.py infra/costs.py infra/drift.py

schema: .venv/dev  ## Regenerate the JSON Schema of the pipeline file
	$(BIN)/phasegate config schema > shared/pipelines/pipeline.schema.json

docs: .venv/dev  ## Regenerate the generated parts of the docs
	$(BIN)/python docs/generate.py

pictures: .venv/dev  ## Redraw the pictures of alerts; needs Chromium
	$(BIN)/python docs/pictures.py

bench: .venv/dev  ## Run the benchmarks, each with its floor
	$(BIN)/python bench/validate.py
	$(BIN)/python bench/cold_start.py

emulators: .venv-emulators/ready  ## Install the BigQuery emulator that tests use; needs Python 3.13

infra-tools: .venv-infra/ready  ## Install what tests check infra/ with, besides Terraform

# In Google Cloud, all with PROJECT=my-project. infra/README.md explains PREFIX, SETTINGS, ADOPT and DATA.
bootstrap:  ## Prepare a project once: a bucket for Terraform's state, the accounts of Cloud Build
	@infra/deploy.sh bootstrap

secrets:  ## Create the secrets that pipeline files name, to be filled before the first deployment
	@infra/deploy.sh archive upload secrets

plan:  ## Show what a deployment would change
	@infra/deploy.sh archive upload plan

deploy: .venv/dev  ## Deploy, then check the installation
	@infra/deploy.sh archive upload plan apply record settle doctor

destroy:  ## Delete everything but state, history and secrets; with DATA=delete those, too
	@infra/deploy.sh archive destroy

bootstrap secrets plan deploy destroy: export PROJECT := $(PROJECT)
bootstrap secrets plan deploy destroy: export PREFIX := $(or $(PREFIX),phasegate)
bootstrap secrets plan deploy destroy: export SETTINGS := $(SETTINGS)
bootstrap secrets plan deploy destroy: export DATA := $(DATA)
bootstrap secrets plan deploy destroy: export TF_VAR_adopt_data := $(or $(ADOPT),false)

clean:  ## Delete environments, caches and the demo's files
	rm -rf .venv .venv-emulators .venv-infra .phasegate .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv/bin/python:
	@echo "making .venv …"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	@$(PYTHON) -m venv .venv

.venv/demo .venv/dev: .venv/%: shared/pyproject.toml constraints.txt | .venv/bin/python
	@echo "installing phasegate[$*] …"
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable './shared[$*]'
	@touch $@

# The emulator's DuckDB downloads extensions at start. They are installed as packages instead, into a home folder of its own, so
# that tests need no network.
.venv-emulators/ready: tests/emulators-requirements.txt
	@echo "making .venv-emulators (0.8 GB) …"
	@for python in $(PYTHON313) python3.13 "$$HOME"/.pyenv/versions/3.13*/bin/python3.13; do \
	  "$$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null && exec "$$python" -m venv --clear .venv-emulators; \
	done; echo "Python 3.13 is needed: put python3.13 on the path, or run make emulators PYTHON313=…" >&2; exit 1
	@.venv-emulators/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@mkdir .venv-emulators/home
	@HOME=$(CURDIR)/.venv-emulators/home .venv-emulators/bin/python -c \
	  'from duckdb_extensions import import_extension; [import_extension(name) for name in ("ducklake", "icu", "spatial")]'
	@touch $@

# checkov brings an old fork of the HCL parser and a hundred packages, so it gets an environment of its own.
.venv-infra/ready: tests/infra/requirements.txt
	@echo "making .venv-infra (0.3 GB) …"
	@$(PYTHON) -m venv --clear .venv-infra
	@.venv-infra/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@
