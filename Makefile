# Two commands do everything, set-up included: `make demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/pip --disable-pip-version-check -q

.PHONY: setup demo demo-images demo-signals test check fix audit schema bench-families bench-tables bench-modes bench-relational bench-utility bench-privacy bench-audit bench-accountants bench-gate chaos bench-sizing bench-scale bench-signals docs clean

setup: $(VENV)/.all  ## everything: the application, SDV, and the tools of development

# The application alone: what `make demo` and daily work need.
$(VENV)/.app: pyproject.toml constraints.txt
	@echo "setting up $(VENV) (some minutes, once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install -c constraints.txt "$$(grep '^torch==' constraints.txt)" setuptools
	@$(PIP) install -c constraints.txt -e .
	@touch $@

$(VENV)/.all: $(VENV)/.app
	@echo "setup, check and test work on the whole, so this adds to $(VENV), once: SDV for the families sdv:* (80 MB), diffusers and its kin for pictures (230 MB), Presidio and spaCy to find personal data (250 MB), soundfile for sounds (5 MB), deltalake and pyiceberg for their tables (100 MB), MkDocs for the site (110 MB), Ray for several machines (260 MB), OpenTelemetry and MLflow's client to watch runs (80 MB), and pytest, mypy, ruff and other tools of development (200 MB)"
	@$(PIP) install -c constraints.txt -e '.[sdv,image,audio,privacy,dp-marginals,delta,iceberg,docs,ray,otel,mlflow,dev]'
	@touch $@

# What pictures need on top: diffusers and its kin.
$(VENV)/.image: $(VENV)/.app
	@echo "adding what pictures need to $(VENV), once: diffusers and its kin (230 MB)"
	@$(PIP) install -c constraints.txt -e '.[image]'
	@touch $@

demo: $(VENV)/.app  ## breast cancer with 40 malignant rows, balanced, judged, published
	@$(BIN)/counterpoise run configs/runs/breast_cancer.yaml --engine prefect

demo-images: $(VENV)/.image  ## drawn metal surfaces with 20 pictures of pits, filled up by painting pits, judged, published
	@$(BIN)/counterpoise run configs/runs/surfaces.yaml

demo-signals: $(VENV)/.app  ## a simulated pump with 24 windows of cavitation and 30 of leaks, filled up, judged, published
	@$(BIN)/counterpoise run configs/runs/pump.yaml

test: $(VENV)/.all  ## every test, the longest first, on as many cores as there are (up to four: each worker takes some 2 GB)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

check: $(VENV)/.all  ## lint, types, import directions
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

audit:  ## known vulnerabilities of the pinned versions, by pip-audit in an environment of its own, less .ci/audit-allowed.json
	@test -x build/audit/bin/python || $(PYTHON) -m venv build/audit
	@build/audit/bin/pip --disable-pip-version-check -q install 'pip-audit>=2.10,<3' || true
	@build/audit/bin/python .ci/audit.py

fix: $(VENV)/.all  ## what ruff can mend by itself
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

schema: $(VENV)/.all  ## the JSON schema that editors check plans against
	@$(BIN)/counterpoise schema > configs/plan.schema.json

bench-families: $(VENV)/.all  ## fit time, rows/s, memory and quality of the families beside SDV's CTGAN
	@$(BIN)/python -m benchmarks.families --data adult --families gan sdv:CTGAN bootstrap smote --epochs 30 --seed 0

bench-tables: $(VENV)/.all  ## quality, speed and memory of the families of tables beside SDV's: docs/benchmarks/tables.md (a day; resumes)
	@$(BIN)/python -m benchmarks.tables

bench-modes: $(VENV)/.all  ## modes of a ring and of a grid that the families draw: docs/benchmarks/modes.md (half an hour)
	@$(BIN)/python -m benchmarks.modes

bench-relational: $(VENV)/.all  ## tables that refer to one another, beside SDV's HMA and chance: docs/benchmarks/relational.md (half an hour)
	@$(BIN)/python -m benchmarks.relational

bench-utility: $(VENV)/.all  ## what rows of a scarce class bring to a model, and what is picked: docs/benchmarks/utility.md (a day; resumes)
	@$(BIN)/python -m benchmarks.utility

bench-privacy: $(VENV)/.all  ## what rows are worth, and what attacks find, at each privacy budget: docs/benchmarks/privacy.md (hours; resumes)
	@$(BIN)/python -m benchmarks.privacy

bench-audit: $(VENV)/.all  ## does a private fit leak less than it promises: docs/benchmarks/privacy_audit.md (half an hour)
	@$(BIN)/python -m benchmarks.privacy_audit

bench-accountants: $(VENV)/.all  ## our accountant of privacy beside Google's dp-accounting, in an environment of its own: docs/benchmarks/accountants.md (minutes)
	@$(BIN)/python -m benchmarks.accountants

bench-gate: $(VENV)/.all  ## false alarms on real rows, planted faults, speed: writes docs/benchmarks/gate.md (an hour or two)
	@$(BIN)/python -m benchmarks.gate --reshuffles 200 --trials 100 --seed 0 --speed 1000000 10000000 --store build/gate.json --out docs/benchmarks/gate.md

chaos: $(VENV)/.all  ## faults, tried and counted (kill -9, full disk, bad S3, ...): docs/benchmarks/chaos.md (half an hour)
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.chaos

bench-sizing: $(VENV)/.all  ## CPU seconds, memory and disk of whole runs, stage by stage: docs/benchmarks/sizing.md (minutes; resumes)
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.sizing

bench-scale: $(VENV)/.all  ## rows/s of one and two workers, of a Ray cluster and of processes, and what a hundred million rows would take: docs/benchmarks/scale.md (a quarter of an hour)
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.scale

bench-signals: $(VENV)/.all  ## anomalies in series beside a forest and a z-score, TimeGAN's scores, readings a second (an hour)
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.series_anomalies
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.series_quality
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.series_speed

docs: $(VENV)/.all  ## the site of docs/ in build/site; looked at with `python -m http.server -d build/site`
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo build/site/index.html

clean:  ## what was built here, runs and published data excepted
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
