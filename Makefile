# Everything a visitor or a maintainer runs. Only Python 3.10 or newer and make have to be there beforehand.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The same with the oldest supported DeePMD-kit, which brings its own torch; its LAMMPS needs the libraries of TensorFlow.
VENV31 := .venv-host31
BIN31 := $(VENV31)/bin
STAMP31 := $(VENV31)/.installed
TESTS31 := test_cli.py config so3 graph ops nn descriptor golden physics engines host freeze inference
# The first interpreter that really starts: version managers leave commands of uninstalled versions in the path.
FIND_PYTHON = for p in python3.11 python3.12 python3.13 python3.10 python3; do \
	$$p -c 'import sys, venv; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && { echo $$p; break; }; done
PYTHON ?= $(shell $(FIND_PYTHON))
# An activated environment elsewhere must not leak into this one.
unexport PYTHONHOME PYTHONPATH
export OMP_NUM_THREADS ?= 2
# Tests start many short processes: as many at a time as cores finish sooner than one with a thread for each.
JOBS ?= 2
PARALLEL = OMP_NUM_THREADS=1 PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
# Tests without `dp`, LAMMPS or training runs: equations, layers, options, files, data.
QUICK := config so3 graph nn descriptor golden tools/data tools/plots tools/presets test_cli.py test_errors.py \
	test_imports.py test_contract.py test_moved.py test_repository.py test_theory.py
# What coverage is measured of, and by.
CORE := config so3 graph ops nn descriptor fitting model checkpoint compiled
COVERED := config so3 graph nn descriptor fitting model checkpoint golden ops physics compiled

.PHONY: help venv demo quick test test-host31 sanitize compiled coverage docs generate wheel wheels check-wheel bench clean

help: ## show this list
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

venv: $(STAMP) ## create .venv and install the package with everything below (about 6 GB)

$(STAMP): pyproject.toml
	@test -n "$(PYTHON)" || { echo "make: no Python 3.10 or newer found; give one with: make PYTHON=/path/to/python3"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --upgrade pip
	$(BIN)/python -m pip install -e '.[examples,lmp,dev]'
	@touch $@

demo: $(STAMP) ## train on water for a few minutes, test, freeze, run LAMMPS, draw two plots
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python examples/water/demo.py

quick: $(STAMP) ## lint, format, types and the fast tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(PARALLEL) -q -m 'not slow' $(wildcard $(QUICK:%=tests/%))

test: $(STAMP) ## lint, format, types, all tests, the documentation site and the wheel
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(PARALLEL)

test-host31: $(STAMP31) ## tests that need no built-in DPA4, with DeePMD-kit 3.1.3 in .venv-host31 (about 9 GB)
	PATH="$(abspath $(BIN31)):$$PATH" $(BIN31)/python -m pytest $(TESTS31:%=tests/%) \
		$(if $(wildcard $(BIN)/python),--other-python=$(abspath $(BIN)/python))

$(STAMP31): pyproject.toml
	@test -n "$(PYTHON)" || { echo "make: no Python 3.10 or newer found; give one with: make PYTHON=/path/to/python3"; exit 1; }
	test -x $(BIN31)/python || $(PYTHON) -m venv $(VENV31)
	$(BIN31)/python -m pip install --upgrade pip
	$(BIN31)/python -m pip install -e '.[lmp,dev]' 'deepmd-kit[torch,cpu]==3.1.3'
	@touch $@

sanitize: $(STAMP) ## tests of the native operators with checks of memory and arithmetic, about 7 minutes, needs g++
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m tests.ops.sanitize

compiled: $(STAMP) ## tests of a compiled file (.pt2), about 2 minutes, needs g++
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest tests/freeze/compiled.py

coverage: $(STAMP) ## share of the core folders that the tests of equations, layers and operators run
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -q -m 'not slow' $(wildcard $(COVERED:%=tests/%)) \
		$(CORE:%=--cov=deepmd_dpa4/%) --cov-report=term --cov-report=html:build/coverage

docs: $(STAMP) ## build the documentation site, build/site/index.html; a warning is an error
	$(BIN)/python -m sphinx -q -W --keep-going -c docs . build/site

generate: $(STAMP) ## regenerate docs/parameters.md, docs/errors.md, the table of docs/gpu.md, docs/architecture.png and the plot of the README
	$(BIN)/python docs/make_parameters.py
	$(BIN)/python docs/make_errors.py
	$(BIN)/python docs/make_gpu.py
	$(BIN)/python docs/draw_architecture.py
	$(BIN)/python benchmarks/report.py

wheel: $(STAMP) ## build dist/*.whl and dist/*.tar.gz
	$(BIN)/python -m build

wheels: $(STAMP) ## the same with compiled native kernels, for this torch and those in TORCH="FOLDER ..."
	$(BIN)/python release/wheels.py $(if $(TORCH),--torch $(TORCH))

WHEEL ?= $(wildcard dist/*manylinux*.whl)
check-wheel: $(STAMP) ## install WHEEL=FILE in a new environment without a compiler; train, freeze, run LAMMPS there (6 GB)
	$(BIN)/python release/check_wheel.py $(WHEEL)

bench: RUN = PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python benchmarks
bench: $(STAMP) ## measure speed and memory beside the built-in DPA4, under 20 minutes on 2 cores
	$(RUN)/evaluation.py
	$(RUN)/training_step.py
	$(RUN)/dp_train.py
	$(RUN)/freeze.py
	$(RUN)/lammps_step.py
	$(RUN)/scaling.py --up-to 6144
	$(RUN)/report.py

clean: ## remove the environment, caches and results
	rm -rf $(VENV) $(VENV31) .mypy_cache .pytest_cache .ruff_cache .coverage build dist *.egg-info examples/water/demo
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
