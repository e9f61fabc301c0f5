# Everything runs in a virtual environment of its own, made on the first call.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install

.DELETE_ON_ERROR:
.PHONY: demo test lint samples bench bench-generator bench-endpoint bench-transport clean

demo: $(VENV)/runtime
	$(BIN)/abreast run ab

test: $(VENV)/dev
	$(BIN)/python -m pytest -n 3 --dist loadscope --no-loadscope-reorder -m "not alone"
	$(BIN)/python -m pytest -m alone

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

samples: $(VENV)/runtime
	$(BIN)/python -m benchmarks.samples

bench: $(VENV)/dev
	$(BIN)/python -m benchmarks.false_alarms

bench-generator: $(VENV)/dev
	@$(PIP) --constraint constraints.txt --group bench
	$(BIN)/python -m benchmarks.generator.lateness
	$(BIN)/python -m benchmarks.generator.accuracy
	$(BIN)/python -m benchmarks.generator.stalls

bench-endpoint: $(VENV)/dev
	$(BIN)/python -m benchmarks.endpoint.throughput
	$(BIN)/python -m benchmarks.endpoint.timing

bench-transport: $(VENV)/dev
	@$(PIP) --constraint constraints.txt --group bench
	$(BIN)/python -m benchmarks.transport.throughput
	$(BIN)/python -m benchmarks.transport.accuracy

clean:
	rm -rf $(VENV)

$(VENV)/runtime: pyproject.toml constraints.txt
	@echo "Setting up $(VENV); this takes a minute or two, once."
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("abreast needs Python 3.11 or later; give it as PYTHON=python3.11")'
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) "pip>=25.1"
	@$(PIP) --constraint constraints.txt --editable '.[local]'
	@touch $@

$(VENV)/dev: $(VENV)/runtime
	@$(PIP) --constraint constraints.txt --group dev
	@touch $@
