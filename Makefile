# make demo · make test · make check · make bench · make app · make test-app · make docs · make dist: each sets up a
# virtual environment of the project's own first.

PYTHON ?= python3
# The CPU build where the package index has one; set TORCH for another build, for instance TORCH="torch==2.13.0+cu130".
TORCH ?= torch==2.13.0
VENV := .venv
BIN := $(VENV)/bin
# The demo page has its own, since gradio and constraints.txt want different versions of pillow.
APP_VENV := .venv-app
APP_BIN := $(APP_VENV)/bin
# The documentation site reads the package's files and imports none, so that its environment is small.
DOCS_VENV := .venv-docs
DOCS_BIN := $(DOCS_VENV)/bin
DEMO := runs/demo
# Small models: more processes with one thread each are fastest.
TEST_WORKERS ?= 2

.PHONY: demo test check format bench app test-app docs dist clean

demo: $(VENV)/.ready
	rm -rf $(DEMO)
	$(BIN)/enecg simulate $(DEMO)/data
	$(BIN)/enecg predict small $(DEMO)/data/records500/00000/00001_hr
	$(BIN)/enecg train demo \
		--data_dir $(DEMO)/data --output_dir $(DEMO)/model --cache_dir $(DEMO)/cache
	$(BIN)/enecg predict $(DEMO)/model $(DEMO)/data/records500/00000/00001_hr --plot $(DEMO)/prediction.png
	$(BIN)/enecg train enecg_small \
		--data_dir $(DEMO)/data --output_dir $(DEMO)/ensemble --cache_dir $(DEMO)/cache
	$(BIN)/enecg report $(DEMO)/model
	@echo "Post-training: $(DEMO)/model/README.md · report: $(DEMO)/model/report/report.html · 12-lead plot: $(DEMO)/prediction.png"
	@echo "Ensemble: $(DEMO)/ensemble/README.md · gate weights: $(DEMO)/ensemble/figures · adapter: $(DEMO)/ensemble/adapter"

test: $(VENV)/.ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadgroup

check: $(VENV)/.ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.ready
	for benchmark in benchmarks/*.py; do $(BIN)/python $$benchmark || exit 1; done

app: $(APP_VENV)/.ready
	$(APP_BIN)/python app.py

# In a real browser: needs Chromium and its driver (Debian: apt-get install chromium chromium-driver).
test-app: $(APP_VENV)/.ready
	OMP_NUM_THREADS=1 $(APP_BIN)/python -m pytest --confcutdir tests/app tests/app

docs: $(DOCS_VENV)/.ready
	NO_MKDOCS_2_WARNING=1 $(DOCS_BIN)/mkdocs build --strict --quiet
	@echo "The site: site/index.html; with its search: python3 -m http.server --directory site"

# The same commit gives the same bytes: what goes into the files follows from the checkout and this date alone.
dist: $(VENV)/.ready $(DOCS_VENV)/.ready
	rm -rf dist
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/python -m hatchling build
	$(DOCS_BIN)/twine check --strict dist/*.whl dist/*.tar.gz
	$(BIN)/python release/sbom.py dist
	$(DOCS_BIN)/python release/check_sbom.py dist/*.cdx.json

clean:
	rm -rf $(VENV) $(APP_VENV) $(DOCS_VENV) runs site dist

# torch comes first: chosen by another package it would be the newest build, with gigabytes of CUDA.
$(VENV)/.ready: pyproject.toml constraints.txt
	@echo "Setting up $(VENV): first torch, then the project and its tools. Once, some minutes."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt "$(TORCH)"
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

$(APP_VENV)/.ready: pyproject.toml constraints.txt constraints-app.txt
	@echo "Setting up $(APP_VENV) for the demo page. Once, some minutes."
	$(PYTHON) -m venv $(APP_VENV)
	$(APP_BIN)/pip install --quiet --constraint constraints.txt "$(TORCH)"
	$(APP_BIN)/pip install --quiet --constraint constraints.txt --editable . pytest
	$(APP_BIN)/pip install --quiet --constraint constraints-app.txt --editable ".[app]" selenium
	touch $@

$(DOCS_VENV)/.ready: constraints.txt requirements-docs.txt
	@echo "Setting up $(DOCS_VENV) for the documentation. Once, a minute."
	$(PYTHON) -m venv $(DOCS_VENV)
	$(DOCS_BIN)/pip install --quiet --constraint constraints.txt --requirement requirements-docs.txt
	touch $@
