# Two commands matter to a newcomer: `make up` and `make test`.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
UNIT   := tests/unit tests/contract tests/property tests/sim tests/realdata

# Where nothing may be kept of what was compiled, pytest rewrites 300 modules in each process: 10 s more.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: up down check docs secrets audit test long bench format clean help

help:            ## show this
	@grep -hE '^[a-z]+: .*##|^[a-z]+: +##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 12

$(VENV)/.base: pyproject.toml constraints.txt
	@test -x $(BIN)/python || { echo "making $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing vagus and all it needs into $(VENV)"
	@$(PIP) --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.base
	@echo "installing what the tests need"
	@$(PIP) --editable '.[dev]'
	@touch $@

$(VENV)/.bench: $(VENV)/.dev
	@echo "installing the peers that are compared with"
	@$(PIP) --editable '.[bench]'
	@touch $@

up: $(VENV)/.base       ## install into .venv, start vagus on this machine, show its status
	@$(BIN)/vagus up

down: $(VENV)/.base     ## stop it, restore every limit
	@$(BIN)/vagus down

check: $(VENV)/.dev     ## lint, types, import contracts, fast tests: about six minutes on two cores
	@echo "== lint";      $(BIN)/ruff check --quiet . && $(BIN)/ruff format --quiet --check .
	@echo "== types";     $(BIN)/mypy
	@echo "== contracts"; $(BIN)/lint-imports --no-logo
	@$(MAKE) --no-print-directory secrets
	@echo "== packages";  $(BIN)/python -m pip --disable-pip-version-check check
	@echo "== tests";     $(BIN)/python -m pytest $(UNIT) -n 2 --dist worksteal -p no:schemathesis -m "not system and not vm and not root"

# MkDocs 1 is pinned, so that its advertisement of other versions says nothing.
docs: $(VENV)/.dev      ## build the docs as a site in site/, strict, and check every link of it
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet && $(BIN)/python -m docsite.check site
	@echo "site/index.html; with search: $(BIN)/python -m http.server --bind 127.0.0.1 --directory site"

# Offline: no secret is tried out (--no-validate). Compiled rules are kept in .venv: 6 s the first time, then 1.
secrets: $(VENV)/.dev   ## look for secrets in the files of this folder: part of `check`
	@echo "== secrets";   $(BIN)/kingfisher scan --quiet --redact --no-validate --no-update-check --git-history none \
		--rule-cache-dir $(VENV)/kingfisher --exclude __pycache__ $(filter-out site,$(wildcard *)) .ci

# In a folder of its own, since it is no part of what was tested together. Strict: what the service does not know of is
# a failure, not a success.
audit:           ## ask PyPI's service for known vulnerabilities of constraints.txt: needs the internet
	@test -x $(VENV)/audit/bin/pip-audit || { $(PYTHON) -m venv $(VENV)/audit && \
		$(VENV)/audit/bin/python -m pip --disable-pip-version-check install --quiet 'pip-audit>=2.10'; }
	@$(VENV)/audit/bin/pip-audit --strict --progress-spinner off --no-deps --disable-pip --requirement constraints.txt

test: check             ## also root, emulated machine and Ray tests
	@echo "== system";    $(BIN)/python -m pytest tests -m "(system or vm or root) and not long"

long: $(VENV)/.dev      ## what `test` leaves out: all of it again on another kernel, in the emulated machine; before a release
	@$(BIN)/python -m pytest tests -m long

bench: $(VENV)/.bench   ## each benchmark in turn, gathered into docs/benchmarks.md
	@$(BIN)/python -m benchmarks.report

format: $(VENV)/.dev    ## format the code
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

clean:           ## remove .venv and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache site
