# Thin: each target is also shown as plain commands in README.md and CONTRIBUTING.md.
PYTHON ?= $(firstword $(foreach p,python3.13 python3.12 python3.11 python3,$(shell $(p) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(p))))
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= results

.PHONY: demo test lint docs pictures notebooks gallery bench build release clean

demo: $(VENV)/.core
	$(BIN)/nkscore demo --out $(OUT) --force

test: lint $(VENV)/.dev
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadscope --no-loadscope-reorder
	$(BIN)/sphinx-build -q -W --keep-going -D nb_execution_mode=off -b html docs docs/_build/check

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.dev
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

notebooks: $(VENV)/.dev
	$(BIN)/python tools/store_notebooks.py

gallery: $(VENV)/.dev
	$(BIN)/python tools/make_gallery.py

pictures: $(VENV)/.dev
	$(BIN)/python tools/make_pictures.py

bench: $(VENV)/.dev
	$(BIN)/python benchmarks

build: $(VENV)/.dev
	rm -rf dist
	$(BIN)/python -m build --quiet
	$(BIN)/twine check --strict dist/*

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed, and none was found. Install it, or name one: make PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'pip>=25.1'  # knows --group

$(VENV)/.core: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.dev: $(VENV)/.core
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all]' --group dev
	touch $@

release: test build
	$(BIN)/python tools/check_release.py

clean:
	rm -rf $(VENV) $(OUT) dist docs/_build .pytest_cache .mypy_cache .ruff_cache
