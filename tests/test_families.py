"""All stages with every kind of network, on processors with and without bfloat16."""

import shutil

import pytest

from tests.patch_files import write_patches
from tests.running import SMALL, record, run_script
from tests.series_files import write_published

# A run can move between machines: it is trained with (1) or without (0) bfloat16, then used with or without it.
PROCESSORS = [("0", "0"), ("1", "1"), ("1", "0")]
FAMILIES = {
    "unet": SMALL,
    "segformer": ("--model", "segformer", "--batch-size", 8),
    "encoder": ("--encoder", "efficientnet_lite0", "--batch-size", 8),
    "dates": ("--data-dir", "series", "--fusion", "attention", *SMALL),
}


@pytest.fixture(scope="module")
def workdirs(tmp_path_factory):
    """Make a folder for each precision with patches in data/ and series of dates in series/, of 32 x 32 pixels."""
    folders = {trained: tmp_path_factory.mktemp(f"bfloat16_{trained}") for trained in ("0", "1")}
    for workdir in folders.values():
        write_patches(workdir / "data/images", workdir / "data/masks", range(1, 25))
        for number in range(1, 25):
            write_published(workdir / f"series/s2/a_s2_{number}.nc", number, (2, 3) if number % 4 else None)
    return folders


def run_stage(workdir, script, *flags):
    result = run_script(script, *flags, cwd=workdir)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("trained", "used"), PROCESSORS)
@pytest.mark.parametrize("family", [*FAMILIES, "ensemble"])
def test_a_family_goes_through_all_stages(workdirs, tmp_path, monkeypatch, family, trained, used):
    """Tests share the runs that they train, and each takes them through the other stages in a folder of its own."""
    workdir = workdirs[trained]
    monkeypatch.setenv("LANDSLIDE_BFLOAT16", trained)
    members = ("unet", "segformer") if family == "ensemble" else (family,)
    for run in members:
        if not (workdir / "results" / run).exists():
            run_stage(workdir, "train.py", "--run", run, "--epochs", 1, *FAMILIES[run])
        precision = "mixed_bfloat16" if trained == "1" else "float32"
        assert record(workdir, "config.json", run)["precision"] == precision
    shutil.copytree(workdir, tmp_path, dirs_exist_ok=True)
    if family == "ensemble":
        run_stage(tmp_path, "ensemble.py", "--members", *members, "--run", family)
    monkeypatch.setenv("LANDSLIDE_BFLOAT16", used)
    for stage in ("optimize_threshold.py", "evaluate.py", "visualize.py"):
        run_stage(tmp_path, stage, "--run", family)
    folder = "series" if family == "dates" else "data"
    run_stage(tmp_path, "predict.py", "--run", family, "--input", folder)
    assert len(list((tmp_path / "results" / family / "maps").rglob("mask_*.h5"))) == 24
    assert record(tmp_path, "metrics.json", family)["images"] == 4
