# Two commands for visitors: `make demo` and `make test`. Everything runs in .venv; tools/make_env.py says what is missing.

PYTHON ?= python3
PORT ?= 8000
VENV_PYTHON = .venv/bin/python
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: demo site sample wheel test lint bench setup check-python clean
.DEFAULT_GOAL := demo

demo: site
	@$(VENV_PYTHON) tools/serve.py site --port $(PORT)

site: setup
	@$(VENV_PYTHON) tools/build_site.py

wheel: setup
	@$(VENV_PYTHON) tools/build_wheel.py

test: check-python
	@$(PYTHON) tools/make_env.py --tests
	@$(VENV_PYTHON) tools/run_tests.py

lint: setup
	@$(VENV_PYTHON) tools/run_tests.py lint

sample: setup                    # the model that the second page opens with; needs `python tools/fetch.py` once
	@node tools/pyodide_run.mjs examples/digits.py 15 /repo/demo_site/assets/sample.tide

bench: check-python              # BENCH="mlp --quick" for one workload with few repetitions; see benchmarks/NOTES.md
	@$(PYTHON) tools/make_env.py --tests
	@$(VENV_PYTHON) tools/fetch.py >/dev/null || echo "bench: without numpy for Pyodide, so without Python in the tab"
	@$(VENV_PYTHON) -m benchmarks $(BENCH)

setup: check-python
	@$(PYTHON) tools/make_env.py

check-python:
	@command -v $(PYTHON) >/dev/null || { echo "set-up: $(PYTHON) is missing. Install it: sudo apt-get install python3 python3-venv"; exit 1; }

clean:
	rm -rf site build dist .cache node_modules .venv
