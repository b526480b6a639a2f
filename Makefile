# Two commands do everything on a fresh machine, each in an environment of its own: `make demo`, `make test`.
# While changing code: `make check`, the style, the types and the quick tests, in under two minutes.
# The CPU build of PyTorch is small; for GPUs give another: make demo TORCH=torch
PYTHON ?= python3
TORCH ?= torch==2.13.0
# Tests run in as many processes, each with one thread of PyTorch; a file's tests stay together, as they share fixtures.
PROCESSES ?= 2
DEMO := .venv-demo
DEV := .venv
# The quick tests go once through the house: tokens, scoring, steps, run file, measures, metrics, the watch, and one host
# whose training must stay bit for bit what it was. No browser and no tracker. Nothing less than `make test` is a proof.
QUICK := tests/tokens/test_tokens.py tests/scoring/test_scoring.py tests/test_schedule.py tests/runfile/test_runfile.py \
    tests/runfile/test_reader.py tests/measures/test_measures.py tests/measures/test_smoothing.py tests/live/test_live.py \
    tests/watch/test_watch.py "tests/contract/test_training_is_undisturbed.py::test_bit_identical[plain-trainer]" \
    "tests/hosts/test_trainer_and_lightning.py::test_rows[trainer-plain]"
# The second job: the oldest versions that pyproject.toml allows, on the oldest Python that can be had. PyTorch's old
# releases come with all of CUDA only: 5 GB on disk, some minutes.
# What needs an accelerator: PyTorch's build for it, and the hosts.
GPU := .venv-gpu
GPU_TORCH ?= torch
OLDEST := .venv-oldest
PYTHON_OLDEST ?= $(shell python3.10 -m ensurepip --version >/dev/null 2>&1 && echo python3.10 || echo $(PYTHON))
OLDEST_TESTS := tests/hosts tests/contract tests/integrations tests/runfile tests/formats tests/scoring tests/storage \
    tests/tokens tests/watch
# Not there: what needs newer hosts. TRL 1.16 asks for a newer transformers, and the Trainer of 4.48 knows no Trackio and
# ends epochs with a broken accumulation at other steps; FSDP2 of PyTorch 2.6 does not run on CPUs; minicons is not there.
STEPS := tests/contract/test_steps.py::test_scored_steps_are_the_planned_ones_and_those_that_the_host_logs
NOT_ON_OLDEST := --ignore tests/hosts/test_trl.py --ignore tests/hosts/test_loggers.py \
    --ignore tests/contract/test_failing_rank.py \
    --deselect "tests/hosts/test_refused.py::test_refused_before_the_first_update[reward]" \
    --deselect "tests/hosts/test_refused.py::test_without_the_watch_they_train[reward]" \
    --deselect "$(STEPS)[trainer, epochs]" --deselect "$(STEPS)[trainer, steps over epochs]" \
    --deselect tests/contract/test_ranks.py::test_fully_sharded \
    --deselect tests/contract/test_ranks.py::test_fully_sharded_scored_before_the_update \
    --deselect "tests/contract/test_other_models.py::test_two_ranks[loop-fsdp2-bert]" \
    --deselect "tests/contract/test_other_models.py::test_two_ranks[loop-fsdp2-t5]" \
    --deselect tests/scoring/test_masked.py::test_as_minicons

.PHONY: demo check test test-oldest gpu lint docs format browser fuse clean

# PASSIVE: threads that wait in a busy loop make training ten times slower as soon as anything else needs a core.
demo: $(DEMO)/installed  ## pretrain a small GPT-2 with the callback on a CPU, then write the report
	WANDB_MODE=offline OMP_WAIT_POLICY=PASSIVE $(DEMO)/bin/python examples/pretrain_trainer.py configs/trainer/demo.yaml $(ARGS)

check: lint  ## style, types and the quick tests
	WANDB_MODE=offline $(DEV)/bin/python -m pytest -q -n $(PROCESSES) --dist loadscope $(QUICK) $(ARGS)

test: $(DEV)/installed browser fuse  ## all tests
	WANDB_MODE=offline $(DEV)/bin/python -m pytest -n $(PROCESSES) --dist loadscope $(ARGS)

test-oldest: $(OLDEST)/installed  ## what meets the hosts and HDF5, on the lower bounds that pyproject.toml declares
	WANDB_MODE=offline $(OLDEST)/bin/python -m pytest -n $(PROCESSES) --dist loadscope $(NOT_ON_OLDEST) $(OLDEST_TESTS) $(ARGS)

gpu: $(GPU)/installed  ## what an accelerator must show, in under ten minutes on one card; results in gpu-results
	WANDB_MODE=offline $(GPU)/bin/python -m tests.gpu $(ARGS)

lint: $(DEV)/installed  ## style and types
	$(DEV)/bin/ruff check
	$(DEV)/bin/ruff format --check
	$(DEV)/bin/mypy src/curvewatch
	$(DEV)/bin/mypy integrations
	PYTHONPATH=src $(DEV)/bin/lint-imports --no-logo

docs: $(DEV)/installed  ## the documentation site, in site/; a broken link or a missing reference fails
	$(DEV)/bin/python -m sphinx --fail-on-warning --keep-going --quiet --builder html docs site

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

# A file system that fails on demand runs outside the kernel, through a C library. Where there is no /dev/fuse its tests
# are skipped, and say so.
fuse:
	@[ ! -e /dev/fuse ] || ldconfig -p | grep -q 'libfuse[0-9]*\.so' || { \
	    [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null || { \
	        echo "The tests need libfuse (Debian: apt-get install libfuse2)."; exit 1; }; \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	        libfuse2 >/dev/null; }

clean:
	rm -rf $(DEMO) $(DEV) $(OLDEST) $(GPU) gpu-results build site *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

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

$(GPU)/installed: pyproject.toml
	$(PYTHON) -m venv $(GPU)
	$(GPU)/bin/pip install --quiet "$(GPU_TORCH)"
	$(GPU)/bin/pip install --quiet --editable ".[transformers,lightning]"
	touch $@

# Nothing is kept in pip's cache, which would take those gigabytes a second time.
$(OLDEST)/installed: pyproject.toml .ci/lowest.py
	$(PYTHON_OLDEST) -m venv $(OLDEST)
	$(OLDEST)/bin/python .ci/lowest.py > $(OLDEST)/lowest.txt
	$(OLDEST)/bin/pip install --quiet --no-cache-dir --constraint $(OLDEST)/lowest.txt --editable ".[test]"
	touch $@
