# Two commands do everything on a fresh machine, each in an environment of its own: `make demo`, `make test`.
# The CPU build of PyTorch is small; for GPUs give another: make demo TORCH=torch
PYTHON ?= python3
TORCH ?= torch==2.13.0
# Tests run in as many processes, each with one thread of PyTorch; a file's tests stay together, as they share fixtures.
PROCESSES ?= 2
DEMO := .venv-demo
DEV := .venv

.PHONY: demo test lint format browser clean

# PASSIVE: threads that wait in a busy loop make training ten times slower as soon as anything else needs a core.
demo: $(DEMO)/installed  ## pretrain a small GPT-2 with the callback on a CPU, then write the report
	WANDB_MODE=offline OMP_WAIT_POLICY=PASSIVE $(DEMO)/bin/python examples/pretrain_trainer.py configs/trainer/demo.yaml $(ARGS)

test: $(DEV)/installed browser  ## all tests
	WANDB_MODE=offline $(DEV)/bin/python -m pytest -n $(PROCESSES) --dist loadscope $(ARGS)

lint: $(DEV)/installed  ## style and types
	$(DEV)/bin/ruff check
	$(DEV)/bin/ruff format --check
	$(DEV)/bin/mypy src/curvewatch
	$(DEV)/bin/mypy integrations

format: $(DEV)/installed
	$(DEV)/bin/ruff check --fix
	$(DEV)/bin/ruff format

# The report is tested in a real browser, which is no Python package.
browser:
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || { \
	    [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null || { \
	        echo "The tests need Chromium and its driver (Debian: apt-get install chromium chromium-driver)."; exit 1; }; \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	        chromium chromium-driver >/dev/null; }

clean:
	rm -rf $(DEMO) $(DEV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

# PyTorch first, so that what needs it takes the build chosen here.
$(DEMO)/installed: pyproject.toml
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/pip install --quiet "$(TORCH)"
	$(DEMO)/bin/pip install --quiet --editable ".[demo]"
	touch $@

$(DEV)/installed: pyproject.toml
	$(PYTHON) -m venv $(DEV)
	$(DEV)/bin/pip install --quiet "$(TORCH)"
	$(DEV)/bin/pip install --quiet --editable ".[dev]"
	touch $@
