# From a fresh clone: `make demo` ends with an answer, `make test` is green. Every target can be run
# again: what is done is not done twice.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
QUESTION := What is water made of?

# Else each run of the suite compiles every test anew, in each of its processes.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help venv demo test test-node check bench soak memory exactness storm fuzz-schemas fuzz-api rollouts schemas \
        crashes changes bad-profiles fuzz-tools races

help:
	@echo 'make demo     install lmrun, run a small model, ask it a question'
	@echo 'make test     run every check and every test'
	@echo "make test-node  OpenAI's package for Node, and MCP servers from npm (needs Node 20)"
	@echo 'make check    formatting, lint, types, layers, generated files'
	@echo 'make bench    measure against bare llama.cpp and its servers (SCENARIOS=…)'
	@echo 'make soak     mixed requests for ten minutes; nothing may fail, grow or stay behind'
	@echo 'make memory   ten minutes of models that come and go; the limit must hold'
	@echo 'make exactness  200 strict requests in every situation, on the real model'
	@echo 'make storm    1,500 storms of random requests on tiny models; nothing may go wrong'
	@echo 'make fuzz-schemas  600 random JSON schemas; every answer that ends must be valid'
	@echo 'make fuzz-tools  1,000 random calls of a command tool; no argument may reach a shell'
	@echo 'make races    100,000 races for a link each way; none may lead out of a directory'
	@echo 'make fuzz-api  200 generated requests per operation of /openapi.json and kind'
	@echo 'make rollouts  100 reloads under load, 200 applies beside a stream, 1,000 of the same'
	@echo 'make crashes  kill a server at every named point of every change; it must come back whole'
	@echo 'make changes  300 random walks of 30 changes, crashes and kills; the end must be right'
	@echo 'make bad-profiles  apply 1,000 broken profiles under load; nothing may be disturbed'
	@echo 'make schemas  write schemas/, docs/profile.md and docs/api.md from the types'
	@echo 'make venv     install everything for development into $(VENV)'

venv: $(VENV)/.installed-dev

$(VENV)/.created:
	@command -v $(PYTHON) >/dev/null || { echo 'There is no $(PYTHON): install Python 3.11 or newer.' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "lmrun needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version)." >&2; \
	  echo 'Name another one: make PYTHON=python3.12 …' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	@touch $@

# `demo` needs less than `test`; whoever has everything has that, too.
$(VENV)/.installed-demo: pyproject.toml $(VENV)/.created
	$(call install,.[llama-cpp])
	@touch $@

$(VENV)/.installed-dev: pyproject.toml $(VENV)/.created
	$(call install,.[llama-cpp$(comma)dev])
	@touch $@ $(VENV)/.installed-demo

comma := ,
define install
	@$(BIN)/python -m pip show --quiet llama-cpp-python 2>/dev/null || \
	  echo 'Installing. llama-cpp-python is compiled here: about 4 minutes on two cores, once.'
	@$(BIN)/python -m pip install --quiet --editable '$(1)' || { \
	  echo 'Installing failed. It needs a C and C++ compiler and a way to a Python package index.' >&2; exit 1; }
endef

demo: $(VENV)/.installed-demo
	@$(BIN)/lmrun apply profiles/quickstart.yaml
	@printf '\n> %s\n\n' '$(QUESTION)'
	@$(BIN)/lmrun chat --temperature 0 --max-tokens 100 '$(QUESTION)'
	@address=$$($(BIN)/lmrun status --json | $(BIN)/python -c \
	  'import json, sys; print(json.load(sys.stdin)["server"]["address"])') && \
	  sed "s|ADDRESS|$$address|g" docs/next-steps.txt

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check --quiet
	$(BIN)/ruff check --quiet
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m lmrun.profile.schemas --check
	$(BIN)/python -m lmrun.profile.reference --check
	$(BIN)/python -m lmrun.reference --check

# pytest comes last, so that its closing line is the last thing printed.
test: check
	$(BIN)/python -m pytest --numprocesses=3 --dist=loadfile --no-loadscope-reorder

test-node: $(VENV)/.installed-dev
	$(BIN)/python -m tests.node

bench: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks $(SCENARIOS)

# Longer runs of what `make test` does with smaller counts.
soak: $(VENV)/.installed-dev
	LMRUN_SOAK_MINUTES=10 $(BIN)/python -m pytest -s tests/runtime/test_soak.py

memory: $(VENV)/.installed-dev
	LMRUN_MEMORY_MINUTES=10 $(BIN)/python -m pytest -s tests/runtime/residency/test_random_load.py

exactness: $(VENV)/.installed-dev
	LMRUN_EXACT_REQUESTS=200 $(BIN)/python -m pytest tests/engines/llama_cpp/scheduling/test_strict.py

storm: $(VENV)/.installed-dev
	LMRUN_STORMS=300 $(BIN)/python -m pytest -s tests/engines/llama_cpp/scheduling/test_storm.py

fuzz-api: $(VENV)/.installed-dev
	LMRUN_FUZZ_API=200 $(BIN)/python -m pytest -s -o timeout=2400 tests/api/fuzz

fuzz-tools: $(VENV)/.installed-dev
	LMRUN_FUZZ_COMMANDS=1000 $(BIN)/python -m pytest -s -o timeout=300 tests/tools/commands/test_fuzz.py

races: $(VENV)/.installed-dev
	LMRUN_RACES=100000 $(BIN)/python -m pytest -s -o timeout=600 \
	  tests/tools/test_beneath.py -k swapped_between

fuzz-schemas: $(VENV)/.installed-dev
	LMRUN_FUZZ_SCHEMAS=600 $(BIN)/python -m pytest -s -o timeout=1200 \
	  tests/engines/llama_cpp/constraints/test_random_schemas.py

rollouts: $(VENV)/.installed-dev
	LMRUN_ROLLOUTS=100 LMRUN_RELOADS=100 LMRUN_APPLIES=200 LMRUN_REAPPLIES=1000 \
	  $(BIN)/python -m pytest -s tests/runtime/test_rollouts.py tests/server/test_rollouts.py \
	  tests/reconcile/test_scale.py

crashes: $(VENV)/.installed-dev
	LMRUN_CRASHES=all $(BIN)/python -m pytest -s tests/server/crashes

changes: $(VENV)/.installed-dev
	LMRUN_RANDOM_CHANGES=300 $(BIN)/python -m pytest -s tests/server/random_changes

bad-profiles: $(VENV)/.installed-dev
	LMRUN_BAD_PROFILES=1000 $(BIN)/python -m pytest -s tests/server/test_bad_profiles.py

schemas: $(VENV)/.installed-dev
	$(BIN)/python -m lmrun.profile.schemas
	$(BIN)/python -m lmrun.profile.reference
	$(BIN)/python -m lmrun.reference
