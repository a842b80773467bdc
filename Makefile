# PYTHON=...     a Python 3.11 or newer; found by itself where it is on the PATH
# DATA=phantom   of demo: phantom (generated), hippocampus (27 MB are fetched where they are not there), or a folder
# OUT=demo       folder of the demo's page and runs
# MINUTES=10     of the gpu: after which it stops by itself
# TORTURE=...    options of benchmarks/torture.py, such as "--only files"
# REPRODUCE=...  options of benchmarks/reproduce.py, such as "--scale 0.4" for a smaller budget

SHELL := /bin/bash
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(not sys.version_info >= (3, 11))' 2>/dev/null && { command -v $$p; break; }; done)
DATA ?= phantom
OUT ?= demo
MINUTES ?= 10
BIN := $(if $(filter Windows_NT,$(OS)),.venv/Scripts,.venv/bin)
INSTALL := $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-compile -c constraints.txt  # Python compiles what it loads, of 17,000 files
SOURCES := constraints.txt settings.ini setup.py pyproject.toml tools/install_torch.py
export OMP_NUM_THREADS ?= 1

.PHONY: help demo test check pytest slow dev lab docs reproduce torture gpu export clean

help:  ## this list
	@echo "make TARGET [VARIABLE=value]   (all that is installed goes into .venv; about 2 GB of disk)"
	@sed -n 's/^\([a-z]*\):.*## /\1:/p' Makefile | while IFS=: read -r name words; do printf '  %-10s %s\n' "$$name" "$$words"; done
	@sed -n 's/^# \([A-Z]*=.*\)/  \1/p' Makefile

$(BIN)/python:
	@[ -n "$(PYTHON)" ] || { echo "No Python 3.11 or newer on the PATH: install one, or say make PYTHON=/path/to/python"; exit 2; }
	"$(PYTHON)" -m venv .venv

.venv/.package: $(SOURCES) | $(BIN)/python
	@echo "Installing into .venv, once: some minutes, 0.4 GB to download"
	$(BIN)/python tools/install_torch.py
	$(INSTALL) -e .
	@touch $@

.venv/.dev: .venv/.package
	$(INSTALL) -e ".[dev,cluster]"
	@touch $@

.venv/.lab: .venv/.package
	$(INSTALL) -e ".[cluster]"
	@touch $@

demo: .venv/.package  ## from scratch, in three stages, with all labels, twelve times; a page, demo/index.html (2 to 8 minutes)
	$(if $(filter hippocampus,$(DATA)),$(BIN)/semicon-nb data hippocampus --download)
	$(BIN)/semicon-nb demo --data "$(DATA)" --out "$(OUT)"

test: check pytest  ## everything that CI checks: lint, types, every test and page (about 25 minutes on two cores)

check: .venv/.dev  ## lint and types (a minute)
	$(BIN)/ruff check .
	$(BIN)/mypy

pytest: .venv/.dev  ## the tests and pages, without what takes too long to run often (about 25 minutes on two cores)
	$(BIN)/python -m pytest -n 3 --dist loadgroup -m "not slow"

slow: .venv/.dev  ## those tests: kills, times on the clock, learnability (fifteen minutes, and nothing else beside it)
	$(BIN)/python -m pytest -m slow

dev: .venv/.dev  ## install only, what the tests and the site need (some minutes)

lab: .venv/.lab  ## JupyterLab at the index page, with what every page needs
	$(BIN)/jupyter lab nbs/index.ipynb

docs: .venv/.dev  ## the site, into _docs: with Quarto where there is one, else with a builder in Python (two minutes)
	$(BIN)/python tools/build_site.py

reproduce: .venv/.package  ## the committed results but the longest from nothing, into reproduced/; can be interrupted (9 hours on two cores)
	$(BIN)/python benchmarks/reproduce.py $(REPRODUCE)

torture: .venv/.dev  ## 2,400 bad files, 100 kills, 2,000 volumes, 10,000 losses; figures in torture.json (under 30 minutes)
	$(BIN)/python benchmarks/torture.py $(TORTURE)

gpu: .venv/.dev  ## all that has to be known of an NVIDIA GPU, into gpu-results/; stops after MINUTES (10)
	$(BIN)/python benchmarks/gpu.py --minutes $(MINUTES) --out gpu-results

export: .venv/.dev  ## notebooks -> semicon_nb/, clean notebooks, navigation, README.md (a minute)
	$(BIN)/nbdev-export
	$(BIN)/nbdev-clean
	$(BIN)/python tools/navigation.py
	$(BIN)/python tools/finding.py
	$(BIN)/python tools/readme.py
	$(BIN)/python tools/found.py

clean:  ## remove what was built, but for .venv and reproduced/
	rm -rf _docs _proc build dist demo *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
