# make demo [DATA=hippocampus] [OUT=demo]   make test   make lab   make docs   make reproduce   make clean
# PYTHON=...       a Python 3.11 or newer; found by itself where it is on the PATH
# TORCH_INDEX=...  address of another wheel index for torch; a Linux machine without an NVIDIA GPU saves
#                  several gigabytes with PyTorch's CPU wheels (the address is in PyTorch's "Get started")

SHELL := /bin/bash
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(not sys.version_info >= (3, 11))' 2>/dev/null && { command -v $$p; break; }; done)
TORCH_INDEX ?=
DATA ?= phantom
OUT ?= demo
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
TORCH := $(shell grep '^torch==' constraints.txt)
SOURCES := constraints.txt settings.ini setup.py pyproject.toml
export OMP_NUM_THREADS ?= 1

.PHONY: help demo test check pytest slow lab docs reproduce export clean

help:
	@sed -n 's/^# \(.*\)/\1/p' Makefile

.venv/bin/python:
	@[ -n "$(PYTHON)" ] || { echo "No Python 3.11 or newer on the PATH: install one, or say make PYTHON=/path/to/python"; exit 2; }
	"$(PYTHON)" -m venv .venv

.venv/.package: $(SOURCES) | .venv/bin/python
	$(PIP) install --quiet "$(TORCH)" $(if $(TORCH_INDEX),--index-url "$(TORCH_INDEX)")
	$(PIP) install --quiet -c constraints.txt -e .
	@touch $@

.venv/.dev: .venv/.package
	$(PIP) install --quiet -c constraints.txt -e ".[dev,cluster]"
	@touch $@

.venv/.lab: .venv/.package
	$(PIP) install --quiet -c constraints.txt -e ".[cluster]"
	@touch $@

demo: .venv/.package  ## the main job, start to finish, into $(OUT)/index.html
	$(BIN)/semicon-nb demo --data "$(DATA)" --out "$(OUT)"

test: check pytest  ## everything that CI checks

check: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/mypy

pytest: .venv/.dev
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m "not slow and not alone"
	$(BIN)/python -m pytest -m "alone and not slow"

slow: .venv/.dev  ## what takes too long to run often: killed grids and workers, loading times, learnability
	$(BIN)/python -m pytest -m slow

lab: .venv/.lab  ## JupyterLab at the index page, with what every page needs
	$(BIN)/jupyter lab nbs/index.ipynb

docs: .venv/.dev  ## the site, into _docs: with Quarto where there is one, else with the fallback
	$(BIN)/python tools/build_site.py

reproduce: .venv/.package  ## the committed grids from nothing (9 hours on two cores), resumable, into reproduced/; REPRODUCE="--scale 0.4" sets the budget
	$(BIN)/python benchmarks/reproduce.py $(REPRODUCE)

export: .venv/.dev  ## notebooks -> semicon_nb/, clean notebooks, navigation, README.md
	$(BIN)/nbdev-export
	$(BIN)/nbdev-clean
	$(BIN)/python tools/navigation.py
	$(BIN)/python tools/readme.py
	$(BIN)/python tools/found.py

clean:
	rm -rf _docs _proc build dist demo *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
