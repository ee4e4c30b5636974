# `make demo` runs the whole chain on simulated fields, `make test` runs the tests; both set up .venv first.
PYTHON ?= python3
CORES ?= all
VENV := .venv
BIN := $(VENV)/bin
SETUP_GB := 14
RUN := PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/snakemake

.PHONY: demo test test-fast test-report test-cluster test-faults plan lint format docs lock real evidence clean

demo: $(VENV)/.ready
	$(RUN) --cores $(CORES)

test: $(VENV)/.ready
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest

# Unit tests of what differs from a commit, slow ones left out: make test-fast SINCE=main
SINCE ?= HEAD
test-fast: $(VENV)/.ready
	@tests=`PYTHONPATH=workflow/scripts $(BIN)/python tests/unit/touched.py $(SINCE)` && \
		if test -z "$$tests"; then echo "nothing differs from $(SINCE)"; else $(BIN)/python -m pytest -m "not slow" $$tests; fi

# The report in a real browser, and its RO-Crate under an independent validator
test-report: $(VENV)/.ready .cache/browser/.ready
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || test -n "$$BROWSER_PATH" || { \
		test "`id -u`" = 0 && apt-get update --quiet=2 && apt-get install --quiet=2 --yes --no-install-recommends chromium; } || { \
		echo "make test-report: install chromium, or name a browser with BROWSER_PATH" >&2; exit 2; }
	$(BIN)/python -m pytest tests/browser

.cache/browser/.ready: tests/browser/requirements.txt $(VENV)/.ready
	$(BIN)/uv pip install --quiet --python $(BIN)/python --target .cache/browser -r tests/browser/requirements.txt
	@touch $@

# The chain on a real Slurm of two nodes on this machine, each rule in its own environment; needs root and Debian's Slurm
SLURM_PACKAGES := slurm-wlm slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge
test-cluster: $(VENV)/.ready
	@command -v slurmctld >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends $(SLURM_PACKAGES); }
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest tests/cluster --durations 5

# Faults that really happen to the chain: kills, full and read-only disks, damaged files; writes faults.md
test-faults: $(VENV)/.ready
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest tests/faults --durations 5

# What a run will cost, stage by stage, and what it waits for: make plan CONFIG=config/hpa-full.yaml FIELDS=80000
CONFIG ?= config/hpa-full.yaml
plan: $(VENV)/.ready
	PYTHONPATH=workflow/scripts $(BIN)/python -m subcell.costs --config $(CONFIG) $(if $(FIELDS),--fields $(FIELDS))

# The chain on a sheet of real fields: make real SHEET=../my/fields.csv, and RESULTS=results/second for another sheet
RESULTS ?= results/real
real: $(VENV)/.ready
	@test -n "$(SHEET)" || { echo "make real: name the sheet, e.g. make real SHEET=path/to/fields.csv" >&2; exit 2; }
	$(RUN) --cores $(CORES) --configfile config/images.yaml --config 'datasets={fields: {sheet: "$(SHEET)"}}' \
		"pathvars={results: $(RESULTS), logs: logs/$(notdir $(RESULTS))}"

# What real cells and real proteins say, in docs/evidence.md: make evidence DATA=path/to/data
DATA ?= ../shared/data
evidence: $(VENV)/.ready
	@test -d "$(DATA)/hpa_fields" || { echo "make evidence: $(DATA) has no folder hpa_fields; name the folder that holds the sets, e.g. make evidence DATA=path/to/data" >&2; exit 2; }
	@mkdir -p results/evidence
	sed 's|\.\./shared/data|$(DATA)|' config/evidence.yaml > results/evidence/config.yaml
	$(RUN) --cores $(CORES) --configfile results/evidence/config.yaml -- results/evidence/hpa_fields/crops/0000.h5sc \
		results/evidence/hyperlopit/mass_spectrometry/clusters.tsv
	PYTHONPATH=workflow/scripts $(BIN)/python evidence/write.py --data "$(DATA)" $(ARGS)

# Speed beside named peers: make speed-map, make speed-catalog, ... (speed/)
speed-%: $(VENV)/.ready
	PYTHONPATH=workflow/scripts:tests/unit $(BIN)/python speed/$*.py $(ARGS)

lint: $(VENV)/.ready
	$(BIN)/ruff check workflow tests speed evidence
	$(BIN)/ruff format --check workflow tests speed evidence
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	$(RUN) --lint

format: $(VENV)/.ready
	$(BIN)/ruff check --fix workflow tests speed evidence
	$(BIN)/ruff format workflow tests speed evidence
	$(BIN)/snakefmt Snakefile workflow

# What is generated from the typed configuration: config/README.md and the schemas
docs: $(VENV)/.ready
	PYTHONPATH=workflow/scripts $(BIN)/python -m subcell.config.document

# A new lock from requirements.in, with hashes and without index addresses
lock: $(VENV)/.ready
	$(BIN)/uv pip compile requirements.in --generate-hashes --no-header --no-annotate --no-emit-index-url \
		--python-version 3.11 --quiet --output-file requirements.lock

$(VENV): $(VENV)/.ready

$(VENV)/.ready: requirements.lock requirements-uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed, $(PYTHON) is `$(PYTHON) --version 2>&1`; name another with make PYTHON=..." >&2; exit 2; }
	@$(PYTHON) -c 'import shutil, sys; free = shutil.disk_usage(".").free / 1e9; \
		sys.exit(0 if free > $(SETUP_GB) else f"{free:.0f} GB free here, the environment needs $(SETUP_GB) GB")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.txt
	$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock
	PYTHONPATH=workflow/scripts $(BIN)/python -m subcell.atlas.clusters.graph
	@touch $@

clean:
	rm -rf $(VENV) results logs .snakemake
