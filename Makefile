# What the README and .ci/run call. Every target does its own set-up.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
ENGINE := $(shell find engine/src -name '*.rs' 2>/dev/null) engine/Cargo.toml engine/Cargo.lock

.PHONY: install run test lint bench clean build-tests

install: $(STAMP)

$(STAMP): pyproject.toml $(ENGINE)
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 12) else f"Python 3.11 or 3.12 is needed for the embedded Triton server, {v[0]}.{v[1]} was found: make PYTHON=python3.11 install")'
	@command -v cargo >/dev/null || { echo "cargo is needed to build the load engine: install the Rust toolchain (1.85 or newer)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[embedded,dev]'
	@touch $@

run: install
	$(BIN)/scenario run efficientnet.yaml --target cpu

# Unit tests first: they fail fast, and cover the code by themselves. The others have servers, for which they wait most of
# the time; tracing would slow down what they measure.
test: install
	cd engine && cargo test --locked --profile checks --quiet
	$(BIN)/python -m pytest tests/unit -n 2 --dist worksteal --cov --cov-report=term-missing:skip-covered --cov-fail-under=90
	$(BIN)/python -m pytest --ignore=tests/unit -n 2 --dist worksteal

# What cargo alone can build of `lint` and `test`: for the time in which pip waits for the network.
build-tests:
	cd engine && cargo test --locked --profile checks --quiet --no-run && cargo clippy --locked --profile checks --all-targets --quiet

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	cd engine && cargo fmt --check && cargo clippy --locked --profile checks --all-targets -- -D warnings

# The tables of docs/engine.md, in about an hour on an idle machine. Beside perf_analyzer (fetched into tools/; needs
# libb64.so.0d), h2load and wrk: Debian's libb64-0d, nghttp2-client and wrk.
BENCHES := engine_grpc engine_http open_loop stall agreement
bench: install
	@printf '\n## memory\n\n' && $(BIN)/python benchmarks/memory.py
	@tools=$$($(BIN)/python benchmarks/fetch_tools.py tools) && for each in $(BENCHES); do \
	  printf '\n## %s\n\n' $$each && $(BIN)/python benchmarks/$$each.py $$tools || exit 1; done

clean:
	rm -rf $(VENV) engine/target build dist *.egg-info
