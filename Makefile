# Every target sets up what it needs in .venv and touches nothing outside this folder but pip's own cache.
#
#   make demo     train a style on the base that ships with lorastyle and compare (minutes)
#   make studio   the studio in the browser
#   make test     the tests                    make slow    the tests that take minutes
#   make check    lint, format, types, floors
#
# The reports measure the bars of CONTRIBUTING.md; the last line on stdout of each is one JSON object.
# Another Python than python3: make demo PYTHON=python3.12

PYTHON ?= python3
BIN := .venv/bin
# Not compiled ahead: Python compiles what it uses at first use, and all of torch would take longer than the rest.
PIP := $(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt
# What is not compiled ahead must be kept once it is, or every start compiles it again.
unexport PYTHONDONTWRITEBYTECODE
MAKEFLAGS += --no-print-directory

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test slow check pocket-report pocket-flux-report style-report character-report exchange-report loaders-report kill-report queue-report families-report bench studio studio-bench

help:
	@sed -n 's/^#  *\(make .*\)/\1/p' Makefile

demo: .venv/.installed-base
	@$(BIN)/lorastyle demo

# One thread in each of two processes: most of a test is Python, which has but one.
test: .venv/.installed-test
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadscope

slow: .venv/.installed-test
	@$(BIN)/python -m pytest -m slow

check: .venv/.installed-test .venv/.installed-dev
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/python -m pytest --quiet tests/test_floors.py

pocket-report: .venv/.installed-tools
	@$(BIN)/python -m tools.pocket.report

pocket-flux-report: .venv/.installed-tools
	@$(BIN)/python -m tools.pocket_flux.report

style-report: .venv/.installed-tools
	@$(BIN)/python -m tools.reports.style

character-report: .venv/.installed-tools
	@$(BIN)/python -m tools.reports.character

kill-report: .venv/.installed-base
	@$(BIN)/python -m tools.reports.kill

queue-report: .venv/.installed-test
	@$(BIN)/python -m tools.reports.queue

families-report: .venv/.installed-test
	@$(BIN)/python -m tools.reports.families

exchange-report: .venv/.installed-test
	@$(BIN)/python -W ignore -m tools.reports.exchange --readme

loaders-report: .venv/.installed-test
	@OMP_NUM_THREADS=1 $(BIN)/python -W ignore -m tools.reports.loaders

bench: .venv/.installed-test
	@$(BIN)/python -m benchmarks.step

studio: .venv/.installed-ui
	@$(BIN)/lorastyle ui

studio-bench: .venv/.installed-test
	@$(BIN)/python -m benchmarks.studio

.venv/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "lorastyle needs Python 3.11 or newer, and '$(PYTHON)' is not that. Name one: make demo PYTHON=python3.12" >&2; \
	  exit 2; }
	@$(PYTHON) -m venv .venv || { \
	  echo "'$(PYTHON)' cannot make a virtual environment. On Debian and Ubuntu: apt install python3-venv" >&2; \
	  rm -rf .venv; exit 2; }
	@touch $@

# torch goes first and by itself: the pin then decides which build is taken, and no other package can pull in another.
.venv/.installed-base: .venv/.created pyproject.toml constraints.txt
	@echo "Installing lorastyle into .venv (once; torch is large)" >&2
	@$(PIP) torch >&2
	@$(PIP) --editable . >&2
	@touch $@

.venv/.installed-%: .venv/.installed-base
	@echo "Installing what '$*' needs into .venv" >&2
	@$(PIP) --editable '.[$*]' >&2
	@touch $@
