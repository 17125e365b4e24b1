"""Fixtures that many test files share, and the order of the files."""

import os

import pytest

import scenes  # noqa: F401  before Keras, which test modules import
from tests.patch_files import write_patches

pytest.register_assert_rewrite("tests.running")
pytest_plugins = ("tests.maps", "tests.labelled_scene", "tests.comparison")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as keras_start has it; here modules import Keras first


# Files that take longest, in order: started last, one of them would go on alone.
LONG = "families devices cross_dataset resume ablate pipeline make_patches start series model_files teacher".split()
LONG += "before_after openvino export predict sample inventory tiling batch_norm_folding batch encoders".split()


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


@pytest.fixture(params=["0", "1"], ids=["float32", "bfloat16"])
def both_processors(request, monkeypatch):
    """The answers of a processor without and of one with bfloat16, in this process and in scripts it runs."""
    monkeypatch.setenv("LANDSLIDE_BFLOAT16", request.param)
    return request.param
