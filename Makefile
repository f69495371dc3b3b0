# One list of tasks. `make serve` and `make test` set up all they need on a fresh machine.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
JOBS ?= 3
UPGRADE ?= --upgrade
BIN = $(VENV)/bin
UV = $(BIN)/uv
INSTALL = VIRTUAL_ENV=$(VENV) $(UV) pip install --quiet
COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes $(UPGRADE) --no-header --no-annotate
# What a service on a cluster needs beside the rest.
EXTRAS = --extra kubernetes --extra postgresql
# Environments must get compiled files, whatever the caller's shell says: without them every start is slow.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: serve test check bench docs messages lock clean

serve: $(VENV)/.installed ## Start the service; options: make serve ARGS="--port 9000"
	@exec $(BIN)/bindery serve $(ARGS)

test: $(VENV)/.installed-dev ## Set up and run all tests; options: make test ARGS="-k proxy" JOBS=1
	@tests/tools.sh
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(VENV)/.installed-dev ## Lint, format, types, layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(VENV)/.installed-dev ## Print ratios against baselines in the same run
	@$(BIN)/python -m tests.bench $(ARGS)

docs: $(VENV)/.installed-dev ## Write the generated parts of the documentation anew
	@$(BIN)/python -m tests.support.generated_docs

messages: $(VENV)/.installed-dev ## Bring the catalogs of translations up to date with what the pages say
	@$(BIN)/python -m tests.support.translations

lock: $(VENV)/.installed ## Pin the dependencies anew
	$(COMPILE) requirements/bootstrap.in -o requirements/bootstrap.txt
	$(COMPILE) pyproject.toml -o requirements/serve.txt
	$(COMPILE) requirements/job.in -c requirements/serve.txt -o requirements/job.txt
	$(COMPILE) pyproject.toml $(EXTRAS) -o requirements/cluster.txt
	$(COMPILE) pyproject.toml $(EXTRAS) --group test --group check -o requirements/dev.txt

$(VENV)/bin/uv: requirements/bootstrap.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
	@touch $@

$(VENV)/.installed: $(VENV)/bin/uv requirements/serve.txt pyproject.toml
	@$(INSTALL) --compile-bytecode --require-hashes -r requirements/serve.txt
	@$(INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements/dev.txt
	@$(INSTALL) --compile-bytecode --require-hashes -r requirements/dev.txt
	@touch $@

clean: ## Remove what the tasks made, but not bindery-data
	rm -rf $(VENV) test-output .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info
