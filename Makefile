PYTHON ?= python3

.PHONY: check types format test slow bench cases docs

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

docs:  ## the site in build/site; needs pip install -e '.[docs]'
	$(PYTHON) docs/make_pages.py
	$(PYTHON) -m mkdocs build --strict --quiet

bench:
	for b in benchmarks/bench_*.py; do $(PYTHON) $$b || exit 1; done

CASES ?= ../shared/cases
cases:  ## programs that showed faults, where they lie beside the checkout: each must exit 0
	@[ -d $(CASES) ] || { echo "$(CASES): not beside this checkout; nothing to run"; exit 0; }; \
	failed=""; for c in $(CASES)/*/case.py; do name=$$(basename $$(dirname $$c)); \
	  if OMP_NUM_THREADS=1 $(PYTHON) tests/support/run_case.py $$c > /dev/null 2>&1; then echo "ok    $$name"; \
	  else echo "FAULT $$name"; failed="$$failed $$name"; fi; done; \
	[ -z "$$failed" ] || { echo "faults:$$failed"; exit 1; }
