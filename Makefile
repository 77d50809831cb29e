# The commands install what they need into .venv, from a fresh checkout on.
VENV := .venv
BIN := $(VENV)/bin

# The newest Python that constraints.txt is for and that starts: a name on the path may belong to
# a version that is not installed, and Debian's may be unable to make environments. An untested one,
# such as 3.14, is taken where it is requested (make PYTHON=python3.14) or is all there is.
CANDIDATES := python3.13 python3.12 python3.11 python3
ifndef PYTHON
PYTHON := $(shell for name in $(CANDIDATES); do \
  $$name -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2> /dev/null \
  && echo $$name && break; done)
endif

# One environment, of one Python: another version has another stamp and makes the environment anew.
VERSION := $(if $(PYTHON),$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2> /dev/null))
INSTALLED := $(VENV)/installed-$(VERSION)

# Training allocates and frees large arrays all the time; in huge pages that costs a fifth less.
# Each worker takes tests from the other when it has none left.
PYTEST := GLIBC_TUNABLES=glibc.malloc.hugetlb=1 $(BIN)/python -m pytest -n 2 --dist worksteal

# The site has an environment of its own, which does not need the tools of the tests.
DOCS := .venv-docs
DOCS_INSTALLED := $(DOCS)/installed-$(VERSION)
SITE := build/docs

.PHONY: demo docs test test-all lint install clean

demo: install
	$(BIN)/python -m experiments.digits --workdir=runs/digits

# The documentation as static pages, in build/docs/html; any warning is an error.
docs: $(DOCS_INSTALLED)
	PYTHONPATH=. $(DOCS)/bin/python docs/site/stage.py $(SITE)/source
	$(DOCS)/bin/python -m sphinx -W --keep-going -q -c docs/site $(SITE)/source $(SITE)/html
	@echo "open $(SITE)/html/index.html"

# Every behavior once, in about ten minutes on two cores; all tests (see tests/README.md).
test: install lint
	$(PYTEST) -m "not slow and not exhaustive"

test-all: install lint
	$(PYTEST)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

install: $(INSTALLED)

# Says in one line what is wrong with the Python that was requested, or with those that were found.
define CHECK_PYTHON
$(if $(PYTHON),,$(error No Python from 3.11 up that can make environments was found (tried: $(CANDIDATES)); install one, or run make PYTHON=/path/to/python))
$(if $(VERSION),,$(error PYTHON=$(PYTHON) does not start; name a Python from 3.11 up, such as make PYTHON=python3.12, or leave it out))
$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "jaxkd needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; run make PYTHON=python3.12")'
endef

# $(call ENVIRONMENT,folder,extra): the package with an extra, in an environment.
define ENVIRONMENT
$(CHECK_PYTHON)
$(PYTHON) -m venv $(if $(wildcard $(1)/lib/python$(VERSION)),,--clear) $(1)
$(1)/bin/python -m pip install --quiet --upgrade pip
$(1)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[$(2)]'
touch $@
endef

$(INSTALLED): pyproject.toml constraints.txt
	$(call ENVIRONMENT,$(VENV),tests)

$(DOCS_INSTALLED): pyproject.toml constraints.txt
	$(call ENVIRONMENT,$(DOCS),docs)

clean:
	rm -rf $(VENV) $(DOCS) $(SITE) runs
