# Each target makes the environment it needs; nothing but Python, make and git is expected.
.DELETE_ON_ERROR:
.PHONY: demo test check schema docs bench clean

PYTHON ?= python3
BIN := .venv/bin

demo: .venv/demo  ## Play a week of a real pipeline
	@$(BIN)/phasegate demo

test: .venv/dev  ## Run all tests
	$(BIN)/pytest -n auto

check: .venv/dev  ## Lint and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy --config-file shared/pyproject.toml
	$(BIN)/mypy --config-file shared/pyproject.toml functions/phase_monitor/main.py

schema: .venv/dev  ## Write the JSON Schema of the pipeline file anew
	$(BIN)/phasegate config schema > shared/pipelines/pipeline.schema.json

docs: .venv/dev  ## Write the generated parts of the README anew
	$(BIN)/python docs/generate.py

bench: .venv/dev  ## Measure, beside a floor in the same run
	$(BIN)/python bench/validate.py

clean:  ## Remove the environment, caches and what the demo left
	rm -rf .venv .phasegate .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv/bin/python:
	@echo "making .venv …"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	@$(PYTHON) -m venv .venv

.venv/demo .venv/dev: .venv/%: shared/pyproject.toml constraints.txt | .venv/bin/python
	@echo "installing phasegate[$*] …"
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable './shared[$*]'
	@touch $@
