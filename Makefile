# The README describes `make demo`, `make test` and `make test-all`.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1
# Compiled modules are kept, also where the environment says not to: tests start many processes.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo year test test-slow emulators test-all search fuzz faults check fix docs sbom site benchmark-zoo benchmark-detection benchmark-synthesis benchmark-throughput clean help

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

# torch first and pinned, so that an installed build without CUDA is kept. With a GPU, onnxruntime-gpu takes the place of
# onnxruntime: the two packages share a folder.
$(READY): pyproject.toml
	@test -n "$(PYTHON)" || { echo "aepipe needs Python 3.11 or newer on the PATH" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "== installing into $(VENV) (a few minutes, once)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "torch==2.13.0"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	@! command -v nvidia-smi >/dev/null 2>&1 || { \
		$(BIN)/python -m pip uninstall --quiet --yes onnxruntime; \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps "onnxruntime-gpu>=1.31,<1.32"; }
	@touch $@

demo: $(READY) ## train, score, sample and report on three real data sets
	@$(BIN)/python -m flows.demo

year: $(READY) ## about 12 minutes of CPU time: replay 365 nights of flights, with incidents, through the flows
	@$(BIN)/python -m flows.year $(YEAR)

check: $(READY) ## lint, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check ## check, then the tests that take seconds
	$(BIN)/python -m pytest -n 2 --dist worksteal -q -m "not slow" $(PYTEST)

test-slow: $(READY) ## the tests that take longer
	$(BIN)/python -m pytest -n 2 --dist worksteal -q -m slow $(PYTEST)

search: $(READY) ## minutes: the tests with generated inputs, with new random ones each time
	$(BIN)/python -m pytest -n 2 --dist worksteal -q -m hypothesis --hypothesis-profile random $(PYTEST)

fuzz: $(READY) ## an hour: random tables and jobs through every command; FUZZ_CASES=100 for minutes
	FUZZ_CASES=$(or $(FUZZ_CASES),1000) $(BIN)/python -m pytest -n 2 --dist worksteal -q -m slow tests/fuzz $(PYTEST)

faults: $(READY) ## half an hour: kills, disk errors, power cuts and damage in every command; needs a C compiler
	FAULTS_KILLS=120 FAULTS_RUN_KILLS=120 FAULTS_TRAIN_KILLS=120 FAULTS_ROUNDS=200 FAULTS_READS=100000 \
	FAULTS_ERRORS=1000 FAULTS_RUN_ERRORS=1000 FAULTS_TRAIN_ERRORS=1000 FAULTS_DAMAGE=5000 FAULTS_INPUTS=700 \
	FAULTS_STATES=20000 FAULTS_RESTARTS=200 FAULTS_HOSTILE=1000 FAULTS_LIMIT_S=600 \
		$(BIN)/python -m pytest -n 2 --dist worksteal -q -m slow tests/faults $(PYTEST)

emulators: ## install the emulator of Azure for the slow tests (npm)
	npm install --prefix .cache/azurite --no-audit --no-fund azurite

test-all: test test-slow ## check, then every test that this machine can run

fix: $(READY) ## format, and apply automatic lint fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

sbom: $(READY) ## list the installed packages with licences and digests as CycloneDX, in sbom.json
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --of JSON -o sbom.json $(BIN)/python
	@echo "wrote sbom.json"

docs: $(READY) ## regenerate the pages made from the code
	$(BIN)/python docs/make.py

site: $(READY) ## build the documentation site in build/site
	$(BIN)/python -m mkdocs build --strict

benchmark-zoo: $(READY) ## hours: every family on Fashion-MNIST, compared with pythae; ZOO=--quick for minutes
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[benchmarks]"
	$(BIN)/python -m benchmarks.zoo --workers 2 $(ZOO)

benchmark-detection: $(READY) ## hours: anomaly scores on ADBench's tables, compared with PyOD's; DETECTION=--quick for minutes
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[benchmarks]"
	$(BIN)/python -m benchmarks.detection $(DETECTION)

benchmark-synthesis: $(READY) ## an hour: synthetic rows of a table, compared with a copula and installed peers; SYNTHESIS=--quick
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[benchmarks]"
	$(BIN)/python -m benchmarks.synthesis $(SYNTHESIS)

benchmark-throughput: $(READY) ## half an hour: rows per second, compared with pandas, Ray Data and PyOD; THROUGHPUT=--quick for minutes
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[benchmarks]"
	$(BIN)/python -m benchmarks.throughput $(THROUGHPUT)
	$(BIN)/python -m benchmarks.training

clean: ## remove everything generated
	rm -rf $(VENV) .cache data/*/dt=* data/*/out exported/*/
