"""Fixtures that many test files share, and the order of the files."""

import os
from pathlib import Path

import pytest

import scenes  # noqa: F401  before Keras, which test modules import
from tests.patch_files import write_patches

pytest.register_assert_rewrite("tests.running")
pytest_plugins = ("tests.maps", "tests.labelled_scene", "tests.comparison")
os.environ.setdefault("MATPLOTLIBRC", str(Path(__file__).with_name("matplotlibrc")))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as keras_start has it; here modules import Keras first


# Files that take longest, in order: started last, one of them would go on alone.
LONG = "families start places cross_dataset devices resume ablate pipeline make_patches export predict".split()
LONG += "inventory before_after unet encoders features sample series model_files tiling teacher openvino".split()


def pytest_collection_modifyitems(items):
    """Put the tests of long files first."""
    rank = {f"test_{name}": i for i, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(LONG)))


@pytest.fixture
def flat(tmp_path):
    """A flat folder of 20 patches of 32 x 32 x 14."""
    data = tmp_path / "data"
    write_patches(data / "images", data / "masks", range(1, 21))
    return data


@pytest.fixture(params=["0", pytest.param("1", marks=pytest.mark.slow)], ids=["float32", "bfloat16"])
def both_processors(request, monkeypatch):
    """The answers of a processor without and of one with bfloat16, in this process and in scripts it runs."""
    monkeypatch.setenv("LANDSLIDE_BFLOAT16", request.param)
    return request.param
