# make demo   synthetic patches -> training -> threshold -> scores -> pictures, on two cores
# make test   lint and tests
# make bench  speed and memory, beside PyTorch and OpenVINO (benchmarks/README.md), a quarter of an hour
# They make .venv on the first call and leave it alone afterwards.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
PY = .venv/bin/python

.PHONY: demo test bench clean
.DELETE_ON_ERROR:

demo: .venv/installed
	$(PY) make_sample_data.py --out-dir data/sample --patches 400 --overwrite
	$(PY) train.py --data-dir data/sample --run demo --epochs 24 --overwrite
	$(PY) optimize_threshold.py --run demo
	$(PY) evaluate.py --run demo
	$(PY) visualize.py --run demo
	@echo; echo "pictures: results/demo/samples/ and results/demo/*.png"

test: .venv/installed-test
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m pytest -q -n 2 --dist loadfile tests

bench: .venv/installed-bench
	$(PY) benchmarks/training.py --networks default "plain 16"
	$(PY) benchmarks/input_pipeline.py
	$(PY) benchmarks/prediction.py
	$(PY) benchmarks/growth.py
	$(PY) benchmarks/scene.py

.venv/installed: requirements.txt
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

.venv/installed-test: requirements-test.txt .venv/installed
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-test.txt
	touch $@

.venv/installed-bench: benchmarks/requirements.txt .venv/installed
	$(PY) -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
	touch $@

clean:  ## removes caches of packed patches; they are made again when needed
	rm -rf results/cache results/*/cache
