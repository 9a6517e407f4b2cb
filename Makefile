# `make run` and `make test` need nothing but Python 3.11 or later and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
ARGS ?=
WORKERS ?= 2

.PHONY: run test check data lock clean

run: $(VENV)/.installed
	$(BIN)/policyengine $(ARGS)

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

# What reads the code instead of running it.
check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed; set PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.lock pyproject.toml | $(VENV)/bin/python
	$(PIP) install --require-hashes -r requirements.lock
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@

# Needs uv. The locks name no host and hold for every platform. statsforecast has its own: it holds pandas below 3. So has each launcher
# but joblib, with the numerics of requirements.lock: a sweep gives the same bits wherever it runs.
LOCK := uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --no-annotate --python-version 3.11 pyproject.toml
INSTALLED := --extra ledgers --extra joblib --extra report --extra rollout --extra monitoring --extra dashboard --extra grid
LAUNCHERS := submitit ray dask
lock:
	$(LOCK) $(INSTALLED) --group build -o requirements.lock
	$(LOCK) $(INSTALLED) --group build --group dev -c requirements.lock -o requirements-dev.lock
	$(LOCK) --extra statsforecast --group build --group apart -o requirements-statsforecast.lock
	$(LOCK) bench/requirements.in $(INSTALLED) --group build -c requirements.lock -o bench/requirements.lock
	for launcher in $(LAUNCHERS); do \
		sed -nE 's/^((duckdb|numpy|pandas|pyarrow)==[^ ;]+).*/\1/p' requirements.lock \
			| $(LOCK) --extra $$launcher --group build --group apart -c - -o requirements-$$launcher.lock || exit 1; \
	done

# Everything measured beside what people would use instead, in an environment of its own.
.PHONY: bench
bench: $(VENV)-bench/.installed
	$(VENV)-bench/bin/python bench/run.py $(ARGS)

$(VENV)-bench/.installed: bench/requirements.lock pyproject.toml | $(VENV)/bin/python
	$(PYTHON) -m venv $(VENV)-bench
	$(VENV)-bench/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r bench/requirements.lock
	$(VENV)-bench/bin/python -m pip --disable-pip-version-check --quiet install --no-deps --no-build-isolation -e .
	@touch $@

clean:
	rm -rf $(VENV) $(VENV)-bench dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage

# Writes the golden files again; read the difference before it is committed.
.PHONY: golden
golden: $(VENV)/.installed-dev
	POLICYENGINE_WRITE_GOLDEN=1 $(BIN)/python -m pytest tests/golden
