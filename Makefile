# `make dim` and `make test` do everything on a machine with Python 3.11-3.13 and make.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python

# What is quick: formulas, layers, options; the edit loop.
QUICK := bounds config critics distances encoders infomax layers readings structure

# Two processes share two cores: threads of their own would only wait for one another.
ALONE := TF_NUM_INTRAOP_THREADS=1 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
PYTEST := $(ALONE) $(RUN) -m pytest -n 2 --dist=loadfile --no-loadscope-reorder

.PHONY: dim test check lint docs notebooks audit install clean

dim: install
	$(RUN) -m tf_infomax.train --flagfile=configs/dim.flags

test: install lint
	$(PYTEST)

check: install lint
	$(PYTEST) $(QUICK:%=tests/test_%.py)

# The documentation as a site, in build/site.
docs: install
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --quiet

# Runs the tutorials of the documentation anew, in twenty minutes.
notebooks: install
	$(RUN) docs/run_tutorials.py

# Asks the package index for known vulnerabilities of all that is installed.
audit: install
	$(RUN) -m pip install --quiet pip-audit
	$(RUN) -m pip_audit --skip-editable

lint: install
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

install: $(VENV)/.installed

$(VENV)/.installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade pip
	$(RUN) -m pip install --quiet --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) runs build *.egg-info
