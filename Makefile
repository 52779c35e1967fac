PYTHON ?= python3

.PHONY: check types format test slow bench

check:  ## what CI runs
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(MAKE) types PYTHON=$(PYTHON)
	$(PYTHON) -m pytest

types:  ## mypy over the tree as it is installed
	rm -rf build/types && mkdir -p build/types
	cp -r fnac build/types/fnac && cp -r passes models build/types/fnac/
	MYPYPATH=typings:build/types $(PYTHON) -m mypy -p fnac

format:
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

test:
	$(PYTHON) -m pytest

slow:
	$(PYTHON) -m pytest -m "slow or gpu"

bench:
	for b in benchmarks/bench_*.py; do $(PYTHON) $$b || exit 1; done
