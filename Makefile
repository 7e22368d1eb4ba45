# `make book` and `make test` are all a newcomer needs: the first use sets up .venv, later ones repeat no set-up.

PYTHON ?= python3
BIN    := .venv/bin
READY  := .venv/ready
TESTS  := $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --durations 30
# Tests that have a command of their own, how to find their files, and those files that hold nothing else.
APART  := rendered or browser or cluster or process or extra
MARKED  = $$(grep -lE "mark\.($(1))" tests/test_*.py)
WHOLE   = $(shell grep -lE "^pytestmark = pytest\.mark\.(process|extra)" tests/test_*.py)

# Two workers on two cores: one thread each. The committed notebooks were run the same way.
export OMP_NUM_THREADS ?= 1
export HASHLAB_PROGRESS ?= 0
# What the many processes import is compiled once.
export PYTHONDONTWRITEBYTECODE :=
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup book check-book check-cluster check-processes check-extras pdf test notebooks bench lint campaign

help:  ## list these commands
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

setup: $(READY)  ## set up .venv (the other commands do it themselves)

book: $(READY)  ## render the committed, executed notebooks to _build/html
	@$(BIN)/python book/build.py html

check-book: book  ## look at every page in Chromium: links, widths, colours, barriers, words
	@$(BIN)/python book/check.py
	@$(BIN)/python book/offline.py
	@$(TESTS) -m "rendered or browser" $(call MARKED,rendered|browser)

check-cluster: $(READY)  ## start a Ray cluster on this machine, and kill parts of it
	@$(TESTS) --numprocesses 0 -m cluster $(call MARKED,cluster)

check-processes: $(READY)  ## kill runs, crowd them, harm their files, install them, and start them as hosts do
	@$(TESTS) -m process $(call MARKED,process)

check-extras: $(READY)  ## what other libraries make of it: timm, ONNX, Milvus
	@$(TESTS) -m extra $(call MARKED,extra)

pdf: book  ## the whole book as _build/hashlab.pdf, by Chromium
	@$(BIN)/python book/pdf.py

test: lint  ## style, unit tests, and every notebook run again and compared
	@$(TESTS) -m "not ($(APART))" $(WHOLE:%=--ignore=%) --nbval --nbval-current-env tests notebooks

notebooks: $(READY)  ## execute notebooks/*.py into notebooks/*.ipynb
	@$(BIN)/python book/build.py notebooks --all

bench: $(READY)  ## run every script in benchmarks/ that measures speed
	@set -e; for script in $(filter-out %/side_by_side.py %/small_sets.py,$(sort $(wildcard benchmarks/*.py))); do echo "$$script"; env -u OMP_NUM_THREADS $(BIN)/python $$script; done

# The attacks in their long forms; the other commands have them short. MUTANTS=300 tries a sample of the changes only.
ATTACKS = $(wildcard $(addprefix tests/test_,trials.py fuzz.py bad_input.py metrics_differential.py checkpoints.py grids.py timm_models.py))
# Every chapter as it runs on hosts: alone in a folder, and in environments that borrow nothing from this one.
HOSTED = $(wildcard tests/test_hosted.py tests/fresh_hosts.py)

campaign: $(READY)  ## kill, crowd, harm and change everything, and say how much held (hours; goes on where it was)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[campaign]"
	@HASHLAB_CAMPAIGN=1 $(BIN)/python -m pytest $(ATTACKS) $(HOSTED)
	@$(BIN)/python tests/mutants.py --jobs 2

lint: $(READY)  ## check the style and the layout of code and notebooks
	@$(BIN)/python -m ruff check
	@$(BIN)/python -m ruff format --check

# A copied or moved checkout keeps pointing at its old sources, so there the environment is set up anew.
ifneq ($(shell cat $(READY) 2>/dev/null),$(CURDIR))
.PHONY: $(READY)
endif

define CHECK_PYTHON
import sys
if not (3, 11) <= sys.version_info < (3, 14):
    sys.exit("hashlab needs Python 3.11, 3.12 or 3.13, but $(PYTHON) is %d.%d; name another one: make PYTHON=python3.12" % sys.version_info[:2])
endef
export CHECK_PYTHON

$(READY): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "hashlab needs Python 3.11, 3.12 or 3.13, but there is no $(PYTHON); name another one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c "$$CHECK_PYTHON"
	@echo "Setting up .venv: this takes a few minutes, once."
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[book,test,search,milvus,weights,onnx,scale,check]"
	@echo "$(CURDIR)" > $@
