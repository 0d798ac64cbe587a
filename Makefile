# Commands that need nothing but Python 3.11 or newer, pip, git and make:
#   make demo    fold shipped events and draw them beside Delphes
#   make test    pass the tests
#   make docs    build the documentation: docs/_build/html/index.html

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV ?= .venv
BIN = $(VENV)/bin
SAMPLES = data/samples

.PHONY: demo test docs lint clean

demo: $(VENV)/installed
	$(BIN)/coffea-iqn fold qcd=$(SAMPLES)/qcd_ak4.root qcdflat=$(SAMPLES)/qcdflat_ak4.root --output demo --force \
	  --label "Delphes simulation" --energy 13 --reference-label Delphes

test: $(VENV)/installed
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

docs: $(VENV)/installed-docs
	$(BIN)/python -m doctest docs/extensions/docstrings.py
	$(BIN)/python -m sphinx --builder html --fail-on-warning --nitpicky --keep-going docs docs/_build/html
	$(BIN)/python docs/check_links.py docs/_build/html

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) demo build dist docs/_build *.egg-info

# pip knows dependency groups from 25.1 on; torch is pinned, for an unpinned one pulls gigabytes of GPU libraries
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[all,dask,export,generate,judge,members,unfold]" --group test --group lint --group build
	touch $@

$(VENV)/installed-docs: $(VENV)/installed
	$(BIN)/python -m pip install --quiet -c constraints.txt --group docs
	touch $@
