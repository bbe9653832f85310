# make demo   sets up .venv and runs the main job: two recorded trainings, their table and pictures
# make test   sets up .venv and runs what CI runs: lint, types, tests
# Needs Python 3.11 or later and a package index; PYTHON=python3.12 picks another one.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: demo test long browser lint format clean help

help:
	@sed -n '1,3s/^# //p' Makefile

$(READY): pyproject.toml requirements/constraints.txt requirements/fastai.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "actrace needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Setting up $(VENV) (once; a minute or so, torch is the largest part) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements/constraints.txt --editable '.[dev]'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements/fastai.txt
	@touch $@

demo: $(READY)
	@$(BIN)/actrace demo --overwrite

# Two workers, a file each in turn, one thread a worker: it takes half the time on two cores.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

long: lint
	$(BIN)/python -m pytest --long

# The app, JupyterLab and pages in a headless Chromium: sudo apt install chromium, or ACTRACE_CHROMIUM=/path/to/it.
browser: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --browser tests/browser

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache

.PHONY: bench bench-full bench-peers gpu pictures
# The short form: what is installed, the two small models, a few minutes.
bench: $(READY)
	$(BIN)/python benchmarks/kernels.py
	$(BIN)/python benchmarks/overhead --quick
	$(BIN)/python benchmarks/overhead --steady --seconds 20
	$(BIN)/python benchmarks/size.py

# All peers and models, one and two threads, eager and compiled: hours. The tables go into docs/cost.md.
bench-full: bench-peers
	$(BIN)/python benchmarks/kernels.py
	$(BIN)/python benchmarks/profile_step.py mlp convnet resnet18-64 gpt6 --page docs/cost.md#profile
	$(BIN)/python benchmarks/overhead --threads 1 --pin --cold --json build/overhead-1.json --page docs/cost.md#one-thread
	$(BIN)/python benchmarks/overhead --threads 2 --json build/overhead-2.json --page docs/cost.md#two-threads
	$(BIN)/python benchmarks/compiled.py --cpu-time --page docs/cost.md#compiled
	$(BIN)/python benchmarks/overhead --models mlp convnet --rounds 5 --more-steps 10000 --page docs/cost.md#memory
	$(BIN)/python benchmarks/overhead --steady --page docs/cost.md#steady
	$(BIN)/python benchmarks/overhead --models convnet gpt6 --variants bare 'actrace-*auto*' actrace-thinned --lead 520 --rounds 8 --starts 1 --pin --page docs/cost.md#share
	$(BIN)/python benchmarks/modes.py
	$(BIN)/python benchmarks/store --page docs/store.md#looks
	$(BIN)/python benchmarks/size.py

bench-peers: $(READY)
	mkdir -p build
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements/constraints.txt --requirement requirements/bench.txt

# On a machine with a GPU: what only a GPU shows, then what recording costs there, ten minutes or so.
gpu: $(READY)
	@$(BIN)/python -c 'import sys, torch; torch.cuda.is_available() or sys.exit("make gpu: torch can use no GPU here")'
	$(BIN)/python -m pytest tests/capture/cuda tests/capture/test_cuda.py
	$(BIN)/python benchmarks/gpu.py

pictures: demo
	$(BIN)/python docs/pictures.py demo docs

.PHONY: notebooks
# All notebooks on full settings, as pages in build/notebooks: make notebooks DATA=DIR
notebooks: $(READY)
	$(BIN)/python -m notebooks.build $(if $(DATA),--data $(DATA))
