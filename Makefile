# make demo   synthetic patches -> training -> threshold -> scores -> pictures, on two cores
# make demo-event   an invented event: boxes labelled in a browser, the RGB run adapted to them, maps compared
# make test   lint and all tests but the slow ones; make test-all runs those, too
# make bench  speed and memory, beside PyTorch and OpenVINO (benchmarks/README.md), an hour
# They make .venv on the first call and leave it alone afterwards.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
PY = .venv/bin/python
SMALL_NETWORK = --base-filters 16 --max-filters 64 --batch-size 8 --epochs 16

.PHONY: demo demo-event test test-all lint bench clean
.DELETE_ON_ERROR:

# A small network, the same on every processor: less than five minutes with AVX2 alone.
demo: .venv/installed
	$(PY) make_sample_data.py --out-dir data/sample --patches 400 --overwrite
	$(PY) train.py --data-dir data/sample --run demo $(SMALL_NETWORK) --overwrite
	$(PY) optimize_threshold.py --run demo
	$(PY) evaluate.py --run demo
	$(PY) visualize.py --run demo
	@echo; echo "pictures: results/demo/samples/ and results/demo/*.png"

SCENE = data/sample_event
MAP_EVENT = $(PY) predict.py --input $(SCENE)/after.tif --scene-bands B4 B3 B2 --dem $(SCENE)/dem.tif --overwrite
COMPARE = $(PY) compare_maps.py --reference $(SCENE)/landslides.gpkg --area $(SCENE)/test_area.gpkg --overwrite

BEFORE = results/event_before/maps

# A person would label the boxes of after_desk.html; synthetic/event_labels.geojson is what the page saved.
demo-event: .venv/installed
	$(PY) make_sample_data.py --scene --out-dir $(SCENE) --overwrite
	$(MAP_EVENT) --run rgb --out-dir $(BEFORE)
	$(PY) suggest_boxes.py --map $(BEFORE)/after_probability.tif --area $(SCENE)/label_area.gpkg --overwrite
	$(PY) make_patches.py --scene $(SCENE)/after.tif --scene-bands B4 B3 B2 --labels synthetic/event_labels.geojson \
		--out-dir data/event --overwrite
	$(PY) train.py --data-dir data/event --start-from rgb --run event --overwrite
	$(PY) optimize_threshold.py --run event
	$(PY) evaluate.py --run event
	$(MAP_EVENT) --run event --out-dir results/event/maps
	$(COMPARE) --map $(BEFORE)/after_mask.tif
	$(COMPARE) --map results/event/maps/after_mask.tif
	@echo; echo "the page to label on: $(BEFORE)/after_desk.html"
	@echo "before adapting: $(BEFORE)/, after: results/event/maps/ (comparison.png below each)"

# A file is one worker's, because its tests share what its fixtures train; conftest.py puts the long files first.
PYTEST = $(PY) -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

test: lint
	$(PYTEST) -m "not slow" tests

test-all: lint
	$(PYTEST) tests

lint: .venv/installed-test
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

bench: .venv/installed-bench
	$(PY) benchmarks/training_speed.py --networks default "plain 16"
	$(PY) benchmarks/training_speed.py --networks pretrained --patches 128
	$(PY) benchmarks/input_pipeline.py
	$(PY) benchmarks/prediction_speed.py
	$(PY) benchmarks/growth.py
	$(PY) benchmarks/scene_speed.py

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
