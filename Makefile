PYTHON ?= python3

.PHONY: check format test slow bench

check:  ## what CI runs
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy
	$(PYTHON) -m pytest

format:
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

test:
	$(PYTHON) -m pytest

slow:
	$(PYTHON) -m pytest -m "slow or gpu"

bench:
	for b in benchmarks/bench_*.py; do $(PYTHON) $$b || exit 1; done
